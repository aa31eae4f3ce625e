"""Namespaces: which kinds this kernel has, whether this user may make them, and what maps ids for them."""

from __future__ import annotations

import errno
import posix
from typing import Final

from pyrunc import _linux
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, attempt, program, text, words
from pyrunc.steps.namespaces import TYPES

# Type: flag, and name in /proc/PID/ns, in the sysctl user.max_*_namespaces and in the kernel's CONFIG_*_NS.
_KINDS: Final = {kind: found for kind, found in TYPES.items() if kind != "user"}
# What nearly every container has.
_NEEDED: Final = ("mount", "pid", "network", "ipc", "uts")
# Ids that an engine's user namespace maps.
_RANGE: Final = 65536
_APPARMOR: Final = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


def check() -> list[Finding]:
    user = _user()
    with_user = 0 if posix.geteuid() == 0 else _linux.CLONE_NEWUSER
    found = []
    good = []
    for kind, (flag, file) in _KINDS.items():
        if with_user and user.level == PROBLEM:
            break  # none of the others can be tried
        problem = _problem(flag | with_user, file)
        if problem is None:
            good.append(kind)
        else:
            level = PROBLEM if kind in _NEEDED else NOTE
            found.append(Finding(level, kind + " namespaces", *problem))
    if good:
        found.insert(0, Finding(OK, "namespaces", "can be made: " + ", ".join(good)))
    return [*found, user, *_helpers()]


def can_make(kind: str) -> tuple[str, str] | None:
    """None when this user can make a namespace of that type; else why not, and the remedy."""
    if kind == "user":
        user = _user()
        return None if user.level == OK else (user.found, user.remedy)
    flag, file = _KINDS[kind]
    return _problem(flag | (0 if posix.geteuid() == 0 else _linux.CLONE_NEWUSER), file)


def _problem(flags: int, name: str) -> tuple[str, str] | None:
    try:
        posix.stat("/proc/self/ns/" + name)
    except OSError:
        return "this kernel has none", f"a kernel with CONFIG_{name.upper()}_NS"
    limit = f"/proc/sys/user/max_{name}_namespaces"
    if text(limit) == "0":
        return f"user.max_{name}_namespaces is 0", f"sysctl user.max_{name}_namespaces=10000"
    failed = attempt(lambda: _linux.unshare(flags))
    if not failed:
        return None
    remedy = "run pyrunc as root, or where CAP_SYS_ADMIN is not taken away" if failed == errno.EPERM else ""
    if failed == errno.ENOSPC:
        remedy = f"sysctl user.max_{name}_namespaces=10000"
    return "one cannot be made: " + words(failed), remedy


def _user() -> Finding:
    """User namespaces: an ordinary user can do nothing without them."""
    level = NOTE if posix.geteuid() == 0 else PROBLEM
    subject = "user namespaces"
    told = _problem(_linux.CLONE_NEWUSER | _linux.CLONE_NEWNS, "user")
    restricted = text(_APPARMOR) == "1"
    if told is None:
        more = "; AppArmor restricts those of programs without a profile of their own" if restricted else ""
        return Finding(OK, subject, "can be made" + more)
    found, remedy = told
    if posix.geteuid() != 0 and text("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return Finding(
            level, subject, "kernel.unprivileged_userns_clone is 0", "sysctl kernel.unprivileged_userns_clone=1"
        )
    if posix.geteuid() != 0 and restricted:
        remedy = (
            "an AppArmor profile for pyrunc with `userns,` (as podman and others have one in /etc/apparmor.d),"
            " or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        )
        found += " (kernel.apparmor_restrict_unprivileged_userns is 1)"
    return Finding(level, subject, found, remedy)


# ---- ids ----


def _helpers() -> list[Finding]:
    """newuidmap(1), newgidmap(1) and the ranges that they grant: for who is not root."""
    if posix.geteuid() == 0:
        return []
    missing = [name for name in ("newuidmap", "newgidmap") if program(name) is None]
    if missing:
        found = ", ".join(missing) + ": not installed; only the own id can be mapped"
        return [Finding(NOTE, "id maps", found, "apt-get install uidmap")]
    result = []
    for name, file in (("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")):
        path = program(name) or name
        if not posix.stat(path).st_mode & 0o4000 and not _has_file_capability(path):
            found = path + " is neither set-user-ID root nor has file capabilities"
            result.append(Finding(PROBLEM, "id maps", found, "chmod u+s " + path))
        result.append(_range(file))
    return result


def _has_file_capability(path: str) -> bool:
    try:
        return bool(posix.getxattr(path, "security.capability"))
    except OSError:
        return False


def granted(file: str, uid: int, names: tuple[str, ...]) -> list[tuple[int, int]]:
    """The ranges (first id, count) that subuid(5) or subgid(5) grants a user, by number or name."""
    found = []
    for line in (text(file) or "").split("\n"):
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (str(uid), *names) and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[1]), int(fields[2])))
    return found


def own_names() -> tuple[str, ...]:
    """The caller's name, if there is one."""
    import pwd

    try:
        return (pwd.getpwuid(posix.geteuid()).pw_name,)
    except KeyError:
        return ()


def _range(file: str) -> Finding:
    ranges = granted(file, posix.geteuid(), own_names())
    who = (own_names() or (str(posix.geteuid()),))[0]
    kind = "uids" if file.endswith("uid") else "gids"
    remedy = f"usermod --add-sub{kind} 100000-165535 {who}"
    if not ranges:
        return Finding(NOTE, "id maps", f"{file} grants nothing to {who}: only the own id can be mapped", remedy)
    most = max([count for _, count in ranges])
    told = file + ": " + ", ".join([f"{count} from {first}" for first, count in ranges])
    if most < _RANGE:
        return Finding(NOTE, "id maps", f"{told}; engines map {_RANGE}", remedy)
    return Finding(OK, "id maps", told)

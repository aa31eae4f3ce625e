"""cgroups: which hierarchies and controllers there are, and whether this user may make some."""

from __future__ import annotations

import posix
from typing import Final

from pyrunc.cgroups import hierarchies
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, text
from pyrunc.errors import PyruncError
from pyrunc.linux import files

_WANTED: Final = ("cpu", "cpuset", "memory", "pids")
_DELEGATE: Final = (
    "have systemd delegate them: [Service] Delegate=cpu cpuset io memory pids in"
    " /etc/systemd/system/user@.service.d/delegate.conf, systemctl daemon-reload, and log in again"
)


def check() -> list[Finding]:
    try:
        host = hierarchies.detect()
    except PyruncError as error:
        return [Finding(PROBLEM, "cgroups", error.message, "mount procfs at /proc")]
    if host.mode == "v1":
        # What was mounted over another hides it, and stays in mountinfo.
        host.mounts = {name: at for name, at in host.mounts.items() if files.exists(at[0] + "/cgroup.procs")}
    if not host.mounts and not files.exists(hierarchies.TOP + "/cgroup.procs"):
        return [Finding(PROBLEM, "cgroups", "no hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup")]
    return _v2(host) if host.mode == "v2" else _v1(host)


def controllers(host: hierarchies.Hierarchies) -> set[str]:
    """The controllers that containers can have here, by the names of their hierarchy's version."""
    if host.mode == "v2":
        return set((text(hierarchies.TOP + "/cgroup.controllers") or "").split())
    return {name for name in host.mounts if not name.startswith("name=")}


def _missing(found: set[str]) -> list[Finding]:
    absent = [name for name in _WANTED if name not in found]
    if not absent:
        return []
    words = f"not here: {', '.join(absent)}; their limits cannot be set"
    return [Finding(NOTE, "controllers", words, "the kernel's configuration or cgroup_disable= leaves them out")]


def _v1(host: hierarchies.Hierarchies) -> list[Finding]:
    found = controllers(host)
    kind = "v1" if host.unified is None else "hybrid: v1, and a cgroup2 for systemd at " + host.unified[0]
    result = [Finding(OK, "cgroups", f"{kind}; controllers: {', '.join(sorted(found))}")]
    if "devices" not in found:
        result.append(
            Finding(
                PROBLEM,
                "controllers",
                "devices is not mounted: a container could use every device of the host",
                "mount -t cgroup -o devices none /sys/fs/cgroup/devices",
            )
        )
    result += _missing(found)
    own = hierarchies.own_paths(host)
    closed = sorted([name for name, path in own.items() if not posix.access(path, posix.W_OK)])
    if closed:
        result.append(_closed("v1: " + ", ".join(closed), "limits for ordinary users need cgroup v2 with systemd"))
    return result


def _v2(host: hierarchies.Hierarchies) -> list[Finding]:
    found = controllers(host)
    result = [Finding(OK, "cgroups", "v2; controllers: " + ", ".join(sorted(found))), *_missing(found)]
    own = hierarchies.own_paths(host)[""]
    # Beside our own cgroup, not below it: one that has processes can't pass controllers on.
    parent = own.rpartition("/")[0] if own != hierarchies.TOP else own
    if not posix.access(parent, posix.W_OK):
        result.append(_closed(parent, _DELEGATE))
    elif posix.geteuid() != 0:
        enabled = set((text(parent + "/cgroup.controllers") or "").split())
        absent = [name for name in _WANTED if name in found and name not in enabled]
        if absent:
            result.append(Finding(NOTE, "delegation", "not delegated: " + ", ".join(absent), _DELEGATE))
    who = _delegated(own)
    if who:
        result.append(Finding(OK, "delegation", f"by systemd, from {who} down"))
    return result


def _closed(what: str, remedy: str) -> Finding:
    level = PROBLEM if posix.geteuid() == 0 else NOTE
    return Finding(level, "delegation", "no cgroup can be made in " + what, remedy)


def _delegated(own: str) -> str:
    """The cgroup that systemd has marked as delegated, which ours is or is in; "" for none."""
    path = own
    while path.startswith(hierarchies.TOP + "/"):
        for name in ("user.delegate", "trusted.delegate"):
            try:
                if posix.getxattr(path, name) == b"1":
                    return path
            except OSError:
                continue
        path = path.rpartition("/")[0]
    return ""

"""Who the process is: its user, groups and home directory."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, paths

if TYPE_CHECKING:
    from pyrunc.config.types import Process
    from pyrunc.steps.context import Context

# /etc/passwd of a container is written by whoever made its image (moby/sys/user CVE-2026-61801).
_PASSWD_LIMIT: Final = 1 << 20
# File types of inode(7).


def no_id(kind: str, number: int, error: OSError) -> PyruncError:
    """kind: uid or gid."""
    if error.errno == errno.EINVAL:
        text = f"cannot set{kind} to unmapped {kind} {number} in user namespace"
    else:
        text = f"set {kind} {number}: {reason(error)}"
    return PyruncError(text, pointer="/process/user/" + kind, errno=error.errno)


def set_groups(groups: list[int], context: Context) -> None:
    """setgroups(2); in a user namespace that denies it, an error only if there are groups to set. Raises OSError."""
    if context.annotations.get("run.oci.keep_original_groups") == "1":
        return  # as crun: rootless, the caller's groups open what only they may
    try:
        posix.setgroups(groups)
    except PermissionError as error:
        if groups or not (context.host.rootless or context.host.in_user_namespace):
            raise PyruncError(
                "set additional groups: " + reason(error),
                pointer="/process/user/additionalGids",
                errno=error.errno,
                hint="a user namespace with the caller's own group alone denies setgroups(2)",
            ) from None
    except OSError as error:
        raise PyruncError(
            "set additional groups: " + (_unmapped_group(groups) or reason(error)),
            pointer="/process/user/additionalGids",
            errno=error.errno,
        ) from None


def _unmapped_group(groups: list[int]) -> str:
    """Which of them setgroups(2) refuses, in words; "" when each alone is right."""
    for group in groups:
        try:
            posix.setgroups([group])
        except OSError as error:
            if error.errno == errno.EINVAL:
                return f"unmapped gid {group} in user namespace"
    return ""


def own_streams(uid: int) -> None:
    """Give pipes and sockets among the standard streams to the user, so that /dev/stdout can be opened again (as runc).

    Nothing else: a terminal or a file of the caller's would stay the container's when this is long over.
    """
    for fd in (0, 1, 2):
        try:
            status = posix.fstat(fd)
            if status.st_uid != uid and status.st_mode & _linux.S_IFMT in (_linux.S_IFIFO, _linux.S_IFSOCK):
                posix.fchown(fd, uid, -1)
        except OSError as error:
            # Not mapped, read-only, sealed, or closed: the program can still use the descriptor it has.
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS, errno.EBADF):
                raise


def environment(process: Process, uid: int, root_fd: int) -> list[str]:
    """process.env, of duplicates the last, and HOME from the container's /etc/passwd when it is missing or empty."""
    values: dict[str, str] = {}
    for entry in process.get("env", []):
        name, _, value = entry.partition("=")
        values.pop(name, None)
        values[name] = value
    if not values.get("HOME"):
        values["HOME"] = home_of(uid, root_fd)
    return [f"{name}={value}" for name, value in values.items()]


def home_of(uid: int, root_fd: int) -> str:
    """The home directory of a user by the container's /etc/passwd (passwd(5)), "/" when it is not there.

    Never by NSS, which would load libraries of the rootfs (CVE-2019-14271).
    """
    try:
        fd = paths.open_in_root(root_fd, "/etc/passwd", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY)
    except OSError:
        return "/"
    try:
        if posix.fstat(fd).st_mode & _linux.S_IFMT != _linux.S_IFREG:
            return "/"
        data = files.read_fd(fd, _PASSWD_LIMIT)
    except OSError:
        return "/"
    finally:
        posix.close(fd)
    wanted = str(uid).encode("ascii")
    for line in data.split(b"\n"):
        if b"\0" in line:
            continue  # no text, and no path either
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted:
            return fields[5].decode("utf-8", "surrogateescape") or "/"
    return "/"

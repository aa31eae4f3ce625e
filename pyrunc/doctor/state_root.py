"""The state root: there, this user's, with room; and id-mapped mounts of a file system."""

from __future__ import annotations

import errno
import posix

from pyrunc import _linux
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, attempt, has_capability, words
from pyrunc.errors import reason
from pyrunc.linux import files, mounts

# Bytes and files that a container's state takes, with room for a few.
_BYTES = 1 << 20
_FILES = 32


def check(root: str) -> list[Finding]:
    """root: as --root or the environment names it."""
    there = root
    while True:
        try:
            status = posix.stat(there)
            break
        except FileNotFoundError:
            there = there.rpartition("/")[0] or "/"
        except OSError as error:
            return [Finding(PROBLEM, "state root", f"{there}: {reason(error)}", "another --root")]
    if status.st_mode & _linux.S_IFMT != _linux.S_IFDIR:
        return [Finding(PROBLEM, "state root", there + " is not a directory", "another --root")]
    found = []
    if there == root:
        found += _owner(root, status)
    if not posix.access(there, posix.W_OK | posix.X_OK):
        found.append(Finding(PROBLEM, "state root", there + " is not writable", "another --root, or as its owner"))
    found += _room(there)
    if not found:
        told = root + ("" if there == root else " is not there yet and can be made")
        found.append(Finding(OK, "state root", told + (", noexec, which does no harm" if _is_noexec(there) else "")))
    return found


def _owner(root: str, status: posix.stat_result) -> list[Finding]:
    if status.st_uid != posix.geteuid():
        found = f"{root} belongs to user {status.st_uid}"
        return [Finding(PROBLEM, "state root", found, "another --root: states of other users are not believed")]
    if status.st_mode & 0o022:
        return [Finding(NOTE, "state root", root + " can be written to by others", "chmod 0700 " + root)]
    return []


def _room(there: str) -> list[Finding]:
    free = posix.statvfs(there)
    found = []
    if free.f_flag & posix.ST_RDONLY:
        found.append(Finding(PROBLEM, "state root", there + " is mounted read-only", "another --root"))
    if free.f_blocks and free.f_bavail * free.f_frsize < _BYTES:
        left = str(free.f_bavail * free.f_frsize) + " bytes"
        found.append(
            Finding(PROBLEM, "state root", f"{there} is full: {left} are left", "make room, or another --root")
        )
    if free.f_files and free.f_favail < _FILES:
        left = str(free.f_favail) + " files"
        found.append(
            Finding(PROBLEM, "state root", f"{there} is full: {left} are left", "make room, or another --root")
        )
    return found


def _is_noexec(there: str) -> bool:
    return bool(posix.statvfs(there).f_flag & posix.ST_NOEXEC)


# ---- id-mapped mounts ----


def idmapped(path: str) -> Finding:
    """Whether mounts of the file system at path can be id-mapped: tried with a copy that is attached nowhere."""
    subject = "id-mapped mounts"
    if not has_capability("CAP_SYS_ADMIN"):
        return Finding(NOTE, subject, "not tried: it takes CAP_SYS_ADMIN", "as root")
    failed = attempt(lambda: _map(path))
    if not failed:
        return Finding(OK, subject, "of " + path)
    remedy = "another file system, such as ext4, xfs or btrfs; tmpfs has them since Linux 6.3, overlayfs since 5.19"
    if failed == errno.EPERM:
        remedy = "as root of the first user namespace, of a mount that is not id-mapped already"
    return Finding(NOTE, subject, f"not of {path}: {words(failed)}", remedy)


def _map(path: str) -> None:
    """In a child process. Raises OSError."""
    _linux.unshare(_linux.CLONE_NEWNS)
    _linux.mount_setattr(_linux.AT_FDCWD, "/", _linux.AT_RECURSIVE, 0, 0, _linux.MS_PRIVATE, 0)
    tree = mounts.clone(_linux.AT_FDCWD, path, recursive=False)
    mounts.set_attributes(tree, _linux.MOUNT_ATTR_IDMAP, recursive=False, userns_fd=_user_namespace())


def _user_namespace() -> int:
    """A descriptor of a user namespace with a map, whose process is gone again. Raises OSError."""
    wait, go = posix.pipe2(posix.O_CLOEXEC)
    pid, _ = _linux.clone(_linux.CLONE_NEWUSER)
    if pid == 0:
        posix.close(go)
        posix.read(wait, 1)
        posix._exit(0)
    try:
        for name in ("gid_map", "uid_map"):
            files.write(f"/proc/{pid}/{name}", b"0 1000 1000")
        return posix.open(f"/proc/{pid}/ns/user", posix.O_RDONLY | posix.O_CLOEXEC)
    finally:
        posix.close(go)
        posix.waitpid(pid, 0)

"""A procfs of our own for writes that decide about safety (LSM labels, sysctl).

A container's /proc, or one that an image's volume covers, can lead such a write elsewhere (CVE-2019-16884,
CVE-2025-52881). A new procfs instance is mounted nowhere: only its descriptor exists, nothing can be mounted over it.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
from typing import Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, mounts

_RESOLVE = _linux.RESOLVE_NO_XDEV | _linux.RESOLVE_NO_SYMLINKS | _linux.RESOLVE_NO_MAGICLINKS | _linux.RESOLVE_BENEATH


def open_private(*, full: bool = False) -> int:
    """A descriptor of a detached procfs of the caller's pid namespace. full: with /proc/sys as well. Raises OSError."""
    try:
        fd = mounts.create("proc", None, [] if full else [("subset", "pid"), ("hidepid", "ptraceable")], 0)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EBUSY, errno.EINVAL):
            raise
        # Nested, with parts of /proc masked, the kernel refuses a new procfs: a copy of the tree that is there.
        # What is mounted over it is caught by RESOLVE_NO_XDEV.
        fd = mounts.clone(_linux.AT_FDCWD, "/proc", recursive=True)
    if _linux.fstatfs(fd)[0] != _linux.PROC_SUPER_MAGIC:
        posix.close(fd)
        raise OSError(errno.EINVAL, "not a procfs", "/proc")
    return fd


def open_host() -> int:
    """A descriptor of /proc, which must be a procfs: for a process that leaves it behind. Raises OSError."""
    fd = posix.open("/proc", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    if _linux.fstatfs(fd)[0] != _linux.PROC_SUPER_MAGIC:
        posix.close(fd)
        raise OSError(errno.EINVAL, "not a procfs", "/proc")
    return fd


def open_of(pid_namespace: int, parameters: list[tuple[str, str | int | None]], attributes: int) -> int:
    """A detached procfs of another pid namespace than the caller's, given by descriptor. Raises OSError.

    Linux 6.17 takes the namespace as a parameter. Before, only a process that is in it can ask for its procfs.
    """
    try:
        return mounts.create("proc", "proc", [*parameters, ("pidns", pid_namespace)], attributes)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return open_by_helper(pid_namespace, parameters, attributes)


def open_by_helper(pid_namespace: int, parameters: list[tuple[str, str | int | None]], attributes: int) -> int:
    """open_of() before Linux 6.17: a helper opens the file system, this process mounts it.

    Whoever may trace in that pid namespace can take hold of the helper (CVE-2016-9962). So it has neither our root and
    mounts nor our descriptors there, and its capabilities are those of a user namespace of its own.
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    helper, pidfd = _linux.clone(0)
    if helper == 0:
        try:
            _help(pid_namespace, theirs.fileno())
        finally:
            posix._exit(1)
    theirs.close()
    posix.close(pidfd)
    try:
        data, ancillary, _, _ = ours.recvmsg(16, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        posix.waitpid(helper, 0)
    if not ancillary:
        number = int.from_bytes(data[:4], "little") or errno.EPERM
        raise OSError(number, "make a procfs of the joined pid namespace")
    fs_fd = int.from_bytes(ancillary[0][2][:4], "little")
    try:
        return mounts.finish(fs_fd, "proc", parameters, attributes)
    finally:
        posix.close(fs_fd)


def _help(pid_namespace: int, answer: int) -> None:
    """The helper: an empty root and two descriptors, then the namespace; its child answers with fsopen(2)'s."""
    try:
        _linux.prctl(_linux.PR_SET_DUMPABLE, 0)
        _linux.unshare(_linux.CLONE_NEWNS)
        _linux.mount_setattr(_linux.AT_FDCWD, "/", _linux.AT_RECURSIVE, 0, 0, _linux.MS_PRIVATE, 0)
        empty = mounts.create("tmpfs", "tmpfs", [], 0)
        root = posix.open("/", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        mounts.attach(empty, root)
        posix.fchdir(empty)
        _linux.pivot_root(".", ".")
        _linux.umount2(".", _linux.MNT_DETACH)
        posix.chdir("/")
        # Copies out of the way first: either may be 0 or 1 itself.
        high = fcntl.fcntl(answer, fcntl.F_DUPFD_CLOEXEC, 16)
        posix.dup2(pid_namespace, 0, inheritable=False)
        posix.dup2(high, 1, inheritable=False)
        _linux.close_range(2, 0xFFFFFFFF, 0)
        _linux.setns(0, _linux.CLONE_NEWPID)
        posix.close(0)
        pid = _clone_powerless()
        if pid:
            posix.close(1)
            posix.waitpid(pid, 0)
            return
        fs_fd = _linux.fsopen("proc", _linux.FSOPEN_CLOEXEC)
        sock = _socket.socket(fileno=1)
        sock.sendmsg([b"F"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fs_fd.to_bytes(4, "little"))])
    except OSError as error:
        # The answer's descriptor is 1 once the others are closed; standard output is no socket and refuses send(2).
        for fd in (answer, 1):
            try:
                _socket.socket(fileno=posix.dup(fd)).send((error.errno or 0).to_bytes(4, "little"))
                return
            except OSError:
                continue


def _clone_powerless() -> int:
    """clone(2), where the new process has no capability but what fsopen(2) asks for. Raises OSError."""
    try:
        # In namespaces of its own it may open file systems, and is nobody outside.
        return _linux.clone(_linux.CLONE_NEWUSER | _linux.CLONE_NEWNS)[0]
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSPC, errno.EUSERS, errno.EINVAL, errno.ENOSYS):
            raise
    # A host that has, or allows, no user namespaces.
    keep = 1 << _linux.CAPS["CAP_SYS_ADMIN"]
    for number in _linux.CAPS.values():
        if not keep >> number & 1:
            try:
                _linux.prctl(_linux.PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno != errno.EINVAL:  # one that this kernel does not know
                    raise
    _linux.capset(keep, keep, 0)
    return _linux.clone(0)[0]


def write(proc_fd: int, path: str, value: bytes) -> None:
    """Write value to a file below a private procfs in one write(2). Raises OSError."""
    fd = _linux.openat2(proc_fd, path, posix.O_WRONLY | posix.O_CLOEXEC, 0, _RESOLVE)
    try:
        posix.write(fd, value)
    finally:
        posix.close(fd)


def self_name(proc_fd: int) -> str:
    """The caller's process number as this procfs counts it. Raises OSError."""
    return posix.readlink("self", dir_fd=proc_fd)


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); None when there is none.

    With the process number it names one process for ever: numbers are used again, start times are not.
    Raises PyruncError.
    """
    state = process_state(pid)
    return state[1] if state else None


# Of the kernel's linux/sched.h, in the flags of proc(5)'s stat (field 9).
_EXITING: Final = 0x4
_FORKNOEXEC: Final = 0x40


def is_ending(pid: int) -> bool:
    """Whether a process is on its way out: set before the kernel closes its files, unlike what a pidfd tells.

    Raises PyruncError.
    """
    fields = _stat(pid)
    return fields is None or bool(int(fields[6]) & _EXITING)


def has_executed(pid: int, start: int) -> bool | None:
    """Whether that process, itself and not one that it comes from, has called execve(2) with success.

    The kernel keeps it, until a zombie is reaped, and tells everybody: neither the process nor anybody else can change
    what is told. None when it is gone. Raises PyruncError.
    """
    fields = _stat(pid)
    if fields is None or int(fields[19]) != start:
        return None
    return not int(fields[6]) & _FORKNOEXEC


def process_state(pid: int) -> tuple[str, int] | None:
    """State letter and start time of a process (proc(5), stat fields 3 and 22); None when there is none.

    Raises PyruncError.
    """
    fields = _stat(pid)
    return None if fields is None else (fields[0].decode("ascii"), int(fields[19]))


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on; None when there is no such process.

    Only ENOENT and ESRCH say so: with too many open files a container that runs is not one that has stopped.
    """
    path = f"/proc/{pid}/stat"
    try:
        data = files.read(path, limit=4096)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            return None
        raise PyruncError(f"read {path}: {reason(error)}", errno=error.errno) from None
    # The name stands in parentheses and may hold any byte, parentheses included.
    return data[data.rfind(b")") + 2 :].split()


def unescape(text: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash in mountinfo (proc(5))."""
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    return first + "".join([chr(int(part[:3], 8)) + part[3:] for part in rest])

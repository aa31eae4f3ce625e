"""pyrunc._linux: the system calls that CPython has no call for, written in C (native/linux.c).

One function is one call, without policy. Sources: the manual page of each call in section 2 (open_tree, clone3,
capset, keyctl, ...) and the kernel's and libc's headers, from which the constants are read at build time.

Every function raises OSError on failure: errno is the kernel's number, strerror its text, filename the name of the
*call* ("open_tree"), never a path: whoever calls says what was tried on what. Paths and names are str (encoded as
os.fsencode does) or bytes; a NUL within is a ValueError. Descriptors are close-on-exec where the kernel makes
them so by itself (clone, pidfd_open, pidfd_getfd, a seccomp listener); elsewhere the caller's flags say it.
"""

from typing import Final, NoReturn, TypeAlias

_Path: TypeAlias = str | bytes

class Prepared:
    """What prepare() gives, a capsule: for finish() and its two halves only. It does not exist at run time."""

# Mounts and paths

def open_tree(dirfd: int, path: _Path, flags: int, /) -> int:
    """A descriptor of the mount at path, or with OPEN_TREE_CLONE of a detached copy. flags: also AT_*."""

def move_mount(from_dirfd: int, from_path: _Path, to_dirfd: int, to_path: _Path, flags: int, /) -> None: ...
def fsopen(fsname: _Path, flags: int, /) -> int: ...
def fspick(dirfd: int, path: _Path, flags: int, /) -> int:
    """A descriptor for fsconfig() of the file system that is mounted at path, which must be the root of a mount."""

def fsconfig(fd: int, cmd: int, key: _Path | None, value: _Path | None, aux: int = 0) -> None:
    """cmd: FSCONFIG_*. With FSCONFIG_SET_BINARY value must be bytes and aux is its size, whatever is given."""

def fsmount(fd: int, flags: int, attr: int, /) -> int: ...
def mount_setattr(
    dirfd: int, path: _Path, flags: int, attr_set: int, attr_clr: int, propagation: int = 0, userns_fd: int = 0
) -> None:
    """attr_*: MOUNT_ATTR_*; propagation: one of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE or 0."""

def mount(source: _Path | None, target: _Path, fstype: _Path | None, flags: int, data: _Path | None, /) -> None: ...
def umount2(target: _Path, flags: int, /) -> None: ...
def pivot_root(new: _Path, put_old: _Path, /) -> None: ...
def openat2(dirfd: int, path: _Path, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """As openat, but unknown flags are an error. resolve: RESOLVE_*; then EAGAIN means: try again."""

def mount_id(fd: int, /) -> tuple[int, bool]:
    """The id of the mount that fd is on, and whether no other mount will ever have it (STATX_MNT_ID_UNIQUE, 6.8)."""

def fstatfs(fd: int, /) -> tuple[int, int]:
    """The file system's magic number, such as PROC_SUPER_MAGIC, and its mount flags (ST_*)."""

# Processes and namespaces

def clone(flags: int, cgroup_fd: int = -1) -> tuple[int, int]:
    """clone3: (pid, pidfd) in the parent, (0, -1) in the child, which goes on in Python as after os.fork.

    flags: CLONE_NEW* and CLONE_PARENT; the exit signal is SIGCHLD, or with CLONE_PARENT the caller's own.
    cgroup_fd: a cgroup v2 directory to start in, or -1. Flags that share memory with the child are not supported.
    """

def setns(fd: int, nstype: int, /) -> None:
    """nstype: a CLONE_NEW* that fd must be, or 0; for a pidfd, those to join."""

def unshare(flags: int, /) -> None: ...
def pidfd_open(pid: int, flags: int = 0, /) -> int: ...
def pidfd_getfd(pidfd: int, fd: int, /) -> int:
    """A copy of another process's descriptor, close-on-exec."""

def pidfd_send_signal(pidfd: int, signal: int, /) -> None: ...
def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0, /) -> int: ...
def capget() -> tuple[int, int, int]:
    """This process's effective, permitted and inheritable sets, bit N for capability N."""

def capset(effective: int, permitted: int, inheritable: int, /) -> None: ...
def sethostname(name: _Path, /) -> None: ...
def setdomainname(name: _Path, /) -> None: ...
def prlimit(pid: int, resource: int, limits: tuple[int, int] | None, /) -> tuple[int, int]:
    """Set (if not None) the limits (soft, hard) of process pid, 0 being the caller; gives those before.

    resource: a value of RLIMITS; RLIM_INFINITY is no limit.
    """

def keyctl_join_session_keyring(name: _Path | None, /) -> int:
    """The serial of the keyring, a new anonymous one for None."""

def keyctl(operation: int, arg2: int, arg3: int = 0, arg4: int = 0, arg5: int = 0, /) -> int:
    """An operation that takes numbers: KEYCTL_*."""

def keyctl_describe(serial: int, /) -> str:
    """type;uid;gid;permissions in hexadecimal;description"""

def close_range(first: int, last: int, flags: int, /) -> None:
    """last: up to 0xffffffff for no end. flags: CLOSE_RANGE_*."""

def madvise(address: int, length: int, advice: int, /) -> None:
    """address: page-aligned, as /proc/self/maps shows it; length in bytes; advice: MADV_*."""

def personality(persona: int, /) -> int:
    """Set it (0xffffffff: do not) and give the one before."""

def sched_setattr(
    pid: int,
    policy: int,
    nice: int,
    priority: int,
    runtime: int,
    deadline: int,
    period: int,
    flags: int,
    util_min: int = 0,
    util_max: int = 0,
) -> None:
    """policy: SCHED_*; times in ns; flags: SCHED_FLAG_*; util_*: 0 to 1024."""

def sched_getattr(pid: int, /) -> tuple[int, int, int, int, int, int, int]:
    """Policy, nice, priority, runtime, deadline, period (ns), flags of a process: as sched_setattr() takes them."""

def ptrace(request: int, pid: int, address: int = 0, data: int = 0, answer: bytearray = ..., /) -> int:
    """request: PTRACE_*. answer: what the kernel writes to, in the place of data."""

def ioprio_get(which: int, who: int, /) -> int:
    """As ioprio_set() takes it."""

def ioprio_set(which: int, who: int, value: int, /) -> None:
    """value: IOPRIO_CLASS_* << IOPRIO_CLASS_SHIFT | priority."""

def set_mempolicy(mode: int, nodemask: bytes | None, maxnode: int, /) -> None:
    """mode: MPOL_* | MPOL_F_*. nodemask: bit N of byte N // 8 is node N; at most 512 bytes. maxnode: bits, plus one."""

def bpf_prog_load(prog_type: int, instructions: bytes, name: str, /) -> int:
    """BPF_PROG_LOAD of an array of struct bpf_insn: the program's descriptor, close-on-exec. name: at most 15 bytes."""

def bpf(cmd: int, attr: bytes | bytearray, /) -> int:
    """attr: the command's part of union bpf_attr, at most 256 bytes; a bytearray gets the answer back."""

# Terminals

def tty_raw(fd: int, /) -> bytes:
    """Make the terminal raw as cfmakeraw(3) has it; gives the mode before, for tty_restore."""

def tty_restore(fd: int, mode: bytes, /) -> None: ...

# The end of the container process

def prepare(
    path: bytes,
    argv: list[bytes],
    env: list[bytes],
    *,
    filter: bytes | None,
    filter_flags: int,
    filter_first: bool,
    caps: tuple[int, int, int] | None,
    ambient: int,
    keep: int,
    fifo: bool,
    report: bool,
    again: bool,
    terminal: bool,
    extra: int,
    real_user: int,
    filter_cloned: bool,
) -> Prepared:
    """Lay out as flat memory all that finish() needs.

    path, argv, env: for execve(2). filter: the BPF program or None; filter_flags: SECCOMP_FILTER_FLAG_*; filter_first:
    load it before capset, while privileged (without no_new_privs it must be so). caps: the (effective, permitted,
    inheritable) sets or None for no change; ambient: the ambient set as a mask. keep: number of the first descriptor
    that is the runtime's, 3 + preserve_fds: there the caller has put the sync socket (SOCK_SEQPACKET), at keep + 1
    exec.fifo (O_RDWR) if fifo, at keep + 2 the error file (O_WRONLY) if report. Those below keep are left as they are.
    again: clone once more when the capabilities are set, before a filter that is not filter_first. The new process is
    its session's leader, with standard input as the controlling terminal if terminal, and goes on when the other end of
    the sync socket has been told its number and has answered. extra: capabilities (a mask) that it has until then,
    beside caps; real_user: the real user id that it takes on then, -1 for none; filter_cloned: a filter that is
    filter_first is loaded only then.
    ValueError if path is empty or holds a NUL, filter is no array of instructions, or keep is below 3.
    """

def finish(prepared: Prepared, /) -> NoReturn:
    """End as the container's process, in one C call that needs nothing of Python.

    In order: close everything but the descriptors below keep and the three; all signals to default, none blocked;
    ambient set cleared; [filter if filter_first]; capset; ambient set raised; [filter otherwise]; [LISTENER and
    its number as u32 to the sync socket, one byte awaited from there; SEND_LISTENER: the same with the listener itself,
    SCM_RIGHTS]; [close the sync socket, await one byte from the fifo]; execve.

    The messages are those of steps/messages.py. A failure is STAGE_FAILED, u8 index into STAGES, u32 errno (native
    order): to the sync socket, status 1; once that is closed to the error file, status 127 if execve found nothing, 126
    if it could not run it, else 1.
    """

def finish_until_fifo(prepared: Prepared, /) -> None:
    """finish() up to the byte from the fifo, where startContainer hooks come; then finish_execve."""

def finish_execve(prepared: Prepared, /) -> NoReturn: ...
def signalfd(*signals: int) -> int:
    """Block these signals and give a descriptor (close-on-exec, non-blocking) to read them from (signalfd(2))."""

def reset_signals(ignore_pipe: bool = False, /) -> None:
    """All signals to their default action, none blocked. ignore_pipe: SIGPIPE is ignored."""

def sealed() -> bool:
    """Whether /proc/self/exe is a sealed memfd, so that a container that reaches it can change nothing."""

# Constants

STAGES: Final[tuple[str, ...]]
CAPS: Final[dict[str, int]]
RLIMITS: Final[dict[str, int]]
RLIM_INFINITY: Final[int]
MS_RDONLY: Final[int]
MS_NOSUID: Final[int]
MS_NODEV: Final[int]
MS_NOEXEC: Final[int]
MS_SYNCHRONOUS: Final[int]
MS_REMOUNT: Final[int]
MS_MANDLOCK: Final[int]
MS_DIRSYNC: Final[int]
MS_NOSYMFOLLOW: Final[int]
MS_NOATIME: Final[int]
MS_NODIRATIME: Final[int]
MS_BIND: Final[int]
MS_MOVE: Final[int]
MS_REC: Final[int]
MS_SILENT: Final[int]
MS_POSIXACL: Final[int]
MS_UNBINDABLE: Final[int]
MS_PRIVATE: Final[int]
MS_SLAVE: Final[int]
MS_SHARED: Final[int]
MS_RELATIME: Final[int]
MS_I_VERSION: Final[int]
MS_STRICTATIME: Final[int]
MS_LAZYTIME: Final[int]
MNT_FORCE: Final[int]
MNT_DETACH: Final[int]
MNT_EXPIRE: Final[int]
UMOUNT_NOFOLLOW: Final[int]
MOUNT_ATTR_RDONLY: Final[int]
MOUNT_ATTR_NOSUID: Final[int]
MOUNT_ATTR_NODEV: Final[int]
MOUNT_ATTR_NOEXEC: Final[int]
MOUNT_ATTR__ATIME: Final[int]
MOUNT_ATTR_RELATIME: Final[int]
MOUNT_ATTR_NOATIME: Final[int]
MOUNT_ATTR_STRICTATIME: Final[int]
MOUNT_ATTR_NODIRATIME: Final[int]
MOUNT_ATTR_IDMAP: Final[int]
MOUNT_ATTR_NOSYMFOLLOW: Final[int]
OPEN_TREE_CLONE: Final[int]
OPEN_TREE_CLOEXEC: Final[int]
AT_FDCWD: Final[int]
AT_RECURSIVE: Final[int]
AT_EMPTY_PATH: Final[int]
AT_NO_AUTOMOUNT: Final[int]
AT_SYMLINK_NOFOLLOW: Final[int]
AT_SYMLINK_FOLLOW: Final[int]
AT_REMOVEDIR: Final[int]
MOVE_MOUNT_F_SYMLINKS: Final[int]
MOVE_MOUNT_F_AUTOMOUNTS: Final[int]
MOVE_MOUNT_F_EMPTY_PATH: Final[int]
MOVE_MOUNT_T_SYMLINKS: Final[int]
MOVE_MOUNT_T_AUTOMOUNTS: Final[int]
MOVE_MOUNT_T_EMPTY_PATH: Final[int]
MOVE_MOUNT_SET_GROUP: Final[int]
FSOPEN_CLOEXEC: Final[int]
FSMOUNT_CLOEXEC: Final[int]
FSPICK_CLOEXEC: Final[int]
FSPICK_EMPTY_PATH: Final[int]
FSCONFIG_SET_FLAG: Final[int]
FSCONFIG_SET_STRING: Final[int]
FSCONFIG_SET_BINARY: Final[int]
FSCONFIG_SET_PATH: Final[int]
FSCONFIG_SET_PATH_EMPTY: Final[int]
FSCONFIG_SET_FD: Final[int]
FSCONFIG_CMD_CREATE: Final[int]
FSCONFIG_CMD_RECONFIGURE: Final[int]
RESOLVE_NO_XDEV: Final[int]
RESOLVE_NO_MAGICLINKS: Final[int]
RESOLVE_NO_SYMLINKS: Final[int]
RESOLVE_BENEATH: Final[int]
RESOLVE_IN_ROOT: Final[int]
RESOLVE_CACHED: Final[int]
O_PATH: Final[int]
O_TMPFILE: Final[int]
S_IFMT: Final[int]
S_IFDIR: Final[int]
S_IFREG: Final[int]
S_IFLNK: Final[int]
S_IFCHR: Final[int]
S_IFBLK: Final[int]
S_IFIFO: Final[int]
S_IFSOCK: Final[int]
CLONE_NEWNS: Final[int]
CLONE_NEWCGROUP: Final[int]
CLONE_NEWUTS: Final[int]
CLONE_NEWIPC: Final[int]
CLONE_NEWUSER: Final[int]
CLONE_NEWPID: Final[int]
CLONE_NEWNET: Final[int]
CLONE_NEWTIME: Final[int]
CLONE_FS: Final[int]
CLONE_FILES: Final[int]
CLONE_PARENT: Final[int]
CLONE_PIDFD: Final[int]
CLONE_INTO_CGROUP: Final[int]
CLONE_CLEAR_SIGHAND: Final[int]
CLOSE_RANGE_UNSHARE: Final[int]
CLOSE_RANGE_CLOEXEC: Final[int]
PR_SET_PDEATHSIG: Final[int]
PR_GET_PDEATHSIG: Final[int]
PR_GET_DUMPABLE: Final[int]
PR_SET_DUMPABLE: Final[int]
PR_GET_KEEPCAPS: Final[int]
PR_SET_KEEPCAPS: Final[int]
PR_SET_NAME: Final[int]
PR_GET_NAME: Final[int]
PR_CAPBSET_READ: Final[int]
PR_CAPBSET_DROP: Final[int]
PR_GET_SECUREBITS: Final[int]
PR_SET_SECUREBITS: Final[int]
PR_SET_CHILD_SUBREAPER: Final[int]
PR_GET_CHILD_SUBREAPER: Final[int]
PR_SET_NO_NEW_PRIVS: Final[int]
PR_GET_NO_NEW_PRIVS: Final[int]
PR_CAP_AMBIENT: Final[int]
PR_CAP_AMBIENT_IS_SET: Final[int]
PR_CAP_AMBIENT_RAISE: Final[int]
PR_CAP_AMBIENT_LOWER: Final[int]
PR_CAP_AMBIENT_CLEAR_ALL: Final[int]
PR_GET_SECCOMP: Final[int]
PR_SET_TIMERSLACK: Final[int]
PR_SET_IO_FLUSHER: Final[int]
PR_SET_THP_DISABLE: Final[int]
PR_GET_SPECULATION_CTRL: Final[int]
PR_SET_SPECULATION_CTRL: Final[int]
SECCOMP_FILTER_FLAG_TSYNC: Final[int]
SECCOMP_FILTER_FLAG_LOG: Final[int]
SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final[int]
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final[int]
SECCOMP_FILTER_FLAG_TSYNC_ESRCH: Final[int]
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final[int]
SECCOMP_RET_KILL_PROCESS: Final[int]
SECCOMP_RET_KILL_THREAD: Final[int]
SECCOMP_RET_TRAP: Final[int]
SECCOMP_RET_ERRNO: Final[int]
SECCOMP_RET_USER_NOTIF: Final[int]
SECCOMP_RET_TRACE: Final[int]
SECCOMP_RET_LOG: Final[int]
SECCOMP_RET_ALLOW: Final[int]
SECCOMP_RET_ACTION_FULL: Final[int]
SECCOMP_RET_DATA: Final[int]
PROC_SUPER_MAGIC: Final[int]
SYSFS_MAGIC: Final[int]
TMPFS_MAGIC: Final[int]
DEVPTS_SUPER_MAGIC: Final[int]
CGROUP_SUPER_MAGIC: Final[int]
CGROUP2_SUPER_MAGIC: Final[int]
NSFS_MAGIC: Final[int]
OVERLAYFS_SUPER_MAGIC: Final[int]
RAMFS_MAGIC: Final[int]
FUSE_SUPER_MAGIC: Final[int]
BPF_FS_MAGIC: Final[int]
MADV_POPULATE_READ: Final[int]
MADV_POPULATE_WRITE: Final[int]
MADV_DONTNEED: Final[int]
MFD_CLOEXEC: Final[int]
MFD_ALLOW_SEALING: Final[int]
F_ADD_SEALS: Final[int]
F_GET_SEALS: Final[int]
F_SEAL_SEAL: Final[int]
F_SEAL_SHRINK: Final[int]
F_SEAL_GROW: Final[int]
F_SEAL_WRITE: Final[int]
SCHED_OTHER: Final[int]
SCHED_FIFO: Final[int]
SCHED_RR: Final[int]
SCHED_BATCH: Final[int]
SCHED_IDLE: Final[int]
SCHED_DEADLINE: Final[int]
SCHED_FLAG_RESET_ON_FORK: Final[int]
SCHED_FLAG_RECLAIM: Final[int]
SCHED_FLAG_DL_OVERRUN: Final[int]
SCHED_FLAG_KEEP_POLICY: Final[int]
SCHED_FLAG_KEEP_PARAMS: Final[int]
SCHED_FLAG_UTIL_CLAMP_MIN: Final[int]
SCHED_FLAG_UTIL_CLAMP_MAX: Final[int]
IOPRIO_CLASS_SHIFT: Final[int]
IOPRIO_CLASS_NONE: Final[int]
IOPRIO_CLASS_RT: Final[int]
IOPRIO_CLASS_BE: Final[int]
IOPRIO_CLASS_IDLE: Final[int]
IOPRIO_WHO_PROCESS: Final[int]
MPOL_DEFAULT: Final[int]
MPOL_PREFERRED: Final[int]
MPOL_BIND: Final[int]
MPOL_INTERLEAVE: Final[int]
MPOL_LOCAL: Final[int]
MPOL_PREFERRED_MANY: Final[int]
MPOL_F_STATIC_NODES: Final[int]
MPOL_F_RELATIVE_NODES: Final[int]
MPOL_F_NUMA_BALANCING: Final[int]
PER_LINUX: Final[int]
PER_LINUX32: Final[int]
TIOCGPTPEER: Final[int]
TIOCSPTLCK: Final[int]
TIOCSCTTY: Final[int]
TCGETS: Final[int]
TCSETS: Final[int]
ONLCR: Final[int]
ICANON: Final[int]
VEOF: Final[int]
TIOCSWINSZ: Final[int]
TIOCGWINSZ: Final[int]
TIOCGPTN: Final[int]
SIOCGIFFLAGS: Final[int]
SIOCSIFFLAGS: Final[int]
IFF_UP: Final[int]
PTRACE_SEIZE: Final[int]
PTRACE_INTERRUPT: Final[int]
PTRACE_DETACH: Final[int]
PTRACE_SECCOMP_GET_FILTER: Final[int]
NS_GET_NSTYPE: Final[int]
NS_GET_USERNS: Final[int]
NS_GET_PARENT: Final[int]
KEYCTL_JOIN_SESSION_KEYRING: Final[int]
KEYCTL_SETPERM: Final[int]
KEYCTL_DESCRIBE: Final[int]
KEY_SPEC_SESSION_KEYRING: Final[int]
BPF_PROG_LOAD: Final[int]
BPF_PROG_ATTACH: Final[int]
BPF_PROG_DETACH: Final[int]
BPF_PROG_QUERY: Final[int]
BPF_PROG_GET_FD_BY_ID: Final[int]
BPF_PROG_TYPE_CGROUP_DEVICE: Final[int]
BPF_CGROUP_DEVICE: Final[int]
BPF_F_ALLOW_MULTI: Final[int]
BPF_F_REPLACE: Final[int]

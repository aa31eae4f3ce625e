"""The process: what it may do (capabilities, limits, labels), who it is, and the program it becomes."""

from __future__ import annotations

import _socket
import errno
import fcntl
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.config import rules
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import files, paths, procfs
from pyrunc.steps.rootfs.devices import reopen_null
from pyrunc.steps.step import CONTAINER, RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Capabilities, Process, Rlimit
    from pyrunc.steps.context import Context
    from pyrunc.steps.host import Host

# /etc/passwd of a container is written by whoever made its image (moby/sys/user CVE-2026-61801).
_PASSWD_LIMIT: Final = 1 << 20
# File types of inode(7).
_FIFO: Final = 0o010000
_SOCKET: Final = 0o140000

CAP_SYS_ADMIN: Final = 1 << _linux.CAPS["CAP_SYS_ADMIN"]

# With fewer than these, what fails for a number of a descriptor fails for that.
_FEW_DESCRIPTORS: Final = 32

# A limit of processes that one more or less does not matter to.
_MANY_PROCESSES: Final = 1024


class Keyring(Step):
    """A session keyring of its own, so that the container cannot use the caller's (session-keyring(7)).

    label: the process's SELinux label, without which its policy would not let it search the keyring.
    """

    __slots__ = ("label",)
    name = "keyring"
    side = CONTAINER

    def __init__(self, label: str) -> None:
        Step.__init__(self, "/process/selinuxLabel" if label else "")
        self.label = label

    def describe(self) -> str:
        return "join a new session keyring" + (" labelled " + self.label if self.label else "")

    def apply(self, context: Context) -> None:
        if self.label:
            # execve(2) takes it back.
            _write_attribute(context, "keycreate", self.label)
        try:
            serial = _linux.keyctl_join_session_keyring("_ses." + context.id)
            # The owner may search it too, or `keyctl` in the container could not find its own keys.
            permissions = int(_linux.keyctl_describe(serial).split(";")[3], 16)
            _linux.keyctl(_linux.KEYCTL_SETPERM, serial, permissions | 0x80000)
        except OSError as error:
            # Keyrings are missing, or a quota is full: the container shares the caller's, as with runc.
            if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM, errno.EACCES):
                raise PyruncError("join session keyring: " + reason(error), errno=error.errno) from None


class OomScore(Step):
    """process.oomScoreAdj, written by the runtime: a non-dumpable process does not own its file."""

    __slots__ = ("value",)
    name = "oom_score_adj"
    section = "config.md#linux-process"
    side = RUNTIME

    def __init__(self, value: int) -> None:
        Step.__init__(self, "/process/oomScoreAdj")
        self.value = value

    def describe(self) -> str:
        return "set oom_score_adj to " + str(self.value)

    def apply(self, context: Context) -> None:
        path = "/proc/" + str(context.pid) + "/oom_score_adj"
        try:
            files.write(path, str(self.value).encode("ascii"))
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM) and context.host.rootless:
                return  # Rootless, lowering is refused; runc goes on as well.
            raise PyruncError(
                "set oom_score_adj to " + str(self.value) + ": " + reason(error),
                errno=error.errno,
                hint="lowering it needs CAP_SYS_RESOURCE",
            ) from None


class Rlimits(Step):
    """process.rlimits, set from the runtime: inside a user namespace the process lacks CAP_SYS_RESOURCE."""

    __slots__ = ("limits", "on_self")
    name = "rlimits"
    section = "config.md#posix-process"
    side = RUNTIME

    def __init__(self, limits: list[Rlimit]) -> None:
        Step.__init__(self, "/process/rlimits")
        self.limits = limits

    def describe(self) -> str:
        return "set " + ", ".join(
            limit["type"] + " " + str(limit["soft"]) + "/" + str(limit["hard"]) for limit in self.limits
        )

    def apply(self, context: Context) -> None:
        for index, limit in enumerate(self.limits):
            try:
                _linux.prlimit(context.pid, _linux.RLIMITS[limit["type"]], (limit["soft"], limit["hard"]))
            except OSError as error:
                raise PyruncError(
                    "set rlimit " + limit["type"] + ": " + reason(error),
                    pointer="/process/rlimits/" + str(index),
                    errno=error.errno,
                    hint="raising a hard limit needs CAP_SYS_RESOURCE" if error.errno == errno.EPERM else None,
                ) from None


class Hostname(Step):
    """hostname and domainname."""

    __slots__ = ("domain", "host")
    name = "hostname"
    section = "config.md#hostname"
    side = CONTAINER

    def __init__(self, host: str, domain: str) -> None:
        Step.__init__(self, "/hostname" if host else "/domainname")
        self.host = host
        self.domain = domain

    def describe(self) -> str:
        words = ["hostname " + self.host] if self.host else []
        words += ["domainname " + self.domain] if self.domain else []
        return "set " + " and ".join(words)

    def apply(self, context: Context) -> None:
        if self.host:
            _linux.sethostname(self.host)
        if self.domain:
            _linux.setdomainname(self.domain)


class Sysctl(Step):
    """linux.sysctl, through a procfs of our own."""

    __slots__ = ("values",)
    name = "sysctl"
    section = "config-linux.md#sysctl"
    side = CONTAINER

    def __init__(self, values: dict[str, str]) -> None:
        Step.__init__(self, "/linux/sysctl")
        self.values = values

    def describe(self) -> str:
        return "set sysctl " + ", ".join(key + "=" + value for key, value in self.values.items())

    def apply(self, context: Context) -> None:
        proc = _procfs(context, full=True)
        try:
            for key, value in self.values.items():
                path = "sys/" + rules.sysctl_path(key)
                try:
                    procfs.write(proc, path, value.encode("utf-8", "surrogateescape"))
                except OSError as error:
                    raise PyruncError(
                        "set sysctl " + key + " to " + value + ": " + reason(error),
                        pointer="/linux/sysctl/" + key.replace("~", "~0").replace("/", "~1"),
                        errno=error.errno,
                    ) from None
        finally:
            posix.close(proc)


class LsmLabel(Step):
    """process.apparmorProfile or process.selinuxLabel: the label that execve(2) will give."""

    __slots__ = ("attribute", "value")
    name = "LSM label"
    section = "config.md#linux-process"
    side = CONTAINER

    def __init__(self, apparmor: bool, value: str, pointer: str) -> None:
        Step.__init__(self, pointer)
        self.attribute = "apparmor/exec" if apparmor else "exec"
        self.value = "exec " + value if apparmor else value

    def describe(self) -> str:
        return "write '" + self.value + "' to attr/" + self.attribute

    def apply(self, context: Context) -> None:
        _write_attribute(context, self.attribute, self.value)


class OpenProcfs(Step):
    """The runtime's /proc for labels and sysctls, where no procfs can be made that has the process in it.

    In a user namespace only of a pid namespace of its own can one be; but a joined pid namespace is entered last.
    """

    __slots__ = ()
    name = "procfs"

    def describe(self) -> str:
        return "open /proc for labels and sysctls"

    def apply(self, context: Context) -> None:
        context.proc_fd = procfs.open_host()

    def undo(self, context: Context) -> None:
        if context.proc_fd >= 0:
            posix.close(context.proc_fd)
            context.proc_fd = -1


def _procfs(context: Context, full: bool = False) -> int:
    """A descriptor for a label or a sysctl, to be closed. full: for a sysctl. Raises OSError."""
    return posix.dup(context.proc_fd) if context.proc_fd >= 0 else procfs.open_private(full=full)


def _write_attribute(context: Context, attribute: str, text: str) -> None:
    """Write text to /proc/self/attr/ATTRIBUTE; where the kernel has none for AppArmor alone, to `exec`."""
    proc = _procfs(context)
    try:
        own = procfs.self_name(proc) + "/attr/"
        value = text.encode("utf-8", "surrogateescape")
        try:
            try:
                procfs.write(proc, own + attribute, value)
            except FileNotFoundError:
                procfs.write(proc, own + "exec", value)
        except OSError as error:
            raise PyruncError(
                "write '" + text + "' to /proc/self/attr/" + attribute + ": " + reason(error),
                errno=error.errno,
            ) from None
    finally:
        posix.close(proc)


def labels(process: Any, host: Host) -> list[Step]:
    """The steps for the labels of a process. Raises ConfigError when the host lacks the LSM."""
    steps: list[Step] = []
    for key, lsm in (("apparmorProfile", "apparmor"), ("selinuxLabel", "selinux")):
        label = process.get(key)
        if label:
            require_lsm(lsm, label, host, "/process/" + key)
            steps.append(LsmLabel(lsm == "apparmor", label, "/process/" + key))
    return steps


def require_lsm(lsm: str, label: str, host: Host, pointer: str) -> None:
    """Raises ConfigError when the host lacks the LSM that a label is for, or SELinux's policy does not know it."""
    if not (host.apparmor if lsm == "apparmor" else host.selinux):
        raise ConfigError(
            lsm + " label " + label + " cannot be applied: " + lsm + " is not enabled on this host", pointer=pointer
        )
    if lsm == "selinux":
        from pyrunc.linux import selinux

        selinux.check(label, pointer)


def tune(process: Any, linux: Any, scheduled_late: bool = False) -> list[Step]:
    """The steps for scheduling, personality and memory policy: of the process itself, inherited by execve(2).

    scheduled_late: process.scheduler is set later, by the runtime.
    """
    if not (process.get("scheduler") or process.get("ioPriority")) and not (
        linux.get("personality") or linux.get("memoryPolicy")
    ):
        return []
    from pyrunc.steps.process import scheduling

    return scheduling.compile(process, linux, scheduled_late)


class NoNewPrivileges(Step):
    """process.noNewPrivileges (prctl(2), PR_SET_NO_NEW_PRIVS)."""

    __slots__ = ()
    name = "no_new_privs"
    section = "config.md#linux-process"
    side = CONTAINER

    def describe(self) -> str:
        return "set no_new_privs"

    def apply(self, context: Context) -> None:
        _linux.prctl(_linux.PR_SET_NO_NEW_PRIVS, 1)


class MakeCwd(Step):
    """The working directory, made if it is missing (as runc does)."""

    __slots__ = ("cwd",)
    name = "cwd"
    section = "config.md#process"
    side = CONTAINER

    def __init__(self, cwd: str) -> None:
        Step.__init__(self, "/process/cwd")
        self.cwd = cwd

    def describe(self) -> str:
        return "make the working directory " + self.cwd + " if it is missing"

    def apply(self, context: Context) -> None:
        try:
            posix.close(paths.make_directories(context.root_fd, self.cwd))
        except OSError as error:
            raise PyruncError("mkdir " + self.cwd + ": " + reason(error), errno=error.errno) from None


class Caps:
    """The five sets of process.capabilities as masks; unknown: names that are no capability of this build."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted", "unknown")

    def __init__(self, sets: Capabilities | None) -> None:
        self.unknown: list[str] = []
        given: Any = sets or {}
        self.bounding = self._mask(given.get("bounding"))
        self.effective = self._mask(given.get("effective"))
        self.inheritable = self._mask(given.get("inheritable"))
        self.permitted = self._mask(given.get("permitted"))
        self.ambient = self._mask(given.get("ambient"))

    def all(self) -> int:
        """The capabilities of any set."""
        return self.bounding | self.effective | self.inheritable | self.permitted | self.ambient

    def odd(self, available: int) -> bool:
        """Whether something cannot be given: see caps_warnings. available: what there is to give, a mask; -1 is all."""
        beyond = self.effective & ~self.permitted | self.inheritable & ~self.bounding
        beyond |= self.ambient & ~(self.permitted & self.inheritable) | self.all() & ~available
        return bool(self.unknown or beyond)

    def _mask(self, names: list[str] | None) -> int:
        mask = 0
        for name in names or ():
            number = _linux.CAPS.get(name)
            if number is None:
                if name not in self.unknown:
                    self.unknown.append(name)
            else:
                mask |= 1 << number
        return mask


class BecomeProgram(Step):
    """Everything from the last meeting point to execve(2): identity, capabilities, filter, the program.

    From the load of the seccomp filter on it is one call of C (finish), because a filter allows what the program
    needs, not what Python needs. Without no_new_privs the kernel wants CAP_SYS_ADMIN for the load, so the filter
    comes before the capabilities are dropped; with it, the filter is the last thing of all.
    """

    __slots__ = ("again", "caps", "has_fifo", "hooks", "no_new_privs", "process")
    name = "process"
    section = "config.md#process"
    side = CONTAINER

    def __init__(self, process: Process | None, *, has_fifo: bool, hooks: Any = None, again: bool = False) -> None:
        """again: a clone on the way, into a joined pid namespace: what goes on is the new process.

        Whoever may trace in there can take hold of it (CVE-2016-9962), so it comes when the capabilities are dropped.
        """
        Step.__init__(self, "/process")
        self.again = again
        self.process: Any = process
        self.has_fifo = has_fifo
        self.hooks = hooks
        self.no_new_privs = bool(self.process and self.process.get("noNewPrivileges"))
        self.caps = Caps(self.process["capabilities"]) if self.process and self.process.get("capabilities") else None

    def describe(self) -> str:
        process = self.process
        if not process:
            return "wait (there is no process to start)"
        user = process.get("user") or {}
        words = "become user " + str(user.get("uid") or 0) + " group " + str(user.get("gid") or 0)
        order = (
            "drop capabilities, load the seccomp filter"
            if self.no_new_privs
            else "load the seccomp filter, drop capabilities"
        )
        words += ", " + order
        if self.again:
            words += ", clone into the joined pid namespace"
        if self.has_fifo:
            words += ", wait for start"
            if self.hooks:
                words += ", run startContainer hooks"
        return words + ", execute " + " ".join(process["args"])

    def apply(self, context: Context) -> None:
        process = self.process or {"cwd": "/", "args": ["/"], "env": [], "user": {}}
        user = process.get("user") or {}
        uid, gid = user.get("uid") or 0, user.get("gid") or 0
        try:
            _keep_only(context, self.has_fifo)
            reopen_null(context.root_fd)
        except OSError as error:
            raise _cannot("arrange the descriptors of the process", error) from None
        env = _environment(process, uid, context.root_fd)
        umask = user.get("umask")
        posix.umask(0o022 if umask is None else umask & 0o777)  # umask(2) heeds no other bits
        masks = self._masks()
        seccomp = context.seccomp
        # A new process counts against the limit of its real user, and the one that clones it would count, too.
        late = self.again and bool(uid) and _linux.prlimit(0, _linux.RLIMITS["RLIMIT_NPROC"], None)[0] < _MANY_PROCESSES
        filter_first = not self.no_new_privs
        filter_cloned = self.again and filter_first and seccomp is not None and not seccomp.allows_clone(late)
        self._identity(context, process, uid, gid, late)
        program = self._program(env, masks[0]) if self.process else "/"
        prepared = _linux.prepare(
            program.encode("utf-8", "surrogateescape"),
            [argument.encode("utf-8", "surrogateescape") for argument in process["args"]],
            [entry.encode("utf-8", "surrogateescape") for entry in env],
            filter=seccomp.program if seccomp is not None else None,
            filter_flags=seccomp.flags if seccomp is not None else 0,
            filter_first=filter_first,
            caps=masks[:3],
            ambient=masks[3],
            keep=3 + context.preserve_fds,
            fifo=self.has_fifo,
            report=self.has_fifo,
            again=self.again,
            terminal=bool(process.get("terminal")),
            extra=CAP_SYS_ADMIN & _linux.capget()[1] if filter_cloned else 0,
            real_user=uid if late else -1,
            filter_cloned=filter_cloned,
        )
        if _has_died(context.sync):
            posix._exit(1)
        if self.hooks:
            _linux.finish_until_fifo(prepared)
            self.hooks.run_in_container(context, env)
            _linux.finish_execve(prepared)
        _linux.finish(prepared)

    def _program(self, env: list[str], effective: int) -> str:
        """The file to execute, found with the capabilities that execve(2) will have. Raises PyruncError, OSError."""
        _, permitted, inheritable = _linux.capget()
        _linux.capset(effective & permitted, permitted, inheritable)
        name = self.process["args"][0]
        try:
            found = find_program(name, env)
        except PyruncError as error:
            if not self.again or error.errno != errno.ENOENT or not name.startswith(("/proc/", "/dev/fd/")):
                raise
            # By /proc/self, which is there for the new process only: execve(2) will know.
            found = name
        _linux.capset(permitted, permitted, inheritable)
        return found

    def _masks(self) -> tuple[int, int, int, int]:
        """Effective, permitted, inheritable, ambient: what was asked for, as far as this process has it to give."""
        if self.caps is None:
            return (0, 0, 0, 0)
        own = _linux.capget()[1]
        permitted = self.caps.permitted & own
        # What has left the bounding set cannot be made inheritable: capset(2), EPERM.
        inheritable = self.caps.inheritable & self.caps.bounding & own
        return self.caps.effective & permitted, permitted, inheritable, self.caps.ambient & permitted & inheritable

    def _identity(self, context: Context, process: Any, uid: int, gid: int, late: bool) -> None:
        """late: the real user id stays root's for now: it may be given up later without any capability."""
        cwd = process["cwd"]
        moved = self._change_directory(context, cwd, final=False)
        bounding = self.caps.bounding if self.caps is not None else 0
        # A bounding set can only shrink, and only while CAP_SETPCAP is there: first of all.
        if _linux.capget()[0] >> _linux.CAPS["CAP_SETPCAP"] & 1:
            for number in _linux.CAPS.values():
                if not bounding >> number & 1:
                    _drop_bounding(number)
        own_streams(uid)
        _linux.prctl(_linux.PR_SET_KEEPCAPS, 1)
        groups = (process.get("user") or {}).get("additionalGids") or []
        set_groups(groups, context)
        try:
            posix.setresgid(gid, gid, gid)
        except OSError as error:
            raise _no_id("gid", gid, error) from None
        try:
            posix.setresuid(-1 if late else uid, uid, uid)
        except OSError as error:
            raise _no_id("uid", uid, error) from None
        if not late:
            _linux.prctl(_linux.PR_SET_KEEPCAPS, 0)  # else execve(2) does it
        # setresuid(2) cleared the effective set; permitted is whole, and the filter may need CAP_SYS_ADMIN.
        permitted = _linux.capget()[1]
        _linux.capset(permitted, permitted, _linux.capget()[2])
        # Since the user changed the process may be what prctl(2) calls dumpable, or not any more. An ordinary user can
        # neither take a seccomp listener nor exec in a container that waits for start unless it is. Who sees it then
        # is in the container, but in a pid namespace that it has joined.
        _linux.prctl(_linux.PR_SET_DUMPABLE, int(context.host.rootless and not self.again))
        if not moved:
            self._change_directory(context, cwd, final=True)
        _verify_directory(cwd)

    def _change_directory(self, context: Context, cwd: str, *, final: bool) -> bool:
        """chdir as root, or, where root may not (NFS), as the user. Raises PyruncError.

        By a descriptor below the root, and not through /proc/self/fd: whatever is open in this process, the way does
        not lead out (CVE-2024-21626). getcwd(3) alone could not tell, since it may find a way back to the root.
        """
        try:
            fd = paths.open_in_root(context.root_fd, cwd, posix.O_PATH | posix.O_DIRECTORY)
            try:
                posix.fchdir(fd)
            finally:
                posix.close(fd)
        except OSError as error:
            if not final and error.errno in (errno.EPERM, errno.EACCES):
                return False
            raise PyruncError(
                "chdir to cwd " + cwd + ": " + reason(error), pointer="/process/cwd", errno=error.errno
            ) from None
        return True


def _cannot(what: str, error: OSError) -> PyruncError:
    """What could not be done; with the limit that was in the way, if that was it."""
    number, hint = error.errno, None
    allowed: int = _linux.prlimit(0, _linux.RLIMITS["RLIMIT_NOFILE"], None)[0]
    if number == errno.EMFILE or (number in (errno.EINVAL, errno.EBADF) and allowed < _FEW_DESCRIPTORS):
        # dup2(2) says EBADF, fcntl(2) EINVAL for a number beyond the limit.
        number, hint = errno.EMFILE, "RLIMIT_NOFILE allows " + str(allowed) + ": the runtime needs a few more"
    return PyruncError(what + ": " + posix.strerror(number or 0).lower(), errno=number, hint=hint)


def _no_id(kind: str, number: int, error: OSError) -> PyruncError:
    """kind: uid or gid."""
    if error.errno == errno.EINVAL:
        text = "cannot set" + kind + " to unmapped " + kind + " " + str(number) + " in user namespace"
    else:
        text = "set " + kind + " " + str(number) + ": " + reason(error)
    return PyruncError(text, pointer="/process/user/" + kind, errno=error.errno)


def _has_died(sync: Any) -> bool:
    """Whether the runtime has ended: then nobody knows of this process, and it must not go on."""
    try:
        return not sync.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _drop_bounding(number: int) -> None:
    try:
        _linux.prctl(_linux.PR_CAPBSET_DROP, number)
    except OSError as error:
        # EINVAL: a capability that this kernel does not know.
        if error.errno != errno.EINVAL:
            raise


def _verify_directory(cwd: str) -> None:
    """A current directory outside the root would be a way out (CVE-2024-21626). Raises PyruncError."""
    try:
        here = posix.getcwd()
    except OSError:
        here = ""
    if not here.startswith("/"):
        raise PyruncError(
            "current working directory " + cwd + " is outside of the container's root", pointer="/process/cwd"
        )


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
                return "unmapped gid " + str(group) + " in user namespace"
    return ""


def own_streams(uid: int) -> None:
    """Give pipes and sockets among the standard streams to the user, so that /dev/stdout can be opened again (as runc).

    Nothing else: a terminal or a file of the caller's would stay the container's when this is long over.
    """
    for fd in (0, 1, 2):
        try:
            status = posix.fstat(fd)
            if status.st_uid != uid and status.st_mode & 0o170000 in (_FIFO, _SOCKET):
                posix.fchown(fd, uid, -1)
        except OSError as error:
            # Not mapped, read-only, sealed, or closed: the program can still use the descriptor it has.
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS, errno.EBADF):
                raise


def _keep_only(context: Context, has_fifo: bool) -> None:
    """Put our descriptors where finish() expects them: sync, fifo, error file, from the first that is ours.

    All others of ours are closed first: the process may be allowed few. Raises OSError.
    """
    keep = 3 + context.preserve_fds
    wanted = [context.sync.fileno()]
    if has_fifo:
        wanted += [context.fifo_fd, context.error_fd]
    wanted.append(context.root_fd)
    _close_others(keep, wanted)
    place = keep
    while wanted:
        fd = wanted.pop(0)
        if fd != place:
            if place in wanted:
                # Another of them stands there; it has its turn later.
                wanted[wanted.index(place)] = fcntl.fcntl(place, fcntl.F_DUPFD_CLOEXEC, place + 1)
            posix.dup2(fd, place, inheritable=False)
            posix.close(fd)
        if place == keep:
            # Its old number may be another file's from now on.
            context.sync.detach()
            context.sync = _socket.socket(fileno=keep)
        context.root_fd = place  # the last
        place += 1
    for number in range(3, keep):
        posix.set_inheritable(number, True)


def _close_others(first: int, wanted: list[int]) -> None:
    """Close all descriptors from the first on but the wanted ones. Raises OSError."""
    for fd in sorted(wanted):
        if fd > first:
            _linux.close_range(first, fd - 1, 0)
        first = max(first, fd + 1)
    _linux.close_range(first, 0xFFFFFFFF, 0)


def _environment(process: Any, uid: int, root_fd: int) -> list[str]:
    """process.env, of duplicates the last, and HOME from the container's /etc/passwd when it is missing or empty."""
    values: dict[str, str] = {}
    for entry in process.get("env") or ():
        name, _, value = entry.partition("=")
        values.pop(name, None)
        values[name] = value
    if not values.get("HOME"):
        values["HOME"] = home_of(uid, root_fd)
    return [name + "=" + value for name, value in values.items()]


def home_of(uid: int, root_fd: int) -> str:
    """The home directory of a user by the container's /etc/passwd (passwd(5)), "/" when it is not there.

    Never by NSS, which would load libraries of the rootfs (CVE-2019-14271).
    """
    try:
        fd = paths.open_in_root(root_fd, "/etc/passwd", posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY)
    except OSError:
        return "/"
    try:
        if posix.fstat(fd).st_mode & 0o170000 != 0o100000:
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


def find_program(name: str, env: list[str]) -> str:
    """The file that execvp(3) would execute, looked up as the user that is to run it. Raises PyruncError."""
    if "/" in name:
        problem = _not_executable(name)
        if problem:
            raise _no_program(name, problem)
        return name
    search = ""
    for entry in env:
        if entry.startswith("PATH="):
            search = entry[len("PATH=") :]
    denied = 0
    for directory in search.split(":") if search else ():
        candidate = (directory or ".") + "/" + name
        problem = _not_executable(candidate)
        if not problem:
            return candidate
        if problem == errno.EACCES:
            denied = problem
    if denied:
        raise _no_program(name, denied)
    raise PyruncError(
        'exec: "' + name + '": executable file not found in $PATH', pointer="/process/args/0", errno=errno.ENOENT
    )


def _no_program(name: str, problem: int) -> PyruncError:
    text = posix.strerror(problem).lower()
    if problem == errno.ENOENT:
        text = "stat " + name + ": " + text
    elif problem == errno.EISDIR:
        # What execve(2) says of it, and what engines make exit status 126 of.
        text = posix.strerror(errno.EACCES).lower() + " (it is a directory)"
    return PyruncError('exec: "' + name + '": ' + text, pointer="/process/args/0", errno=problem)


def _not_executable(path: str) -> int:
    """0 when path can be executed, else the errno that says why not."""
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.ENOENT
    if mode & 0o170000 == 0o040000:
        return errno.EISDIR
    if not posix.access(path, posix.X_OK, effective_ids=True):
        return errno.EACCES
    return 0

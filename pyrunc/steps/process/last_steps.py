"""The last steps of the container process: what it may do, who it is, and the program that it becomes."""

from __future__ import annotations

import _socket
import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import paths
from pyrunc.steps.process.capabilities import CAP_SYS_ADMIN, Caps, drop_bounding
from pyrunc.steps.process.descriptors import cannot, keep_only
from pyrunc.steps.process.program import find_program
from pyrunc.steps.process.user import environment, no_id, own_streams, set_groups
from pyrunc.steps.rootfs.console import reopen_null
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Linux, Process
    from pyrunc.steps.context import Context
    from pyrunc.steps.exec_fifo import MakeFifo
    from pyrunc.steps.hooks import StartContainerHooks
    from pyrunc.steps.seccomp.step import CompileFilter


# What waits where there is no program to start.
NOBODY: Final[Process] = {"cwd": "/", "args": ["/"], "env": [], "user": {"uid": 0, "gid": 0}}

# A limit of processes that one more or less does not matter to.
_MANY_PROCESSES: Final = 1024


def tune(process: Process, linux: Linux, scheduled_late: bool = False) -> list[Step]:
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
        return f"make the working directory {self.cwd} if it is missing"

    def apply(self, context: Context) -> None:
        try:
            posix.close(paths.make_directories(context.root_fd, self.cwd))
        except OSError as error:
            raise PyruncError(f"mkdir {self.cwd}: {reason(error)}", errno=error.errno) from None


class BecomeProgram(Step):
    """Everything from the last meeting point to execve(2): identity, capabilities, filter, the program.

    From the load of the seccomp filter on it is one call of C (finish), because a filter allows what the program
    needs, not what Python needs. Without no_new_privs the kernel wants CAP_SYS_ADMIN for the load, so the filter
    comes before the capabilities are dropped; with it, the filter is the last thing of all.
    """

    __slots__ = ("again", "caps", "fifo", "hooks", "no_new_privs", "process", "seccomp")
    name = "process"
    section = "config.md#process"
    side = CONTAINER

    def __init__(
        self,
        process: Process | None,
        *,
        fifo: MakeFifo | None,
        seccomp: CompileFilter | None,
        hooks: StartContainerHooks | None = None,
        again: bool = False,
    ) -> None:
        """fifo: at which it waits for start, None for an exec. seccomp: what has the filter compiled, None for none.

        again: a clone on the way, into a joined pid namespace: what goes on is the new process.

        Whoever may trace in there can take hold of it (CVE-2016-9962), so it comes when the capabilities are dropped.
        """
        Step.__init__(self, "/process")
        self.again = again
        self.process = process
        self.fifo = fifo
        self.seccomp = seccomp
        self.hooks = hooks
        self.no_new_privs = bool(self.process and self.process.get("noNewPrivileges"))
        self.caps = Caps(self.process["capabilities"]) if self.process and self.process.get("capabilities") else None

    def describe(self) -> str:
        process = self.process
        if not process:
            return "wait (there is no process to start)"
        user = process.get("user", {})
        words = "become user " + str(user.get("uid") or 0) + " group " + str(user.get("gid") or 0)
        if self.seccomp is not None and not self.no_new_privs:
            words += ", load the seccomp filter"
        words += ", drop capabilities"
        if self.seccomp is not None and self.no_new_privs:
            words += ", load the seccomp filter"
        if self.again:
            words += ", clone into the joined pid namespace"
        if self.fifo is not None:
            words += ", wait for start"
            if self.hooks:
                words += ", run startContainer hooks"
        return words + ", execute " + " ".join(process["args"])

    def apply(self, context: Context) -> None:
        process = self.process or NOBODY
        user = process.get("user", {})
        uid, gid = user.get("uid") or 0, user.get("gid") or 0
        try:
            keep_only(context, self.fifo)
            reopen_null(context.root_fd)
        except OSError as error:
            raise cannot("arrange the descriptors of the process", error) from None
        env = environment(process, uid, context.root_fd)
        umask = user.get("umask")
        posix.umask(0o022 if umask is None else umask & 0o777)  # umask(2) heeds no other bits
        masks = self._masks()
        seccomp = self.seccomp.filter if self.seccomp is not None else None
        # A new process counts against the limit of its real user, and the one that clones it would count, too.
        late = self.again and bool(uid) and _linux.prlimit(0, _linux.RLIMITS["RLIMIT_NPROC"], None)[0] < _MANY_PROCESSES
        filter_first = not self.no_new_privs
        filter_cloned = self.again and filter_first and seccomp is not None and not seccomp.allows_clone(late)
        self._identity(context, process, uid, gid, late)
        program = self._program(process["args"][0], context, env, masks[0]) if self.process else "/"
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
            fifo=self.fifo is not None,
            report=self.fifo is not None,
            again=self.again,
            terminal=bool(process.get("terminal")),
            extra=CAP_SYS_ADMIN & _linux.capget()[1] if filter_cloned else 0,
            real_user=uid if late else -1,
            filter_cloned=filter_cloned,
        )
        if _has_died(context.talk()):
            posix._exit(1)
        if self.hooks:
            _linux.finish_until_fifo(prepared)
            self.hooks.run_in_container(context, env)
            _linux.finish_execve(prepared)
        _linux.finish(prepared)

    def _program(self, name: str, context: Context, env: list[str], effective: int) -> str:
        """The file to execute, found with the capabilities that execve(2) will have. Raises PyruncError, OSError."""
        _, permitted, inheritable = _linux.capget()
        _linux.capset(effective & permitted, permitted, inheritable)
        try:
            found = find_program(name, env)
        except PyruncError as error:
            if not self.again or error.errno != errno.ENOENT or not name.startswith(("/proc/", "/dev/fd/")):
                error.hint = _why(context, self.process, error.errno or 0)
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

    def _identity(self, context: Context, process: Process, uid: int, gid: int, late: bool) -> None:
        """late: the real user id stays root's for now: it may be given up later without any capability."""
        cwd = process["cwd"]
        moved = self._change_directory(context, cwd, final=False)
        bounding = self.caps.bounding if self.caps is not None else 0
        # A bounding set can only shrink, and only while CAP_SETPCAP is there: first of all.
        if _linux.capget()[0] >> _linux.CAPS["CAP_SETPCAP"] & 1:
            for number in _linux.CAPS.values():
                if not bounding >> number & 1:
                    drop_bounding(number)
        own_streams(uid)
        _linux.prctl(_linux.PR_SET_KEEPCAPS, 1)
        groups = process.get("user", {}).get("additionalGids", [])
        set_groups(groups, context)
        try:
            posix.setresgid(gid, gid, gid)
        except OSError as error:
            raise no_id("gid", gid, error) from None
        try:
            posix.setresuid(-1 if late else uid, uid, uid)
        except OSError as error:
            raise no_id("uid", uid, error) from None
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
                f"chdir to cwd {cwd}: {reason(error)}",
                pointer="/process/cwd",
                errno=error.errno,
                hint=_why(context, self.process, error.errno or 0, cwd),
            ) from None
        return True


def _why(context: Context, process: Process | None, number: int, cwd: str = "") -> str | None:
    """What was in the way of the program, or of a working directory, in words. Raises nothing."""
    if process is None:
        return None
    try:
        # Part of this program: nothing of the container's is imported.
        from pyrunc.steps.process import unrunnable

        mounts = context.config.get("mounts", [])
        return unrunnable.from_within(posix.dup(context.root_fd), process, number, cwd, mounts) or None
    except Exception:  # who is told of an error is not to be told of a second one
        return None


def _has_died(sync: _socket.socket) -> bool:
    """Whether the runtime has ended: then nobody knows of this process, and it must not go on."""
    try:
        return not sync.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False


def _verify_directory(cwd: str) -> None:
    """A current directory outside the root would be a way out (CVE-2024-21626). Raises PyruncError."""
    try:
        here = posix.getcwd()
    except OSError:
        here = ""
    if not here.startswith("/"):
        raise PyruncError(f"current working directory {cwd} is outside of the container's root", pointer="/process/cwd")

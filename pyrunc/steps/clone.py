"""How the container process comes to be, and how the runtime learns of it."""

from __future__ import annotations

import _socket
import errno
import posix
import select
import sys
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.steps import messages
from pyrunc.steps.step import CONTAINER, RUNTIME, Step
from pyrunc.steps.time_namespace import TimeNamespace

if TYPE_CHECKING:
    from pyrunc.steps.cgroup import HeldCgroup
    from pyrunc.steps.context import Context
    from pyrunc.steps.namespaces import OpenNamespaces


class Clone(Step):
    """clone3(2): from here on there are two processes, the same Python image in both, and nobody re-executes.

    apply() returns twice; context.in_container tells where. The child ends when the runtime's end of the socket pair
    closes: a parent-death signal would be lost at setuid(2).
    """

    __slots__ = ("cgroup", "flags", "kinds", "time")
    name = "clone"
    section = "config-linux.md#namespaces"

    def __init__(self, flags: int, kinds: list[str], time: TimeNamespace | None, cgroup: HeldCgroup | None) -> None:
        """cgroup: the one that the process may be born in, None for the runtime's own."""
        Step.__init__(self, "/linux/namespaces")
        self.cgroup = cgroup
        self.flags = flags
        self.kinds = kinds
        self.time = time

    def describe(self) -> str:
        return "clone the container process" + (" with new namespaces: " + ", ".join(self.kinds) if self.kinds else "")

    def apply(self, context: Context) -> None:
        if context.host.rootless:
            _require_user_namespace(context)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        pid, pidfd = self._clone(context)
        if pid == 0:
            ours.close()
            context.sync = theirs
            context.in_container = True
            posix.setsid()
            if not context.host.rootless:
                # Nobody in a namespace we join may take hold of this process (CVE-2016-9962). Rootless, the runtime
                # could not write the id maps then: see namespaces.become_root().
                _linux.prctl(_linux.PR_SET_DUMPABLE, 0)
            return
        theirs.close()
        if context.cgroup is not None:
            # It is the new process that has the cgroup's lock now, until it is inside or ends.
            context.cgroup.release()
        context.sync = ours
        context.pid = pid
        context.pidfd = pidfd
        if self.time is not None:
            self.time.leave()

    def _clone(self, context: Context) -> tuple[int, int]:
        """Into the cgroup where that can be (cgroup v2): nothing has to be moved then. Else JoinCgroup moves it."""
        held = self.cgroup
        if held is None or held.directory_fd < 0:
            return _linux.clone(self.flags)
        try:
            born = _linux.clone(self.flags, held.directory_fd)
        except OSError as error:
            # A full pids limit, a cgroup whose processes are in children of it, a parent that is not ours.
            if error.errno not in (
                errno.EAGAIN,
                errno.EBUSY,
                errno.EOPNOTSUPP,
                errno.EACCES,
                errno.ENOSYS,
                errno.E2BIG,
            ):
                raise
            return _linux.clone(self.flags)
        finally:
            posix.close(held.directory_fd)
            held.directory_fd = -1
        if context.cgroup is not None:
            held.fds = context.cgroup.born(held.fds)
        return born

    def undo(self, context: Context) -> None:
        if context.sync is not None:
            context.sync.close()
            context.sync = None
        if context.pidfd >= 0:
            end(context.pidfd)
            reap(context)


def _require_user_namespace(context: Context) -> None:
    """Without one an ordinary user may do nothing of what follows. Raises PyruncError."""
    for entry in context.config.get("linux", {}).get("namespaces", []):
        if entry["type"] == "user":
            return
    raise PyruncError(
        "rootless container requires user namespaces",
        pointer="/linux/namespaces",
        errno=errno.EPERM,
        hint="`pyrunc spec --rootless` writes a config that has one",
    )


def end(pidfd: int) -> None:
    """SIGKILL to a process of ours, if it is there still."""
    try:
        _linux.pidfd_send_signal(pidfd, 9)
    except ProcessLookupError:
        pass


def reap(context: Context) -> int | None:
    """Wait for the container process, which must be a child of ours and about to end. Returns its wait status."""
    posix.close(context.pidfd)
    context.pidfd = -1
    try:
        return posix.waitpid(context.pid, 0)[1]
    except ChildProcessError:
        return None


class SecondClone(Step):
    """A second clone, as the runtime's child too (CLONE_PARENT), with namespaces that a joined user namespace owns."""

    __slots__ = ("flags", "kinds")
    name = "clone"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def __init__(self, flags: int, kinds: list[str]) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.flags = flags
        self.kinds = kinds

    def describe(self) -> str:
        return "clone again" + (" with new namespaces: " + ", ".join(self.kinds) if self.kinds else "")

    def apply(self, context: Context) -> None:
        pid = _linux.clone(self.flags | _linux.CLONE_PARENT)[0]
        if pid:
            # The new process does nothing before the runtime has recorded it and said so.
            posix.write(context.talk().fileno(), messages.CLONED + pid.to_bytes(4, sys.byteorder) + messages.INSIDE)
            posix._exit(0)
        posix.setsid()


class EnterPids(Step):
    """The next process cloned is to be in the joined pid namespace: the program's, by second_clone() of finish.c.

    Those in there see it from then on, and who has CAP_SYS_PTRACE can take hold of it (CVE-2016-9962). So nothing is
    left to do then but what takes no privilege.
    """

    __slots__ = ("opened",)
    name = "namespaces"
    section = "config-linux.md#namespaces"
    side = CONTAINER

    def __init__(self, opened: OpenNamespaces) -> None:
        Step.__init__(self, "/linux/namespaces")
        self.opened = opened

    def describe(self) -> str:
        return "enter the joined pid namespace with the next clone"

    def apply(self, context: Context) -> None:
        pids = self.opened.of("pid")
        assert pids is not None
        _linux.setns(pids, _linux.CLONE_NEWPID)


class RecordAgain(Step):
    """The runtime's half of a second clone: take over the new process in place of the first."""

    __slots__ = ("let_go",)
    name = "record"
    side = RUNTIME

    def __init__(self, let_go: bool = False) -> None:
        """let_go: tell the process to go on; no meeting point follows."""
        Step.__init__(self)
        self.let_go = let_go

    def describe(self) -> str:
        return "record the new process in state.json"

    def apply(self, context: Context) -> None:
        context.on_pid(context)
        if self.let_go:
            try:
                context.talk().send(messages.GO)
            except OSError:
                return  # It has ended; what it had to say comes first.


class Record(Step):
    """Write the container process's number and start time to state.json, so that delete --force finds it."""

    __slots__ = ()
    name = "record"
    side = RUNTIME

    def describe(self) -> str:
        return "record the container process in state.json"

    def apply(self, context: Context) -> None:
        context.on_pid(context)


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))

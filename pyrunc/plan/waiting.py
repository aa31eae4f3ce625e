"""What the runtime waits for: meeting points, a second process, the program; and seccomp listeners on the way."""

from __future__ import annotations

import posix
import select
import sys
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, procfs
from pyrunc.plan.failures import ended, filter_of, program_of, unexpected
from pyrunc.plan.sync import receive, send
from pyrunc.steps import messages

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.step import Plan

_MAX_INT: Final = 0x7FFFFFFF
# What the kernel calls a seccomp listener.
_LISTENER: Final = "anon_inode:seccomp notify"


def await_meeting(plan: Plan, context: Context) -> None:
    """Wait until the process has reached the meeting point, and take its terminal's master. Raises PyruncError."""
    message, fd = receive(plan, context)
    if not message:
        raise ended(plan, context)
    if fd >= 0:
        if message != messages.MEETING or context.console_fd >= 0 or not _wants_terminal(plan):
            posix.close(fd)
            raise unexpected()
        context.console_fd = fd
    elif message != messages.MEETING:
        raise unexpected()


def _wants_terminal(plan: Plan) -> bool:
    program = program_of(plan)
    return bool(program and program.process and program.process.get("terminal"))


def await_waiting(plan: Plan, context: Context) -> None:
    """Wait until the process blocks on exec.fifo (create) or has executed its program (exec). Raises PyruncError."""
    poll = _both(context)
    while context.talk().fileno() in [fd for fd, _ in poll.poll()]:
        message, fd = receive(plan, context)
        if not message:
            break
        _send_to_agent(plan, context, _listener(plan, context, message, fd))
        send(context, messages.GO)
    context.talk().close()
    context.sync = None


def _both(context: Context) -> select.poll:
    """A poll of the socket and of the process.

    Who can take descriptors out of the process may hold its end of the socket open when it is long over.
    """
    poll = select.poll()
    poll.register(context.talk().fileno(), select.POLLIN)
    poll.register(context.pidfd, select.POLLIN)
    return poll


def _next_word(plan: Plan, context: Context) -> tuple[bytes, int]:
    """As receive(), from a process that somebody may have taken hold of. It has to say something: no b""."""
    if context.talk().fileno() in [fd for fd, _ in _both(context).poll()]:
        message, fd = receive(plan, context)
        if message:
            return message, fd
    raise ended(plan, context)


def take_over(plan: Plan, context: Context) -> None:
    """A second process takes the first one's place: learn its number, let the first one end. Raises PyruncError."""
    listener = -1
    has_left = False
    while True:
        message, fd = _next_word(plan, context)
        if message == messages.FULL and not has_left:
            _leave_full_cgroup(context.pid)
            has_left = True
        elif message[:1] == messages.CLONED:
            break
        else:
            listener = _listener(plan, context, message, fd)
        send(context, messages.GO)
    pid = int.from_bytes(message[1:5], sys.byteorder)
    if len(message) != 6 or message[5:] != (messages.OUTSIDE if has_left else messages.INSIDE):
        raise unexpected()
    first, old = context.pid, context.pidfd
    context.pidfd = _child(pid, first)
    context.pid = pid
    posix.close(old)
    posix.waitpid(first, 0)
    if has_left and context.cgroup is not None:
        context.cgroup.add(pid)
    if listener >= 0:
        # Only now is it known whose it is; that one waits for our word.
        _send_to_agent(plan, context, listener)


def _child(pid: int, first: int) -> int:
    """A pidfd of the process that the first one has cloned, if pid can be it. Raises PyruncError.

    The message may be the work of somebody who took hold of the process, and name any other one of the host: it is a
    child of ours that nobody else reaps, and no other than one that was made since.
    """
    if not 0 < pid <= _MAX_INT or pid == first:
        raise unexpected()
    try:
        pidfd = _linux.pidfd_open(pid, 0)
    except OSError:
        raise unexpected() from None
    try:
        posix.waitid(posix.P_PIDFD, pidfd, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:
        posix.close(pidfd)
        raise unexpected() from None
    if (procfs.start_time(pid) or 0) < (procfs.start_time(first) or 0):
        posix.close(pidfd)
        raise unexpected()
    return pidfd


def _leave_full_cgroup(pid: int) -> None:
    """Move our child into the cgroup of this process: its own has no room for the process that it is to clone."""
    from pyrunc.cgroups import hierarchies

    home = hierarchies.own_procs(hierarchies.detect())
    if home:
        files.write(home, str(pid).encode("ascii"))


def _listener(plan: Plan, context: Context, message: bytes, fd: int) -> int:
    """The seccomp listener that a message names, or that came with it. Raises PyruncError."""
    number = int.from_bytes(message[1:5], sys.byteorder)
    seccomp = filter_of(plan)
    odd = message[:1] != messages.LISTENER or len(message) != 5 or number > _MAX_INT or fd >= 0
    if odd or seccomp is None or seccomp.listener_path is None or context.has_listener:
        if fd >= 0:
            posix.close(fd)
        raise unexpected()
    context.has_listener = True
    try:
        fd = _linux.pidfd_getfd(context.pidfd, number)
    except PermissionError as error:
        # Not ours to trace, as an ordinary user: it has to send it itself.
        if not seccomp.allows_sendmsg():
            raise PyruncError(
                "fetch the seccomp listener from the container process: " + reason(error),
                step="seccomp",
                pointer="/linux/seccomp",
                errno=error.errno,
                hint="the filter does not allow sendmsg, by which it would be handed over",
            ) from None
        send(context, messages.SEND_LISTENER)
        message, fd = _next_word(plan, context)
    except OSError:
        raise unexpected() from None
    if fd < 0 or message[:1] != messages.LISTENER or posix.readlink("/proc/self/fd/" + str(fd)) != _LISTENER:
        if fd >= 0:
            posix.close(fd)
        raise unexpected()
    return fd


def _send_to_agent(plan: Plan, context: Context, fd: int) -> None:
    from pyrunc.steps.seccomp import notify as listener

    seccomp = filter_of(plan)
    assert seccomp is not None
    listener.hand_over(context, seccomp, fd)

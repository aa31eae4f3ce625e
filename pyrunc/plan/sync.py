"""What the runtime and the container process say to each other, over a socket pair (SOCK_SEQPACKET).

One message a packet, its kind in the first byte, numbers in native order:
  runtime to container   G  go on: a meeting point is reached, what was asked for is done
                         S  descriptors (SCM_RIGHTS), in packets before the G; or: send the listener itself
  container to runtime   M  a meeting point is reached (with a terminal's master as SCM_RIGHTS, once)
                         F  the cgroup is too full to clone in: move this process out of it
                         P  the number (u32) of a second process that takes this one's place; "O" when it was cloned
                            outside the cgroup, else "I"
                         X  a step failed: its index (u16), errno (u32), and what to say
                         E  from finish(): the stage (u8) and errno (u32) of its failure
                         L  from finish(): the number (u32) of a seccomp listener, or the listener (SCM_RIGHTS)
An end of file is the other's end, or, after the last meeting point, the sign that the process waits for start.

Whoever may trace in a joined pid namespace can take hold of the container process, and say anything. So what is not
expected, where it is said, is an error.
"""

from __future__ import annotations

import _socket
import posix
import select
import sys
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, procfs
from pyrunc.steps import clone
from pyrunc.steps.process.init import BecomeProgram

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.step import Plan, Step

# Longer messages are cut: a packet must fit the socket's buffer.
_MESSAGE_LIMIT: Final = 16384
# Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD of its net/scm.h).
_RIGHTS_LIMIT: Final = 200
# The largest errno (MAX_ERRNO of the kernel's linux/err.h), and the largest number of a descriptor or a process.
_MAX_ERRNO: Final = 4095
_MAX_INT: Final = 0x7FFFFFFF
# Of signal(7): what a filter kills by.
_SIGSYS: Final = 31
# What the kernel calls a seccomp listener.
_LISTENER: Final = "anon_inode:seccomp notify"


# ---- the container process's side ----


def take_rights(context: Context) -> bytes:
    """The runtime's next word, after the descriptors that come with it. Raises OSError."""
    while True:
        word, ancillary, _, _ = context.sync.recvmsg(
            16, _socket.CMSG_SPACE(4 * _RIGHTS_LIMIT), _socket.MSG_CMSG_CLOEXEC
        )
        if word != b"S":
            return bytes(word)
        some = ancillary[0][2]
        context.rights += [int.from_bytes(some[at : at + 4], sys.byteorder) for at in range(0, len(some), 4)]


def report_meeting(context: Context) -> None:
    """Say that a meeting point is reached. Raises OSError."""
    if context.console_fd >= 0:
        rights = context.console_fd.to_bytes(4, sys.byteorder)
        context.sync.sendmsg([b"M"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        posix.close(context.console_fd)
        context.console_fd = -1
    else:
        context.sync.send(b"M")


def report_failure(context: Context, index: int, error: BaseException) -> None:
    """Say that a step, by its index, failed. Raises nothing."""
    number = 0
    pointer = hint = ""
    if isinstance(error, PyruncError):
        text, number = error.message, error.errno or 0
        pointer, hint = error.pointer or "", error.hint or ""
    elif isinstance(error, OSError):
        text, number = "", error.errno or 0
    else:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = trace.tb_frame.f_code.co_filename + ":" + str(trace.tb_lineno) if trace is not None else ""
        text = "internal error: " + type(error).__name__ + ": " + str(error) + " at " + place
    words = "\0".join((text, pointer, hint)).encode("utf-8", "surrogateescape")[:_MESSAGE_LIMIT]
    try:
        # Not by the socket object: after _keep_only the descriptor is the only thing to rely on.
        context.sync.send(b"X" + index.to_bytes(2, sys.byteorder) + number.to_bytes(4, sys.byteorder) + words)
    except OSError:
        pass


# ---- the runtime's side ----


def send_rights(context: Context) -> None:
    """The descriptors that the container process is to get: the runtime has no further use for them."""
    while context.rights:
        some = context.rights[:_RIGHTS_LIMIT]
        numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in some)
        try:
            context.sync.sendmsg([b"S"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
        except OSError:
            return  # It has ended; what it had to say comes first.
        del context.rights[:_RIGHTS_LIMIT]
        for fd in some:
            posix.close(fd)


def send(context: Context, message: bytes) -> None:
    """Raises nothing."""
    try:
        context.sync.send(message)
    except OSError:
        # It has ended; what it had to say comes first.
        return


def receive(plan: Plan, context: Context) -> tuple[bytes, int]:
    """The next message, b"" at the end, and the descriptor that came with it, or -1.

    Raises PyruncError for a failure that it tells of, and for what no container process of ours says; OSError.
    """
    try:
        message, rights, flags, _ = _packet(context)
    except ConnectionResetError:
        # It ended before it read our last word. The kernel tells that first, and once; what it said is still there.
        message, rights, flags, _ = _packet(context)
    fds = [int.from_bytes(some[at : at + 4], sys.byteorder) for _, _, some in rights for at in range(0, len(some), 4)]
    kind = message[:1]
    # More than a packet, or more than a descriptor, and the kernel has cut it.
    odd = flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC)
    if odd or (fds and (len(fds) > 1 or kind not in (b"M", b"L"))):
        for fd in fds:
            posix.close(fd)
        raise unexpected()
    if kind == b"X":
        raise _failure(plan, message)
    if kind == b"E":
        raise _stage_failure(plan, context, message)
    return message, fds[0] if fds else -1


def _packet(context: Context) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
    return context.sync.recvmsg(_MESSAGE_LIMIT + 64, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)  # type: ignore[no-any-return]


def unexpected() -> PyruncError:
    """The error for what no container process of ours says."""
    return PyruncError("unexpected message from the container process")


def await_meeting(plan: Plan, context: Context) -> None:
    """Wait until the process has reached the meeting point, and take its terminal's master. Raises PyruncError."""
    message, fd = receive(plan, context)
    if not message:
        raise ended(context)
    if fd >= 0:
        if message != b"M" or context.console_fd >= 0 or not _wants_terminal(plan):
            posix.close(fd)
            raise unexpected()
        context.console_fd = fd
    elif message != b"M":
        raise unexpected()


def _wants_terminal(plan: Plan) -> bool:
    program = _program(plan)
    return bool(program and program.process and program.process.get("terminal"))


def _program(plan: Plan) -> BecomeProgram | None:
    for step in reversed(plan.steps):
        if isinstance(step, BecomeProgram):
            return step
    return None


def await_waiting(plan: Plan, context: Context) -> None:
    """Wait until the process blocks on exec.fifo (create) or has executed its program (exec). Raises PyruncError."""
    poll = _both(context)
    while context.sync.fileno() in [fd for fd, _ in poll.poll()]:
        message, fd = receive(plan, context)
        if not message:
            break
        _send_to_agent(context, _listener(plan, context, message, fd))
        send(context, b"G")
    context.sync.close()
    context.sync = None


def _both(context: Context) -> select.poll:
    """A poll of the socket and of the process.

    Who can take descriptors out of the process may hold its end of the socket open when it is long over.
    """
    poll = select.poll()
    poll.register(context.sync.fileno(), select.POLLIN)
    poll.register(context.pidfd, select.POLLIN)
    return poll


def _next_word(plan: Plan, context: Context) -> tuple[bytes, int]:
    """As receive(), from a process that somebody may have taken hold of. It has to say something: no b""."""
    if context.sync.fileno() in [fd for fd, _ in _both(context).poll()]:
        message, fd = receive(plan, context)
        if message:
            return message, fd
    raise ended(context)


# ---- failures ----


def with_step(error: PyruncError, step: Step) -> PyruncError:
    """The error, with the step's name and pointer where it has none."""
    error.step = error.step or step.name
    error.pointer = error.pointer or step.place(error) or None
    return error


def _failure(plan: Plan, message: bytes) -> PyruncError:
    index = int.from_bytes(message[1:3], sys.byteorder)
    number = int.from_bytes(message[3:7], sys.byteorder)
    if len(message) < 7 or index >= len(plan.steps) or number > _MAX_ERRNO:
        return unexpected()
    step = plan.steps[index]
    words = [_one_line(part) for part in message[7:].decode("utf-8", "surrogateescape").split("\0")]
    text, pointer, hint = (words + ["", ""])[:3]
    if not text:
        text = step.describe() + ": " + posix.strerror(number).lower()
    error = PyruncError(text, pointer=pointer or None, errno=number or None, hint=hint or None)
    return with_step(error, step)


def _one_line(text: str) -> str:
    """Without what would end a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join([" " if char < " " or "\x7f" <= char <= "\x9f" else char for char in text])


def _stage_failure(plan: Plan, context: Context, message: bytes) -> PyruncError:
    """What finish() reports: the stage and errno of its one C call."""
    number = int.from_bytes(message[2:6], sys.byteorder)
    program = _program(plan)
    if len(message) != 6 or message[1] >= len(_linux.STAGES) or number > _MAX_ERRNO or program is None:
        return unexpected()
    stage = _linux.STAGES[message[1]]
    pointer = "/linux/seccomp" if stage in ("seccomp", "listener") else "/process"
    words = words_of_stage(stage)
    hint = None
    if stage == "execve" and program.process:
        words = "exec " + program.process["args"][0]
        pointer = "/process/args/0"
    if stage == "listener":
        hint = "the seccomp filter must allow write and read, by which the listener is handed over"
    if context.seccomp is not None:
        from pyrunc.steps.seccomp import denied

        reasons, place = denied.of_stage(context.config["linux"]["seccomp"], stage, number)
        hint, pointer = reasons or hint, place or pointer
    return PyruncError(
        words + ": " + posix.strerror(number).lower(),
        step="process",
        pointer=pointer,
        errno=number,
        hint=hint,
    )


def words_of_stage(stage: str) -> str:
    return {
        "close": "close descriptors",
        "signals": "reset signals",
        "seccomp": "load the seccomp filter",
        "capset": "set capabilities",
        "listener": "hand over the seccomp listener",
        "clone": "enter the joined pid namespace and clone into it",
        "user": "set the user id",
        "fifo": "wait for start",
        "execve": "execute the program",
    }.get(stage, stage)


def ended(context: Context) -> PyruncError:
    """The error for a container process that ended without a word."""
    killed_by_memory = context.cgroup is not None and (context.cgroup.oom_kills() or 0) > 0
    status = clone.reap(context) if context.pidfd >= 0 else None
    how = "ended unexpectedly"
    if status is not None and posix.WIFSIGNALED(status):
        how = "was killed by signal " + str(posix.WTERMSIG(status))
    if killed_by_memory or (status is not None and posix.WIFSIGNALED(status) and posix.WTERMSIG(status) == 9):
        limit = _memory_limit(context)
        if killed_by_memory or limit:
            return PyruncError(
                "container process " + how + ": container init was OOM-killed (memory limit too low?)",
                pointer="/linux/resources/memory/limit",
                hint="the limit is " + str(limit) + " bytes",
            )
    error = PyruncError("container process " + how + " during its set-up")
    if context.seccomp is not None and status is not None:
        from pyrunc.steps.seccomp import denied

        by_signal = posix.WIFSIGNALED(status)
        if not by_signal or posix.WTERMSIG(status) == _SIGSYS:
            found = denied.of_death(context.config["linux"]["seccomp"], by_signal)
            error.hint, error.pointer = found[0] or None, found[1] or None
    return error


def _memory_limit(context: Context) -> int:
    linux = context.config.get("linux", {})
    memory = linux.get("resources", {}).get("memory", {})
    return memory.get("limit") or 0


# ---- a second process ----


def take_over(plan: Plan, context: Context) -> None:
    """A second process takes the first one's place: learn its number, let the first one end. Raises PyruncError."""
    listener = -1
    has_left = False
    while True:
        message, fd = _next_word(plan, context)
        if message == b"F" and not has_left:
            _leave_full_cgroup(context.pid)
            has_left = True
        elif message[:1] == b"P":
            break
        else:
            listener = _listener(plan, context, message, fd)
        send(context, b"G")
    pid = int.from_bytes(message[1:5], sys.byteorder)
    if len(message) != 6 or message[5:] != (b"O" if has_left else b"I"):
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
        _send_to_agent(context, listener)


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
    from pyrunc import cgroups

    home = cgroups.own_procs(cgroups.detect())
    if home:
        files.write(home, str(pid).encode("ascii"))


# ---- the seccomp listener ----


def _listener(plan: Plan, context: Context, message: bytes, fd: int) -> int:
    """The seccomp listener that a message names, or that came with it. Raises PyruncError."""
    number = int.from_bytes(message[1:5], sys.byteorder)
    seccomp = context.seccomp
    wanted = seccomp is not None and seccomp.listener_path is not None and not context.has_listener
    if message[:1] != b"L" or len(message) != 5 or number > _MAX_INT or fd >= 0 or not wanted:
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
        send(context, b"S")
        message, fd = _next_word(plan, context)
    except OSError:
        raise unexpected() from None
    if fd < 0 or message[:1] != b"L" or posix.readlink("/proc/self/fd/" + str(fd)) != _LISTENER:
        if fd >= 0:
            posix.close(fd)
        raise unexpected()
    return fd


def _send_to_agent(context: Context, fd: int) -> None:
    from pyrunc.steps.seccomp import notify as listener

    listener.hand_over(context, fd)

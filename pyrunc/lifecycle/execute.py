"""Executing a plan in its two processes, and taking it back when something fails.

The processes speak over a socket pair (SOCK_SEQPACKET), one message a packet, its kind in the first byte:
  runtime to container   G  a meeting point is reached: go on
                         S  descriptors (SCM_RIGHTS), in packets before the G
  container to runtime   M  a meeting point is reached (with a terminal's master as SCM_RIGHTS, once)
                         F  the cgroup is too full to clone in: move this process out of it
                         P  the number of a second process that takes this one's place
                         X  a step failed: its index, errno, and what to say
                         E, L  from finish(): a failed stage; a seccomp listener's number
An end of file is the other's end, or, after the last meeting point, the sign that the process waits for start.
"""

import _socket
import posix
import select

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, procfs
from pyrunc.plan import birth
from pyrunc.plan.process import BecomeProgram
from pyrunc.plan.step import CONTAINER, RUNTIME, Meet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from pyrunc.plan.context import Context
    from pyrunc.plan.step import Plan, Step

# Longer messages are cut: a packet must fit the socket's buffer.
_MESSAGE_LIMIT: "Final" = 16384
# Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD of its net/scm.h).
_RIGHTS_LIMIT: "Final" = 200


def execute(plan: "Plan", context: "Context") -> None:
    """Carry out the runtime's side of a plan, up to where the container process waits or has become its program.

    In the container process it never returns. When a step fails, what was done is undone in reverse, and the error
    is raised: PyruncError with the step's name and config pointer.
    """
    done = context.done
    if log.is_debug():
        log.debug("this program is " + ("a sealed copy in memory" if _linux.sealed() else "a file of the host's"))
    try:
        for index, step in enumerate(plan.steps):
            if isinstance(step, Meet):
                if step.side == RUNTIME:
                    _send_rights(context)
                    _send(context, b"G")
                else:
                    _receive(plan, context)
            elif step.side == RUNTIME:
                if isinstance(step, birth.RecordAgain):
                    _take_over(plan, context)
                done.append(step)
                if log.is_debug():
                    log.debug(step.describe())
                try:
                    _apply(step, context)
                except PyruncError as error:
                    raise _cause(plan, context, error) from None
                if context.in_container:
                    _container(plan, context, index + 1)
        await_waiting(plan, context)
    except BaseException as error:
        if context.in_container:
            # The new process's half of the clone failed: what was done is the runtime's, to be undone by it alone.
            _report_failure(context, index, error)
            posix._exit(1)
        undo(context)
        raise


def undo(context: "Context") -> None:
    """Take back what was done, the latest first. Raises nothing."""
    while context.done:
        step = context.done.pop()
        try:
            step.undo(context)
        except (OSError, PyruncError) as error:
            context.warnings.append("undo of " + step.name + ": " + str(error))


def _apply(step: "Step", context: "Context") -> None:
    try:
        step.apply(context)
    except PyruncError as error:
        raise _with_step(error, step) from None
    except OSError as error:
        raise _with_step(PyruncError(step.describe() + ": " + reason(error), errno=error.errno), step) from None


def _cause(plan: "Plan", context: "Context", error: PyruncError) -> PyruncError:
    """The error of a step of the runtime's, or what the container process failed of before: that made the step fail."""
    if context.in_container or context.sync is None:
        return error
    # One on its way out has still to close its end: wait for that.
    context.sync.setblocking(procfs.is_ending(context.pid))
    try:
        while True:
            _receive(plan, context)
    except BlockingIOError:
        return error  # it lives
    except PyruncError as its:
        return its


def _with_step(error: PyruncError, step: "Step") -> PyruncError:
    error.step = error.step or step.name
    error.pointer = error.pointer or step.pointer or None
    return error


def _container(plan: "Plan", context: "Context", first: int) -> None:
    """The container's side: never returns. Whatever goes wrong is told to the runtime, which has to undo it."""
    index = first
    try:
        posix.umask(0)
        log.keep()
        for index in range(first, len(plan.steps)):
            step = plan.steps[index]
            if step.side != CONTAINER and not isinstance(step, Meet):
                continue
            if not isinstance(step, Meet):
                if log.is_debug():
                    log.debug(step.describe())
                step.apply(context)
            elif step.side == RUNTIME:
                if _take_rights(context) != b"G":
                    posix._exit(1)
            else:
                _report_meeting(context)
    except BaseException as error:
        _report_failure(context, index, error)
    posix._exit(1)


def _send_rights(context: "Context") -> None:
    """The descriptors that the container process is to get: the runtime has no further use for them."""
    while context.rights:
        some = context.rights[:_RIGHTS_LIMIT]
        numbers = b"".join(fd.to_bytes(4, "little") for fd in some)
        try:
            context.sync.sendmsg([b"S"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
        except OSError:
            return  # It has ended; what it had to say comes first.
        del context.rights[:_RIGHTS_LIMIT]
        for fd in some:
            posix.close(fd)


def _take_rights(context: "Context") -> bytes:
    """In the container process: the runtime's next word, after the descriptors that come with it."""
    while True:
        word, ancillary, _, _ = context.sync.recvmsg(
            16, _socket.CMSG_SPACE(4 * _RIGHTS_LIMIT), _socket.MSG_CMSG_CLOEXEC
        )
        if word != b"S":
            return bytes(word)
        some = ancillary[0][2]
        context.rights += [int.from_bytes(some[at : at + 4], "little") for at in range(0, len(some), 4)]


def _report_meeting(context: "Context") -> None:
    if context.console_fd >= 0:
        rights = context.console_fd.to_bytes(4, "little")
        context.sync.sendmsg([b"M"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        posix.close(context.console_fd)
        context.console_fd = -1
    else:
        context.sync.send(b"M")


def _report_failure(context: "Context", index: int, error: BaseException) -> None:
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
        context.sync.send(b"X" + index.to_bytes(2, "little") + number.to_bytes(4, "little") + words)
    except OSError:
        pass


def _send(context: "Context", message: bytes) -> None:
    try:
        context.sync.send(message)
    except OSError:
        # It has ended; what it had to say comes first.
        return


def _packet(context: "Context") -> "tuple[bytes, list[tuple[int, int, bytes]]]":
    """What the container process says next, b"" at its end. Raises OSError."""
    size = _MESSAGE_LIMIT + 64
    try:
        return context.sync.recvmsg(size, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)[:2]  # type: ignore[no-any-return]
    except ConnectionResetError:
        # It ended before it read our last word. The kernel tells that first, and once; what it said is still there.
        return context.sync.recvmsg(size, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)[:2]  # type: ignore[no-any-return]


def _receive(plan: "Plan", context: "Context") -> bytes:
    """The next message of the container process. Raises PyruncError for its failure or its end."""
    data, ancillary = _packet(context)
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            context.console_fd = int.from_bytes(rights[:4], "little")
    message: bytes = data
    if message[:1] == b"X":
        raise _failure(plan, message)
    if message[:1] == b"E":
        raise _stage_failure(plan, message)
    if not message:
        raise ended(context)
    return message


def _failure(plan: "Plan", message: bytes) -> PyruncError:
    step = plan.steps[int.from_bytes(message[1:3], "little")]
    number = int.from_bytes(message[3:7], "little")
    text, pointer, hint = (message[7:].decode("utf-8", "surrogateescape").split("\0") + ["", ""])[:3]
    if not text:
        text = step.describe() + ": " + posix.strerror(number).lower()
    error = PyruncError(text, pointer=pointer or None, errno=number or None, hint=hint or None)
    return _with_step(error, step)


def _stage_failure(plan: "Plan", message: bytes) -> PyruncError:
    """What finish() reports: the stage and errno of its one C call."""
    stage = _linux.STAGES[message[1]]
    number = int.from_bytes(message[2:6], "little")
    pointer = "/linux/seccomp" if stage in ("seccomp", "listener") else "/process"
    words = words_of_stage(stage)
    hint = None
    program = next(step for step in reversed(plan.steps) if isinstance(step, BecomeProgram))
    if stage == "execve" and program.process:
        words = "exec " + program.process["args"][0]
        pointer = "/process/args/0"
    if stage == "listener":
        hint = "the seccomp filter must allow write and read, by which the listener is handed over"
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


def ended(context: "Context") -> PyruncError:
    """The error for a container process that ended without a word."""
    killed_by_memory = context.cgroup is not None and (context.cgroup.oom_kills() or 0) > 0
    status = birth.reap(context) if context.pidfd >= 0 else None
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
    return PyruncError("container process " + how + " during its set-up")


def _memory_limit(context: "Context") -> int:
    linux = context.config.get("linux") or {}
    memory = (linux.get("resources") or {}).get("memory") or {}
    return memory.get("limit") or 0


def _leave_full_cgroup(pid: int) -> None:
    """Move our child into the cgroup of this process: its own has no room for the process that it is to clone."""
    from pyrunc import cgroups

    home = cgroups.own_procs(cgroups.detect())
    if home:
        files.write(home, str(pid).encode("ascii"))


def _take_over(plan: "Plan", context: "Context") -> None:
    """A second process takes the first one's place: learn its number, let the first one end."""
    message = _receive(plan, context)
    while message[:1] == b"L":
        _take_listener(context, message)
        message = _receive(plan, context)
    if message == b"F":
        _leave_full_cgroup(context.pid)
        _send(context, b"G")
        message = _receive(plan, context)
    if message[:1] != b"P":
        raise PyruncError("unexpected message from the container process")
    pid = int.from_bytes(message[1:5], "little")
    first = context.pid
    old = context.pidfd
    # The new process is visible in the container already: the message may be the work of somebody who took hold of it,
    # and name any process of the host. A child of ours that nobody else reaps is the right one.
    pidfd = _linux.pidfd_open(pid, 0)
    try:
        posix.waitid(posix.P_PIDFD, pidfd, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
    except ChildProcessError:
        posix.close(pidfd)
        raise PyruncError("unexpected message from the container process") from None
    if message[5:6] == b"O" and context.cgroup is not None:
        context.cgroup.add(pid)
    context.pidfd = pidfd
    context.pid = pid
    posix.close(old)
    posix.waitpid(first, 0)


def await_waiting(plan: "Plan", context: "Context") -> None:
    """Wait until the process blocks on exec.fifo (create) or has executed its program (exec). Raises PyruncError."""
    while True:
        data = _packet(context)[0]
        if data[:1] == b"X":
            raise _failure(plan, data)
        if data[:1] == b"E":
            raise _stage_failure(plan, data)
        if data[:1] == b"L":
            _take_listener(context, data)
            continue
        break
    context.sync.close()
    context.sync = None


def _take_listener(context: "Context", message: bytes) -> None:
    from pyrunc.lifecycle import listener

    listener.hand_over(context, int.from_bytes(message[1:5], "little"))
    _send(context, b"G")


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))

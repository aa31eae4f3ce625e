"""What went wrong in the container process: how it is told, and what the runtime makes of it."""

from __future__ import annotations

import posix
import sys
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.steps import clone, messages
from pyrunc.steps.process.last_steps import BecomeProgram

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.seccomp.cache import Filter
    from pyrunc.steps.step import Plan, Step

# Longer messages are cut: a packet must fit the socket's buffer.
MESSAGE_LIMIT: Final = 16384
# The largest errno (MAX_ERRNO of the kernel's linux/err.h), and the largest number of a descriptor or a process.
_MAX_ERRNO: Final = 4095
# Of signal(7): what a filter kills by.
_SIGSYS: Final = 31


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
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
        text = f"internal error: {type(error).__name__}: {error} at {place}"
    words = "\0".join((text, pointer, hint)).encode("utf-8", "surrogateescape")[:MESSAGE_LIMIT]
    try:
        # Not by the socket object: after keep_only() the descriptor is the only thing to rely on.
        context.talk().send(
            messages.FAILED + index.to_bytes(2, sys.byteorder) + number.to_bytes(4, sys.byteorder) + words
        )
    except OSError:
        pass


def unexpected() -> PyruncError:
    """The error for what no container process of ours says."""
    return PyruncError("unexpected message from the container process")


def program_of(plan: Plan) -> BecomeProgram | None:
    for step in reversed(plan.steps):
        if isinstance(step, BecomeProgram):
            return step
    return None


def filter_of(plan: Plan) -> Filter | None:
    """The seccomp filter that the process loads."""
    program = program_of(plan)
    return program.seccomp.filter if program is not None and program.seccomp is not None else None


def with_step(error: PyruncError, step: Step) -> PyruncError:
    """The error, with the step's name and pointer where it has none."""
    error.step = error.step or step.name
    error.pointer = error.pointer or step.place(error) or None
    return error


def failure_of(plan: Plan, message: bytes) -> PyruncError:
    index = int.from_bytes(message[1:3], sys.byteorder)
    number = int.from_bytes(message[3:7], sys.byteorder)
    if len(message) < 7 or index >= len(plan.steps) or number > _MAX_ERRNO:
        return unexpected()
    step = plan.steps[index]
    words = [_one_line(part) for part in message[7:].decode("utf-8", "surrogateescape").split("\0")]
    text, pointer, hint = (words + ["", ""])[:3]
    if not text:
        text = f"{step.describe()}: {posix.strerror(number).lower()}"
    error = PyruncError(text, pointer=pointer or None, errno=number or None, hint=hint or None)
    return with_step(error, step)


def _one_line(text: str) -> str:
    """Without what would end a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join([" " if char < " " or "\x7f" <= char <= "\x9f" else char for char in text])


def stage_failure_of(plan: Plan, context: Context, message: bytes) -> PyruncError:
    """What finish() reports: the stage and errno of its one C call."""
    number = int.from_bytes(message[2:6], sys.byteorder)
    program = program_of(plan)
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
    if filter_of(plan) is not None:
        from pyrunc.steps.seccomp import denied

        reasons, place = denied.of_stage(context.config["linux"]["seccomp"], stage, number)
        hint, pointer = reasons or hint, place or pointer
    return PyruncError(
        f"{words}: {posix.strerror(number).lower()}",
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


def ended(plan: Plan, context: Context) -> PyruncError:
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
                f"container process {how}: container init was OOM-killed (memory limit too low?)",
                pointer="/linux/resources/memory/limit",
                hint=f"the limit is {limit} bytes",
            )
    error = PyruncError(f"container process {how} during its set-up")
    if status is not None and filter_of(plan) is not None:
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

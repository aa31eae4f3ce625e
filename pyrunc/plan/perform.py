"""Executing a plan in its two processes, and taking it back when something fails. What they say: sync.py."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import procfs
from pyrunc.plan import failures, sync, waiting
from pyrunc.steps import clone, messages
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.step import Plan, Step

ended = failures.ended


def execute(plan: Plan, context: Context) -> None:
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
                    sync.send_rights(context)
                    sync.send(context, messages.GO)
                else:
                    waiting.await_meeting(plan, context)
            elif step.side == RUNTIME:
                if isinstance(step, clone.RecordAgain):
                    waiting.take_over(plan, context)
                done.append(step)
                if log.is_debug():
                    log.debug(step.describe())
                try:
                    apply(step, context)
                except PyruncError as error:
                    raise _cause(plan, context, error) from None
                if context.in_container:
                    _container(plan, context, index + 1)
        waiting.await_waiting(plan, context)
    except BaseException as error:
        if context.in_container:
            # The new process's half of the clone failed: what was done is the runtime's, to be undone by it alone.
            failures.report_failure(context, index, error)
            posix._exit(1)
        undo(context)
        raise


def undo(context: Context) -> None:
    """Take back what was done, the latest first. Raises nothing."""
    while context.done:
        step = context.done.pop()
        try:
            step.undo(context)
        except (OSError, PyruncError) as error:
            context.warnings.append(f"undo of {step.name}: {error}")


def apply(step: Step, context: Context) -> None:
    """Do one step. Raises PyruncError, with the step's name and config pointer."""
    try:
        step.apply(context)
    except PyruncError as error:
        raise failures.with_step(error, step) from None
    except OSError as error:
        raise failures.with_step(PyruncError(f"{step.describe()}: {reason(error)}", errno=error.errno), step) from None


def _cause(plan: Plan, context: Context, error: PyruncError) -> PyruncError:
    """The error of a step of the runtime's, or what the container process failed of before: that made the step fail."""
    if context.in_container or context.sync is None:
        return error
    # One on its way out has still to close its end: wait for that.
    context.talk().setblocking(procfs.is_ending(context.pid))
    try:
        while True:
            message, fd = sync.receive(plan, context)
            if fd >= 0:
                posix.close(fd)
            if not message:
                return failures.ended(plan, context)
    except BlockingIOError:
        return error  # it lives
    except PyruncError as its:
        return its


def _container(plan: Plan, context: Context, first: int) -> None:
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
                if sync.take_rights(context) != messages.GO:
                    posix._exit(1)
            else:
                sync.report_meeting(context)
    except BaseException as error:
        failures.report_failure(context, index, error)
    posix._exit(1)

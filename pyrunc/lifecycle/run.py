"""run: create and start in one; in the foreground, stay with the process and delete the container at its end."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError
from pyrunc.lifecycle import create, start
from pyrunc.plan import perform
from pyrunc.state.container import Container
from pyrunc.state.lock import Lock

if TYPE_CHECKING:
    from pyrunc.lifecycle.foreground import Foreground
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store
    from pyrunc.steps.context import Context

# Steps of create whose undo is by a name that is free again once the container is destroyed.
_NAMED: Final = ("state", "exec.fifo", "cgroup", "intelRdt", "unmount")


def run(store: Store, container_id: str, options: CreateOptions) -> int:
    """Returns the process's exit status (128 and the signal's number when one ended it), 0 when detached.

    Raises PyruncError, and then nothing is left of the container.
    """
    creation = create.prepare(store, container_id, options)
    foreground = None
    if not options.detach:
        if not options.no_subreaper:
            # What the container leaves behind comes to us, so that it is gone when we are.
            _linux.prctl(_linux.PR_SET_CHILD_SUBREAPER, 1)
        from pyrunc.lifecycle.foreground import Foreground
    container = create.carry_out(creation, keep_console=not options.detach)
    context = creation.context
    try:
        notify = start.listen(container)
        if not options.detach:
            foreground = Foreground(context, notify)
            foreground.begin()
        # A poststart hook may wait for what the program does, which may wait for a reader of its output.
        meanwhile = foreground.turn if foreground is not None else None
        start.begin(container, Lock(container.directory), meanwhile=meanwhile)
    except BaseException as error:
        _give_up(container, context, foreground)
        if foreground is not None and isinstance(error, PyruncError) and error.step == start.EXECVE and log.is_plain():
            # As a shell says it: the program's failure, not the runtime's. With the place and the hint, as in a log.
            error.container = container_id
            log.write(2, error.line() + "\n")
            from pyrunc.lifecycle import why_record

            why_record.failed(store.root, container_id, "run", error)
            return 127 if error.errno == errno.ENOENT else 126
        raise
    if foreground is None:
        if notify is not None:
            start.await_ready(container, notify)
        return 0
    status = foreground.wait()
    try:
        if status:
            _explain(container, status, foreground)
        if not options.keep:
            start.take_away(container)
    finally:
        # Last, since a reader may take its time, or what is left behind goes on writing.
        foreground.finish(status)
    return status


def _give_up(container: Container, context: Context, foreground: Foreground | None) -> None:
    """Created it was, so it goes as delete takes it away, poststop hooks and all."""
    try:
        start.take_away(container)
    finally:
        # What has a name went with that, before the poststop hooks: by now it may be another container's.
        context.done = [step for step in context.done if step.name not in _NAMED]
        perform.undo(context)
        if foreground is not None:
            foreground.give_up()


def _explain(container: Container, status: int, foreground: Foreground) -> None:
    """A process that the memory limit ended says nothing itself. And `why` can tell later of what ended badly."""
    from pyrunc.lifecycle import why_record

    try:
        why_record.ended(container, status, foreground)
        killed_by_memory = status == 128 + 9 and (container.manager().oom_kills() or 0) > 0
    except PyruncError:
        return  # a cgroup that is none any more explains nothing, and the status is the process's
    if killed_by_memory:
        log.error(
            PyruncError(
                f"container {container.id} was killed because it reached its memory limit",
                pointer="/linux/resources/memory/limit",
                hint="the memory limit is too low for the program",
            )
        )

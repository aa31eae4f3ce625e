"""kill: a signal to a container's process, or to all of its processes."""

from __future__ import annotations

import posix
import select
from typing import TYPE_CHECKING, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, StateError, reason

if TYPE_CHECKING:
    from pyrunc.state.container import Container
    from pyrunc.state.store import Store

SIGKILL: Final = 9


def kill(store: Store, container_id: str, signal: int, everything: bool = False) -> None:
    """Send a signal to the init process of a created, running or paused container.

    everything: to all its processes; then a container whose init process has ended is no error, as in runc. SIGKILL
    goes to all of them anyway where there is no pid namespace whose end would take them along. Where there is one, what
    is in the cgroup after its end is another container's.
    Raises StateError when the container is not running.
    """
    container = store.load(container_id)
    private = bool(container.fields.get("privatePids"))
    pidfd = container.open_pidfd()
    if pidfd is None:
        if everything:
            if signal == SIGKILL and not private:
                _all(container, signal)
            return
        if signal == SIGKILL and not private and container.pids():
            # Its first process has gone and left the others.
            _all(container, signal)
            return
        raise StateError("container not running")
    try:
        if everything or (signal == SIGKILL and not private):
            # The init process is one of them, and may be gone already.
            _all(container, signal, pidfd)
        else:
            send(pidfd, signal)
        if signal == SIGKILL:
            # A frozen process takes its death only when it is thawed.
            container.freezer().thaw_all()
    finally:
        posix.close(pidfd)


def send(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2). Raises StateError when the process has ended, PyruncError for a signal that is none."""
    try:
        _linux.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise StateError("container not running") from None
    except OSError as error:
        raise PyruncError(f"send signal {signal}: {reason(error)}", errno=error.errno) from None


def _all(container: Container, signal: int, pidfd: int = -1) -> None:
    """To all in the cgroup; and by pidfd to the init process where that is not in there, with a warning."""
    manager = container.manager()
    missed = pidfd >= 0 and not _is_inside(container)
    manager.kill_all(signal)
    if missed:
        if not (signal == SIGKILL and container.fields.get("privatePids")):
            _warn()
        send(pidfd, signal)


def _is_inside(container: Container) -> bool:
    """Whether the init process is seen in the cgroup. What cannot be looked into stops no SIGKILL."""
    try:
        return container.pid in container.pids()
    except PyruncError:
        return False


def _warn() -> None:
    # runc's words.
    log.warning("failed to kill all processes, possibly due to lack of cgroup (Hint: enable cgroup v2 delegation)")


def kill_everything(container: Container, timeout: float = 10.0) -> bool:
    """SIGKILL to the init process; wait until it has ended. False when it has not after timeout seconds.

    Raises PyruncError when the signal is refused: by a security module's profile, say.
    """
    pidfd = container.open_pidfd()
    if pidfd is not None:
        try:
            if not container.fields.get("privatePids", True) and not _is_inside(container):
                # The others outlive it, and nothing tells who they are.
                _warn()
            try:
                send(pidfd, SIGKILL)
            except StateError:
                pass
            container.freezer().thaw_all()
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(timeout * 1000):
                return False
        finally:
            posix.close(pidfd)
    return True

"""start: let the waiting process execute its program."""

import errno
import posix
import select

from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import dumps
from pyrunc.lifecycle.store import Container, Lock
from pyrunc.linux import procfs
from pyrunc.plan.files_step import FIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from pyrunc.lifecycle.notify import Notify
    from pyrunc.lifecycle.store import Store


# The step of an error that says that the program cannot be executed.
EXECVE: "Final" = "execve"
_STOPPED: "Final" = "cannot start a container that has stopped"


def start(store: "Store", container_id: str) -> None:
    """Start a created container. Returns when execve(2) has happened and the poststart hooks have run.

    Raises StateError when the container is not `created`, PyruncError when its process ends before its program.
    """
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        notify = listen(container)
        begin(container)
    finally:
        lock.release()
    if notify is not None:
        await_ready(container, notify)


def listen(container: Container) -> "Notify | None":
    """The socket on which the container says that it is ready, if there is a service manager to be told."""
    if not posix.environ.get(b"NOTIFY_SOCKET"):
        return None
    from pyrunc.lifecycle import notify

    return notify.listen(container.directory)


def await_ready(container: Container, notify: "Notify") -> None:
    """Wait until a container that has been started says that it is ready, or ends."""
    pidfd = container.open_pidfd()
    if pidfd is not None:
        notify.wait(container.pid, pidfd)
        posix.close(pidfd)


def begin(container: Container) -> None:
    """As start(), by a caller that holds the container's lock.

    A startContainer or poststart hook that fails ends the container: it is destroyed, and the poststop hooks run
    (runtime.md, "Lifecycle"). runc leaves it stopped.
    """
    try:
        _begin(container)
    except PyruncError as error:
        if error.step == "hooks":
            from pyrunc.lifecycle import delete, kill

            kill.kill_everything(container)
            delete.destroy(container)
        raise


def _begin(container: Container) -> None:
    pidfd = container.open_pidfd()
    try:
        _check(container, pidfd)
        assert pidfd is not None
        _release(container, pidfd)
    finally:
        if pidfd is not None:
            posix.close(pidfd)
    _remove(container)
    if container.fields["hooks"].get("poststart"):
        _poststart(container)


def _check(container: Container, pidfd: "int | None") -> None:
    if container.fields["phase"] == "creating":
        raise StateError("cannot start a container that is being created")
    if pidfd is None:
        error = StateError(_STOPPED)
        if (container.manager().oom_kills() or 0) > 0:
            error.message += ": its process was killed because it reached the memory limit"
            error.hint = "the memory limit is too low"
            error.pointer = "/linux/resources/memory/limit"
        raise error
    if not container.fields.get("hasProcess", True):
        raise StateError("cannot start a container without a process", pointer="/process")
    if container.manager().frozen():
        raise StateError("cannot start a paused container")


def _release(container: Container, pidfd: int) -> None:
    """Write the byte that the process waits for, and wait until it has closed exec.fifo: that is execve(2)."""
    path = container.directory + "/" + FIFO
    flags = posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        fifo = posix.open(path, posix.O_WRONLY | flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            # Nobody waits: because it runs, or because it has been killed since we looked.
            gone = procfs.is_ending(container.pid)
            raise StateError(_STOPPED if gone else "cannot start an already running container") from None
        raise PyruncError("open exec.fifo: " + reason(error), errno=error.errno) from None
    try:
        posix.write(fifo, b"0")
        poll = select.poll()
        # No reader any more: POLLERR, which is always reported.
        poll.register(fifo, 0)
        poll.register(pidfd, select.POLLIN)
        poll.poll()
        # What the process had to say in place of becoming its program is in there as long as we hold our end.
        try:
            reader = posix.open(path, posix.O_RDONLY | flags)
        except FileNotFoundError:
            raise StateError(_STOPPED) from None  # and deleted
        try:
            said = posix.read(reader, 65536)
        except BlockingIOError:
            said = b""
        finally:
            posix.close(reader)
    finally:
        posix.close(fifo)
    problem = _problem(container, said)
    if problem is not None:
        raise problem


def _problem(container: Container, data: bytes) -> "PyruncError | None":
    """The error that the process told of."""
    if data[:1] == b"X":
        pointer, _, text = data[1:].decode("utf-8", "surrogateescape").partition("\0")
        return PyruncError(text, step="hooks", pointer=pointer)
    if data[:1] == b"E" and len(data) >= 6:
        number = int.from_bytes(data[2:6], "little")
        args: "Any" = (container.config().get("process") or {}).get("args") or ["?"]
        return PyruncError(
            "exec " + str(args[0]) + ": " + posix.strerror(number).lower(),
            step=EXECVE,
            pointer="/process/args/0",
            errno=number,
            hint="the file is no program of this machine's kind, or its interpreter is missing"
            if number in (errno.ENOEXEC, errno.ENOENT)
            else None,
        )
    return None


def _remove(container: Container) -> None:
    try:
        posix.unlink(container.directory + "/" + FIFO)
    except FileNotFoundError:
        pass


def _poststart(container: Container) -> None:
    """A failing poststart hook is an error and stops the container (runtime.md, "Lifecycle", 1.3.0)."""
    from pyrunc.plan import hooks

    state = container.state_json("running")
    state.pop("owner")
    text = dumps(state).encode("utf-8", "surrogateescape")
    try:
        wanted = container.fields["hooks"]["poststart"]
        annotations = container.fields["annotations"]
        hooks.run(wanted, "poststart", text, container.fields["bundle"], annotations=annotations)
    except PyruncError as error:
        error.step = "hooks"
        raise

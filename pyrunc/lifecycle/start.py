"""start: let the waiting process execute its program."""

from __future__ import annotations

import errno
import fcntl
import posix
import select
import sys
from typing import TYPE_CHECKING, Final

from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import dumps
from pyrunc.linux import procfs
from pyrunc.state.container import FIFO, Container
from pyrunc.state.lock import Lock
from pyrunc.steps.exec_fifo import HOOKS_BEGIN, HOOKS_END

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import Config
    from pyrunc.lifecycle.notify_socket import Notify
    from pyrunc.state.store import Store


# The step of an error that says that the program cannot be executed.
EXECVE: Final = "execve"
_STOPPED: Final = "cannot start a container that has stopped"
_RUNNING: Final = "cannot start an already running container"
# Milliseconds after which we look again, where nobody tells us: see _await_program().
_LOOK: Final = 20
# ioctl(2) PIDFD_GET_INFO, _IOWR(0xff, 11, struct pidfd_info) with the first 64 bytes of it, and its PIDFD_INFO_EXIT
# (linux/pidfd.h, since Linux 6.15).
_GET_INFO: Final = 0xC040FF0B
_INFO_EXIT: Final = 8


def start(store: Store, container_id: str) -> None:
    """Start a created container. Returns when execve(2) has happened and the poststart hooks have run.

    Raises StateError when the container is not `created`, PyruncError when its process ends before its program.
    """
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
    except BaseException:
        lock.release()
        raise
    notify = begin(container, lock, listening=True)
    if notify is not None:
        await_ready(container, notify)


def listen(container: Container) -> Notify | None:
    """The socket on which the container says that it is ready, if there is a service manager to be told."""
    if not posix.environ.get(b"NOTIFY_SOCKET"):
        return None
    from pyrunc.lifecycle import notify_socket as notify

    return notify.listen(container.directory)


def await_ready(container: Container, notify: Notify) -> None:
    """Wait until a container that has been started says that it is ready, or ends."""
    pidfd = container.open_pidfd()
    if pidfd is not None:
        notify.wait(container.pid, pidfd)
        posix.close(pidfd)


def begin(
    container: Container, lock: Lock, listening: bool = False, meanwhile: Callable[[], object] | None = None
) -> Notify | None:
    """As start(), by a caller that holds the container's lock, which is released: hooks and programs take their time.

    listening: make the socket on which it says that it is ready, and return it. meanwhile: as for hooks.run().
    A startContainer or poststart hook that fails ends the container: it is destroyed, and the poststop hooks run
    (runtime.md, "Lifecycle"). runc leaves it stopped.
    """
    pidfd, fifo, notify = -1, -1, None
    try:
        try:
            pidfd = _check(container)
            fifo = _open_fifo(container)
            notify = listen(container) if listening else None
            _let_go(container, fifo)
        finally:
            lock.release()
        _await_program(container, pidfd, fifo)
        if container.fields["hooks"].get("poststart"):
            _poststart(container, meanwhile)
    except PyruncError as error:
        if error.step == "hooks":
            take_away(container)
        raise
    finally:
        for fd in (pidfd, fifo):
            if fd >= 0:
                posix.close(fd)
    return notify


def _check(container: Container) -> int:
    """A pidfd of its process, if it can be started."""
    if container.fields["phase"] == "creating":
        raise StateError("cannot start a container that is being created")
    pidfd = container.open_pidfd()
    if pidfd is None:
        if (container.manager().oom_kills() or 0) > 0:
            raise StateError(
                _STOPPED + ": its process was killed because it reached the memory limit",
                pointer="/linux/resources/memory/limit",
            )
        raise StateError(_STOPPED)
    if not container.fields.get("hasProcess", True):
        raise StateError("cannot start a container without a process", pointer="/process")
    if container.freezer().frozen():
        raise StateError("cannot start a paused container")
    return pidfd


def _open_fifo(container: Container) -> int:
    """exec.fifo, on which the process waits. Raises StateError when it does not."""
    try:
        flags = posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC | posix.O_NOFOLLOW
        fifo = posix.open(f"{container.directory}/{FIFO}", flags)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            # Nobody waits: because it runs, or because it has been killed since we looked.
            raise StateError(_STOPPED if procfs.is_ending(container.pid) else _RUNNING) from None
        raise PyruncError("open exec.fifo: " + reason(error), errno=error.errno) from None
    if procfs.has_executed(container.pid, container.fields["start"]):
        # It is not the process that holds it open.
        posix.close(fifo)
        raise StateError(_RUNNING)
    return fifo


def _let_go(container: Container, fifo: int) -> None:
    """Write the byte that the process waits for, and take exec.fifo away: it is not `created` any more."""
    try:
        posix.write(fifo, b"0")
        posix.unlink(f"{container.directory}/{FIFO}")
    except BrokenPipeError:
        raise StateError(_STOPPED) from None  # killed since it was seen to wait
    except OSError as error:
        raise PyruncError("let the process go by exec.fifo: " + reason(error), errno=error.errno) from None


def _await_program(container: Container, pidfd: int, fifo: int) -> None:
    """Wait until the process has executed its program. Raises PyruncError when it has ended without that.

    execve(2) closes the process's end of exec.fifo, which wakes us. But others may hold that end open, who can take
    descriptors out of the process, and an end of the process closes it too; so what counts is what the kernel itself
    keeps of the process, at which we look again and again.
    """
    poll = select.poll()
    # No reader any more: POLLERR, which is always reported.
    poll.register(fifo, 0)
    poll.register(pidfd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll(_LOOK)]
        executed = procfs.has_executed(container.pid, container.fields["start"])
        if executed:
            return
        if executed is None or pidfd in ready:
            break
        if ready:
            poll.unregister(fifo)  # it is about to end
    said = _said(fifo)
    problem = _problem(container, said)
    if problem is None and executed is None and not _was_cut_short(said, pidfd):
        return  # the program was over, and its parent has waited for it, before we could look
    raise problem or _silent(container)


def _silent(container: Container) -> StateError:
    """The error for a process that ended without a word: a filter may have killed it."""
    error = StateError("the container's process ended before its program could be executed")
    try:
        seccomp = container.config().get("linux", {}).get("seccomp")
    except (OSError, PyruncError):
        return error  # deleted since
    if seccomp:
        from pyrunc.steps.seccomp import denied

        words, pointer = denied.of_death(seccomp, True, ("execve",))
        error.hint, error.pointer = words or None, pointer or None
    return error


def _said(fifo: int) -> bytes:
    """What the process had to say: it is in the fifo as long as we hold an end of it."""
    # By the descriptor: the file is gone.
    reader = posix.open("/proc/self/fd/" + str(fifo), posix.O_RDONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    try:
        return posix.read(reader, 65536)
    except BlockingIOError:
        return b""
    finally:
        posix.close(reader)


def _was_cut_short(said: bytes, pidfd: int) -> bool:
    """Whether a process that nothing is left of had not come to its program, as far as can be known."""
    if said[:1] == b"0" or said[-1:] == HOOKS_BEGIN:
        return True  # it has not taken our byte, or was killed in its hooks
    info = bytearray(64)
    info[:8] = _INFO_EXIT.to_bytes(8, sys.byteorder)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return False
    # exit_code, in the form of waitpid(2): the last of the 4-byte fields, at 60. SIGKILL, or SIGSYS of a filter.
    return bool(info[0] & _INFO_EXIT) and int.from_bytes(info[60:64], sys.byteorder) & 0x7F in (9, 31)


def take_away(container: Container) -> None:
    """What is left of a container of the caller's, and only of this one: its name may be another's by now."""
    from pyrunc.lifecycle import delete, kill

    kill.kill_everything(container)
    try:
        lock = Lock(container.directory)
    except StateError:
        return  # somebody else was faster
    try:
        try:
            now = container.store.load(container.id)
        except StateError:
            return  # as above, and another one is being made
        if [now.fields[name] for name in ("created", "pid", "start")] == [
            container.fields[name] for name in ("created", "pid", "start")
        ]:
            delete.destroy(container)
    finally:
        lock.release()


def _problem(container: Container, data: bytes) -> PyruncError | None:
    """The error that the process told of."""
    from pyrunc.steps import messages

    data = data.lstrip(b"0" + HOOKS_BEGIN + HOOKS_END)
    if data[:1] == messages.FAILED:
        pointer, _, text = data[1:].decode("utf-8", "surrogateescape").partition("\0")
        return PyruncError(text, step="hooks", pointer=pointer)
    if data[:1] == messages.STAGE_FAILED and len(data) >= 6:
        number = int.from_bytes(data[2:6], "little")
        config = container.config()
        process = config.get("process")
        error = PyruncError(
            "exec " + (process["args"][0] if process else "?") + ": " + posix.strerror(number).lower(),
            step=EXECVE,
            pointer="/process/args/0",
            errno=number,
        )
        _explain(container, config, error)
        return error
    return None


def _explain(container: Container, config: Config, error: PyruncError) -> None:
    """Why the program could not be executed: what was in the way, as far as it can be seen from here."""
    from pyrunc.steps.process import unrunnable
    from pyrunc.steps.seccomp import denied

    seccomp = config.get("linux", {}).get("seccomp")
    if seccomp:
        words, pointer = denied.of_stage(seccomp, EXECVE, error.errno or 0)
        if words:
            error.hint, error.pointer = words, pointer
            return
    try:
        bundle = container.fields["bundle"]
        root = config["root"]["path"]
        root = root if root.startswith("/") else f"{bundle}/{root}"
        mounts = config.get("mounts", [])
        error.hint = unrunnable.from_outside(root, config["process"], error.errno or 0, mounts, bundle) or None
    except Exception:  # the bundle is gone, or a file there is like none: the error itself is what counts
        return


def _poststart(container: Container, meanwhile: Callable[[], object] | None) -> None:
    """A failing poststart hook is an error and stops the container (runtime.md, "Lifecycle", 1.3.0)."""
    from pyrunc.steps import hooks

    state = container.state_json("running")
    state.pop("owner")
    text = dumps(state).encode("utf-8", "surrogateescape")
    try:
        wanted = container.fields["hooks"]["poststart"]
        annotations = container.annotations()
        bundle = container.fields["bundle"]
        hooks.run(wanted, "poststart", text, bundle, annotations=annotations, meanwhile=meanwhile)
    except PyruncError as error:
        error.step = "hooks"
        raise

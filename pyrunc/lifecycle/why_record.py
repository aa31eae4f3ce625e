"""What has failed, and how containers ended that ended badly: written here, told by `pyrunc why`.

<root>/@why/<id>   a JSON object a container: {"format": 1, "id": ID, "events": [...]}, the latest event last

No container can have a name with "@". The folder is the caller's alone (0700, 0600) and opened by descriptor, and no
link in it is followed. At most 64 entries and 1 MiB in all; what was written to longest ago goes first.

Imported only when something has gone wrong. Whatever is wrong here spoils nothing there: nothing is raised.
"""

from __future__ import annotations

import errno
import posix
import time
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, StateError
from pyrunc.jsontext import dumps, loads
from pyrunc.lifecycle import remains
from pyrunc.linux import files
from pyrunc.linux.directories import make_directories
from pyrunc.state import lock
from pyrunc.state.container import timestamp
from pyrunc.state.store import check_id

if TYPE_CHECKING:
    from pyrunc.lifecycle.foreground import Foreground
    from pyrunc.state.container import Container

FOLDER: Final = "@why"
FORMAT: Final = 1
ENTRIES: Final = 64
# Bytes of one entry, and so of all: 1 MiB.
ENTRY_LIMIT: Final = 16384
_ALL_LIMIT: Final = ENTRIES * ENTRY_LIMIT
# Characters of one text in an event.
_TEXT_LIMIT: Final = 5000
# The name under which an entry is written before it takes its place.
_NEW: Final = "@new"
# Seconds to wait for another process that writes.
_PATIENCE: Final = 0.5
_FLAGS: Final = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
# The phases of a container that a failure is kept of.
COMMANDS: Final = ("create", "exec", "restore", "run", "start")


# ILL TRAP BUS FPE SEGV SYS: of the program's own doing, or a filter's.
_OWN_SIGNALS: Final = (4, 5, 7, 8, 11, 31)


# ---- what is told ----


def failed(root: str, container_id: str, command: str, error: PyruncError) -> None:
    """A command that failed, by its error."""
    try:
        check_id(container_id)
    except PyruncError:
        return
    if isinstance(error, StateError) and error.errno in (errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
        return  # there is no such container, or another one: nothing has become of it
    event: dict[str, Any] = {"what": "failed", "command": command, "message": error.message}
    for name in ("step", "pointer", "errno", "hint"):
        if getattr(error, name) is not None:
            event[name] = getattr(error, name)
    if command in ("create", "restore", "run") and not error.message.startswith("bundle "):
        try:
            event["bundle"] = posix.getcwd()  # which the command has entered, or says that it cannot
        except OSError:
            pass
    if error.errno in (errno.EPERM, errno.EACCES):
        from pyrunc.lifecycle import kernel_log

        # The container's process has our name until it has its program.
        _add(event, "kernel", kernel_log.find(['comm="pyrunc'], kernel_log.own_start()))
    _keep(root, container_id, event)


def ended(container: Container, status: int, foreground: Foreground) -> None:
    """The end of a process that `run` has waited for. status: not 0, as Foreground.wait() gives it."""
    event = _end(container, "run")
    if foreground.killed:
        event["signal"] = status - 128
    else:
        event["exitStatus"] = status
    _add(event, "sender", _sender(foreground.last_signal))
    _explain(event, container, container.manager())
    _keep(container.store.root, container.id, event)


def found(container: Container, manager: Any, is_zombie: bool) -> None:
    """What `delete` has found: memory has run out, or nobody has waited yet for a process that ended badly."""
    event = _end(container, "delete")
    if is_zombie:
        event.update(remains.exit_of(container.pid))
    _explain(event, container, manager)
    if event.get("oom") or event.get("signal") or event.get("exitStatus"):
        _keep(container.store.root, container.id, event)


def exec_ended(container: Container, program: str, status: int, foreground: Foreground) -> None:
    """The end, by a signal, of another process that `exec` has waited for. Its exit status is its caller's affair."""
    event: dict[str, Any] = {"what": "ended", "command": "exec", "pid": foreground.pid, "program": program}
    event["signal"] = status - 128
    _add(event, "sender", _sender(foreground.last_signal))
    if event["signal"] in _OWN_SIGNALS:
        from pyrunc.lifecycle import kernel_log

        # It is not older than the container.
        _add(event, "kernel", kernel_log.of_process(foreground.pid, container.fields["start"]))
    _keep(container.store.root, container.id, event)


# ---- how it is put together ----


def _add(event: dict[str, Any], name: str, value: Any) -> None:
    if value:
        event[name] = value


def _end(container: Container, command: str) -> dict[str, Any]:
    fields = container.fields
    event: dict[str, Any] = {"what": "ended", "command": command}
    event.update({name: fields[name] for name in ("pid", "start", "bundle", "created")})
    _add(event, "started", remains.started(container))
    return event


def _explain(event: dict[str, Any], container: Container, manager: Any) -> None:
    """Memory that has run out; and of a signal that the kernel sends, what it says of it."""
    _add(event, "oom", remains.out_of_memory(manager, container.fields["start"]))
    if event.get("oom") or event.get("signal") in _OWN_SIGNALS:
        from pyrunc.lifecycle import kernel_log

        _add(event, "kernel", kernel_log.of_process(container.pid, container.fields["start"]))


def _sender(last: bytes) -> dict[str, Any] | None:
    """The last signal that `run` has passed on, and who sent it. last: struct signalfd_siginfo (signalfd(2))."""
    if not last:
        return None
    number, code, pid, uid = [int.from_bytes(last[at : at + 4], "little", signed=at == 8) for at in (0, 8, 12, 16)]
    told: dict[str, Any] = {"signal": number}
    if code > 0:
        told["name"] = "the terminal or the kernel"  # SI_KERNEL of sigaction(2)
        return told
    told["pid"], told["uid"] = pid, uid
    try:
        told["name"] = files.read(f"/proc/{pid}/comm", limit=64).decode("utf-8", "replace").strip()
    except OSError:
        pass  # it has ended since
    return told


# ---- the folder ----


def open_folder(root: str, make: bool = False) -> int:
    """A descriptor of the folder. Raises OSError when it is not there, a link, or not the caller's alone."""
    if make:
        make_directories(root, 0o700)
    above = posix.open(root, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        if make:
            try:
                posix.mkdir(FOLDER, 0o700, dir_fd=above)
            except FileExistsError:
                pass
        fd = posix.open(FOLDER, posix.O_RDONLY | posix.O_DIRECTORY | _FLAGS, dir_fd=above)
    finally:
        posix.close(above)
    if not files.is_ours_alone(posix.fstat(fd), _linux.S_IFDIR):
        posix.close(fd)
        raise PermissionError(errno.EPERM, "belongs to another user, or others may look into it", f"{root}/{FOLDER}")
    return fd


def read(folder: int, container_id: str) -> dict[str, Any] | None:
    """An entry, None when there is none or none of ours. Raises OSError."""
    try:
        fd = posix.open(container_id, posix.O_RDONLY | _FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EACCES):
            return None
        raise
    try:
        if not files.is_ours_alone(posix.fstat(fd), _linux.S_IFREG):
            return None
        entry: Any = loads(files.read_fd(fd, ENTRY_LIMIT + 1), "entry", ENTRY_LIMIT, surrogates=True)
    except PyruncError:
        return None
    finally:
        posix.close(fd)
    return entry if _is_entry(entry, container_id) else None


def _is_entry(entry: Any, container_id: str) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("format") == FORMAT
        and entry.get("id") == container_id
        and isinstance(entry.get("events"), list)
        and all(
            isinstance(event, dict)
            and isinstance(event.get("time"), str)
            and isinstance(event.get("kernel", []), list)
            and all(isinstance(event.get(name, ""), str) for name in ("created", "started", "bundle"))
            for event in entry["events"]
        )
    )


def _keep(root: str, container_id: str, event: dict[str, Any]) -> None:
    """Add an event to the container's entry. Raises nothing: what cannot be kept is not."""
    event = {"time": timestamp(), **{name: _short(value) for name, value in event.items()}}
    folder = -1
    try:
        folder = open_folder(root, make=True)
        _lock(folder)
        entry = read(folder, container_id) or {"format": FORMAT, "id": container_id, "events": []}
        if _is_known(event, entry["events"]):
            return
        _append(entry["events"], event)
        _write(folder, container_id, _fitting(entry))
        _clean(folder)
    except (OSError, PyruncError):
        return
    finally:
        if folder >= 0:
            posix.close(folder)


def _short(value: Any) -> Any:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else value


def _is_known(event: dict[str, Any], events: list[dict[str, Any]]) -> bool:
    """Whether that end has been told of: by `run`, before it deletes the container."""
    return "start" in event and any(
        one.get("what") == "ended" and (one.get("pid"), one.get("start")) == (event["pid"], event["start"])
        for one in events
    )


def _append(events: list[dict[str, Any]], event: dict[str, Any]) -> None:
    """Add it at the end; of the same failure again and again, as of a health check, the last one with their number."""
    last = events[-1] if events else {}
    if event["what"] == "failed" and all(last.get(name) == event.get(name) for name in ("what", "command", "message")):
        times = last.get("times")
        event["times"] = (times if isinstance(times, int) else 1) + 1
        del events[-1]
    events.append(event)


def _fitting(entry: dict[str, Any]) -> bytes:
    """The entry's bytes, without its oldest events where there is no room for all; of one that is too large, a part."""
    events = entry["events"]
    while True:
        data = dumps(entry).encode("utf-8", "surrogateescape")
        if len(data) <= ENTRY_LIMIT:
            return data
        if len(events) > 1:
            del events[0]
        else:
            # Of what is no text, each byte may be six characters of JSON.
            events[0] = {name: _half(value) for name, value in events[0].items()}


def _half(value: Any) -> Any:
    if isinstance(value, str):
        return value[: len(value) // 2 + 64]
    if isinstance(value, list):
        return value[: len(value) // 2]
    return value


def _lock(folder: int) -> None:
    """One writer at a time. Raises OSError when another one takes too long."""
    if not lock.wait_for(folder, time.monotonic() + _PATIENCE):
        raise BlockingIOError(errno.EWOULDBLOCK, "another one writes")


def _write(folder: int, container_id: str, data: bytes) -> None:
    if len(data) > ENTRY_LIMIT:
        raise OSError(errno.EFBIG, "the event is too large")
    try:
        posix.unlink(_NEW, dir_fd=folder)
    except FileNotFoundError:
        pass
    files.replace_by(_NEW, container_id, data, 0o600, folder)


def _clean(folder: int) -> None:
    """Hold the folder to its limits: what was written to longest ago goes, of a link the link."""
    found = []
    for name in posix.listdir(folder):
        status = posix.stat(name, dir_fd=folder, follow_symlinks=False)
        found.append((status.st_mtime_ns, status.st_size, name))
    found.sort()
    count, size = len(found), sum([one[1] for one in found])
    for _, length, name in found:
        if count <= ENTRIES and size <= _ALL_LIMIT:
            return
        try:
            posix.unlink(name, dir_fd=folder)
        except OSError:
            continue  # a folder, which is not ours
        count -= 1
        size -= length

"""checkpoint: save a running container to images by CRIU."""

from __future__ import annotations

import fcntl
import posix
from posixpath import realpath
from typing import TYPE_CHECKING, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, StateError, UsageError, reason
from pyrunc.jsontext import dumps
from pyrunc.lifecycle import delete, kill
from pyrunc.lifecycle.checkpoint import criu, external_mounts
from pyrunc.linux import files, mountinfo
from pyrunc.linux.directories import make_directories
from pyrunc.state.container import Container
from pyrunc.state.lock import Lock
from pyrunc.steps.namespaces import TYPES, Namespaces

if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.lifecycle.checkpoint.criu import CriuOptions
    from pyrunc.lifecycle.checkpoint.rpc import Opts
    from pyrunc.state.store import Store

LOG: Final = "dump.log"
#: In the images: where the standard streams of the process led, so that restore finds the pipes among them.
DESCRIPTORS: Final = "descriptors.json"
STREAMS: Final = ("standard input", "standard output", "standard error")
# Namespaces that CRIU leaves as they are when they are not the container's own, and what it is to call them.
EXTERNAL_NAMESPACES: Final = {"network": "extRootNetNS", "pid": "extRootPidNS"}


def checkpoint(store: Store, container_id: str, options: CriuOptions) -> None:
    """Save a running or paused container. Without leave_running or pre_dump it is destroyed, as runc does.

    Raises StateError in any other state, PyruncError when CRIU fails: then the container runs on.
    """
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        status = container.status()
        if status not in ("running", "paused"):
            raise StateError(f"Container cannot be checkpointed in {status} state")
        if not container.fields.get("ownMounts", True):
            raise PyruncError(
                "a container without a mount namespace cannot be checkpointed", pointer="/linux/namespaces"
            )
        _check_status_fd(options)
        _check_parent(options)
        criu.check(memory_tracking=options.pre_dump, lazy_pages=options.lazy_pages)
        _dump(container, options)
        if not (options.leave_running or options.pre_dump):
            if not kill.kill_everything(container):
                raise PyruncError("container init still running")
            delete.destroy(container)
    finally:
        lock.release()


def _check_status_fd(options: CriuOptions) -> None:
    if options.status_fd < 0 or not options.lazy_pages:
        return
    what = f"invalid --status-fd argument {options.status_fd}: "
    try:
        flags = fcntl.fcntl(options.status_fd, fcntl.F_GETFL)
    except OSError as error:
        raise UsageError(what + reason(error)) from None
    if flags & posix.O_ACCMODE == posix.O_RDONLY:
        raise UsageError(what + "not writable")


def _dump(container: Container, options: CriuOptions) -> None:
    config = container.config()
    if config.get("process") and files.exists(container.directory + "/notify"):
        from pyrunc.lifecycle import notify_socket

        # Not in the config as it was given: create has added it.
        notify_socket.add_notify_socket(config, container.directory)
    told = (
        [] if options.pre_dump else external_mounts.external_at_dump(container.pid, config, container.fields["cgroup"])
    )
    told += _namespaces(container.pid, config)
    streams = _descriptors(container.pid, options)
    told += {name for name in streams if name.startswith("tty[")}
    for path in (options.image_path, options.work_path):
        if path:
            _make_directory(path, config)
    service = criu.Service()
    rpc = service.rpc
    images = criu.open_directory(options.image_path, "image directory")
    work = criu.open_directory(options.work_path, "work directory") if options.work_path else -1
    try:
        if not options.pre_dump:
            files.replace(f"{options.image_path}/{DESCRIPTORS}", dumps(streams).encode("utf-8"))
        wanted = criu.common_options(rpc, options, images, work, LOG, container.fields["annotations"])
        _add(wanted, container, options, told)
        service.start()
        kind = rpc.SINGLE_PRE_DUMP if options.pre_dump else rpc.DUMP
        answer = service.ask(rpc.criu_req(type=kind, opts=wanted), _Notifications(options))
        if not answer.success:
            raise criu.failure(service, options, LOG, answer)
    except OSError as error:
        raise PyruncError("checkpoint: " + reason(error), errno=error.errno) from None
    finally:
        service.finish()
        posix.close(images)
        if work >= 0:
            posix.close(work)


def _make_directory(path: str, config: Config) -> None:
    """Raises PyruncError."""
    if files.exists(path):
        return
    try:
        make_directories(path, 0o700)
        for mapping in config.get("linux", {}).get("gidMappings", []):
            if mapping["containerID"] == 0:
                # Processes restored in a user namespace read their memory from here as its root.
                posix.chown(path, -1, mapping["hostID"])
                posix.chmod(path, 0o710)
    except OSError as error:
        raise PyruncError(f"make {path}: {reason(error)}", errno=error.errno) from None


def _add(wanted: Opts, container: Container, options: CriuOptions, told: list[str]) -> None:
    wanted.pid = container.pid
    wanted.root = container.fields["rootfs"]
    wanted.leave_running = options.leave_running
    wanted.tcp_skip_in_flight = options.tcp_skip_in_flight
    wanted.link_remap = options.link_remap
    wanted.external.extend(told)
    if options.parent_path:
        wanted.parent_img = options.parent_path
    if options.parent_path or options.pre_dump:
        wanted.track_mem = True
    if options.page_server:
        wanted.ps.address, wanted.ps.port = options.page_server
    paths = container.fields["cgroup"]
    freezer = paths.get("freezer") or paths.get("")
    if freezer:
        # Else it stops every process by ptrace(2), one after the other.
        wanted.freeze_cgroup = freezer


class _Notifications:
    """Only one is of interest: the server of a lazy dump is ready."""

    __slots__ = ("options",)

    def __init__(self, options: CriuOptions) -> None:
        self.options = options

    def __call__(self, script: str, pid: int, fd: int) -> None:
        log.debug("criu: " + script)
        if script == "status-ready" and self.options.status_fd >= 0:
            try:
                posix.write(self.options.status_fd, b"\0")
            except OSError as error:
                log.warning("write to --status-fd: " + reason(error))
            posix.close(self.options.status_fd)
            self.options.status_fd = -1


def _check_parent(options: CriuOptions) -> None:
    """Raises UsageError for a parent that is not there: CRIU would only save everything again."""
    if options.parent_path is None:
        return
    # The directory of the images may not be there yet, and CRIU will be in the one that a link leads to.
    path = realpath(f"{realpath(options.image_path)}/{options.parent_path}")
    try:
        posix.close(posix.open(path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC))
    except OSError as error:
        raise UsageError(f"invalid --parent-path: stat {path}: {reason(error)}", errno=error.errno) from None


def _namespaces(pid: int, config: Config) -> list[str]:
    """The namespaces that the container joined, for CRIU to leave alone."""
    told = []
    for kind in Namespaces(config.get("linux", {}).get("namespaces", [])).joined:
        if kind in EXTERNAL_NAMESPACES:
            name = TYPES[kind][1]
            number = posix.stat(f"/proc/{pid}/ns/{name}").st_ino
            told.append(f"{name}[{number}]:{EXTERNAL_NAMESPACES[kind]}")
    return told


def _descriptors(pid: int, options: CriuOptions) -> list[str]:
    """Where the standard streams lead, as CRIU names it. Raises PyruncError for a terminal without --shell-job."""
    found = []
    table = {entry.number for entry in mountinfo.entries(pid)}
    for number in range(len(STREAMS)):
        path = f"/proc/{pid}/fd/{number}"
        try:
            name = posix.readlink(path)
            about = posix.stat(path)
            is_outside = mountinfo.mount_number(f"/proc/{pid}/fdinfo/{number}") not in table
        except OSError:
            found.append("")
            continue
        if is_outside and _is_terminal(about):
            # Not the container's own console, which lies on its own /dev/pts.
            if not options.shell_job:
                raise PyruncError(
                    f"the container's {STREAMS[number]} is a terminal of the host's: {name}",
                    hint="with --shell-job it is saved, and restored on the terminal that restore is called on",
                )
            name = f"tty[{format(about.st_rdev, 'x')}:{format(about.st_dev, 'x')}]"
        found.append(name)
    return found


def _is_terminal(about: posix.stat_result) -> bool:
    """Pseudo-terminals (major numbers 136 to 143), consoles and serial lines (admin-guide/devices.rst)."""
    major = posix.major(about.st_rdev)
    return about.st_mode & _linux.S_IFMT == _linux.S_IFCHR and (major in (4, 5) or 136 <= major <= 143)

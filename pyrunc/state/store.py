"""The containers of one root: where their state stands on disk, and what it says.

<root>/<id>/state.json   what is known of the container, replaced atomically
<root>/<id>/config.json  the config as it was at create: later changes to the bundle do not matter
<root>/<id>/exec.fifo    there while the container is `created`
"""

from __future__ import annotations

import errno
import fcntl
import posix
import time
from typing import TYPE_CHECKING, Any, Final

from pyrunc.cgroups import manager
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import dumps
from pyrunc.linux import files, procfs
from pyrunc.state import state_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroups import AnyManager

OCI_VERSION: Final = "1.3.0"
#: In a state directory: see above.
FIFO: Final = "exec.fifo"
# Seconds to wait for another operation on a container.
PATIENCE: Final = 10.0

_ID_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


def check_id(container_id: str) -> None:
    """Raises StateError unless it can be a container's name: it becomes a directory's."""
    if (
        not container_id
        or not _ID_CHARACTERS.issuperset(container_id)
        or container_id in (".", "..")
        or len(container_id) > 255
    ):
        raise StateError("invalid container ID format: " + container_id[:256])


class Store:
    """The containers below one root directory, an absolute path."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, container_id: str) -> str:
        """The container's state directory. Raises StateError for what is no ID."""
        check_id(container_id)
        return self.root + "/" + container_id

    def load(self, container_id: str) -> Container:
        """The container of this name.

        Raises StateError when there is none, PyruncError when its state cannot be read or is not to be believed.
        """
        directory = self.directory(container_id)
        return Container(self, directory, state_file.read(directory, container_id))

    def list(self) -> list[Container]:
        """All containers, by name; what cannot be read is left out."""
        try:
            names = sorted(posix.listdir(self.root))
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            try:
                found.append(self.load(name))
            except PyruncError:
                continue
        return found


def make_directories(path: str, mode: int) -> None:
    """mkdir -p of an absolute path. Raises OSError."""
    missing = []
    while True:
        try:
            posix.mkdir(path, mode)
            break
        except FileExistsError:
            break
        except FileNotFoundError:
            missing.append(path)
            path = path.rpartition("/")[0] or "/"
    for path in reversed(missing):
        try:
            posix.mkdir(path, mode)
        except FileExistsError:
            continue


class Container:
    """One container as its state.json has it.

    fields: the object in state.json. Its keys: format, id, ociVersion, phase ("creating" or "created"), pid and start
    (0 before the clone; the start time tells the process from a later one of the same number), bundle, rootfs,
    created, annotations, cgroup (controller to directory), hooks (poststart and poststop), ownMounts (False when the
    mounts are in the runtime's own mount namespace), privatePids (True when a new pid namespace ends with the init
    process, and nobody of it can be left then; older states lack it), ownKeyring (False with --no-new-keyring), mounts
    (those that are ours to take away, as mount_record.take gives them; older states lack it), trustAnnotations (there
    and True with that flag), updated (what update has asked for, as JSON text; missing before the first).
    """

    __slots__ = ("directory", "fields", "is_zombie", "store")

    def __init__(self, store: Store, directory: str, fields: dict[str, Any]) -> None:
        #: Whether is_alive() has found that it has ended, and nobody has waited for it yet.
        self.is_zombie = False
        self.store = store
        self.directory = directory
        self.fields = fields

    @property
    def id(self) -> str:
        return str(self.fields["id"])

    @property
    def pid(self) -> int:
        """The init process's number, as recorded."""
        return int(self.fields["pid"])

    def save(self) -> None:
        """Write state.json. Raises OSError."""
        files.replace(self.directory + "/state.json", dumps(self.fields).encode("utf-8", "surrogateescape"))

    def is_alive(self) -> bool:
        """Whether the init process runs: the very one, not a later process of its number, and no zombie."""
        if not self.pid:
            return False
        found = procfs.process_state(self.pid)
        if found is None or found[1] != self.fields["start"]:
            return False
        self.is_zombie = found[0] == "Z"
        return found[0] not in "ZX"

    def open_pidfd(self) -> int | None:
        """A pidfd of the init process, None when it has ended. The recorded process, whatever its number names now."""
        from pyrunc import _linux

        if not self.pid:
            return None
        try:
            fd = _linux.pidfd_open(self.pid, 0)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL):
                return None
            raise
        # Opened first, compared then: what the descriptor names cannot change any more.
        if not self.is_alive():
            posix.close(fd)
            return None
        return fd

    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md, "State")."""
        if self.fields["phase"] == "creating":
            # Whoever creates it holds its lock. One that was killed has left what can only be deleted.
            return "creating" if self.is_locked() else "stopped"
        if not self.is_alive():
            return "stopped"
        # Of a hierarchy for each controller that is one.
        if self.manager(("", "freezer")).frozen():
            return "paused"
        return "created" if self.waits_for_start() else "running"

    def waits_for_start(self) -> bool:
        """Whether the process blocks on exec.fifo. (A start that was killed may have left the file behind.)

        Raises OSError, PyruncError.
        """
        try:
            fd = posix.open(self.directory + "/" + FIFO, posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return False
            raise
        posix.close(fd)
        # Somebody else may hold it open.
        return procfs.has_executed(self.pid, self.fields["start"]) is False

    def manager(self, used: tuple[str, ...] | None = None) -> AnyManager:
        """The container's cgroup. Raises Malformed when a directory that is recorded as one is none.

        used: the keys of those that the caller asks something of, when these are not all.
        """
        fields = self.fields
        cgroup = fields["cgroup"]
        try:
            for path in {cgroup[key] for key in (cgroup if used is None else used) if key in cgroup}:
                state_file.check_cgroup(path)
        except PyruncError as error:
            raise state_file.Malformed(error.message, fields) from None
        return manager(fields["cgroup"], bool(fields.get("rootless")), fields.get("systemd"), self.id)

    def annotations(self) -> dict[str, str]:
        """Those that hooks heed: all or none, as the create was told."""
        return dict(self.fields["annotations"]) if self.fields.get("trustAnnotations") else {}

    def pids(self) -> list[int]:
        """All processes in the container's cgroup, as the runtime's pid namespace counts them."""
        return self.manager().pids()

    def config(self) -> dict[str, Any]:
        """The config that the container was created from. Raises OSError, ConfigError, StateError when it is gone."""
        from pyrunc.config.load import parse

        try:
            config: Any = parse(files.read(self.directory + "/config.json", limit=16 << 20))
        except FileNotFoundError as error:
            # Deleted since its state was read.
            raise StateError("container does not exist", errno=error.errno) from None
        return dict(config)

    def state_json(self, status: str | None = None) -> dict[str, Any]:
        """The state object of the specification, with runc's additions."""
        fields = self.fields
        status = status or self.status()
        state = {
            "ociVersion": fields["ociVersion"],
            "id": fields["id"],
            "pid": 0 if status == "stopped" else fields["pid"],
            "status": status,
            "bundle": fields["bundle"],
            "rootfs": fields["rootfs"],
            "created": fields["created"],
        }
        if fields["annotations"]:
            state["annotations"] = fields["annotations"]
        state["owner"] = ""
        return state

    def is_locked(self) -> bool:
        """Whether an operation on the container is under way. Raises PyruncError."""
        try:
            fd = posix.open(self.directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise PyruncError("open " + self.directory + ": " + reason(error), errno=error.errno) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            posix.close(fd)
        return False


def stands_at(fd: int, path: str) -> bool:
    """Whether that directory stands at the path."""
    try:
        found = posix.stat(path)
    except OSError:
        return False
    mine = posix.fstat(fd)
    return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)


class Busy(PyruncError):
    """Another operation on the container has its lock, and keeps it."""


class Lock:
    """One operation at a time on a container: an exclusive flock(2) on its state directory.

    It goes with the process that holds it, however that ends. Nothing is waited for while it is held that the container
    or a hook can prolong, and nobody waits for it without a limit. timeout: seconds to wait.
    """

    __slots__ = ("fd",)

    def __init__(self, directory: str, timeout: float = PATIENCE) -> None:
        """Raises StateError when the directory is not there or goes while we wait, Busy after timeout."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.fd = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    raise StateError("container does not exist", errno=error.errno) from None
                raise PyruncError("open " + directory + ": " + reason(error), errno=error.errno) from None
            self._take(directory, deadline)
            # Deleted, and perhaps made anew, while we waited?
            if stands_at(self.fd, directory):
                return
            posix.close(self.fd)

    def _take(self, directory: str, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    posix.close(self.fd)
                    raise PyruncError("lock " + directory + ": " + reason(error), errno=error.errno) from None
            if time.monotonic() >= deadline:
                from pyrunc.state import lock_holder

                name = directory.rpartition("/")[2]
                busy = Busy("container " + name + " is busy: " + lock_holder.of(self.fd) + " has its lock")
                self.release()
                raise busy
            time.sleep(0.005)

    def release(self) -> None:
        """Let go of it; once is enough."""
        if self.fd >= 0:
            posix.close(self.fd)
            self.fd = -1


def remove_tree(path: str) -> None:
    """Remove a state directory with what is in it; of a link, which may lead anywhere, the link. Raises OSError."""
    fd = _open_directory(path, None)
    if fd < 0:
        return
    try:
        # One descriptor, and a way back whose every step is compared: a container that has got hold of a part may nest
        # directories beyond any depth, and move them.
        names, identities = [posix.listdir(fd)], [_identity(fd)]
        way: list[str] = []
        while True:
            if names[-1]:
                name = names[-1].pop()
                below = _open_directory(name, fd)
                if below >= 0:
                    posix.close(fd)
                    fd = below
                    names.append(posix.listdir(fd))
                    way.append(name)
                    identities.append(_identity(fd))
            elif way:
                above = posix.open("..", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC, dir_fd=fd)
                posix.close(fd)
                fd = above
                names.pop()
                identities.pop()
                if _identity(fd) != identities[-1]:
                    raise OSError(errno.EAGAIN, "moved while it is removed")
                _remove(posix.rmdir, way.pop(), fd)
            else:
                break
    finally:
        posix.close(fd)
    _remove(posix.rmdir, path, None)


def _identity(fd: int) -> tuple[int, int]:
    status = posix.fstat(fd)
    return status.st_dev, status.st_ino


def _open_directory(path: str, dir_fd: int | None) -> int:
    """-1 for what is none, and is removed then, a link for one, or gone. Raises OSError."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return -1
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
    _remove(posix.unlink, path, dir_fd)
    return -1


def _remove(how: Callable[..., None], path: str, dir_fd: int | None) -> None:
    try:
        how(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def timestamp() -> str:
    """Now, as RFC 3339 with nanoseconds, in UTC."""
    now = time.time_ns()
    seconds = time.gmtime(now // 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", seconds) + "." + str(now % 1_000_000_000).rjust(9, "0") + "Z"

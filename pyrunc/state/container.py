"""One container, as its state.json has it."""

from __future__ import annotations

import errno
import fcntl
import posix
import time
from typing import TYPE_CHECKING, Final

from pyrunc.cgroups import manager
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import dumps
from pyrunc.linux import files, procfs
from pyrunc.state import state_file

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config, State, StateFile
    from pyrunc.state.store import Store

#: In a state directory: see store.py.
FIFO: Final = "exec.fifo"


class Container:
    """One container as its state.json has it.

    fields: the object in state.json; what each key means stands with its type, config/types.py.
    """

    __slots__ = ("directory", "fields", "is_zombie", "store")

    def __init__(self, store: Store, directory: str, fields: StateFile) -> None:
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
        if self.freezer().frozen():
            return "paused"
        return "created" if self.waits_for_start() else "running"

    def waits_for_start(self) -> bool:
        """Whether the process blocks on exec.fifo. (A start that was killed may have left the file behind.)

        Raises OSError, PyruncError.
        """
        try:
            fd = posix.open(f"{self.directory}/{FIFO}", posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return False
            raise
        posix.close(fd)
        # Somebody else may hold it open.
        return procfs.has_executed(self.pid, self.fields["start"]) is False

    def manager(self, used: tuple[str, ...] | None = None) -> CgroupManager:
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

    def freezer(self) -> CgroupManager:
        """The manager, for frozen() and thaw_all() alone: of v1's many directories one is checked. As manager()."""
        return self.manager(("", "freezer"))

    def annotations(self) -> dict[str, str]:
        """Those that hooks heed: all or none, as the create was told."""
        return dict(self.fields["annotations"]) if self.fields.get("trustAnnotations") else {}

    def pids(self) -> list[int]:
        """All processes in the container's cgroup, as the runtime's pid namespace counts them."""
        return self.manager().pids()

    def config(self) -> Config:
        """The config that the container was created from. Raises OSError, ConfigError, StateError when it is gone."""
        from pyrunc.config.load import parse

        try:
            config: Config = parse(files.read(self.directory + "/config.json", limit=16 << 20))
        except FileNotFoundError as error:
            # Deleted since its state was read.
            raise StateError("container does not exist", errno=error.errno) from None
        return config

    def state_json(self, status: str | None = None) -> State:
        """The state object of the specification, with runc's additions."""
        fields = self.fields
        status = status or self.status()
        state: State = {
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
            raise PyruncError(f"open {self.directory}: {reason(error)}", errno=error.errno) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            posix.close(fd)
        return False


def timestamp() -> str:
    """Now, as RFC 3339 with nanoseconds, in UTC."""
    now = time.time_ns()
    seconds = time.gmtime(now // 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', seconds)}.{str(now % 1000000000).rjust(9, '0')}Z"

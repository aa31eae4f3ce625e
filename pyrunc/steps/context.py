"""What the two processes of one plan share while it is executed. Pure data; compile never sees it.

What a step opens is an attribute of that step, and who needs it is given the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config, State
    from pyrunc.steps.host import Host
    from pyrunc.steps.process.streams import Streams
    from pyrunc.steps.step import Step


class Context:
    """One create, run or exec under way.

    Every descriptor is -1 while it is not open. pid and pidfd: the container process, as the runtime's pid namespace
    counts it. in_container: which of the two processes this is. state: what `state` prints, for hooks. annotations:
    those of crun's that are heeded (steps/annotations.py).
    """

    __slots__ = (
        "annotations",
        "bundle",
        "cgroup",
        "config",
        "console_fd",
        "done",
        "has_listener",
        "host",
        "id",
        "in_container",
        "mounts_fd",
        "on_pid",
        "pid",
        "pidfd",
        "preserve_fds",
        "record",
        "rights",
        "root_fd",
        "rootfs",
        "self_fd",
        "state",
        "state_dir",
        "streams",
        "sync",
        "warnings",
    )

    def __init__(self, container_id: str, bundle: str, config: Config, host: Host, state_dir: str) -> None:
        self.id = container_id
        self.bundle = bundle
        self.config = config
        self.host = host
        self.state_dir = state_dir
        self.annotations: dict[str, str] = {}
        self.state: State = {"ociVersion": "", "id": container_id, "status": "", "bundle": bundle}
        self.rootfs = ""
        self.in_container = False
        self.pid = 0
        self.pidfd = -1
        # The process's end of the socket pair between the two, SOCK_SEQPACKET; see talk().
        self.sync: _socket.socket | None = None
        self.cgroup: CgroupManager | None = None
        self.root_fd = -1
        # Descriptors that the runtime sends with its next word, and those that came with the last one.
        self.rights: list[int] = []
        # Where the mounts that are made are noted: see mount_record.py.
        self.mounts_fd = -1
        # Of a process that has left the host's mount namespace: its /proc/self/fd there.
        self.self_fd = -1
        # What the foreground relays: the terminal's master, or our ends of the pipes.
        self.console_fd = -1
        self.streams: Streams | None = None
        self.preserve_fds = 0
        # The container process has handed over its seccomp listener.
        self.has_listener = False
        self.warnings: list[str] = []
        # Called in the runtime process as soon as the container process's number is known.
        self.on_pid: Callable[[Context], None] = _nothing
        # Called in the runtime process with a name and a value that state.json is to have before what they tell of.
        self.record: Callable[[str, object], None] = _nothing
        # What is to be undone when a later step fails.
        self.done: list[Step] = []

    def talk(self) -> _socket.socket:
        """The end of the socket pair, from the clone on until the last word is said."""
        assert self.sync is not None
        return self.sync


def _nothing(*_: object) -> None:
    """Nothing is recorded of an exec: its processes are in the container's cgroup."""

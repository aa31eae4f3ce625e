"""What the steps of one plan share while they are executed. Pure data; compile never sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config
    from pyrunc.steps.host import Host
    from pyrunc.steps.process.streams import Streams


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
        "cgroup_directory_fd",
        "cgroup_fds",
        "config",
        "console_fd",
        "done",
        "error_fd",
        "fifo_fd",
        "has_listener",
        "host",
        "id",
        "in_container",
        "mount_fds",
        "mounts_fd",
        "namespace_fds",
        "null_fd",
        "on_pid",
        "pid",
        "pidfd",
        "preserve_fds",
        "proc_fd",
        "program",
        "record",
        "rights",
        "root_fd",
        "rootfs",
        "seccomp",
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
        self.state: dict[str, Any] = {}
        self.rootfs = ""
        self.in_container = False
        self.pid = 0
        self.pidfd = -1
        # The process's end of the socket pair between the two: an _socket.socket, SOCK_SEQPACKET.
        self.sync: Any = None
        self.cgroup: CgroupManager | None = None
        self.cgroup_fds: list[int] = []
        # On cgroup v2, where the container process can be born in its cgroup.
        self.cgroup_directory_fd = -1
        self.namespace_fds: list[tuple[int, int, str, str]] = []
        self.root_fd = -1
        self.null_fd = -1
        # Descriptors that the runtime sends with its next word, and those that came with the last one.
        self.rights: list[int] = []
        # Mounts of the container that a later step changes by their descriptors.
        self.mount_fds: list[int] = []
        # Where the mounts that are made are noted: see mount_record.py.
        self.mounts_fd = -1
        # Of a process that has left the host's mount namespace: its /proc/self/fd there.
        self.self_fd = -1
        # The runtime's /proc, where the container process cannot have a procfs that it is in: process.OpenProcfs.
        self.proc_fd = -1
        self.console_fd = -1
        # Of a process in the foreground that has no terminal.
        self.streams: Streams | None = None
        self.fifo_fd = -1
        self.error_fd = -1
        self.preserve_fds = 0
        self.seccomp: Any = None
        # The container process has handed over its seccomp listener.
        self.has_listener = False
        self.program = ""
        self.warnings: list[str] = []
        # Called in the runtime process as soon as the container process's number is known.
        self.on_pid: Any = None
        # Called in the runtime process with a name and a value that state.json is to have before what they tell of.
        self.record: Any = None
        self.done: list[Any] = []

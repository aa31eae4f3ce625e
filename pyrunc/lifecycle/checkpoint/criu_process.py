"""The process that becomes CRIU, and what it inherits."""

from __future__ import annotations

import _socket
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError
from pyrunc.jsontext import dumps, loads
from pyrunc.lifecycle.checkpoint import criu
from pyrunc.lifecycle.checkpoint.checkpoint import EXTERNAL_NAMESPACES
from pyrunc.lifecycle.checkpoint.images import ImageMount, check_images, check_profile, image_mounts
from pyrunc.lifecycle.checkpoint.stage import Restriction, Stage
from pyrunc.steps import messages, namespaces
from pyrunc.steps.process import streams
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from pyrunc.config.types import Config, Linux, Process
    from pyrunc.lifecycle.checkpoint.criu import CriuOptions
    from pyrunc.lifecycle.create import Creation
    from pyrunc.steps.cgroup import HeldCgroup
    from pyrunc.steps.context import Context

_MESSAGE_LIMIT: Final = 1 << 18


class RestorePipes(streams.MakePipes):
    """For those of the standard streams that were pipes; CRIU opens the others by their names."""

    __slots__ = ("names",)

    def __init__(self, process: Process, linux: Linux, names: list[str]) -> None:
        streams.MakePipes.__init__(self, process, linux)
        self.names = names

    def apply(self, context: Context) -> None:
        streams.MakePipes.apply(self, context)
        assert context.streams is not None
        for number in range(3):
            if not self.names[number : number + 1] or not self.names[number].startswith("pipe:"):
                context.streams.leave(number)


class CriuProcess(Step):
    """CRIU's process: in its cgroup and mount namespace when it is told to go on, then the program."""

    __slots__ = ("cgroup", "creation", "descriptors", "directory", "found", "service", "sync", "wanted")
    name = "criu"

    def __init__(self, creation: Creation, wanted: CriuOptions, cgroup: HeldCgroup | None) -> None:
        """cgroup: what has the one to join, None for the runtime's own, or where a service manager makes it later."""
        Step.__init__(self)
        self.creation = creation
        self.cgroup = cgroup
        self.wanted = wanted
        self.service = criu.Service()
        self.directory = creation.container.directory + "/criu"
        self.sync: _socket.socket | None = None
        # The mounts in the images.
        self.found: list[ImageMount] = []
        # Of namespaces, by their key.
        self.descriptors: list[tuple[str, int]] = []

    def describe(self) -> str:
        return "start criu"

    def apply(self, context: Context) -> None:
        self.found = image_mounts(self.wanted.image_path)
        check_images(self.found)
        if self.wanted.lsm_profile:
            check_profile(self.wanted.lsm_profile, self.wanted.image_path)
        self.descriptors = [
            (EXTERNAL_NAMESPACES[kind], fd) for fd, _, kind, _ in self.joined() if kind in EXTERNAL_NAMESPACES
        ]
        posix.mkdir(self.directory, 0o711)
        self._let_through(context.config)
        cgroups = self.creation.container.fields["cgroup"]
        stage = Stage(self.directory, context.rootfs, context.config, self.creation.plan.steps, cgroups)
        self.sync, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)

        self.service.start_as(lambda: self._prepare(theirs, stage, context))
        theirs.close()
        context.pid = self.service.pid
        # So that delete --force finds what to end.
        context.on_pid(context)

    def _let_through(self, config: Config) -> None:
        """In a user namespace CRIU finds its mounts by their path, as the root of that: both folders above let it pass.

        The other containers' own folders do not, whatever the state root does.
        """
        spaces = config.get("linux", {}).get("namespaces", [])
        if any(space["type"] == "user" for space in spaces):
            container = self.creation.container
            for folder in (container.store.root, container.directory):
                posix.chmod(folder, posix.stat(folder).st_mode & 0o7777 | 0o011)

    def talk(self) -> _socket.socket:
        """Our end of the socket pair with the process, once it is there."""
        assert self.sync is not None
        return self.sync

    def joined(self) -> list[tuple[int, int, str, str]]:
        """The namespaces to join, as OpenNamespaces.fds."""
        opened = self.creation.parts.opened
        return [] if opened is None else opened.fds

    def go_on(self) -> tuple[list[tuple[str, str]], list[Restriction]]:
        """Let it set itself up and become the program. Returns what Stage.build() does. Raises PyruncError."""
        try:
            self.talk().send(messages.GO)
            data, ancillary = self.talk().recvmsg(_MESSAGE_LIMIT, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)[:2]
        except OSError:
            data, ancillary = b"", []
        if data[:1] == messages.FAILED:
            text, pointer, hint = data[5:].decode("utf-8", "surrogateescape").split("\0")
            raise PyruncError(
                text, pointer=pointer or None, hint=hint or None, errno=int.from_bytes(data[1:5], "little") or None
            )
        if not ancillary:
            raise PyruncError("the process that was to become criu ended")
        self.service.sock = _socket.socket(fileno=int.from_bytes(ancillary[0][2][:4], "little"))
        names, restrictions = loads(data, "message", _MESSAGE_LIMIT)
        return (
            [(name, path) for name, path in names],
            [Restriction(device, root, set(options)) for device, root, options in restrictions],
        )

    def _prepare(self, sync: _socket.socket, stage: Stage, context: Context) -> tuple[int, ...]:
        """In the process that becomes CRIU. What goes wrong is told to the runtime."""
        self.talk().close()
        try:
            if sync.recv(16) != messages.GO:
                posix._exit(1)
            if context.cgroup is not None and self.cgroup is not None and self.cgroup.fds:
                context.cgroup.join(self.cgroup.fds)
                context.cgroup.release()
            if self.wanted.cgroups_mode == "ignore":
                # Then it makes no cgroup namespace either, and the processes have the one that it is in.
                _own_cgroup_namespace(context)
            own = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
            stage.make_mount_points([mount.point for mount in self.found])
            # With the namespace go its mounts.
            _linux.setns(own, _linux.CLONE_NEWNS)
            names, restrictions = stage.build()
            # CRIU mounts in the directory of its log, which must be of its own mount namespace. It looks for both
            # descriptors in whoever made the socket pair: itself.
            images = criu.open_directory(self.wanted.image_path, "checkpoint directory")
            work = criu.open_directory(self.wanted.work_path or self.wanted.image_path, "work directory")
            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            told = [[each.device, each.root, sorted(each.options)] for each in restrictions]
            sync.sendmsg(
                [dumps([names, told]).encode("utf-8", "surrogateescape")],
                [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, ours.fileno().to_bytes(4, "little"))],
            )
            pipes = context.streams.theirs if context.streams is not None else [-1, -1, -1]
            standard = [fd if fd >= 0 else number for number, fd in enumerate(pipes)]
            return (*standard, theirs.detach(), images, work, *(fd for _, fd in self.descriptors))
        except BaseException as error:
            number = getattr(error, "errno", None) or 0
            if isinstance(error, PyruncError):
                text, pointer, hint = error.message, error.pointer or "", error.hint or ""
            else:
                text, pointer, hint = "set up mounts for criu: " + str(error), "", ""
            words = "\0".join((text, pointer, hint)).encode("utf-8", "surrogateescape")
            sync.send(messages.FAILED + number.to_bytes(4, "little") + words)
            raise

    def undo(self, context: Context) -> None:
        if self.sync is not None:
            self.sync.close()
        self.service.finish(kill=True)


def _own_cgroup_namespace(context: Context) -> None:
    if "cgroup" in namespaces.Namespaces(context.config.get("linux", {}).get("namespaces", [])).new:
        _linux.unshare(_linux.CLONE_NEWCGROUP)

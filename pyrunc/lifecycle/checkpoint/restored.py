"""The step in which CRIU restores the processes."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, reason
from pyrunc.lifecycle import create
from pyrunc.lifecycle.checkpoint import criu, images, stage
from pyrunc.lifecycle.checkpoint.checkpoint import EXTERNAL_NAMESPACES, STREAMS
from pyrunc.lifecycle.checkpoint.criu_process import CriuProcess
from pyrunc.lifecycle.checkpoint.images import descriptors
from pyrunc.lifecycle.checkpoint.stage import Restriction
from pyrunc.linux import files, loopback, mountinfo
from pyrunc.linux.directories import make_directories
from pyrunc.state.container import timestamp
from pyrunc.steps import clone, hooks, namespaces
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.types import Linux
    from pyrunc.lifecycle.checkpoint.criu import CriuOptions
    from pyrunc.lifecycle.checkpoint.rpc import Opts
    from pyrunc.lifecycle.create import Creation
    from pyrunc.steps.context import Context

LOG: Final = "restore.log"
# CRIU's descriptors of the two directories; those of namespaces follow.
_IMAGES: Final = 4
_WORK: Final = 5
# Namespaces that it can neither leave alone nor join. (It has code for a user namespace, which cannot open it.)
_NOT_INTO: Final = ("cgroup", "user")


class RestoreProcesses(Step):
    """The request to CRIU, and what is to be done while it restores."""

    __slots__ = ("creation", "process", "restored", "restrictions", "service", "wanted")
    name = "restore"

    def __init__(self, creation: Creation, wanted: CriuOptions, process: CriuProcess) -> None:
        Step.__init__(self)
        self.creation = creation
        self.wanted = wanted
        self.process = process
        self.service = process.service
        self.restrictions: list[Restriction] = []
        self.restored = 0

    def describe(self) -> str:
        return "restore the processes"

    def apply(self, context: Context) -> None:
        if self.wanted.work_path:
            make_directories(self.wanted.work_path, 0o700)
        names, self.restrictions = self.process.go_on()
        if context.cgroup is not None:
            context.cgroup.release()
        images.check_names(self.process.found, {name for name, _ in names})
        rpc = self.service.rpc
        annotations = self.creation.container.fields["annotations"]
        options = criu.common_options(rpc, self.wanted, _IMAGES, _WORK, LOG, annotations)
        self._add(options, names, context)
        answer = self.service.ask(rpc.criu_req(type=rpc.RESTORE, opts=options), self._notified)
        if not answer.success:
            raise criu.failure(self.service, self.wanted, LOG, answer)
        if not self.restored:
            raise PyruncError("criu did not say which process it restored")
        self.service.finish()
        self._let_go(context)

    def _add(self, options: Opts, names: list[tuple[str, str]], context: Context) -> None:
        options.root = self.process.directory + "/root"
        options.rst_sibling = True
        options.evasive_devices = True
        if self.wanted.lsm_profile:
            options.lsm_profile = self.wanted.lsm_profile
        if self.wanted.lsm_mount_context:
            options.lsm_mount_context = self.wanted.lsm_mount_context
        options.external.extend(f"mnt[{name}]:{path}" for name, path in names)
        for number, (key, _) in enumerate(self.process.descriptors, _WORK + 1):
            options.inherit_fd.add(key=key, fd=number)
        for _, _, kind, pointer in self.process.joined():
            if kind in EXTERNAL_NAMESPACES:
                continue
            if kind in _NOT_INTO:
                raise PyruncError(f"criu cannot restore into a {kind} namespace that is there already", pointer=pointer)
            path = self.creation.context.config["linux"]["namespaces"][int(pointer.split("/")[3])]["path"]
            options.join_ns.add(ns=namespaces.TYPES[kind][1], ns_file=path)
        for controllers, path in _cgroups(self.service.pid):
            for controller in controllers.split(","):
                options.cg_root.add(ctrl=controller, path=path)
        standard = descriptors(self.wanted.image_path)[:3]
        for number, name in enumerate(standard):
            if name.startswith("pipe:"):
                options.inherit_fd.add(key=name, fd=number)
            elif name.startswith("tty[") and name not in standard[:number]:
                if not posix.isatty(number):
                    raise PyruncError(
                        f"the checkpoint is of a shell job: its {STREAMS[number]} has to be a terminal",
                        hint="restore it in the foreground on a terminal",
                    )
                options.inherit_fd.add(key=name, fd=number)
                # That would be CRIU's own way, which looks at its standard input, and this has taken it away.
                options.shell_job = False

    def _notified(self, script: str, pid: int, fd: int) -> None:
        """CRIU waits until this returns. Raises OSError, PyruncError."""
        log.debug("criu: " + script)
        context = self.creation.context
        if script == "setup-namespaces":
            self._namespaces_made(context, pid)
        elif script == "orphan-pts-master" and fd >= 0:
            # What came with the message is closed after it.
            context.console_fd = posix.dup(fd)
        elif script == "post-restore":
            # Nothing of the container has run yet.
            if context.config["root"].get("readonly"):
                _within(pid, "mount", _make_root_read_only, "making the root read-only")
            _check_namespaces(context, self.process.joined(), pid)
            stage.check_restored(mountinfo.entries(pid), self.restrictions)
            self._record(context, pid)

    def _namespaces_made(self, context: Context, pid: int) -> None:
        linux: Linux = context.config.get("linux", {})
        spaces = namespaces.Namespaces(linux.get("namespaces", []))
        if "network" in spaces.new:
            # CRIU restores no network devices (EMPTY_NAMESPACES), but this one is there in every network namespace.
            _within(pid, "network", loopback.loopback_up, "bringing the loopback interface up")
        wanted = context.config.get("hooks", {})
        for kind, programs in (("prestart", wanted.get("prestart")), ("createRuntime", wanted.get("createRuntime"))):
            if programs:
                hooks.run(programs, kind, hooks.state_of(context, "created", pid), context.bundle)

    def _record(self, context: Context, pid: int) -> None:
        container = self.creation.container
        context.pid = pid
        context.pidfd = _linux.pidfd_open(pid, 0)
        context.on_pid(context)
        container.fields["phase"] = "created"
        container.fields["created"] = timestamp()
        container.save()
        own = "/proc/self/ns/time"
        kinds = [entry["type"] for entry in context.config.get("linux", {}).get("namespaces", [])]
        if "time" not in kinds and posix.stat(own).st_ino != posix.stat(f"/proc/{pid}/ns/time").st_ino:
            # CRIU restores into a time namespace of its own, so that clocks go on: exec must know of it.
            config = container.config()
            config["linux"]["namespaces"].append({"type": "time"})
            files.replace(container.directory + "/config.json", create.config_text(config))
        self.restored = pid

    def _let_go(self, context: Context) -> None:
        """What was for CRIU alone."""
        self.process.talk().close()
        try:
            posix.rmdir(self.process.directory)
            posix.chmod(self.process.creation.container.directory, 0o700)
        except OSError as error:
            log.warning(f"remove {self.process.directory}: {reason(error)}")

    def undo(self, context: Context) -> None:
        if context.pidfd >= 0:
            clone.end(context.pidfd)
            clone.reap(context)


def _check_namespaces(context: Context, joined: list[tuple[int, int, str, str]], pid: int) -> None:
    """Whether the restored process is in namespaces as the config has them. Raises OSError, PyruncError.

    Which are new stands in the images: they may be of another container, or tampered with.
    """
    spaces = namespaces.Namespaces(context.config.get("linux", {}).get("namespaces", []))
    for kind in spaces.new:
        name = namespaces.TYPES[kind][1]
        if _inode("/proc/self/ns/" + name) == _inode(f"/proc/{pid}/ns/{name}"):
            raise PyruncError(
                f"the checkpoint has no {kind} namespace, and the config asks for a new one",
                pointer=spaces.pointers[kind],
            )
    for fd, _, kind, pointer in joined:
        if posix.fstat(fd).st_ino != _inode(f"/proc/{pid}/ns/{namespaces.TYPES[kind][1]}"):
            raise PyruncError(
                f"the checkpoint has a {kind} namespace of its own, and the config joins one", pointer=pointer
            )


def _inode(path: str) -> int:
    return posix.stat(path).st_ino


def _within(pid: int, kind: str, action: Callable[[], None], what: str) -> None:
    """Do something in a namespace of the container's, by a process that is not there for long. Raises PyruncError."""
    flag, name = namespaces.TYPES[kind]
    fd = posix.open(f"/proc/{pid}/ns/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
    child, pidfd = _linux.clone(0)
    if child == 0:
        try:
            _linux.setns(fd, flag)
            action()
            posix._exit(0)
        finally:
            posix._exit(1)
    posix.close(fd)
    posix.close(pidfd)
    if posix.waitpid(child, 0)[1]:
        raise PyruncError(what + " cannot be done in the restored container")


def _make_root_read_only() -> None:
    """CRIU before 4.2 forgets it: the mount options of the root are in the images, and nobody applies them."""
    _linux.mount_setattr(_linux.AT_FDCWD, "/", 0, _linux.MOUNT_ATTR_RDONLY, 0, 0, 0)


def _cgroups(pid: int) -> list[tuple[str, str]]:
    """Controllers and path of each hierarchy that a process is in (cgroups(7))."""
    found = []
    for line in files.read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").split("\n"):
        _, colon, rest = line.partition(":")
        if colon:
            controllers, _, path = rest.partition(":")
            found.append((controllers, path))
    return found

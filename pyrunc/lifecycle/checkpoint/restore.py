"""restore: make a container anew from the images of a checkpoint, by CRIU.

The cgroup and the state are made as create makes them, and taken back alike. CRIU runs as our child in the container's
cgroup and a mount namespace of its own (external_mounts.py); the restored process is its sibling, our child too. CRIU
tells when all is restored and nothing runs yet: there it is judged, recorded, and let go.
"""

from __future__ import annotations

import _socket
import glob
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, UsageError, reason
from pyrunc.jsontext import dumps, loads
from pyrunc.lifecycle import create, start
from pyrunc.lifecycle.checkpoint import criu, external_mounts
from pyrunc.lifecycle.checkpoint.checkpoint import DESCRIPTORS, EXTERNAL_NAMESPACES, STREAMS
from pyrunc.linux import files, loopback
from pyrunc.state.store import make_directories, timestamp
from pyrunc.steps import cgroup, clone, hooks, namespaces
from pyrunc.steps.host import read_host
from pyrunc.steps.process import streams
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.lifecycle.checkpoint.criu import Options
    from pyrunc.lifecycle.create import Creation
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store
    from pyrunc.steps.context import Context

LOG: Final = "restore.log"
# CRIU's descriptors of the two directories; those of namespaces follow.
_IMAGES: Final = 4
_WORK: Final = 5
# Namespaces that it can neither leave alone nor join. (It has code for a user namespace, which cannot open it.)
_NOT_INTO: Final = ("cgroup", "user")
_IMAGE_LIMIT: Final = 16 << 20
_PROFILES: Final = "/sys/kernel/security/apparmor/profiles"
_MESSAGE_LIMIT: Final = 1 << 18


def restore(store: Store, container_id: str, options: CreateOptions, wanted: Options) -> int:
    """Returns the process's exit status (128 and the signal's number when one ended it), 0 when detached.

    options: as for create; wanted: CRIU's. Raises PyruncError, and then nothing is left of the container.
    """
    _check_flags(wanted)
    criu.check(images=wanted.image_path, lazy_pages=wanted.lazy_pages)
    creation = create.prepare(store, container_id, options)
    if not (creation.container.fields.get("ownMounts", True)):
        raise PyruncError("a container without a mount namespace cannot be restored", pointer="/linux/namespaces")
    if not options.detach:
        if not options.no_subreaper:
            _linux.prctl(_linux.PR_SET_CHILD_SUBREAPER, 1)
        from pyrunc.lifecycle.foreground import Foreground
    _carry_out(creation, wanted)
    context = creation.context
    if options.detach:
        return 0
    foreground = Foreground(context)
    foreground.begin()
    status = foreground.wait()
    try:
        if files.exists(creation.container.directory):
            start.take_away(creation.container)
    finally:
        foreground.finish(status)
    return status


def _check_flags(wanted: Options) -> None:
    """Raises UsageError for what cannot be, whatever is in the images."""
    if wanted.cgroups_mode == "strict":
        raise UsageError(
            "--manage-cgroups-mode strict: criu would have to make the cgroup, and it is made before it starts",
            hint="soft and full restore into it, ignore leaves it alone",
        )
    host = read_host(None)
    kind = wanted.lsm_profile.partition(":")[0]
    if (kind == "apparmor" and not host.apparmor) or (kind == "selinux" and not host.selinux):
        raise UsageError("--lsm-profile: " + kind + " is not enabled on this host")
    if wanted.lsm_mount_context and not host.selinux:
        raise UsageError("--lsm-mount-context: selinux is not enabled on this host")


def _carry_out(creation: Creation, wanted: Options) -> None:
    """Raises PyruncError, and then nothing is left of the container."""
    context, options, container = creation.context, creation.options, creation.container
    for warning in creation.plan.warnings:
        log.warning(warning)
    console = create.connect(options.console_socket) if options.console_socket else None
    create.hold_still()
    try:
        for step in _steps(creation, wanted):
            context.done.append(step)
            _apply(step, context)
        if console is not None:
            if context.console_fd < 0:
                raise PyruncError("the restored process has no terminal to send to the console socket")
            create.send_fd(console, context.console_fd, b"/dev/ptmx", "console socket")
            posix.close(context.console_fd)
            context.console_fd = -1
        if options.pid_file:
            create.write_pid_file(options.pid_file, context.pid)
    except BaseException:
        create.take_back(creation)
        raise
    for warning in context.warnings:
        if warning not in creation.plan.warnings:
            log.warning(warning)
    if creation.state_step.lock is not None:
        creation.state_step.lock.release()
    log.debug("restored " + container.id)


def _apply(step: Step, context: Context) -> None:
    try:
        step.apply(context)
    except PyruncError as error:
        error.step = error.step or step.name
        error.pointer = error.pointer or step.pointer or None
        raise
    except OSError as error:
        raise PyruncError(
            step.describe() + ": " + reason(error), step=step.name, pointer=step.pointer or None, errno=error.errno
        ) from None


def _steps(creation: Creation, wanted: Options) -> list[Step]:
    """What create would do in the runtime, as far as CRIU does not do it."""
    manager = creation.context.cgroup
    linux: Any = creation.context.config.get("linux", {})
    steps: list[Step] = [creation.state_step]
    for step in creation.plan.steps:
        # Sources with other ids, and the user namespaces that map them; namespaces to join.
        mapped = step.name == "idmap" or (isinstance(step, OpenTree) and step.mapping is not None)
        if mapped or isinstance(step, namespaces.OpenNamespaces):
            steps.append(step)
    program: Any = creation.context.config.get("process", {})
    if not creation.options.detach and not program.get("terminal"):
        steps.append(RestorePipes(program, linux, _descriptors(wanted.image_path)))
    process = CriuProcess(creation, wanted)
    if manager is not None and not manager.needs_process:
        # As if the limit were small: CRIU is not born in the cgroup, it joins.
        steps.append(cgroup.MakeCgroup(manager, linux.get("resources", {}), small=True))
    steps.append(process)
    if manager is not None and manager.needs_process:
        steps.append(cgroup.MakeCgroup(manager, linux.get("resources", {})))
    steps.append(RestoreProcesses(creation, wanted, process))
    return steps


class RestorePipes(streams.MakePipes):
    """For those of the standard streams that were pipes; CRIU opens the others by their names."""

    __slots__ = ("names",)

    def __init__(self, process: Any, linux: Any, names: list[str]) -> None:
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

    __slots__ = ("creation", "descriptors", "directory", "found", "service", "sync", "wanted")
    name = "criu"

    def __init__(self, creation: Creation, wanted: Options) -> None:
        Step.__init__(self)
        self.creation = creation
        self.wanted = wanted
        self.service = criu.Service()
        self.directory = creation.container.directory + "/criu"
        self.sync: Any = None
        # The mounts in the images.
        self.found: list[external_mounts.ImageMount] = []
        # Of namespaces, by their key.
        self.descriptors: list[tuple[str, int]] = []

    def describe(self) -> str:
        return "start criu"

    def apply(self, context: Context) -> None:
        self.found = _image_mounts(self.wanted.image_path)
        external_mounts.judge_images(self.found)
        if self.wanted.lsm_profile:
            _judge_profile(self.wanted.lsm_profile, self.wanted.image_path)
        self.descriptors = [
            (EXTERNAL_NAMESPACES[kind], fd) for fd, _, kind, _ in context.namespace_fds if kind in EXTERNAL_NAMESPACES
        ]
        posix.mkdir(self.directory, 0o711)
        self._let_through(context.config)
        cgroups = self.creation.container.fields["cgroup"]
        stage = external_mounts.Stage(self.directory, context.rootfs, context.config, self.creation.plan.steps, cgroups)
        self.sync, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)

        self.service.start_as(lambda: self._prepare(theirs, stage, context))
        theirs.close()
        context.pid = self.service.pid
        # So that delete --force finds what to end.
        context.on_pid(context)

    def _let_through(self, config: Any) -> None:
        """In a user namespace CRIU finds its mounts by their path, as the root of that: both folders above let it pass.

        The other containers' own folders do not, whatever the state root does.
        """
        spaces = config.get("linux", {}).get("namespaces", [])
        if any(space["type"] == "user" for space in spaces):
            container = self.creation.container
            for folder in (container.store.root, container.directory):
                posix.chmod(folder, posix.stat(folder).st_mode & 0o7777 | 0o011)

    def go_on(self) -> tuple[list[tuple[str, str]], list[external_mounts.Restriction]]:
        """Let it set itself up and become the program. Returns what Stage.build() does. Raises PyruncError."""
        try:
            self.sync.send(b"G")
            data, ancillary = self.sync.recvmsg(_MESSAGE_LIMIT, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)[:2]
        except OSError:
            data, ancillary = b"", []
        if data[:1] == b"X":
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
            [external_mounts.Restriction(device, root, set(options)) for device, root, options in restrictions],
        )

    def _prepare(self, sync: Any, stage: external_mounts.Stage, context: Context) -> tuple[int, ...]:
        """In the process that becomes CRIU. What goes wrong is told to the runtime."""
        self.sync.close()
        try:
            if sync.recv(16) != b"G":
                posix._exit(1)
            if context.cgroup is not None and context.cgroup_fds:
                context.cgroup.join(context.cgroup_fds)
                context.cgroup.release()
            if self.wanted.cgroups_mode == "ignore":
                # Then it makes no cgroup namespace either, and the processes have the one that it is in.
                _own_cgroup_namespace(context)
            own = posix.open("/proc/self/ns/mnt", posix.O_RDONLY | posix.O_CLOEXEC)
            stage.make_mount_points([mount.point for mount in self.found])
            # With the namespace go its mounts.
            _linux.setns(own, _linux.CLONE_NEWNS)
            names, restrictions = stage.build(context)
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
            sync.send(b"X" + number.to_bytes(4, "little") + words)
            raise

    def undo(self, context: Context) -> None:
        if self.sync is not None:
            self.sync.close()
        self.service.finish(kill=True)


class RestoreProcesses(Step):
    """The request to CRIU, and what is to be done while it restores."""

    __slots__ = ("creation", "process", "restored", "restrictions", "service", "wanted")
    name = "restore"

    def __init__(self, creation: Creation, wanted: Options, process: CriuProcess) -> None:
        Step.__init__(self)
        self.creation = creation
        self.wanted = wanted
        self.process = process
        self.service = process.service
        self.restrictions: list[external_mounts.Restriction] = []
        self.restored = 0

    def describe(self) -> str:
        return "restore the processes"

    def apply(self, context: Context) -> None:
        if self.wanted.work_path:
            make_directories(self.wanted.work_path, 0o700)
        names, self.restrictions = self.process.go_on()
        if context.cgroup is not None:
            context.cgroup.release()
        external_mounts.judge_names(self.process.found, {name for name, _ in names})
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

    def _add(self, options: Any, names: list[tuple[str, str]], context: Context) -> None:
        options.root = self.process.directory + "/root"
        options.rst_sibling = True
        options.evasive_devices = True
        if self.wanted.lsm_profile:
            options.lsm_profile = self.wanted.lsm_profile
        if self.wanted.lsm_mount_context:
            options.lsm_mount_context = self.wanted.lsm_mount_context
        options.external.extend("mnt[" + name + "]:" + path for name, path in names)
        for number, (key, _) in enumerate(self.process.descriptors, _WORK + 1):
            options.inherit_fd.add(key=key, fd=number)
        for _, _, kind, pointer in context.namespace_fds:
            if kind in EXTERNAL_NAMESPACES:
                continue
            if kind in _NOT_INTO:
                raise PyruncError(
                    "criu cannot restore into a " + kind + " namespace that is there already", pointer=pointer
                )
            path = self.creation.context.config["linux"]["namespaces"][int(pointer.split("/")[3])]["path"]
            options.join_ns.add(ns=namespaces.TYPES[kind][1], ns_file=path)
        for controllers, path in _cgroups(self.service.pid):
            for controller in controllers.split(","):
                options.cg_root.add(ctrl=controller, path=path)
        standard = _descriptors(self.wanted.image_path)[:3]
        for number, name in enumerate(standard):
            if name.startswith("pipe:"):
                options.inherit_fd.add(key=name, fd=number)
            elif name.startswith("tty[") and name not in standard[:number]:
                if not posix.isatty(number):
                    raise PyruncError(
                        "the checkpoint is of a shell job: its " + STREAMS[number] + " has to be a terminal",
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
            _judge_namespaces(context, pid)
            external_mounts.judge_restored(external_mounts.entries(pid), self.restrictions)
            self._record(context, pid)

    def _namespaces_made(self, context: Context, pid: int) -> None:
        linux: Any = context.config.get("linux", {})
        spaces = namespaces.Namespaces(linux.get("namespaces", []))
        if "network" in spaces.new:
            # CRIU restores no network devices (EMPTY_NAMESPACES), but this one is there in every network namespace.
            _within(pid, "network", loopback.loopback_up, "bringing the loopback interface up")
        wanted: Any = context.config.get("hooks", {})
        for kind in ("prestart", "createRuntime"):
            if wanted.get(kind):
                hooks.run(wanted[kind], kind, hooks.state_of(context, "created", pid), context.bundle)

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
        if "time" not in kinds and posix.stat(own).st_ino != posix.stat("/proc/" + str(pid) + "/ns/time").st_ino:
            # CRIU restores into a time namespace of its own, so that clocks go on: exec must know of it.
            config = container.config()
            config["linux"]["namespaces"].append({"type": "time"})
            files.replace(container.directory + "/config.json", create.config_text(config))
        self.restored = pid

    def _let_go(self, context: Context) -> None:
        """What was for CRIU alone."""
        self.process.sync.close()
        try:
            posix.rmdir(self.process.directory)
            posix.chmod(self.process.creation.container.directory, 0o700)
        except OSError as error:
            log.warning("remove " + self.process.directory + ": " + reason(error))

    def undo(self, context: Context) -> None:
        if context.pidfd >= 0:
            clone.end(context.pidfd)
            clone.reap(context)


def _own_cgroup_namespace(context: Context) -> None:
    if "cgroup" in namespaces.Namespaces(context.config.get("linux", {}).get("namespaces", [])).new:
        _linux.unshare(_linux.CLONE_NEWCGROUP)


def _judge_namespaces(context: Context, pid: int) -> None:
    """Whether the restored process is in namespaces as the config has them. Raises OSError, PyruncError.

    Which are new stands in the images: they may be of another container, or tampered with.
    """
    spaces = namespaces.Namespaces(context.config.get("linux", {}).get("namespaces", []))
    for kind in spaces.new:
        name = namespaces.TYPES[kind][1]
        if _inode("/proc/self/ns/" + name) == _inode("/proc/" + str(pid) + "/ns/" + name):
            raise PyruncError(
                "the checkpoint has no " + kind + " namespace, and the config asks for a new one",
                pointer=spaces.pointers[kind],
            )
    for fd, _, kind, pointer in context.namespace_fds:
        if posix.fstat(fd).st_ino != _inode("/proc/" + str(pid) + "/ns/" + namespaces.TYPES[kind][1]):
            raise PyruncError(
                "the checkpoint has a " + kind + " namespace of its own, and the config joins one", pointer=pointer
            )


def _inode(path: str) -> int:
    return posix.stat(path).st_ino


def _judge_profile(profile: str, images: str) -> None:
    """Whether CRIU can put the processes under --lsm-profile. Raises PyruncError.

    It gives a profile to those that had one, others run on without, and it says nothing. When the kernel refuses a
    profile it hangs, where there are several processes (CRIU 3.17).
    """
    kind, _, name = profile.partition(":")
    for process in _image_entries(images, "core-*.img"):
        # Threads but the first have no such part.
        if process.get("tc") and not process["thread_core"]["creds"].get("lsm_profile"):
            raise PyruncError(
                "--lsm-profile " + profile + ": a process of the checkpoint had no profile that criu could replace",
                hint="restore it without, or save a container that runs under a profile",
            )
    if kind == "apparmor" and not set(name).intersection(":&"):
        try:
            loaded = files.read(_PROFILES, limit=_IMAGE_LIMIT).decode("utf-8", "surrogateescape").split("\n")
        except OSError:
            return
        if not any(line.rpartition(" (")[0] == name for line in loaded):
            raise PyruncError("--lsm-profile " + profile + ": no such profile is loaded")


def _within(pid: int, kind: str, action: Callable[[], None], what: str) -> None:
    """Do something in a namespace of the container's, by a process that is not there for long. Raises PyruncError."""
    flag, name = namespaces.TYPES[kind]
    fd = posix.open("/proc/" + str(pid) + "/ns/" + name, posix.O_RDONLY | posix.O_CLOEXEC)
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
    _linux.mount_setattr(-100, "/", 0, _linux.MOUNT_ATTR_RDONLY, 0, 0, 0)


def _cgroups(pid: int) -> list[tuple[str, str]]:
    """Controllers and path of each hierarchy that a process is in (cgroups(7))."""
    found = []
    for line in files.read("/proc/" + str(pid) + "/cgroup").decode("utf-8", "surrogateescape").split("\n"):
        _, colon, rest = line.partition(":")
        if colon:
            controllers, _, path = rest.partition(":")
            found.append((controllers, path))
    return found


def _descriptors(images: str) -> list[str]:
    """Where the standard streams of the process led. Raises PyruncError."""
    try:
        names: Any = loads(files.read(images + "/" + DESCRIPTORS), DESCRIPTORS)
    except OSError as error:
        raise PyruncError(
            "read " + images + "/" + DESCRIPTORS + ": " + reason(error),
            errno=error.errno,
            hint="is this the directory of a checkpoint that is complete?",
        ) from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PyruncError(images + "/" + DESCRIPTORS + " is not a list of names")
    return names


def _image_mounts(images: str) -> list[external_mounts.ImageMount]:
    """The mounts that a checkpoint has. Raises PyruncError."""
    posix.close(criu.open_directory(images, "checkpoint directory"))
    found = _image_entries(images, "mountpoints-*.img")
    if not found:
        raise PyruncError(images + " has no mount points: it is not the directory of a checkpoint that is complete")
    return [
        external_mounts.ImageMount(
            entry["mountpoint"],
            entry.get("ext_key") or (entry["root"] if entry.get("ext_mount") else ""),
            bool(entry.get("deleted")),
            bool(entry.get("with_plugin")),
        )
        for entry in found
    ]


def _image_entries(images: str, pattern: str) -> list[Any]:
    """What is in the images whose names match. Raises PyruncError."""
    from pycriu import images as format_  # type: ignore[import-untyped,import-not-found,unused-ignore]

    found: list[Any] = []
    for path in glob.glob(glob.escape(images) + "/" + pattern):
        try:
            found += format_.loads(files.read(path, limit=_IMAGE_LIMIT))["entries"]
        except Exception as error:  # whatever the library stumbles on
            raise PyruncError("read " + path + ": " + str(error)) from None
    return found

"""create: from a bundle to a container whose process waits for start."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any

from pyrunc import _linux, cgroups, log
from pyrunc.cgroups import hierarchies
from pyrunc.config import OCI_VERSION, rules
from pyrunc.config.load import load_bundle
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.jsontext import dumps
from pyrunc.lifecycle.handover import connect, freeze_gc, inherited, send_fd, write_pid_file
from pyrunc.linux import procfs
from pyrunc.plan import create_parts, order, perform
from pyrunc.state.container import Container, timestamp
from pyrunc.state.state_file import FORMAT
from pyrunc.steps import clone
from pyrunc.steps.context import Context
from pyrunc.steps.host import read_host
from pyrunc.steps.rootfs import mount_record
from pyrunc.steps.state_directory import StateDirectory
from pyrunc.steps.step import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.config.types import Config, Hooks
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store
    from pyrunc.steps.host import Host


class Creation:
    """A create ready to be executed: what `plan` prints, `create` carries out, and tests make fail at each step."""

    __slots__ = ("container", "context", "options", "parts", "plan", "state_step")

    def __init__(
        self,
        container: Container,
        context: Context,
        parts: create_parts.CreateParts,
        plan: Plan,
        state_step: StateDirectory,
        options: CreateOptions,
    ) -> None:
        """parts: what the plan was put together from."""
        self.container = container
        self.context = context
        self.parts = parts
        self.plan = plan
        self.state_step = state_step
        self.options = options


def prepare(store: Store, container_id: str, options: CreateOptions) -> Creation:
    """Read, check and compile. No effect. Raises ConfigError, StateError."""
    directory = store.directory(container_id)
    config, raw = load_bundle(options.bundle, options.config)
    rootfs = _rootfs(config, options.bundle)
    _check_terminal(config, options)
    host = read_host(options.rootless)
    manager = _manager(config, container_id, options, host)
    preserve = inherited(config.get("process"), options.preserve_fds)
    notified = bool(posix.environ.get(b"NOTIFY_SOCKET") and config.get("process"))
    if notified:
        from pyrunc.lifecycle import notify_socket as notify

        notify.add_notify_socket(config, directory)
    context = Context(container_id, options.bundle, config, host, directory)
    context.rootfs = rootfs
    context.cgroup = manager
    context.preserve_fds = preserve
    container = _container(store, directory, context, manager, options)
    state_step = StateDirectory(container, raw, manager, notified)
    parts, plan = _compile(context, options, manager, state_step)
    context.on_pid = _recorder(container)

    def record(name: str, value: object) -> None:
        fields: Any = container.fields
        fields[name] = value
        container.save()

    context.record = record
    context.state = container.state_json("created")
    context.state.pop("owner")
    return Creation(container, context, parts, plan, state_step, options)


def _compile(
    context: Context, options: CreateOptions, manager: CgroupManager | None, state_step: StateDirectory
) -> tuple[create_parts.CreateParts, Plan]:
    """The plan, and what it was put together from. Raises ConfigError."""
    config, host = context.config, context.host
    decided = order.PlanOptions(
        no_pivot=options.no_pivot,
        no_new_keyring=options.no_new_keyring,
        seccomp_cache=state_step.container.store.root + "/@seccomp",
        relay=not options.detach,
    )
    parts = create_parts.CreateParts(config, context.bundle, context.rootfs, host, decided, manager, state_step)
    plan = order.compile_create(parts)
    plan.warnings += rules.warnings(config)
    if config.get("annotations"):
        from pyrunc.steps import annotations

        context.annotations = annotations.heeded(config["annotations"], options.trust_annotations, host)
        plan.warnings += annotations.warnings(config["annotations"], context.annotations)
    return parts, plan


def _manager(config: Config, container_id: str, options: CreateOptions, host: Host) -> CgroupManager | None:
    if options.no_cgroup:
        limits = config.get("linux", {}).get("resources", {})
        if any(limit for name, limit in limits.items() if name != "devices"):
            raise ConfigError("resources cannot be limited without a cgroup", pointer="/linux/resources")
        return None
    path = config.get("linux", {}).get("cgroupsPath")
    if not options.systemd_cgroup:
        paths = hierarchies.paths(hierarchies.detect(), path, container_id)
        return cgroups.files_manager(paths, host.rootless_cgroups, optional=not path)
    # Only here: what speaks to systemd is not for the others to load.
    from pyrunc.cgroups.systemd import manager as systemd
    from pyrunc.cgroups.systemd.scope_name import ScopeName

    place = ScopeName(path, container_id, user=systemd.is_users(host.in_user_namespace))
    return systemd.manager(place, container_id, config.get("annotations", {}), rootless=host.rootless_cgroups)


def _container(
    store: Store,
    directory: str,
    context: Context,
    manager: CgroupManager | None,
    options: CreateOptions,
) -> Container:
    config = context.config
    hooks = config.get("hooks", {})
    kept: Hooks = {}
    if hooks.get("poststart"):
        kept["poststart"] = hooks["poststart"]
    if hooks.get("poststop"):
        kept["poststop"] = hooks["poststop"]
    entries = config.get("linux", {}).get("namespaces", [])
    private = any(entry["type"] == "pid" and not entry.get("path") for entry in entries)
    container = Container(
        store,
        directory,
        {
            "format": FORMAT,
            "ociVersion": OCI_VERSION,
            "id": context.id,
            "phase": "creating",
            "pid": 0,
            "start": 0,
            "bundle": context.bundle,
            "rootfs": context.rootfs,
            "created": timestamp(),
            "annotations": config.get("annotations", {}),
            "cgroup": manager.paths if manager is not None else {},
            "systemd": manager.unit() if manager is not None else None,
            "hooks": kept,
            "ownMounts": any(entry["type"] == "mount" for entry in entries),
            "ownPids": private,  # as older versions have it
            "privatePids": private,
            "ownKeyring": not options.no_new_keyring,
            "rootless": context.host.rootless_cgroups,
            "hasProcess": bool(config.get("process")),
        },
    )
    if options.trust_annotations:
        container.fields["trustAnnotations"] = True
    return container


def _recorder(container: Container) -> Callable[[Context], None]:
    """What writes the container process's number and start time to state.json as soon as it exists."""

    def record(context: Context) -> None:
        start = procfs.start_time(context.pid)
        if start is None:
            raise PyruncError("the container process ended at once")
        container.fields["pid"] = context.pid
        container.fields["start"] = start
        container.save()
        context.state["pid"] = context.pid

    return record


def _rootfs(config: Config, bundle: str) -> str:
    """The absolute path of the rootfs: a directory reached without a symbolic link. Raises ConfigError."""
    root = config.get("root")
    if not root:
        raise ConfigError("root is required", pointer="/root")
    path = root["path"]
    if not path.startswith("/"):
        path = f"{bundle}/{path}"
    path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    try:
        fd = _linux.openat2(
            _linux.AT_FDCWD, path, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC, 0, _linux.RESOLVE_NO_SYMLINKS
        )
    except OSError as error:
        problem = {
            errno.ENOENT: "does not exist",
            errno.ELOOP: "is not an absolute path without symbolic links",
            errno.ENOTDIR: "is not a directory",
        }.get(error.errno or 0, reason(error))
        raise ConfigError(f"invalid rootfs: {path} {problem}", pointer="/root/path", errno=error.errno) from None
    posix.close(fd)
    return path


def _check_terminal(config: Config, options: CreateOptions) -> None:
    """A detached terminal needs a socket to send its master to, and only that does. Raises PyruncError."""
    terminal = bool(config.get("process", {}).get("terminal"))
    if options.detach and terminal and not options.console_socket:
        raise PyruncError(
            "cannot allocate tty if pyrunc will detach without setting console socket", pointer="/process/terminal"
        )
    if options.console_socket and not (options.detach and terminal):
        raise PyruncError("cannot use console socket if pyrunc will not detach or allocate tty")


def create(store: Store, container_id: str, options: CreateOptions) -> Container:
    """Create a container; it is `created` when this returns. Raises PyruncError, and then nothing is left."""
    return carry_out(prepare(store, container_id, options))


def carry_out(creation: Creation, keep_console: bool = False) -> Container:
    """Execute a prepared create. keep_console: leave the terminal's master in the context, do not send it.

    Raises PyruncError, and then nothing is left of the container.
    """
    context, options, container = creation.context, creation.options, creation.container
    creation.plan.foresee()
    for warning in creation.plan.warnings:
        log.warning(warning)
    # What the caller left open is the container's only if asked for (CVE-2024-21626).
    _linux.close_range(3 + context.preserve_fds, 0xFFFFFFFF, _linux.CLOSE_RANGE_CLOEXEC)
    console = connect(options.console_socket) if options.console_socket else None
    pidfd_path = options.pidfd_socket or context.annotations.get("run.oci.pidfd_receiver")
    pidfd_socket = connect(pidfd_path) if pidfd_path else None
    freeze_gc()
    mount_record.begin(context)
    try:
        perform.execute(creation.plan, context)
        # The end of file by which we know that it waits comes of its end, too.
        if clone.has_ended(context.pidfd) or procfs.is_ending(context.pid):
            raise perform.ended(creation.plan, context)
        if console is not None:
            send_fd(console, context.console_fd, b"/dev/ptmx", "console socket")
        if context.console_fd >= 0 and not keep_console:
            posix.close(context.console_fd)
            context.console_fd = -1
        if pidfd_socket is not None:
            send_fd(pidfd_socket, context.pidfd, b"pidfd", "pidfd socket")
        container.fields["mounts"] = mount_record.take(context)
        container.fields["phase"] = "created"
        container.save()
        if options.pid_file:
            write_pid_file(options.pid_file, context.pid)
    except BaseException:
        mount_record.take(context)
        take_back(creation)
        raise
    for warning in context.warnings:
        if warning not in creation.plan.warnings:
            log.warning(warning)
    creation.parts.fifo.close()
    if creation.state_step.lock is not None:
        creation.state_step.lock.release()
    return container


def take_back(creation: Creation) -> None:
    """Undo what was done of it, and run the poststop hooks, since others may have made something.

    runtime.md, "Lifecycle", step 13.
    """
    perform.undo(creation.context)
    container = creation.container
    if creation.state_step.inode and container.fields["hooks"].get("poststop"):
        from pyrunc.lifecycle import delete

        delete.poststop(container)


def config_text(config: Config) -> bytes:
    """A config as the bytes of a config.json."""
    return dumps(config).encode("utf-8", "surrogateescape")

"""exec: another process in a container, as the same kind of plan in two processes."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux, log
from pyrunc.config import load, rules
from pyrunc.errors import EXIT_EXEC_FAILURE, ConfigError, PyruncError, StateError
from pyrunc.lifecycle import handover
from pyrunc.linux import procfs
from pyrunc.plan import order, perform
from pyrunc.plan.exec_parts import ExecParts
from pyrunc.state.container import Container
from pyrunc.steps import clone, namespaces
from pyrunc.steps.context import Context
from pyrunc.steps.host import read_host
from pyrunc.steps.step import Plan

if TYPE_CHECKING:
    from pyrunc.config.types import Capabilities, Config, Linux, Process
    from pyrunc.lifecycle.options import ExecOptions
    from pyrunc.state.store import Store

__all__ = ["EXIT_EXEC_FAILURE", "exec_"]


# Of the container's process when an exec's own object says nothing of them, as in runc.
_FROM_CONFIG: Final = ("apparmorProfile", "selinuxLabel", "rlimits", "scheduler", "ioPriority", "execCPUAffinity")


def exec_(store: Store, container_id: str, options: ExecOptions) -> int:
    """Returns the process's exit status (128 and the signal's number when one ended it), 0 when detached.

    Raises StateError when the container is not running or created, PyruncError when the process cannot be started.
    """
    container = store.load(container_id)
    pidfd = container.open_pidfd()
    try:
        _check(container, pidfd, options)
        assert pidfd is not None
        config = container.config()
        wanted = _process(config, options)
        _check_terminal(wanted, options)
        context, plan = compile_exec(container, config, wanted, options, pidfd)
        plan.foresee()
        for warning in plan.warnings:
            log.warning(warning)
        _linux.close_range(3 + context.preserve_fds, 0xFFFFFFFF, _linux.CLOSE_RANGE_CLOEXEC)
        return _carry_out(plan, context, options, container, wanted)
    except (PyruncError, OSError) as error:
        if pidfd is not None and (clone.has_ended(pidfd) or procfs.is_ending(container.pid)):
            # Whatever could not be done, that is why: its cgroup or namespaces have gone away under our hands.
            raise StateError("cannot exec in a stopped container") from None
        if isinstance(error, PyruncError) and (error.pointer or "").startswith("/process"):
            if error.pointer == "/process/args/0" and not error.hint:
                _explain(container, wanted, error)
            error.pointer = None  # the process is the command line's or --process's, not config.json's
        raise
    finally:
        if pidfd is not None:
            posix.close(pidfd)


def _explain(container: Container, wanted: Process, error: PyruncError) -> None:
    """What execve(2) has refused: the container's files, as its first process has them, tell why."""
    from pyrunc.steps.process import unrunnable

    try:
        root = f"/proc/{container.pid}/root"
        hint = unrunnable.from_outside(root, wanted, error.errno or 0)
        if container.is_alive():  # else the number may have been another process's
            error.hint = hint or None
    except Exception:  # it is not ours to look at, or a file there is like none: the error itself is what counts
        return


def _check(container: Container, pidfd: int | None, options: ExecOptions) -> None:
    if container.fields["phase"] == "creating":
        raise StateError("cannot exec in a container that is being created")
    if pidfd is None:
        raise StateError("cannot exec in a stopped container")
    if not options.ignore_paused and container.manager().frozen():
        raise StateError("cannot exec in a paused container (use --ignore-paused to override)")


def _check_terminal(wanted: Process, options: ExecOptions) -> None:
    terminal = bool(wanted.get("terminal"))
    if options.detach and terminal and not options.console_socket:
        raise PyruncError("cannot allocate tty if pyrunc will detach without setting console socket")
    if options.console_socket and not (options.detach and terminal):
        raise PyruncError("cannot use console socket if pyrunc will not detach or allocate tty")


def _process(config: Config, options: ExecOptions) -> Process:
    """The process object: from --process, or the container's own with what the options change."""
    base = config.get("process")
    if options.process_file is not None:
        given = load.load_process(load.read(options.process_file, "process.json"))
        missing = [name for name in _FROM_CONFIG if not given.get(name)]
        taken: Any = {name: value for name, value in (base or {}).items() if name in missing and value}
        given.update(taken)
        return given
    if not base:
        raise ConfigError("the container's config has no process to take defaults from", pointer="/process")
    wanted = base.copy()
    wanted["args"] = options.args
    wanted["terminal"] = options.tty
    wanted.pop("consoleSize", None)
    wanted["env"] = [*base.get("env", []), *options.env]
    if options.cwd is not None:
        wanted["cwd"] = options.cwd
    if options.apparmor is not None:
        wanted["apparmorProfile"] = options.apparmor
    if options.process_label is not None:
        wanted["selinuxLabel"] = options.process_label
    if options.no_new_privs is not None:
        wanted["noNewPrivileges"] = options.no_new_privs
    user = base.get("user", {}).copy()
    if options.user is not None:
        user["uid"] = options.user[0]
        if options.user[1] is not None:
            user["gid"] = options.user[1]
    if options.additional_gids:
        user["additionalGids"] = [*user.get("additionalGids", []), *options.additional_gids]
    wanted["user"] = user
    if options.caps:
        wanted["capabilities"] = _add_capabilities(base.get("capabilities", {}), options.caps)
    rules.check_process(wanted, "/process")
    return wanted


def _add_capabilities(sets: Capabilities, names: list[str]) -> Capabilities:
    """--cap: never into the inheritable set, into the ambient only where the config has one (CVE-2022-29162)."""
    result = sets.copy()
    result["bounding"] = [*sets.get("bounding", []), *names]
    result["effective"] = [*sets.get("effective", []), *names]
    result["permitted"] = [*sets.get("permitted", []), *names]
    if sets.get("inheritable"):
        result["ambient"] = [*sets.get("ambient", []), *names]
    return result


def compile_exec(
    container: Container, config: Config, wanted: Process, options: ExecOptions, pidfd: int = -1
) -> tuple[Context, Plan]:
    """The plan of an exec: the same steps as a create's, but for what the container has already.

    pidfd: of the container's init process, -1 for a plan that is not carried out.
    """
    host = read_host(None)
    context = Context(container.id, container.fields["bundle"], config, host, container.directory)
    context.rootfs = container.fields["rootfs"]
    context.preserve_fds = handover.inherited(wanted, options.preserve_fds)
    context.state = container.state_json("running")
    if config.get("annotations"):
        from pyrunc.steps import annotations

        trusted = bool(container.fields.get("trustAnnotations"))
        context.annotations = annotations.heeded(config["annotations"], trusted, host)
    linux = config.get("linux", {})
    joined = _namespaces(container, linux)
    parts = ExecParts(container, linux, wanted, host, joined, pidfd, options.cgroup, detach=options.detach)
    return context, Plan(order.exec_(parts), parts.warnings(parts.program, ""))


def _namespaces(container: Container, linux: Linux) -> dict[str, tuple[str, str]]:
    """The namespaces of the init process that are not simply ours."""
    directory = f"/proc/{container.pid}/ns/"
    joined: dict[str, tuple[str, str]] = {}
    for index, entry in enumerate(linux.get("namespaces", [])):
        path = directory + namespaces.TYPES[entry["type"]][1]
        joined[entry["type"]] = (path, "/linux/namespaces/" + str(index))
    return joined


def _carry_out(plan: Plan, context: Context, options: ExecOptions, container: Container, wanted: Process) -> int:
    foreground = None
    if not options.detach:
        from pyrunc.lifecycle.foreground import Foreground, hold_signals

        hold_signals()
    console = handover.connect(options.console_socket) if options.console_socket else None
    pidfd_socket = handover.connect(options.pidfd_socket) if options.pidfd_socket else None
    handover.freeze_gc()
    perform.execute(plan, context)
    try:
        if console is not None:
            handover.send_fd(console, context.console_fd, b"/dev/ptmx", "console socket")
            posix.close(context.console_fd)
            context.console_fd = -1
        if pidfd_socket is not None:
            handover.send_fd(pidfd_socket, context.pidfd, b"pidfd", "pidfd socket")
        if options.pid_file:
            handover.write_pid_file(options.pid_file, context.pid)
        if options.detach:
            return 0
        foreground = Foreground(context)
        foreground.begin()
    except BaseException:
        if foreground is not None:
            foreground.end()
        perform.undo(context)
        raise
    status = foreground.wait()
    if foreground.killed:
        from pyrunc.lifecycle import why_record

        why_record.exec_ended(container, wanted["args"][0], status, foreground)
    foreground.finish(status)
    return status

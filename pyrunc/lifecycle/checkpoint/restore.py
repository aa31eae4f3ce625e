"""restore: make a container anew from the images of a checkpoint, by CRIU.

The cgroup and the state are made as create makes them, and taken back alike. CRIU runs as our child in the container's
cgroup and a mount namespace of its own (external_mounts.py); the restored process is its sibling, our child too. CRIU
tells when all is restored and nothing runs yet: there it is judged, recorded, and let go.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, UsageError
from pyrunc.lifecycle import create, handover, start
from pyrunc.lifecycle.checkpoint import criu
from pyrunc.lifecycle.checkpoint.criu_process import CriuProcess, RestorePipes
from pyrunc.lifecycle.checkpoint.images import descriptors
from pyrunc.lifecycle.checkpoint.restored import RestoreProcesses
from pyrunc.linux import files
from pyrunc.plan import order, perform
from pyrunc.plan.restore_parts import RestoreParts
from pyrunc.steps.cgroup import MakeCgroup
from pyrunc.steps.host import read_host

if TYPE_CHECKING:
    from pyrunc.lifecycle.checkpoint.criu import CriuOptions
    from pyrunc.lifecycle.create import Creation
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store
    from pyrunc.steps.step import Step


def restore(store: Store, container_id: str, options: CreateOptions, wanted: CriuOptions) -> int:
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


def _check_flags(wanted: CriuOptions) -> None:
    """Raises UsageError for what cannot be, whatever is in the images."""
    if wanted.cgroups_mode == "strict":
        raise UsageError(
            "--manage-cgroups-mode strict: criu would have to make the cgroup, and it is made before it starts",
            hint="soft and full restore into it, ignore leaves it alone",
        )
    host = read_host(None)
    kind = wanted.lsm_profile.partition(":")[0]
    if (kind == "apparmor" and not host.apparmor) or (kind == "selinux" and not host.selinux):
        raise UsageError(f"--lsm-profile: {kind} is not enabled on this host")
    if wanted.lsm_mount_context and not host.selinux:
        raise UsageError("--lsm-mount-context: selinux is not enabled on this host")


def _carry_out(creation: Creation, wanted: CriuOptions) -> None:
    """Raises PyruncError, and then nothing is left of the container."""
    context, options, container = creation.context, creation.options, creation.container
    for warning in creation.plan.warnings:
        log.warning(warning)
    console = handover.connect(options.console_socket) if options.console_socket else None
    handover.freeze_gc()
    try:
        for step in _steps(creation, wanted):
            context.done.append(step)
            perform.apply(step, context)
        if console is not None:
            if context.console_fd < 0:
                raise PyruncError("the restored process has no terminal to send to the console socket")
            handover.send_fd(console, context.console_fd, b"/dev/ptmx", "console socket")
            posix.close(context.console_fd)
            context.console_fd = -1
        if options.pid_file:
            handover.write_pid_file(options.pid_file, context.pid)
    except BaseException:
        create.take_back(creation)
        raise
    for warning in context.warnings:
        if warning not in creation.plan.warnings:
            log.warning(warning)
    if creation.state_step.lock is not None:
        creation.state_step.lock.release()
    log.debug("restored " + container.id)


def _steps(creation: Creation, wanted: CriuOptions) -> list[Step]:
    parts = creation.parts
    pipes: list[Step] = []
    if parts.options.relay and not parts.process.get("terminal"):
        pipes.append(RestorePipes(parts.process, parts.linux, descriptors(wanted.image_path)))
    cgroup = None
    if parts.manager is not None:
        # As if the limit were small: CRIU is not born in the cgroup, it joins.
        small = not parts.manager.needs_process
        cgroup = MakeCgroup(parts.manager, parts.linux.get("resources", {}), small)
    process = CriuProcess(creation, wanted, cgroup)
    return order.restore(RestoreParts(parts, cgroup, pipes, process, RestoreProcesses(creation, wanted, process)))

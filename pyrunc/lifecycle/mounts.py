"""mounts add and remove: other mounts in a container that runs, by the same steps as create's.

A helper process enters the container's user and mount namespaces, but not its pid namespace, where its processes could
see it. It is non-dumpable before that. Sources are opened by the runtime, since the container cannot see the host's.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import ConfigError, StateError
from pyrunc.lifecycle import handover
from pyrunc.plan import order, perform
from pyrunc.state.container import Container
from pyrunc.state.lock import Lock
from pyrunc.steps import namespaces
from pyrunc.steps.context import Context
from pyrunc.steps.host import read_host
from pyrunc.steps.join_container import OpenContainer
from pyrunc.steps.rootfs import entry as entries
from pyrunc.steps.rootfs import mount_record
from pyrunc.steps.rootfs.new_mount import READ_ONLY_LATE, NewMount
from pyrunc.steps.rootfs.read_only import ReadOnlyMounts
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.rootfs.unmount import Unmount
from pyrunc.steps.step import Plan, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Mount
    from pyrunc.state.store import Store


def change(store: Store, container_id: str, wanted: list[Mount], add: bool) -> None:
    """Make mounts in a created, running or paused container, or take the topmost ones at their destinations away.

    wanted: entries as in mounts of config.json. A relative source is below the bundle. The first that fails ends it:
    those before it stay. Raises ConfigError, StateError, PyruncError.
    """
    lock = Lock(store.directory(container_id))
    try:
        container = store.load(container_id)
        if container.status() not in ("created", "running", "paused"):
            raise StateError("container not running")
        if not container.fields.get("ownMounts", True):
            raise StateError("the container has no mount namespace of its own")
        pidfd = container.open_pidfd()
        if pidfd is None:
            raise StateError("container not running")
        try:
            context, plan = _compile(container, wanted, add, pidfd)
            _linux.close_range(3, 0xFFFFFFFF, _linux.CLOSE_RANGE_CLOEXEC)
            handover.freeze_gc()
            mount_record.begin(context)
            try:
                perform.execute(plan, context)
                perform.undo(context)  # ends the helper, which has nothing more to do
            finally:
                _keep(container, context)
        finally:
            posix.close(pidfd)
    finally:
        lock.release()


def _keep(container: Container, context: Context) -> None:
    """Keep in state.json what has been made, and not what has been taken away; a change may have failed half-way."""
    noted = mount_record.take(context)
    if not noted:
        return
    gone = [record["id"] for record in noted if not record["path"]]
    records = [*(container.fields.get("mounts") or ()), *noted]
    container.fields["mounts"] = [record for record in records if record["id"] not in gone]
    container.save()


def _compile(container: Container, wanted: list[Mount], add: bool, pidfd: int) -> tuple[Context, Plan]:
    config = container.config()
    linux = config.get("linux", {})
    host = read_host(None)
    context = Context(container.id, container.fields["bundle"], config, host, container.directory)
    context.cgroup = container.manager()
    directory = f"/proc/{container.pid}/ns/"
    joined: dict[str, tuple[str, str]] = {}
    for index, entry in enumerate(linux.get("namespaces", [])):
        # The pid namespace is opened, not entered: a procfs is made for it.
        if entry["type"] in ("user", "mount", "network", "ipc", "cgroup", "pid"):
            path = directory + namespaces.TYPES[entry["type"]][1]
            joined[entry["type"]] = (path, "/linux/namespaces/" + str(index))
    opened = OpenContainer(joined, container.pid, pidfd)
    sources: list[Step] = []
    made: list[Step] = []
    for index, mount in enumerate(wanted):
        pointer = "/mounts/" + str(index)
        if not add:
            made.append(Unmount(mount["destination"], container.fields.get("mounts") or [], pointer))
            continue
        bundle, label = container.fields["bundle"], linux.get("mountLabel") or ""
        step = entries.step_of(mount, bundle, pointer, label, opened=opened)
        if step.options.idmap or mount.get("uidMappings"):
            raise ConfigError("mounts with mapped ids can only be made by create", pointer=pointer)
        if step.options.bind and not step.options.remount:
            step.tree = OpenTree(step.source, step.options.recursive, pointer)
            step.tree.follow = not step.options.keeps_link()
            sources.append(step.tree)
        step.locked = "user" in joined or host.rootless or host.in_user_namespace
        made.append(step)
    late = [step for step in made if isinstance(step, NewMount) and step.fstype in READ_ONLY_LATE]
    late = [step for step in late if step.read_only()]
    read_only: list[Step] = [ReadOnlyMounts(late, False, "/mounts")] if late else []
    return context, Plan(order.mounts(opened, sources, made, read_only), [])

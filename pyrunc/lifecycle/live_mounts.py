"""mounts add and remove: other mounts in a container that runs, by the same steps as create's.

A helper process enters the container's user and mount namespaces, but not its pid namespace, where its processes could
see it. It is non-dumpable before that. Sources are opened by the runtime, since the container cannot see the host's.
"""

import posix

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, StateError, reason
from pyrunc.lifecycle import create, execute
from pyrunc.lifecycle.exec import OpenContainer, OpenRoot
from pyrunc.lifecycle.store import Container, Lock
from pyrunc.linux import paths
from pyrunc.plan import birth, mounts, namespaces, order
from pyrunc.plan.context import Context
from pyrunc.plan.host import read_host
from pyrunc.plan.step import CONTAINER, RUNTIME, Meet, Plan, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.lifecycle.store import Store


class Unmount(Step):
    """Take a mount away."""

    __slots__ = ("destination",)
    name = "unmount"
    side = CONTAINER

    def __init__(self, destination: str, pointer: str) -> None:
        Step.__init__(self, pointer)
        self.destination = destination

    def describe(self) -> str:
        return "unmount " + self.destination

    def apply(self, context: Context) -> None:
        # The place is looked up without a link at its end, and named from its directory: no path that the container
        # can change meanwhile leads anywhere else.
        try:
            parent, name = paths.open_parent(context.root_fd, self.destination)
            posix.fchdir(parent)
            posix.close(parent)
            _linux.umount2(name, _linux.MNT_DETACH | _linux.UMOUNT_NOFOLLOW)
        except OSError as error:
            raise PyruncError("unmount " + self.destination + ": " + reason(error), errno=error.errno) from None


def change(store: "Store", container_id: str, wanted: "list[Any]", add: bool) -> None:
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
            create.hold_still()
            execute.execute(plan, context)
            execute.undo(context)  # ends the helper, which has nothing more to do
        finally:
            posix.close(pidfd)
    finally:
        lock.release()


def _compile(container: Container, wanted: "list[Any]", add: bool, pidfd: int) -> "tuple[Context, Plan]":
    config: "Any" = container.config()
    linux = config.get("linux") or {}
    host = read_host(None)
    context = Context(container.id, container.fields["bundle"], config, host, container.directory)
    context.cgroup = container.manager()
    context.on_pid = _nothing
    directory = "/proc/" + str(container.pid) + "/ns/"
    joined = {}
    for index, entry in enumerate(linux.get("namespaces") or ()):
        # The pid namespace is opened, not entered: a procfs is made for it.
        if entry["type"] in ("user", "mount", "network", "ipc", "cgroup", "pid"):
            path = directory + namespaces.TYPES[entry["type"]][1]
            joined[entry["type"]] = (path, "/linux/namespaces/" + str(index))
    steps: "list[Step]" = [OpenContainer(joined, container.pid, pidfd)]
    made: "list[Step]" = []
    for index, mount in enumerate(wanted):
        pointer = "/mounts/" + str(index)
        if not add:
            made.append(Unmount(mount["destination"], pointer))
            continue
        step = mounts.MountStep(mount, container.fields["bundle"], pointer, None, linux.get("mountLabel") or "")
        if step.options.idmap or mount.get("uidMappings"):
            raise ConfigError("mounts with mapped ids can only be made by create", pointer=pointer)
        if step.options.bind and not step.options.remount:
            step.tree = mounts.OpenTree(step.source, step.options.recursive, pointer)
            steps.append(step.tree)
        step.locked = "user" in joined or host.rootless or host.in_user_namespace
        made.append(step)
    steps += [birth.Clone(0, [], None), Meet(RUNTIME, order.RECORDED)]
    steps.append(namespaces.JoinNamespaces([kind for kind in joined if kind != "pid"]))
    steps.append(OpenRoot())
    steps += made
    late = [step for step in made if isinstance(step, mounts.MountStep) and step.fstype == "tmpfs" and step.read_only()]
    if late:
        steps.append(mounts.ReadOnlyMounts(late, False, "/mounts"))
    steps.append(Meet(CONTAINER, order.MOUNTED))
    return context, Plan(steps, [])


def _nothing(context: Context) -> None:
    """The helper is gone before the command is: nothing to record."""

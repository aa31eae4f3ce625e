"""mounts add and remove: other mounts in a container that runs, by the same steps as create's.

A helper process enters the container's user and mount namespaces, but not its pid namespace, where its processes could
see it. It is non-dumpable before that. Sources are opened by the runtime, since the container cannot see the host's.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, StateError, reason
from pyrunc.lifecycle import create
from pyrunc.lifecycle.exec import OpenContainer, OpenRoot
from pyrunc.linux import paths
from pyrunc.plan import order, perform
from pyrunc.state.store import Container, Lock
from pyrunc.steps import clone, namespaces
from pyrunc.steps.context import Context
from pyrunc.steps.host import read_host
from pyrunc.steps.rootfs import mount as mounts
from pyrunc.steps.rootfs import mount_record
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Plan, Step

if TYPE_CHECKING:
    from pyrunc.state.store import Store


class OwnDescriptors(Step):
    """Hold the way to this process's own descriptors, by the host's procfs: the container's can be anything."""

    __slots__ = ()
    name = "descriptors"
    side = CONTAINER

    def describe(self) -> str:
        return "open /proc/self/fd of the host"

    def apply(self, context: Context) -> None:
        context.self_fd = posix.open("/proc/self/fd", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)


class Unmount(Step):
    """Take a mount of ours away: the topmost at its destination, when it is one that was noted as it was made.

    A path alone tells nothing: whoever runs in the container may have renamed what leads there, and put another mount
    of ours (a read-only /proc/sys, a mask) or a link to one in its place.
    """

    __slots__ = ("destination", "records")
    name = "unmount"
    side = CONTAINER

    def __init__(self, destination: str, records: list[dict[str, Any]], pointer: str) -> None:
        """records: those of the container's mounts (mount_record.take)."""
        Step.__init__(self, pointer)
        self.destination = destination
        asked = mount_record.plain(destination)
        self.records = [record for record in records if record["destination"] == asked]

    def describe(self) -> str:
        return "unmount " + self.destination

    def apply(self, context: Context) -> None:
        if not self.records:
            raise self._failure(
                "invalid argument: neither the config nor mounts add has made a mount there", errno.EINVAL
            )
        try:
            fd = self._topmost(context)
            # By the descriptor, which is the mount itself whatever happens to its path.
            posix.fchdir(context.self_fd)
            _linux.umount2(str(fd), _linux.MNT_DETACH)
            mount_record.note(context, fd, self.destination, "")
        except OSError as error:
            raise self._failure(reason(error), error.errno) from None
        posix.close(fd)

    def _topmost(self, context: Context) -> int:
        """The mount that is on top at the place where the latest of them was made. Raises PyruncError, OSError."""
        above, _, name = self.records[-1]["path"].rpartition("/")
        flags = posix.O_PATH | posix.O_NOFOLLOW
        parent = paths.open_in_root(context.root_fd, above, flags | posix.O_DIRECTORY, _linux.RESOLVE_NO_SYMLINKS)
        if _linux.fstatfs(parent)[0] in (_linux.PROC_SUPER_MAGIC, _linux.SYSFS_MAGIC):
            raise self._failure("what is mounted on a procfs or sysfs stays")
        fd = _linux.openat2(
            parent, name, flags | posix.O_CLOEXEC, 0, _linux.RESOLVE_BENEATH | _linux.RESOLVE_NO_SYMLINKS
        )
        posix.close(parent)
        if not any(mount_record.is_same(record, fd) for record in self.records):
            raise self._failure("what is there now is not what the config or mounts add has mounted there")
        return fd

    def _failure(self, words: str, number: int | None = None) -> PyruncError:
        return PyruncError("unmount " + self.destination + ": " + words, errno=number)


def change(store: Store, container_id: str, wanted: list[Any], add: bool) -> None:
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


def _compile(container: Container, wanted: list[Any], add: bool, pidfd: int) -> tuple[Context, Plan]:
    config: Any = container.config()
    linux = config.get("linux", {})
    host = read_host(None)
    context = Context(container.id, container.fields["bundle"], config, host, container.directory)
    context.cgroup = container.manager()
    context.on_pid = _nothing
    directory = "/proc/" + str(container.pid) + "/ns/"
    joined = {}
    for index, entry in enumerate(linux.get("namespaces", [])):
        # The pid namespace is opened, not entered: a procfs is made for it.
        if entry["type"] in ("user", "mount", "network", "ipc", "cgroup", "pid"):
            path = directory + namespaces.TYPES[entry["type"]][1]
            joined[entry["type"]] = (path, "/linux/namespaces/" + str(index))
    steps: list[Step] = [OpenContainer(joined, container.pid, pidfd)]
    made: list[Step] = []
    for index, mount in enumerate(wanted):
        pointer = "/mounts/" + str(index)
        if not add:
            made.append(Unmount(mount["destination"], container.fields.get("mounts") or [], pointer))
            continue
        step = mounts.MountStep(mount, container.fields["bundle"], pointer, None, linux.get("mountLabel") or "")
        if step.options.idmap or mount.get("uidMappings"):
            raise ConfigError("mounts with mapped ids can only be made by create", pointer=pointer)
        if step.options.bind and not step.options.remount:
            step.tree = OpenTree(step.source, step.options.recursive, pointer)
            step.tree.follow = not step.options.keeps_link()
            steps.append(step.tree)
        step.locked = "user" in joined or host.rootless or host.in_user_namespace
        made.append(step)
    steps += [clone.Clone(0, [], None), Meet(RUNTIME, order.RECORDED)]
    steps.append(OwnDescriptors())
    steps.append(namespaces.JoinNamespaces([kind for kind in joined if kind != "pid"]))
    steps.append(OpenRoot())
    steps += made
    late = [step for step in made if isinstance(step, mounts.MountStep) and step.fstype in mounts.READ_ONLY_LATE]
    late = [step for step in late if step.read_only()]
    if late:
        steps.append(mounts.ReadOnlyMounts(late, False, "/mounts"))
    steps.append(Meet(CONTAINER, order.MOUNTED))
    return context, Plan(steps, [])


def _nothing(context: Context) -> None:
    """The helper is gone before the command is: nothing to record."""

"""What CRIU finds when it restores: the host's files that are bound, in a mount namespace of its own."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.lifecycle.checkpoint.external_mounts import NULL, cgroup_binds, device_paths, name_of
from pyrunc.linux import files, mounts, paths
from pyrunc.linux.mountinfo import Entry, entries, number_of
from pyrunc.linux.paths import is_null
from pyrunc.steps.rootfs import devices
from pyrunc.steps.rootfs.mount import MountStep

if TYPE_CHECKING:
    from pyrunc.config.types import Config
    from pyrunc.steps.rootfs.idmapped import Joined, Mapping
    from pyrunc.steps.rootfs.mount_options import MountOptions
    from pyrunc.steps.step import Step

# Options of one mount that take rights away, as mountinfo spells them.
_RESTRICTIONS: Final = {
    "ro": _linux.MOUNT_ATTR_RDONLY,
    "nosuid": _linux.MOUNT_ATTR_NOSUID,
    "nodev": _linux.MOUNT_ATTR_NODEV,
    "noexec": _linux.MOUNT_ATTR_NOEXEC,
}


class Bind:
    """Something of the host's that the container gets by a bind: source is a path of the host."""

    __slots__ = ("attributes", "destination", "mapping", "maps_below", "name", "options", "source")

    def __init__(
        self, name: str, source: str, options: MountOptions | None = None, attributes: int = 0, destination: str = ""
    ) -> None:
        self.name = name
        self.destination = destination
        self.source = source
        self.options = options
        self.attributes = attributes
        # As OpenTree has it.
        self.mapping: Mapping | Joined | None = None
        self.maps_below = False

    def put_attributes(self, tree: int, *, below: bool = False, recursive: bool = False) -> None:
        """Give a detached mount its attributes.

        below: it is one that came with a recursive bind, and only the r* options are for it. recursive: these are for
        the mounts below this one as well.
        """
        options = self.options
        if self.attributes:
            mounts.set_attributes(tree, self.attributes)
        if options is not None and not below and (options.attr_set or options.attr_clr):
            mounts.set_attributes(tree, options.attr_set, options.attr_clr)
        if options is not None and (options.rec_set or options.rec_clr):
            mounts.set_attributes(tree, options.rec_set, options.rec_clr, recursive=recursive)

    def restrictions(self, *, below: bool) -> set[str]:
        """Which rights the config takes away."""
        bits = self.attributes
        if self.options is not None:
            bits |= self.options.rec_set
            if not below:
                bits |= self.options.attr_set & ~self.options.rec_clr
        return {word for word, bit in _RESTRICTIONS.items() if bits & bit}


class Restriction:
    """Files that were bound with some rights taken away: by file system and path in it."""

    __slots__ = ("device", "options", "root")

    def __init__(self, device: str, root: str, options: set[str]) -> None:
        self.device = device
        self.root = root
        self.options = options

    def covers(self, entry: Entry) -> bool:
        below = self.root.rstrip("/") + "/"
        return entry.device == self.device and (entry.root == self.root or entry.root.startswith(below))


class Stage:
    """What CRIU finds when it restores: in a mount namespace of its own, which ends with it.

    directory: an existing directory of ours. steps: those of a create's plan, of which the mounts are taken.
    Both methods are for a process that may be spoiled: each makes it a mount namespace.
    """

    __slots__ = ("binds", "directory", "has_userns", "mount_steps", "read_only", "rootfs", "slave")

    def __init__(self, directory: str, rootfs: str, config: Config, steps: list[Step], cgroups: dict[str, str]) -> None:
        self.directory = directory
        self.rootfs = rootfs
        linux = config.get("linux", {})
        self.read_only = bool(config.get("root", {}).get("readonly"))
        self.slave = bool(linux.get("rootfsPropagation"))
        self.has_userns = any(entry["type"] == "user" for entry in linux.get("namespaces", []))
        self.mount_steps = [step for step in steps if isinstance(step, MountStep)]
        binds: dict[str, Bind] = {}
        for step in self.mount_steps:
            if step.options.bind and not step.options.remount:
                # Of two on one destination the later hides the other.
                bind = Bind(name_of("mount", step.destination), step.source, step.options, 0, step.destination)
                if step.tree is not None:
                    bind.mapping, bind.maps_below = step.tree.mapping, step.tree.maps_below
                binds[bind.name] = bind
        if linux.get("maskedPaths"):
            binds[NULL] = Bind(NULL, "/dev/null")
        for path in device_paths(config):
            if files.exists(path):
                name = name_of("device", path)
                binds[name] = Bind(name, path, None, devices.BIND_ATTRIBUTES)
        for path, source in cgroup_binds(config, cgroups).items():
            name = name_of("cgroup", path)
            options = [step.options for step in self.mount_steps if step.fstype == "cgroup"]
            binds[name] = Bind(name, source, options[0])
        self.binds = list(binds.values())

    # -- the first namespace

    def make_mount_points(self, points: list[str]) -> None:
        """Make the missing mount points, as create does, and refuse those that are behind a link (CVE-2026-119614).

        points: the mount points of the checkpoint's images. Everything is mounted as it will be, read-only from the
        first moment where it is to be, so that the mount points within mounts are made where they belong.
        Raises OSError, PyruncError.
        """
        self._unshare()
        root = self._attach_root(self.directory)
        for point in points:
            _refuse_link(root, point)
        for step in self.mount_steps:
            if step.options.remount:
                continue
            try:
                self._put(root, step)
            except OSError as error:
                raise PyruncError(
                    f"make the mount point {step.destination}: {reason(error)}",
                    pointer=step.pointer,
                    errno=error.errno,
                ) from None
        for point in points:
            # Now those that are below mounts.
            _refuse_link(root, point)
        posix.close(root)

    def _put(self, root: int, step: MountStep) -> None:
        options = step.options
        if options.bind:
            tree = mounts.clone(_linux.AT_FDCWD, step.source, recursive=options.recursive)
            if paths.is_directory(tree):
                target = paths.make_directories(root, step.destination)
            else:
                target = paths.make_file(root, step.destination)
            Bind("", step.source, options).put_attributes(tree, recursive=options.recursive)
        else:
            target = paths.make_directories(root, step.destination)
            if step.fstype in ("proc", "sysfs"):
                tree = mounts.create(step.fstype, step.fstype, [], _linux.MOUNT_ATTR_RDONLY)
            else:
                # Its files come with the images; here it keeps mount points in it from being made below it.
                tree = mounts.create("tmpfs", "tmpfs", [], 0)
        mounts.attach(tree, target)
        posix.close(target)
        posix.close(tree)

    # -- the second

    def build(self) -> tuple[list[tuple[str, str]], list[Restriction]]:
        """Mount the root and all that is bound below `directory`. Raises OSError, PyruncError.

        Returns the names with the paths that they stand for, and what the restored mounts must not be allowed.
        """
        self._unshare()
        here = posix.open(self.directory, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        # Processes that are restored in a user namespace walk through here as its root.
        tmpfs = mounts.create("tmpfs", "tmpfs", [("mode", "711")], 0)
        mounts.attach(tmpfs, here)
        posix.close(here)
        posix.mkdir("root", 0o755, dir_fd=tmpfs)
        posix.close(self._attach_root(self.directory + "/root"))
        table = entries("self")
        names: list[tuple[str, str]] = []
        bound: list[tuple[str, Bind, bool]] = []
        for bind in self.binds:
            for name, source in self._with_submounts(bind, table):
                below = name != bind.name
                path = self._stage(tmpfs, len(names), source, bind, below, table)
                names.append((name, path))
                bound.append((path, bind, below))
        posix.close(tmpfs)
        return names, self._restrictions(bound)

    def _with_submounts(self, bind: Bind, table: list[Entry]) -> list[tuple[str, str]]:
        found = [(bind.name, bind.source)]
        if bind.options is not None and bind.options.recursive:
            top = posix.open(bind.source, posix.O_PATH | posix.O_CLOEXEC)
            real = posix.readlink("/proc/self/fd/" + str(top)).rstrip("/") + "/"
            posix.close(top)
            for entry in table:
                if entry.point.startswith(real) and not entry.point.startswith(self.directory):
                    found.append((name_of("mount", bind.destination, entry.point[len(real) :]), entry.point))
        return found

    def _stage(self, tmpfs: int, number: int, source: str, bind: Bind, below: bool, table: list[Entry]) -> str:
        """A path below `directory` from which a bind has the right attributes at once. Raises OSError, PyruncError.

        The whole mount that the source is in is put there: CRIU gives several mounts the propagation of one source,
        which the kernel allows only when that one's root is above theirs. But not where the root of the container's
        user namespace, as which CRIU mounts, could not walk in it.
        """
        try:
            fd = posix.open(source, posix.O_PATH | posix.O_CLOEXEC)
        except OSError as error:
            raise PyruncError(f"mount source {source}: {reason(error)}", errno=error.errno) from None
        if bind.name == NULL and not is_null(fd):
            raise PyruncError("/dev/null of the host is not the null device (character device 1:3)")
        real = posix.readlink("/proc/self/fd/" + str(fd))
        tree, way = self._whole_mount(fd, real, table)
        if self.has_userns and not _is_open(tree, way):
            posix.close(tree)
            tree, way = mounts.clone(fd), ""
        bind.put_attributes(tree, below=below)
        if bind.mapping is not None and (bind.maps_below or not below):
            bind.mapping.put_on(tree, False, source)
        name = "m" + str(number)
        if paths.is_directory(tree):
            posix.mkdir(name, 0o700, dir_fd=tmpfs)
        else:
            posix.close(posix.open(name, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o600, dir_fd=tmpfs))
        target = posix.open(name, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW, dir_fd=tmpfs)
        mounts.attach(tree, target)
        # CRIU takes a slave's master from here, and finds none in a private mount. It stays a slave of the host's.
        mounts.set_attributes(tree, 0, 0, propagation=_linux.MS_SHARED)
        path = f"{self.directory}/{name}{way}"
        there, asked = posix.stat(path, follow_symlinks=False), posix.fstat(fd)
        if (there.st_dev, there.st_ino) != (asked.st_dev, asked.st_ino):
            raise PyruncError(f"mount source {source} was moved away meanwhile")
        for each in (fd, tree, target):
            posix.close(each)
        return path

    def _whole_mount(self, fd: int, real: str, table: list[Entry]) -> tuple[int, str]:
        """A copy of the whole mount that fd is in, and the way from its root to what fd names."""
        number = number_of(fd)
        for entry in table:
            point = entry.point.rstrip("/")
            if entry.number == number and (real + "/").startswith(point + "/"):
                top = posix.open(entry.point, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW)
                try:
                    # Not when another mount hides its root.
                    if number_of(top) == number:
                        return mounts.clone(top), real[len(point) :].rstrip("/")
                finally:
                    posix.close(top)
        return mounts.clone(fd), ""

    def _restrictions(self, bound: list[tuple[str, Bind, bool]]) -> list[Restriction]:
        """What was bound, as the kernel names it in any mount namespace."""
        table = {entry.point: entry for entry in entries("self")}
        found = []
        for path, bind, below in bound:
            # The mount is directly below `directory`; the rest is the way in it.
            first, _, rest = path[len(self.directory) + 1 :].partition("/")
            entry = table[f"{self.directory}/{first}"]
            root = entry.root.rstrip("/") + ("/" + rest if rest else "") or "/"
            found.append(Restriction(entry.device, root, bind.restrictions(below=below)))
        entry = table[self.directory + "/root"]
        found.append(Restriction(entry.device, entry.root, {"ro"} if self.read_only else set()))
        return found

    def _unshare(self) -> None:
        _linux.unshare(_linux.CLONE_NEWNS)
        # Nothing of this may show on the host.
        _linux.mount_setattr(_linux.AT_FDCWD, "/", _linux.AT_RECURSIVE, 0, 0, _linux.MS_SLAVE, 0)

    def _attach_root(self, place: str) -> int:
        tree = mounts.clone(_linux.AT_FDCWD, self.rootfs, recursive=True)
        mounts.set_attributes(tree, 0, 0, propagation=_linux.MS_SLAVE if self.slave else _linux.MS_PRIVATE)
        target = posix.open(place, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        mounts.attach(tree, target)
        posix.close(target)
        return tree


def _is_open(tree: int, way: str) -> bool:
    """Whether everybody may walk from the root of a mount to what lies at `way`."""
    parts = way.strip("/").split("/")
    for end in range(len(parts) if way else 0):
        path = "/".join(parts[:end]) or "."
        if not posix.stat(path, dir_fd=tree).st_mode & 0o001:
            return False
    return True


def _refuse_link(root: int, point: str) -> None:
    """CRIU would mount where a link leads. What is not there yet comes with the images."""
    if ".." in point.split("/"):
        raise PyruncError("the checkpoint has a mount on " + point)
    try:
        # Not with O_NOFOLLOW, which would find a link at the end to be good.
        posix.close(paths.open_in_root(root, point, posix.O_PATH, _linux.RESOLVE_NO_SYMLINKS))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PyruncError(
                f"mount point {point} of the checkpoint is behind a symbolic link of the rootfs",
                errno=error.errno,
                hint="restore with the rootfs that the container had",
            ) from None
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise


def check_restored(table: list[Entry], restrictions: list[Restriction]) -> None:
    """Whether restored mounts of the host's files have lost all rights that the config takes. Raises PyruncError.

    What a mount may do stands in the images, too. A file that was bound twice may be used as the better of both says.
    """
    for entry in table:
        mine = [restriction for restriction in restrictions if restriction.covers(entry)]
        if mine and not any(restriction.options <= set(entry.options) for restriction in mine):
            missing = sorted(mine[0].options - set(entry.options))
            raise PyruncError(
                f"the checkpoint restores the mount on {entry.point} without {', '.join(missing)}",
                hint="the config asks for it: the images are of another container, or were tampered with",
            )

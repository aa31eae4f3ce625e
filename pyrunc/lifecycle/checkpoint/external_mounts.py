"""The mounts of a container that CRIU cannot make from its images: binds of the host's files, masks, bound devices.

At checkpoint CRIU is told a name for each, at restore what of the host belongs to a name. A name is the destination in
the config, escaped, so that none can pass for another's or end early (CVE-2026-119101; crun's CVE-2026-115520); never
what a link of the rootfs makes of it. (Not its place in the list: engines write the same mounts in another order when
they make a config again.) Where the mounts go is in the checkpoint's images, which may come from anybody: they are
judged before CRIU sees them, and what CRIU made is judged before any process of the container runs.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files, mounts, paths, procfs
from pyrunc.linux.paths import is_null
from pyrunc.steps.rootfs import devices
from pyrunc.steps.rootfs.cgroup_mount import hierarchies
from pyrunc.steps.rootfs.mount import MountStep

if TYPE_CHECKING:
    from pyrunc.steps.rootfs.mount_options import Options
    from pyrunc.steps.step import Step

_NULL: Final = "pyrunc:null"
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/")
# Options of one mount that take rights away, as mountinfo spells them.
_RESTRICTIONS: Final = {
    "ro": _linux.MOUNT_ATTR_RDONLY,
    "nosuid": _linux.MOUNT_ATTR_NOSUID,
    "nodev": _linux.MOUNT_ATTR_NODEV,
    "noexec": _linux.MOUNT_ATTR_NOEXEC,
}


class Entry:
    """One line of /proc/PID/mountinfo (proc(5)). device: "major:minor". root: of the mount within its file system."""

    __slots__ = ("device", "number", "options", "parent", "point", "root")

    def __init__(self, line: str) -> None:
        fields = line.split(" ")
        self.number = fields[0]
        self.parent = fields[1]
        self.device = fields[2]
        self.root = procfs.unescape(fields[3])
        self.point = procfs.unescape(fields[4])
        self.options = set(fields[5].split(","))


def entries(pid: int | str) -> list[Entry]:
    """The mounts that a process sees. Raises OSError."""
    text = files.read("/proc/" + str(pid) + "/mountinfo", limit=16 << 20).decode("utf-8", "surrogateescape")
    return [Entry(line) for line in text.split("\n") if line]


def _name(kind: str, path: str, below: str = "") -> str:
    """Of a mount or device. below: the way from a recursive bind to a mount in it."""
    name = "pyrunc:" + kind + ":" + _escaped("/" + "/".join(paths.components(path)))
    return name + ":" + _escaped(below) if below else name


def _escaped(path: str) -> str:
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else "%" + format(byte, "02x")
        for byte in path.encode("utf-8", "surrogateescape")
    )


# --- at checkpoint


def told_at_dump(pid: int, config: Any, cgroups: dict[str, str]) -> list[str]:
    """What CRIU is to hear about the mounts of a container's process: "mnt[MOUNT POINT]:NAME" of each.

    Mount points are the kernel's word, whatever links the config's destinations went through. cgroups: the container's,
    as state.json has them. Raises PyruncError.
    """
    try:
        table = entries(pid)
        root = posix.open("/proc/" + str(pid) + "/root", posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except OSError as error:
        raise PyruncError("read the container's mounts: " + reason(error), errno=error.errno) from None
    try:
        found = _names_at_dump(table, root, config)
        for path in _cgroup_binds(config, cgroups):
            entry = _mounted_at(table, root, path)
            if entry is not None:
                found.setdefault(entry.point, _name("cgroup", path))
    finally:
        posix.close(root)
    for point in found:
        if "]:" in point:
            # CRIU looks for the first "]:" and would take what follows for the name.
            raise PyruncError("mounts on " + point + " cannot be checkpointed: CRIU has no way to write ']:'")
    return ["mnt[" + point + "]:" + name for point, name in found.items()]


def _names_at_dump(table: list[Entry], root: int, config: Any) -> dict[str, str]:
    """Mount point to name."""
    linux = config.get("linux", {})
    found: dict[str, str] = {}
    tops: dict[str, tuple[str, Entry]] = {}
    for mount in config.get("mounts", []):
        options = mount.get("options", [])
        if not ("bind" in options or "rbind" in options or mount.get("type") == "bind"):
            continue
        entry = _mounted_at(table, root, mount["destination"])
        if entry is not None:
            found[entry.point] = _name("mount", mount["destination"])
            tops[entry.number] = (mount["destination"], entry)
    for entry in table:
        # What came with a recursive bind. Parents stand before their children.
        above = tops.get(entry.parent)
        if above is not None and entry.number not in tops and entry.point not in found:
            tops[entry.number] = above
            found[entry.point] = _name("mount", above[0], entry.point[len(above[1].point) :].strip("/"))
    for path in linux.get("maskedPaths", []):
        entry = _mounted_at(table, root, path, null=True)
        if entry is not None:
            found.setdefault(entry.point, _NULL)
    for path in _device_paths(config):
        entry = _mounted_at(table, root, path)
        if entry is not None:
            found.setdefault(entry.point, _name("device", path))
    return found


def _cgroup_binds(config: Any, cgroups: dict[str, str]) -> dict[str, str]:
    """On cgroup v1 without a cgroup namespace: where the container's cgroups are bound, and their directories."""
    spaces = [entry["type"] for entry in config.get("linux", {}).get("namespaces", [])]
    if "" in cgroups or "cgroup" in spaces:
        return {}
    return {
        mount["destination"].rstrip("/") + "/" + names.removeprefix("name="): directory
        for mount in config.get("mounts", [])
        if mount.get("type") == "cgroup"
        for names, directory in hierarchies(cgroups).items()
    }


def _device_paths(config: Any) -> list[str]:
    wanted = config.get("linux", {}).get("devices", [])
    return [path for path, _, _ in devices.DEFAULTS] + [device["path"] for device in wanted]


def _mounted_at(table: list[Entry], root: int, path: str, *, null: bool = False) -> Entry | None:
    """The mount whose root stands at a path of the container; None when nothing is mounted right there.

    null: only a bind of the null device counts.
    """
    try:
        fd = paths.open_in_root(root, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise PyruncError("resolve " + path + ": " + reason(error), errno=error.errno) from None
    try:
        if null and not is_null(fd):
            return None
        number = _mount_number(fd)
        # Of a mount in another mount namespace the kernel says the path from that namespace's root.
        here = posix.readlink("/proc/self/fd/" + str(fd))
    finally:
        posix.close(fd)
    for entry in table:
        if entry.number == number:
            return entry if entry.point == here else None
    return None


def _mount_number(fd: int) -> str:
    return mount_number("/proc/self/fdinfo/" + str(fd))


def mount_number(fdinfo: str) -> str:
    """Of the mount that an open file is in, as the first field of mountinfo. fdinfo: its file in /proc (proc(5))."""
    for line in files.read(fdinfo).decode("ascii", "replace").split("\n"):
        if line.startswith("mnt_id:"):
            return line[7:].strip()
    return ""


# --- at restore


class Bind:
    """Something of the host's that the container gets by a bind: source is a path of the host."""

    __slots__ = ("attributes", "destination", "mapping", "name", "options", "source")

    def __init__(
        self, name: str, source: str, options: Options | None = None, attributes: int = 0, destination: str = ""
    ) -> None:
        self.name = name
        self.destination = destination
        self.source = source
        self.options = options
        self.attributes = attributes
        # As OpenTree has it: module idmap_mount, the mapping, whether it is for the mounts below too.
        self.mapping: tuple[Any, Any, bool] | None = None

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

    __slots__ = ("binds", "directory", "foreign", "mount_steps", "read_only", "rootfs", "slave")

    def __init__(self, directory: str, rootfs: str, config: Any, steps: list[Step], cgroups: dict[str, str]) -> None:
        self.directory = directory
        self.rootfs = rootfs
        linux = config.get("linux", {})
        self.read_only = bool(config.get("root", {}).get("readonly"))
        self.slave = bool(linux.get("rootfsPropagation"))
        self.foreign = any(entry["type"] == "user" for entry in linux.get("namespaces", []))
        self.mount_steps = [step for step in steps if isinstance(step, MountStep)]
        binds: dict[str, Bind] = {}
        for step in self.mount_steps:
            if step.options.bind and not step.options.remount:
                # Of two on one destination the later hides the other.
                bind = Bind(_name("mount", step.destination), step.source, step.options, 0, step.destination)
                bind.mapping = step.tree.mapping if step.tree is not None else None
                binds[bind.name] = bind
        if linux.get("maskedPaths"):
            binds[_NULL] = Bind(_NULL, "/dev/null")
        for path in _device_paths(config):
            if files.exists(path):
                name = _name("device", path)
                binds[name] = Bind(name, path, None, devices.BIND_ATTRIBUTES)
        for path, source in _cgroup_binds(config, cgroups).items():
            name = _name("cgroup", path)
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
                    "make the mount point " + step.destination + ": " + reason(error),
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
            tree = mounts.clone(-100, step.source, recursive=options.recursive)
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

    def build(self, context: Any) -> tuple[list[tuple[str, str]], list[Restriction]]:
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
                path = self._stage(tmpfs, len(names), source, bind, below, table, context)
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
                    found.append((_name("mount", bind.destination, entry.point[len(real) :]), entry.point))
        return found

    def _stage(
        self, tmpfs: int, number: int, source: str, bind: Bind, below: bool, table: list[Entry], context: Any
    ) -> str:
        """A path below `directory` from which a bind has the right attributes at once. Raises OSError, PyruncError.

        The whole mount that the source is in is put there: CRIU gives several mounts the propagation of one source,
        which the kernel allows only when that one's root is above theirs. But not where the root of the container's
        user namespace, as which CRIU mounts, could not walk in it.
        """
        try:
            fd = posix.open(source, posix.O_PATH | posix.O_CLOEXEC)
        except OSError as error:
            raise PyruncError("mount source " + source + ": " + reason(error), errno=error.errno) from None
        if bind.name == _NULL and not is_null(fd):
            raise PyruncError("/dev/null of the host is not the null device (character device 1:3)")
        real = posix.readlink("/proc/self/fd/" + str(fd))
        tree, way = self._whole_mount(fd, real, table)
        if self.foreign and not _is_open(tree, way):
            posix.close(tree)
            tree, way = mounts.clone(fd), ""
        bind.put_attributes(tree, below=below)
        if bind.mapping is not None and (bind.mapping[2] or not below):
            bind.mapping[0].apply(tree, bind.mapping[1], False, source, context)
        name = "m" + str(number)
        if paths.is_directory(tree):
            posix.mkdir(name, 0o700, dir_fd=tmpfs)
        else:
            posix.close(posix.open(name, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o600, dir_fd=tmpfs))
        target = posix.open(name, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW, dir_fd=tmpfs)
        mounts.attach(tree, target)
        # CRIU takes a slave's master from here, and finds none in a private mount. It stays a slave of the host's.
        mounts.set_attributes(tree, 0, 0, propagation=_linux.MS_SHARED)
        path = self.directory + "/" + name + way
        there, asked = posix.stat(path, follow_symlinks=False), posix.fstat(fd)
        if (there.st_dev, there.st_ino) != (asked.st_dev, asked.st_ino):
            raise PyruncError("mount source " + source + " was moved away meanwhile")
        for each in (fd, tree, target):
            posix.close(each)
        return path

    def _whole_mount(self, fd: int, real: str, table: list[Entry]) -> tuple[int, str]:
        """A copy of the whole mount that fd is in, and the way from its root to what fd names."""
        number = _mount_number(fd)
        for entry in table:
            point = entry.point.rstrip("/")
            if entry.number == number and (real + "/").startswith(point + "/"):
                top = posix.open(entry.point, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW)
                try:
                    # Not when another mount hides its root.
                    if _mount_number(top) == number:
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
            entry = table[self.directory + "/" + first]
            root = entry.root.rstrip("/") + ("/" + rest if rest else "") or "/"
            found.append(Restriction(entry.device, root, bind.restrictions(below=below)))
        entry = table[self.directory + "/root"]
        found.append(Restriction(entry.device, entry.root, {"ro"} if self.read_only else set()))
        return found

    def _unshare(self) -> None:
        _linux.unshare(_linux.CLONE_NEWNS)
        # Nothing of this may show on the host.
        _linux.mount_setattr(-100, "/", _linux.AT_RECURSIVE, 0, 0, _linux.MS_SLAVE, 0)

    def _attach_root(self, place: str) -> int:
        tree = mounts.clone(-100, self.rootfs, recursive=True)
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
                "mount point " + point + " of the checkpoint is behind a symbolic link of the rootfs",
                errno=error.errno,
                hint="restore with the rootfs that the container had",
            ) from None
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise


class ImageMount:
    """A mount as a checkpoint's images have it. name: of an external mount, or ""."""

    __slots__ = ("deleted", "name", "plugin", "point")

    def __init__(self, point: str, name: str, deleted: bool, plugin: bool) -> None:
        self.point = point
        self.name = name
        self.deleted = deleted
        self.plugin = plugin


def judge_images(found: list[ImageMount]) -> None:
    """Refuse what no checkpoint of ours has, and CRIU would act upon. Raises PyruncError."""
    for mount in found:
        if mount.name and not mount.name.startswith("pyrunc:"):
            raise PyruncError("the checkpoint has an external mount that is not of pyrunc's making: " + mount.point)
        if mount.plugin or (mount.name and mount.deleted):
            raise PyruncError("the checkpoint has a mount that cannot be restored: " + mount.point)


def judge_names(found: list[ImageMount], names: set[str]) -> None:
    """Whether everything that the checkpoint needs of the host is in the config. Raises PyruncError."""
    for mount in found:
        if mount.name and mount.name not in names:
            raise PyruncError(
                "the checkpoint has a mount on " + mount.point.lstrip(".") + " that the config does not have",
                hint="restore with the mounts that the container had: destination " + mount.name.split(":")[-1],
            )


def judge_restored(table: list[Entry], restrictions: list[Restriction]) -> None:
    """Whether restored mounts of the host's files have lost all rights that the config takes. Raises PyruncError.

    What a mount may do stands in the images, too. A file that was bound twice may be used as the better of both says.
    """
    for entry in table:
        mine = [restriction for restriction in restrictions if restriction.covers(entry)]
        if mine and not any(restriction.options <= entry.options for restriction in mine):
            missing = sorted(mine[0].options - entry.options)
            raise PyruncError(
                "the checkpoint restores the mount on " + entry.point + " without " + ", ".join(missing),
                hint="the config asks for it: the images are of another container, or were tampered with",
            )

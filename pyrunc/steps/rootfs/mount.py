"""The entries of mounts[].

Everything happens on descriptors: a mount is made detached, its destination is resolved inside the root, and the one
is put on the other with move_mount(2). No path of the container is ever resolved as a string by the runtime.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import mounts, paths, procfs
from pyrunc.steps.rootfs import mount_options, mount_record, mountpoint
from pyrunc.steps.rootfs.source import OpenTree, open_source
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Mount
    from pyrunc.steps.context import Context
    from pyrunc.steps.namespaces import OpenNamespaces

# Types whose superblock belongs to a namespace and may be shared with other mounts of it: "ro" is of this mount alone.
_SHARED_SUPERBLOCK: Final = ("proc", "sysfs", "mqueue", "tmpfs", "devpts", "cgroup", "cgroup2")

# Types whose labels are the kernel's own, or given by another way than the parameter "context" (SELinux).
_OWN_LABELS: Final = ("proc", "sysfs", "mqueue")

# What is put into these before the program starts, and later mounts' mount points: see ReadOnlyMounts. Of type cgroup
# it is the tmpfs of cgroup v1.
READ_ONLY_LATE: Final = ("tmpfs", "cgroup", "cgroup2")


class MountStep(Step):
    """One entry of mounts[]."""

    __slots__ = (
        "destination",
        "fstype",
        "given",
        "helper",
        "inside",
        "label",
        "late",
        "locked",
        "mapping",
        "opened",
        "options",
        "source",
        "tree",
    )
    name = "mount"
    section = "config.md#mounts"
    side = CONTAINER

    def __init__(
        self,
        mount: Mount,
        bundle: str,
        pointer: str,
        tree: OpenTree | None,
        label: str = "",
        rootfs: str = "",
        opened: OpenNamespaces | None = None,
    ) -> None:
        """rootfs: its path on the host, or ""; a destination below it is meant to be inside, as in runc.

        opened: what has the namespaces that are joined, if any are.
        """
        Step.__init__(self, pointer)
        # Of the config, to tell which of them was wrong.
        self.given = mount.get("options", [])
        self.options = mount_options.parse(self.given, pointer)
        if (self.options.keeps_link() or self.options.target_link) and (self.options.remount or not self.options.bind):
            raise ConfigError("options about symbolic links are for bind mounts", pointer=pointer + "/options")
        destination = mount["destination"]
        if rootfs and (destination + "/").startswith(rootfs + "/"):
            destination = destination[len(rootfs) :]
        self.destination = "/" + destination.lstrip("/")
        self.fstype = "bind" if self.options.bind else mount.get("type") or "none"
        source = mount.get("source") or ""
        if self.options.bind and not source.startswith("/"):
            source = f"{bundle}/{source}"
        self.source = source
        # Of a source below the rootfs, the path inside: an earlier mount may be what makes it.
        self.inside = source[len(rootfs) :] if self.options.bind and rootfs and source.startswith(rootfs + "/") else ""
        self.tree = tree
        self.opened = opened
        # Whether the mount will belong to a user namespace that may not clear the attributes of its source.
        self.locked = False
        self.label = label
        # The mount itself, while ReadOnlyMounts has still to make it read-only.
        self.late = -1
        # Of a new file system and of a source inside: module idmap_mount and the mapping.
        self.mapping: tuple[Any, Any] | None = None
        # Loaded now and only when needed: nothing is imported once the container process exists.
        self.helper: Any = None
        if self.fstype in ("cgroup", "cgroup2"):
            from pyrunc.steps.rootfs import cgroup_mount

            self.helper = cgroup_mount
        elif self.options.tmpcopyup:
            from pyrunc.steps.rootfs import tmpcopyup

            self.helper = tmpcopyup
        elif self.options.copy_symlink:
            from pyrunc.steps.rootfs import copy_symlink

            self.helper = copy_symlink

    def describe(self) -> str:
        words = "mount " + (self.source if self.options.bind else self.fstype) + " on " + self.destination
        if self.options.attr_set & _linux.MOUNT_ATTR_RDONLY:
            words += ", read-only"
        return words

    def apply(self, context: Context) -> None:
        try:
            self._mount(context)
        except OSError as error:
            why = error.strerror if isinstance(error, mounts.FilesystemError) else reason(error)
            words = "mount " + self._what() + " to " + self.destination + ": " + (why or "")
            raise self._failure(words, error.errno) from None

    def place(self, error: PyruncError) -> str:
        from pyrunc.steps.rootfs import mount_places

        return self.pointer + mount_places.of(error.message, error.errno, self.given)

    def _what(self) -> str:
        return self.source if self.options.bind else self.fstype

    def _failure(self, words: str, number: int | None) -> PyruncError:
        # The beginning is runc's, by which scripts know a mount that fails.
        start = "unable to start container process: error during container init: error mounting"
        return PyruncError(f'{start} "{self._what()}" to rootfs at "{self.destination}": {words}', errno=number)

    def _mount(self, context: Context) -> None:
        options = self.options
        if options.remount:
            self._remount(context.root_fd)
        elif options.bind:
            self._bind(context)
        elif self.fstype == "cgroup" or self.fstype == "cgroup2":
            self.helper.mount(self, context)
        else:
            self._new(context)

    def _bind(self, context: Context) -> None:
        options = self.options
        root_fd = context.root_fd
        if self.tree is not None:
            tree = self.tree.fd
        elif self.inside:
            flags = posix.O_PATH | (posix.O_NOFOLLOW if options.keeps_link() else 0)
            source = paths.open_in_root(root_fd, self.inside, flags)
            tree = mounts.clone(source, recursive=options.recursive)
            posix.close(source)
            if self.mapping is not None:
                self.mapping[0].apply(tree, self.mapping[1], options.idmap == "ridmap", self.source)
        else:
            tree = open_source(self.source, options.recursive, not options.keeps_link())
        if options.copy_symlink and paths.is_link(tree):
            self.helper.copy(self, context, tree)
            return
        target = self._mountpoint(context, directory=paths.is_directory(tree))
        place = mountpoint.check(context, target, _linux.fstatfs(tree)[0] == _linux.PROC_SUPER_MAGIC, self.destination)
        set_, clear = options.bind_attributes(_linux.fstatfs(tree)[1] if self.locked else None)
        if set_ or clear:
            mounts.set_attributes(tree, set_, clear)
        self._attributes(tree, only_new=True)
        mounts.attach(tree, target)
        mount_record.note(context, tree, self.destination, place)
        posix.close(target)
        posix.close(tree)

    def _new(self, context: Context) -> None:
        options = self.options
        # A tmpfs takes the mode of what it covers; where there was nothing it has its own default, 1777.
        inherits = self.fstype == "tmpfs" and not any(key == "mode" for key, _ in options.parameters)
        inherits = inherits and _is_there(context.root_fd, self.destination)
        target, place = self.target(context)
        attributes = options.attr_set
        if self.fstype == "tmpfs":
            # What is put into it before the program starts must be writable until then: see ReadOnlyMounts.
            attributes &= ~_linux.MOUNT_ATTR_RDONLY
        parameters: list[tuple[str, str | int | None]] = [*options.parameters]
        if inherits:
            parameters.append(("mode", format(posix.fstat(target).st_mode & 0o7777, "o")))
        if self.label and self.fstype not in _OWN_LABELS:
            parameters.append(("context", self.label))
        if "iversion" in options.superblock or any(
            value is not None and len(value.encode("utf-8", "surrogateescape")) > mounts.FSCONFIG_VALUE_MAX
            for _, value in options.parameters
        ):
            self.done(self._old_api(target, parameters, attributes, context), place, context)
            return
        parameters += [(flag, None) for flag in options.superblock]
        if self.fstype not in _SHARED_SUPERBLOCK and attributes & _linux.MOUNT_ATTR_RDONLY:
            parameters.append(("ro", None))
        pids = self.opened.of("pid") if self.opened is not None else None
        if self.fstype == "proc" and pids is not None:
            # This process enters a joined pid namespace only later: see order.py.
            tree = procfs.open_of(pids, parameters, attributes)
        else:
            try:
                tree = mounts.create(self.fstype, self.source or self.fstype, parameters, attributes)
            except OSError as error:
                if self.fstype != "sysfs" or not self.locked or error.errno != errno.EPERM:
                    raise
                tree = self._host_sysfs()
        if options.tmpcopyup:
            self.helper.copy(target, tree, context.self_fd)
        if self.mapping is not None:
            self.mapping[0].apply(tree, self.mapping[1], False, self.destination)
        if self.label and self.fstype == "mqueue":
            from pyrunc.linux import selinux

            selinux.set_label(tree, self.label)
        self._attributes(tree, only_new=True)
        mounts.attach(tree, target)
        posix.close(target)
        self.done(tree, place, context)

    def _host_sysfs(self) -> int:
        """The host's, for a network namespace that does not belong to the user namespace (as crun): the kernel gives
        no new one then. All that is mounted in it gets the restrictions, too.
        """
        tree = open_source("/sys", True) if self.tree is None else self.tree.fd
        restrictions = self.options.attr_set & mounts.RESTRICTIONS
        if restrictions:
            mounts.set_attributes(tree, restrictions, recursive=True)
        return tree

    def done(self, tree: int, place: str, context: Context) -> None:
        """The mount is at its place, a path from the root: note it, and hold or let go of its descriptor."""
        mount_record.note(context, tree, self.destination, place)
        if self.fstype in READ_ONLY_LATE and self.read_only():
            self.late = tree
        else:
            posix.close(tree)

    def read_only(self) -> bool:
        """Whether the mount itself is to be read-only."""
        return bool(self.options.attr_set & _linux.MOUNT_ATTR_RDONLY)

    def target(self, context: Context) -> tuple[int, str]:
        """The directory to mount on, and its path from the root, without links."""
        if self.fstype in ("proc", "sysfs"):
            # It must not be behind a link (CVE-2023-27561).
            fd = self._plain_directory(context.root_fd)
        else:
            fd = self._mountpoint(context, directory=True)
        return fd, mountpoint.check(context, fd, self.fstype == "proc", self.destination)

    def _mountpoint(self, context: Context, *, directory: bool) -> int:
        """What is to be mounted on, made if it is missing; directory: and so must the mount point be."""
        try:
            if self.options.target_link:
                fd = paths.open_in_root(context.root_fd, self.destination, posix.O_PATH | posix.O_NOFOLLOW)
            else:
                fd = (paths.make_directories if directory else paths.make_file)(context.root_fd, self.destination)
        except OSError as error:
            if error.errno == errno.ENOTDIR and _is_there(context.root_fd, self.destination):
                raise self._failure(self._unlike(directory), error.errno) from None
            words = f'make mountpoint "{self.destination}": {reason(error)}'
            raise self._failure(words, error.errno) from None
        if directory != paths.is_directory(fd):
            raise self._failure(self._unlike(directory), errno.ENOTDIR)
        return fd

    def _unlike(self, directory: bool) -> str:
        """What the kernel means by ENOTDIR, for which move_mount(2) has EINVAL."""
        words = f"mount {self._what()} to {self.destination}: not a directory"
        if directory:
            return f"{words}: {self._what()} is one, {self.destination} is none"
        return f"{words}: {self.destination} is one, {self._what()} is none"

    def _plain_directory(self, root_fd: int) -> int:
        # Looked up once, without links: one that is put there between a check and its use would be followed else, and
        # what is masked later be masked somewhere else (CVE-2019-19921).
        flags = posix.O_PATH | posix.O_DIRECTORY
        for _ in range(2):
            try:
                return paths.open_in_root(root_fd, self.destination, flags, _linux.RESOLVE_NO_SYMLINKS)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    break
                if error.errno != errno.ENOENT:
                    raise
            posix.close(paths.make_directories(root_fd, self.destination))
        # In runc's words.
        text = f'filesystem "{self.fstype}" must be mounted on ordinary directory'
        raise PyruncError(f"{text}: {self.destination} is none")

    def _attributes(self, tree: int, *, only_new: bool) -> None:
        options = self.options
        if not only_new and (options.attr_set or options.attr_clr):
            mounts.set_attributes(tree, options.attr_set, options.attr_clr)
        if options.rec_set or options.rec_clr:
            mounts.set_attributes(tree, options.rec_set, options.rec_clr, recursive=True)
        for value, recursive in options.propagation:
            mounts.set_attributes(tree, 0, 0, propagation=value, recursive=recursive)

    def _remount(self, root_fd: int) -> None:
        """What the options name changes, and nothing else; never whether the file system itself is read-only."""
        options = self.options
        target = paths.open_in_root(root_fd, self.destination)
        if not options.bind and (options.parameters or options.superblock or options.cleared):
            parameters: list[tuple[str, str | int | None]] = [*options.parameters]
            words = [*options.superblock, *options.cleared]
            parameters += [(word, None) for word in words if not word.endswith("iversion")]
            mounts.reconfigure(target, parameters)
        self._attributes(target, only_new=False)
        posix.close(target)

    def _old_api(
        self, target: int, parameters: list[tuple[str, str | int | None]], attributes: int, context: Context
    ) -> int:
        """What fsconfig(2) cannot carry: mount(2), on the target as the current directory. The mount's descriptor."""
        if self.label:
            from pyrunc.linux import selinux

            parameters = selinux.quoted(parameters)
        data = ",".join(key if value is None else f"{key}={value}" for key, value in parameters)
        name = mountpoint.place(context, target).rpartition("/")[2]
        here = posix.open(".", posix.O_PATH | posix.O_CLOEXEC)
        posix.fchdir(target)
        try:
            flags = self.options.mount_flags(attributes)
            _linux.mount(self.source or self.fstype, ".", self.fstype, flags, data)
            made = posix.open("../" + name, posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW)
        finally:
            posix.fchdir(here)
            posix.close(here)
        if posix.fstat(made).st_dev == posix.fstat(target).st_dev:
            raise PyruncError(f"mount {self.fstype}: {self.destination} was moved away meanwhile")
        if self.options.tmpcopyup:
            self.helper.copy(target, made, context.self_fd)
        self._attributes(made, only_new=True)
        posix.close(target)
        return made


def _is_there(root_fd: int, path: str) -> bool:
    try:
        posix.close(paths.open_in_root(root_fd, path))
    except OSError:
        return False
    return True


class ReadOnlyMounts(Step):
    """Read-only tmpfs mounts and the read-only root, once all that is to be in them is there."""

    __slots__ = ("mounts", "root")
    name = "readonly"
    section = "config.md#root"
    side = CONTAINER

    def __init__(self, made: list[MountStep], root: bool, pointer: str) -> None:
        Step.__init__(self, pointer)
        self.mounts = made
        self.root = root

    def describe(self) -> str:
        return "make read-only: " + ", ".join([step.destination for step in self.mounts] + ["/"] * self.root)

    def apply(self, context: Context) -> None:
        for step in self.mounts:
            if step.late < 0:
                continue
            # By the descriptor: the path may lead somewhere else by now (CVE-2026-115521).
            mounts.set_attributes(step.late, _linux.MOUNT_ATTR_RDONLY)
            posix.close(step.late)
        if self.root:
            # Only this flag changes: nosuid and its like, locked or not, stay as they are.
            mounts.set_attributes(context.root_fd, _linux.MOUNT_ATTR_RDONLY)

"""The mount options of the specification (config.md, "Linux mount options") and what each means to the kernel."""

from __future__ import annotations

import errno
from typing import Final

from pyrunc import _linux
from pyrunc.errors import ConfigError

_L = _linux

# Option: (attributes to set, attributes to clear). An access-time option replaces the whole field MOUNT_ATTR__ATIME.
_ATTRIBUTES: Final[dict[str, tuple[int, int]]] = {
    "ro": (_L.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, _L.MOUNT_ATTR_RDONLY),
    "nosuid": (_L.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, _L.MOUNT_ATTR_NOSUID),
    "nodev": (_L.MOUNT_ATTR_NODEV, 0),
    "dev": (0, _L.MOUNT_ATTR_NODEV),
    "noexec": (_L.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, _L.MOUNT_ATTR_NOEXEC),
    "nosymfollow": (_L.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, _L.MOUNT_ATTR_NOSYMFOLLOW),
    "nodiratime": (_L.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, _L.MOUNT_ATTR_NODIRATIME),
    "noatime": (_L.MOUNT_ATTR_NOATIME, _L.MOUNT_ATTR__ATIME),
    "strictatime": (_L.MOUNT_ATTR_STRICTATIME, _L.MOUNT_ATTR__ATIME),
    "relatime": (_L.MOUNT_ATTR_RELATIME, _L.MOUNT_ATTR__ATIME),
    "atime": (_L.MOUNT_ATTR_RELATIME, _L.MOUNT_ATTR__ATIME),
    "norelatime": (_L.MOUNT_ATTR_RELATIME, _L.MOUNT_ATTR__ATIME),
    "nostrictatime": (_L.MOUNT_ATTR_RELATIME, _L.MOUNT_ATTR__ATIME),
}

# What these take away; then the kernel's default holds, which is relatime.
_TAKEN_AWAY: Final[dict[str, int]] = {
    "atime": _L.MOUNT_ATTR_NOATIME,
    "nostrictatime": _L.MOUNT_ATTR_STRICTATIME,
    "norelatime": _L.MOUNT_ATTR_RELATIME,
}

_BASIC: Final = (
    _L.MOUNT_ATTR_RDONLY | _L.MOUNT_ATTR_NOSUID | _L.MOUNT_ATTR_NODEV | _L.MOUNT_ATTR_NOEXEC | _L.MOUNT_ATTR_NOSYMFOLLOW
)
# ST_* of statfs(2) (linux/statfs.h), and what it stands for: what a less privileged user namespace may not clear.
_LOCKED: Final = (
    (1, _L.MOUNT_ATTR_RDONLY),
    (2, _L.MOUNT_ATTR_NOSUID),
    (4, _L.MOUNT_ATTR_NODEV),
    (8, _L.MOUNT_ATTR_NOEXEC),
)

PROPAGATION: Final[dict[str, tuple[int, bool]]] = {
    "private": (_L.MS_PRIVATE, False),
    "rprivate": (_L.MS_PRIVATE, True),
    "shared": (_L.MS_SHARED, False),
    "rshared": (_L.MS_SHARED, True),
    "slave": (_L.MS_SLAVE, False),
    "rslave": (_L.MS_SLAVE, True),
    "unbindable": (_L.MS_UNBINDABLE, False),
    "runbindable": (_L.MS_UNBINDABLE, True),
}

# Of the superblock: a parameter of fsconfig(2), the flag for mount(2), and whether the option takes it away.
_SUPERBLOCK: Final[dict[str, tuple[str, int, bool]]] = {
    "sync": ("sync", _L.MS_SYNCHRONOUS, False),
    "async": ("sync", _L.MS_SYNCHRONOUS, True),
    "dirsync": ("dirsync", _L.MS_DIRSYNC, False),
    "lazytime": ("lazytime", _L.MS_LAZYTIME, False),
    "nolazytime": ("lazytime", _L.MS_LAZYTIME, True),
    "mand": ("mand", _L.MS_MANDLOCK, False),
    "nomand": ("mand", _L.MS_MANDLOCK, True),
    # For mount(2) alone: fsconfig(2) knows no such parameter.
    "iversion": ("iversion", _L.MS_I_VERSION, False),
    "noiversion": ("iversion", _L.MS_I_VERSION, True),
}

# crun's, for bind mounts: (attribute of MountOptions).
_LINKS: Final = {"copy-symlink": "copy_symlink", "src-nofollow": "source_link", "dest-nofollow": "target_link"}

# Accepted without an effect: the mount API has no flag for them. Silent and loud are about the kernel's log.
_IGNORED: Final = ("defaults", "silent", "loud")


class MountOptions:
    """The options of one mount, sorted.

    bind, recursive: from bind and rbind. attr_set, attr_clr: for the mount itself; rec_set, rec_clr: the r* options,
    for it and all below. propagation: [(MS_*, recursive)] in order. parameters: fsconfig(2) parameters;
    superblock: names of superblock flags to set, with their MS_*; cleared: words that take such a flag away.
    atime: the one of noatime, relatime and strictatime that is asked for, or "". idmap: "", "idmap" or "ridmap".
    copy_symlink: a source that is a link is made anew at the destination; source_link: it is bound itself; target_link:
    a destination that is a link is mounted on itself.
    """

    __slots__ = (
        "atime",
        "attr_clr",
        "attr_set",
        "bind",
        "cleared",
        "copy_symlink",
        "idmap",
        "parameters",
        "propagation",
        "rec_clr",
        "rec_set",
        "recursive",
        "remount",
        "source_link",
        "superblock",
        "target_link",
        "tmpcopyup",
    )

    def __init__(self) -> None:
        self.atime = ""
        self.bind = False
        self.recursive = False
        self.remount = False
        self.attr_set = 0
        self.attr_clr = 0
        self.rec_set = 0
        self.rec_clr = 0
        self.propagation: list[tuple[int, bool]] = []
        self.parameters: list[tuple[str, str | None]] = []
        self.superblock: dict[str, int] = {}
        self.cleared: list[str] = []
        self.idmap = ""
        self.tmpcopyup = False
        self.copy_symlink = False
        self.source_link = False
        self.target_link = False

    def keeps_link(self) -> bool:
        """Whether a source that is a symbolic link is not followed."""
        return self.copy_symlink or self.source_link

    def times(self) -> tuple[int, int]:
        """What to set and to clear of how access times are kept, as the MOUNT_ATTR_*: (0, 0) for nothing asked."""
        all_of_them = _L.MOUNT_ATTR__ATIME | _L.MOUNT_ATTR_NODIRATIME
        named = self.attr_set & _L.MOUNT_ATTR_NODIRATIME | (self.rec_set | self.rec_clr) & all_of_them
        if not (self.atime or named):
            return 0, 0
        set_ = (self.attr_set & ~self.rec_clr | self.rec_set) & all_of_them
        return set_, all_of_them & ~set_ | _L.MOUNT_ATTR__ATIME

    def bind_attributes(self, existing: int | None) -> tuple[int, int]:
        """What to set and to clear of a bind mount: as mount(2) does it in runc and crun, by a remount.

        Without any option of its own it stays as its source is. With one, what is not named is cleared, but for access
        times, which only a way to keep them changes. existing: the ST_* of statfs(2) where the mount's user namespace
        may not clear them, so that what is not named stays; else None. Raises OSError (EPERM) for what is locked.
        """
        if not (self.attr_set or self.attr_clr):
            return 0, 0
        wanted = self.attr_set & _BASIC
        times = self.attr_set & _L.MOUNT_ATTR_NODIRATIME
        changes_times = bool(times or self.atime)
        times |= self.attr_set & _L.MOUNT_ATTR__ATIME
        if existing is not None:
            for flag, attribute in _LOCKED:
                if existing & flag:
                    if self.attr_clr & attribute:
                        raise PermissionError(errno.EPERM, "mount_setattr")
                    wanted |= attribute
            if changes_times and times != times_of(existing):
                raise PermissionError(errno.EPERM, "mount_setattr")
            changes_times = False
        clear = _BASIC & ~wanted
        if changes_times:
            wanted |= times
            clear |= _L.MOUNT_ATTR__ATIME | _L.MOUNT_ATTR_NODIRATIME & ~times
        return wanted, clear

    def mount_flags(self, attributes: int) -> int:
        """The superblock's flags, and MOUNT_ATTR_*, as the MS_* flags of mount(2)."""
        flags = 0
        for attribute, flag in (
            (_L.MOUNT_ATTR_RDONLY, _L.MS_RDONLY),
            (_L.MOUNT_ATTR_NOSUID, _L.MS_NOSUID),
            (_L.MOUNT_ATTR_NODEV, _L.MS_NODEV),
            (_L.MOUNT_ATTR_NOEXEC, _L.MS_NOEXEC),
            (_L.MOUNT_ATTR_NODIRATIME, _L.MS_NODIRATIME),
            (_L.MOUNT_ATTR_NOSYMFOLLOW, _L.MS_NOSYMFOLLOW),
        ):
            if attributes & attribute:
                flags |= flag
        atime = attributes & _L.MOUNT_ATTR__ATIME
        if atime == _L.MOUNT_ATTR_NOATIME:
            flags |= _L.MS_NOATIME
        elif atime == _L.MOUNT_ATTR_STRICTATIME:
            flags |= _L.MS_STRICTATIME
        for flag in self.superblock.values():
            flags |= flag
        return flags


def times_of(flags: int) -> int:
    """How access times are kept, from ST_* to MOUNT_ATTR_*."""
    times = _L.MOUNT_ATTR_NODIRATIME if flags & 2048 else 0
    if flags & 1024:
        return times | _L.MOUNT_ATTR_NOATIME
    return times | (_L.MOUNT_ATTR_RELATIME if flags & 4096 else _L.MOUNT_ATTR_STRICTATIME)


def parse(options: list[str], pointer: str) -> MountOptions:
    """Sort the options of a mount. A word that is no option of the specification is data for the file system."""
    result = MountOptions()
    for index, option in enumerate(options):
        if option in _ATTRIBUTES:
            _attribute(result, option, recursive=False)
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            _attribute(result, option[1:], recursive=True)
        elif option in PROPAGATION:
            result.propagation.append(PROPAGATION[option])
        elif option in ("bind", "rbind"):
            result.bind = True
            result.recursive = result.recursive or option == "rbind"
        elif option in _SUPERBLOCK:
            name, flag, clear = _SUPERBLOCK[option]
            result.superblock.pop(name, None)
            if clear:
                result.cleared.append(option)
            else:
                result.superblock[name] = flag
        elif option == "remount":
            result.remount = True
        elif option in ("idmap", "ridmap"):
            result.idmap = option
        elif option == "tmpcopyup":
            result.tmpcopyup = True
        elif option in _LINKS:
            setattr(result, _LINKS[option], True)
        elif option not in _IGNORED and option:
            if "\0" in option:
                raise ConfigError("a mount option holds a NUL byte", pointer=f"{pointer}/options/{index}")
            key, equals, value = option.partition("=")
            result.parameters.append((key, value if equals else None))
    if result.copy_symlink and (result.source_link or result.target_link):
        raise ConfigError("copy-symlink excludes src-nofollow and dest-nofollow", pointer=pointer + "/options")
    return result


def _attribute(result: MountOptions, option: str, *, recursive: bool) -> None:
    set_, clear = _ATTRIBUTES[option]
    # Not this one of the ways to keep access times: nothing is said about the others (mount(8)).
    earlier = (result.rec_set if recursive else result.attr_set) & _L.MOUNT_ATTR__ATIME
    if earlier and earlier != _TAKEN_AWAY.get(option, earlier):
        return
    if not recursive and clear == _L.MOUNT_ATTR__ATIME:
        result.atime = "" if option in _TAKEN_AWAY else option
    # A later option wins over an earlier one: what is cleared is no longer set, and the other way round.
    if recursive:
        result.rec_set = result.rec_set & ~clear | set_
        result.rec_clr = result.rec_clr & ~set_ | clear
    else:
        result.attr_set = result.attr_set & ~clear | set_
        result.attr_clr = result.attr_clr & ~set_ | clear

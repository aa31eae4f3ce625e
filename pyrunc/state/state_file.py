"""state.json as input: read from where others may have put something, and checked before a word of it is believed.

A state root is a directory that --root names. Whose file is there, of which type, and who else may write it, is asked
of its descriptor; its contents are checked by the table below. One bad entry spoils no other.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import loads
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.config.types import StateFile

# The format of state.json. A newer pyrunc reads the older ones; an unknown one is an error.
FORMAT: Final = 1
NAME: Final = "state.json"
_LIMIT: Final = 16 << 20


class Malformed(PyruncError):
    """A state.json of ours that is not what we write. fields: what it holds, {} when it is no JSON object."""

    def __init__(self, message: str, fields: Mapping[str, Any]) -> None:
        PyruncError.__init__(self, message)
        self.fields = fields


def read(directory: str, container_id: str) -> StateFile:
    """The checked object of a container's state.json.

    Raises StateError when there is none, Malformed when it is not what we write, PyruncError when it cannot be read or
    is not the caller's alone.
    """
    path = f"{directory}/{NAME}"
    data = _read(directory, path)
    found: Any = {}
    try:
        found = loads(data, NAME, _LIMIT, surrogates=True)  # a bundle's path may be no UTF-8
    except PyruncError as error:
        raise Malformed(f"{path} is damaged, it is not what pyrunc has written: {error.message}", {}) from None
    if not isinstance(found, dict):
        raise Malformed(path + " has a format that this pyrunc does not know", {})
    fields: dict[str, Any] = found
    number = fields.get("format")
    if type(number) is int and number > FORMAT:
        # A newer pyrunc's, which knows what is to be taken away.
        raise PyruncError(path + " has a format that this pyrunc does not know")
    problem = _problem(fields, container_id)
    if problem:
        raise Malformed(path + problem, fields)
    checked: Any = found
    state: StateFile = checked
    return state


def _read(directory: str, path: str) -> bytes:
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    folder = fd = -1
    try:
        folder = posix.open(directory, flags | posix.O_DIRECTORY)
        _check_owner(folder, directory, _linux.S_IFDIR)
        fd = posix.open(NAME, flags, dir_fd=folder)
        _check_owner(fd, path, _linux.S_IFREG)
        return files.read_fd(fd, _LIMIT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise StateError("container does not exist", errno=error.errno) from None
        raise PyruncError(f"read {path}: {reason(error)}", errno=error.errno) from None
    finally:
        for one in (folder, fd):
            if one >= 0:
                posix.close(one)


def _check_owner(fd: int, path: str, kind: int) -> None:
    """Raises PyruncError unless it is of that type (S_IFMT), the caller's, and nobody else may write to it."""
    status = posix.fstat(fd)
    if status.st_mode & _linux.S_IFMT != kind:
        raise PyruncError(path + " is no file of a container's state")
    if status.st_uid != posix.geteuid() or status.st_mode & 0o022:
        raise PyruncError(
            path + " is not believed: it belongs to another user, or others may write to it",
            hint="a container is managed by the user who has created it",
        )


# ---- what is in it ----

# What a value must be, as data: a word for fits(), a list of one, an object with these properties ("?" for one that may
# be missing, "*" for any), or a tuple: that or null.
_HOOK: Final = {"path": "text", "args?": ["text"], "env?": ["text"], "timeout?": "count"}
_MOUNT: Final = {
    "destination": "text",
    "path": "text",
    "id": "unsigned",
    "unique": "truth",
    "device": "unsigned",
    "inode": "unsigned",
}
# In the order of the file. Older states lack some; what a newer pyrunc of the same format adds is left alone.
_FIELDS: Final[dict[str, Any]] = {
    "ociVersion": "text",
    "id": "text",
    "phase": "phase",
    "pid": "pid",
    "start": "number",
    "bundle": "text",
    "rootfs": "text",
    "created": "text",
    "annotations": {"*": "any text"},
    "cgroup": {"*": "path"},
    "systemd?": ({"unit": "text", "slice": "text", "user": "truth", "invocation?": ("text",)},),
    "hooks": {"*": [_HOOK]},
    "ownMounts?": "truth",
    "ownPids?": "truth",
    "privatePids?": "truth",
    "ownKeyring?": "truth",
    "rootless?": "truth",
    "hasProcess?": "truth",
    "trustAnnotations?": "truth",
    "intelRdt?": {"clos": "path", "monitoring": "text", "remove": "truth"},
    "mounts?": [_MOUNT],
    "updated?": "any text",
}


def fits(value: Any, shape: Any) -> bool:
    """Whether a value is of a shape, as above. Pure."""
    kind = type(shape)
    if kind is tuple:
        return value is None or fits(value, shape[0])
    if kind is list:
        return type(value) is list and all(fits(item, shape[0]) for item in value)
    if kind is dict:
        return type(value) is dict and not _misfit(value, shape)
    if shape == "truth":
        return type(value) is bool
    if shape == "number":
        return type(value) is int and 0 <= value < 1 << 63
    if shape == "count":
        return type(value) is int and value >= 0  # the config's, which has no bound
    if shape == "unsigned":
        return type(value) is int and 0 <= value < 1 << 64  # all of them: hashes, layers of an overlay
    if shape == "pid":
        return type(value) is int and 0 <= value <= 1 << 22  # PID_MAX_LIMIT of the kernel's linux/threads.h
    if shape == "phase":
        return value in ("creating", "created")
    if type(value) is not str or (shape != "any text" and "\0" in value):
        return False
    return shape != "path" or (value[:1] == "/" and ".." not in value.split("/"))


def _misfit(value: dict[str, Any], shape: dict[str, Any]) -> str:
    """The first property that is missing or does not fit, "" for none."""
    for name, inner in shape.items():
        key = name.rstrip("?")
        if name == "*":
            found = list(value.values())
        elif key in value:
            found = [value[key]]
        elif key != name:
            continue
        else:
            return key
        for item in found:
            if not fits(item, inner):
                return key
    return ""


def _problem(fields: dict[str, Any], container_id: str) -> str:
    """What is wrong with it, to be put after the file's name; "" for nothing."""
    if type(fields.get("format")) is not int or not 1 <= fields["format"] <= FORMAT:
        return " has a format that this pyrunc does not know"
    name = _misfit(fields, _FIELDS)
    if name:
        return " is malformed: " + name
    return "" if fields["id"] == container_id else " is of another container"


# ---- what it names ----

_CGROUPS: Final = (_linux.CGROUP_SUPER_MAGIC, _linux.CGROUP2_SUPER_MAGIC)


def check_cgroup(path: str) -> None:
    """Raises PyruncError for a directory that is there and is none of a cgroup file system."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        raise PyruncError(f"open cgroup {path}: {reason(error)}", errno=error.errno) from None
    try:
        if _linux.fstatfs(fd)[0] not in _CGROUPS:
            raise PyruncError(path + " is no cgroup")
    finally:
        posix.close(fd)

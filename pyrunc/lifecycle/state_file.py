"""state.json as input: read from where others may have put something, and checked before a word of it is believed.

A state root is a directory that --root names. Whose file is there, of which type, and who else may write it, is asked
of its descriptor; its contents are checked by the table below. One bad entry spoils no other.
"""

import errno
import posix

from pyrunc import _linux
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.jsontext import loads
from pyrunc.linux import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# The format of state.json. A newer pyrunc reads the older ones; an unknown one is an error.
FORMAT: "Final" = 1
NAME: "Final" = "state.json"
_LIMIT: "Final" = 16 << 20


class Malformed(PyruncError):
    """A state.json of ours that is not what we write. fields: what it holds, {} when it is no JSON object."""

    def __init__(self, message: str, fields: "dict[str, Any]") -> None:
        PyruncError.__init__(self, message)
        self.fields = fields


def read(directory: str, container_id: str) -> "dict[str, Any]":
    """The checked object of a container's state.json.

    Raises StateError when there is none, Malformed when it is not what we write, PyruncError when it cannot be read or
    is not the caller's alone.
    """
    path = directory + "/" + NAME
    data = _read(directory, path)
    fields: "Any" = {}
    try:
        fields = loads(data, NAME, _LIMIT, surrogates=True)  # a bundle's path may be no UTF-8
    except PyruncError as error:
        raise Malformed(path + ": " + error.message, {}) from None
    if not isinstance(fields, dict):
        raise Malformed(path + " has a format that this pyrunc does not know", {})
    problem = _problem(fields, container_id)
    if problem:
        raise Malformed(path + problem, fields)
    return fields


def _read(directory: str, path: str) -> bytes:
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    folder = fd = -1
    try:
        folder = posix.open(directory, flags | posix.O_DIRECTORY)
        _check_owner(folder, directory, 0o040000)
        fd = posix.open(NAME, flags, dir_fd=folder)
        _check_owner(fd, path, 0o100000)
        return files.read_fd(fd, _LIMIT)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise StateError("container does not exist", errno=error.errno) from None
        raise PyruncError("read " + path + ": " + reason(error), errno=error.errno) from None
    finally:
        for one in (folder, fd):
            if one >= 0:
                posix.close(one)


def _check_owner(fd: int, path: str, kind: int) -> None:
    """Raises PyruncError unless it is of that type (S_IFMT), the caller's, and nobody else may write to it."""
    status = posix.fstat(fd)
    if status.st_mode & 0o170000 != kind:
        raise PyruncError(path + " is no file of a container's state")
    if status.st_uid != posix.geteuid() or status.st_mode & 0o022:
        raise PyruncError(
            path + " is not believed: it belongs to another user, or others may write to it",
            hint="a container is managed by the user who has created it",
        )


# ---- what is in it ----


def _text(value: "Any") -> bool:
    return type(value) is str and "\0" not in value


def _texts(value: "Any") -> bool:
    return type(value) is list and all(_text(item) for item in value)


def number(value: "Any") -> bool:
    """Whether it is a whole number that the kernel could have given."""
    return type(value) is int and 0 <= value < 1 << 63


def pid(value: "Any") -> bool:
    """Whether it can be a process number: PID_MAX_LIMIT of the kernel's linux/threads.h."""
    return type(value) is int and 0 <= value <= 1 << 22


def _truth(value: "Any") -> bool:
    return type(value) is bool


def _path(value: "Any") -> bool:
    return _text(value) and value[:1] == "/" and ".." not in value.split("/")


def _annotations(value: "Any") -> bool:
    return type(value) is dict and all(type(item) is str for item in value.values())


def _cgroup(value: "Any") -> bool:
    return type(value) is dict and all(_path(item) for item in value.values())


def _hook(value: "Any") -> bool:
    return (
        type(value) is dict
        and _text(value.get("path"))
        and _texts(value.get("args") or [])
        and _texts(value.get("env") or [])
        and (value.get("timeout") is None or (number(value["timeout"]) and value["timeout"] > 0))
    )


def _hooks(value: "Any") -> bool:
    return type(value) is dict and all(type(item) is list and all(map(_hook, item)) for item in value.values())


def _unit(value: "Any") -> bool:
    return value is None or (
        type(value) is dict
        and _text(value.get("unit"))
        and _text(value.get("slice"))
        and _truth(value.get("user"))
        and (value.get("invocation") is None or _text(value["invocation"]))
    )


def _mount(value: "Any") -> bool:
    return (
        type(value) is dict
        and _text(value.get("destination"))
        and _text(value.get("path"))
        and _truth(value.get("unique"))
        and all(type(value.get(name)) is int for name in ("id", "device", "inode"))
    )


def _mounts(value: "Any") -> bool:
    return type(value) is list and all(map(_mount, value))


def _resctrl(value: "Any") -> bool:
    return (
        type(value) is dict
        and _path(value.get("clos"))
        and (value.get("monitoring") == "" or _path(value.get("monitoring")))
        and _truth(value.get("remove"))
    )


# In the order of the file. What a newer pyrunc of the same format adds is left alone.
_NEEDED: "Final[dict[str, Callable[[Any], bool]]]" = {
    "ociVersion": _text,
    "id": _text,
    "phase": lambda value: value in ("creating", "created"),
    "pid": pid,
    "start": number,
    "bundle": _text,
    "rootfs": _text,
    "created": _text,
    "annotations": _annotations,
    "cgroup": _cgroup,
    "hooks": _hooks,
}
# Older states lack some of them.
_OPTIONAL: "Final[dict[str, Callable[[Any], bool]]]" = {
    "systemd": _unit,
    "ownMounts": _truth,
    "ownPids": _truth,
    "privatePids": _truth,
    "ownKeyring": _truth,
    "rootless": _truth,
    "hasProcess": _truth,
    "trustAnnotations": _truth,
    "mounts": _mounts,
    "intelRdt": _resctrl,
}


def _problem(fields: "dict[str, Any]", container_id: str) -> str:
    """What is wrong with it, to be put after the file's name; "" for nothing."""
    if type(fields.get("format")) is not int or not 1 <= fields["format"] <= FORMAT:
        return " has a format that this pyrunc does not know"
    for name, is_good in _NEEDED.items():
        if name not in fields or not is_good(fields[name]):
            return " is malformed: " + name
    for name, is_good in _OPTIONAL.items():
        if name in fields and not is_good(fields[name]):
            return " is malformed: " + name
    if fields["id"] != container_id:
        return " is of another container"
    return ""


# ---- what it names ----

_CGROUPS: "Final" = (_linux.CGROUP_SUPER_MAGIC, _linux.CGROUP2_SUPER_MAGIC)


def check_cgroup(path: str) -> None:
    """Raises PyruncError for a directory that is there and is none of a cgroup file system."""
    try:
        fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        raise PyruncError("open cgroup " + path + ": " + reason(error), errno=error.errno) from None
    try:
        if _linux.fstatfs(fd)[0] not in _CGROUPS:
            raise PyruncError(path + " is no cgroup")
    finally:
        posix.close(fd)

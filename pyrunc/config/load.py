"""Bytes of a bundle to a checked Config, or a ConfigError that points at what is wrong."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc import _linux
from pyrunc.config import rules, schema
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.jsontext import MAX_BYTES, dumps, loads
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.config.schema_types import Json
    from pyrunc.config.types import Config, Process, Resources


def read(path: str, what: str) -> bytes:
    """The bytes of a file of at most MAX_BYTES. what: its name for errors. Raises ConfigError."""
    try:
        foresee(path)
        # O_NONBLOCK: a FIFO that nobody writes to must not hang the open.
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY | posix.O_NONBLOCK)
    except FileNotFoundError as error:
        # runc's words, which callers show to their users.
        raise ConfigError(f"JSON specification file {path} not found", errno=error.errno) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"open {path}: {reason}", errno=getattr(error, "errno", None)) from None
    try:
        data = read_descriptor(descriptor, path)
    except OSError as error:
        raise ConfigError(f"read {path}: {error.strerror}", errno=error.errno) from None
    except PyruncError as error:
        raise ConfigError(error.message) from None
    finally:
        posix.close(descriptor)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{what}: larger than {MAX_BYTES} bytes")
    return data


def foresee(path: str) -> None:
    """To be called before a file is opened that may be a pipe. Raises OSError.

    What was read of one is gone, and whoever does the command in the image's place would find nothing. So patient.py,
    which reads them, is not in the image.
    """
    if posix.stat(path).st_mode & _linux.S_IFMT != _linux.S_IFREG:
        from pyrunc.linux import patient  # noqa: F401


def read_descriptor(descriptor: int, path: str) -> bytes:
    """At most MAX_BYTES and one more of what a caller names as a file, opened with O_NONBLOCK.

    Raises OSError, PyruncError when what is no plain file does not come.
    """
    if posix.fstat(descriptor).st_mode & _linux.S_IFMT == _linux.S_IFREG:
        return files.read_fd(descriptor, MAX_BYTES + 1)
    from pyrunc.linux import patient

    return patient.read(descriptor, MAX_BYTES + 1, path)


def parse(data: bytes, what: str = "config.json") -> Any:
    """The value of a JSON text, in which a property that is null is as good as absent (as to runc, crun and youki).

    Raises ConfigError.
    """
    value: Json = loads(data, what)
    if b"null" in data:
        _drop_nulls(value)
    if isinstance(value, dict) and isinstance(linux := value.get("linux"), dict):
        _drop_empty(linux)
    return value


def _drop_empty(linux: dict[str, Json]) -> None:
    """What runc takes for absent: rootfsPropagation "", and a seccomp that says nothing of any system call."""
    if linux.get("rootfsPropagation") == "":
        del linux["rootfsPropagation"]
    seccomp = linux.get("seccomp")
    if isinstance(seccomp, dict) and seccomp.get("defaultAction", "") == "" and seccomp.get("syscalls", []) == []:
        del linux["seccomp"]


def _drop_nulls(value: Json) -> None:
    if isinstance(value, dict):
        for name in [name for name, item in value.items() if item is None]:
            del value[name]
        for item in value.values():
            _drop_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _drop_nulls(item)


def load_bundle(bundle: str, config: str | None = None) -> tuple[Config, bytes]:
    """The checked config of a bundle, and its text: as read, but for names in another case than the specification's.

    bundle: directory. config: path of the config where it is not config.json in the bundle.
    Raises ConfigError.
    """
    data = read(config or bundle + "/config.json", "config.json")
    value = parse(data)
    respelled = schema.check(value)
    if b"\\u0000" in data:
        rules.check_nul(value)
    rules.check(value)
    # Whoever reads the text later, an exec for one, is to find what was checked.
    return value, dumps(value).encode("utf-8", "surrogateescape") if respelled else data


def load_process(data: bytes) -> Process:
    """A process object, as `exec --process` reads it (config.md, "Process"). Raises ConfigError."""
    return _load_part(data, "process", rules.check_process)  # type: ignore[no-any-return]


def load_resources(data: bytes) -> Resources:
    """A resources object, as `update --resources` reads it (config-linux.md, "Control groups"). Raises ConfigError."""
    return _load_part(data, "resources", rules.check_resources)  # type: ignore[no-any-return]


def _load_part(data: bytes, part: str, check: Callable[[Any, str], None]) -> Any:
    """A part of a config that stands in a file of its own. Its errors point into that file."""
    try:
        value = parse(data, part + ".json")
        schema.check(value, part)
        if b"\\u0000" in data:
            rules.check_nul(value)
        check(value, "")
    except ConfigError as error:
        error.file = part + ".json"
        raise
    return value

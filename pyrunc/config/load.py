"""Bytes of a bundle to a checked Config, or a ConfigError that points at what is wrong."""

import posix

from pyrunc.config import rules, schema
from pyrunc.errors import ConfigError
from pyrunc.jsontext import MAX_BYTES, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.config.types import Config, Process, Resources


def read(path: str, what: str) -> bytes:
    """The bytes of a file of at most MAX_BYTES. what: its name for errors. Raises ConfigError."""
    try:
        # O_NONBLOCK: a FIFO that nobody writes to must not hang the open; it reads as empty.
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOCTTY | posix.O_NONBLOCK)
    except FileNotFoundError as error:
        # runc's words, which callers show to their users.
        raise ConfigError("JSON specification file " + path + " not found", errno=error.errno) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"open {path}: {reason}", errno=getattr(error, "errno", None)) from None
    try:
        posix.set_blocking(descriptor, True)
        pieces = []
        size = 0
        while piece := posix.read(descriptor, 65536):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_BYTES:
                raise ConfigError(what + ": larger than " + str(MAX_BYTES) + " bytes")
        return b"".join(pieces)
    except OSError as error:
        raise ConfigError(f"read {path}: {error.strerror}", errno=error.errno) from None
    finally:
        posix.close(descriptor)


def load_bundle(bundle: str, config: "str | None" = None) -> "tuple[Config, bytes]":
    """The checked config of a bundle, and its text as read.

    bundle: directory. config: path of the config where it is not config.json in the bundle.
    Raises ConfigError.
    """
    data = read(config or bundle + "/config.json", "config.json")
    value = loads(data)
    schema.check(value)
    if b"\\u0000" in data:
        rules.check_nul(value)
    rules.check(value)
    return value, data


def load_process(data: bytes) -> "Process":
    """A process object, as `exec --process` reads it (config.md, "Process"). Raises ConfigError."""
    try:
        value = loads(data, "process.json")
        schema.check(value, "process")
        if b"\\u0000" in data:
            rules.check_nul(value)
        rules.check_process(value, "")
    except ConfigError as error:
        error.file = "process.json"
        raise
    return value  # type: ignore[no-any-return]


def load_resources(data: bytes) -> "Resources":
    """A resources object, as `update --resources` reads it (config-linux.md, "Control groups"). Raises ConfigError."""
    try:
        value = loads(data, "resources.json")
        schema.check(value, "resources")
        if b"\\u0000" in data:
            rules.check_nul(value)
        rules.check_resources(value, "")
    except ConfigError as error:
        error.file = "resources.json"
        raise
    return value  # type: ignore[no-any-return]

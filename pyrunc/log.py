"""Where pyrunc's words go: the log that engines read, standard error and standard output.

Engines read the log in two ways. containerd takes the last line whose level is "error"; podman reads the whole file as
ONE JSON object. So an error is exactly one line, and warnings wait until the end: they go into the error's object
("warnings"), or become lines of their own when the command succeeds. The text format is logrus's, as runc writes it.

Imported by every command. Only posix; time when something is to be said.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.errors import PyruncError, reason

if TYPE_CHECKING:
    from collections.abc import Mapping

_fd = 2
_to_file = False
_json = False
_debug = False
_waiting: list[tuple[str, Mapping[str, object]]] = []


def setup(path: str | None, form: str = "text", debug_too: bool = False) -> None:
    """Choose where messages go, before any is written.

    path: file to append to (made with mode 0644), None or "" for standard error. form: "text" or "json".
    Raises PyruncError when the file can't be opened or the format is neither.
    """
    global _fd, _to_file, _json, _debug
    if form not in ("text", "json", ""):
        raise PyruncError("invalid log-format: " + form)
    _debug = debug_too
    fd = 2
    if path:
        try:
            # Of a FIFO, no reader is waited for, nor that one reads: what it has no room for is lost.
            flags = (
                posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
            )
            fd = posix.open(path, flags, 0o644)
        except OSError as error:
            raise PyruncError(f"open log {path}: {reason(error)}", errno=error.errno) from None
    # From here on the format holds, so that an error about the file itself is still plain text on standard error.
    if _to_file:
        posix.close(_fd)
    _fd, _to_file, _json = fd, fd != 2, form == "json"


def error(failure: PyruncError) -> None:
    """Report a failure: one line in the log, and its text on standard error too when the log is a file."""
    fields: dict[str, object] = {}
    for name in ("step", "pointer", "errno", "hint", "container"):
        value = getattr(failure, name)
        if value is not None and value != "":
            fields[name] = value
    text = failure.line()
    if _waiting:
        fields["warnings"] = [warned for warned, _ in _waiting]
        del _waiting[:]
    _write("error", text, fields)
    if _to_file:
        write(2, text + "\n")


def warning(text: str, **fields: object) -> None:
    """Say that something was done otherwise than asked. Never a second JSON line beside an error's."""
    if _json and _to_file:
        _waiting.append((text, fields))
    else:
        _write("warning", text, fields)


def is_debug() -> bool:
    """Whether debug() writes."""
    return _debug


def is_plain() -> bool:
    """Whether words go to standard error as text, for a person or a script to read."""
    return not _to_file and not _json


def keep() -> None:
    """In the container process: go on writing to the same file, whatever its number stands for later."""
    global _fd
    if _debug:
        import fcntl

        try:
            # Out of the way of the descriptors that the process keeps.
            _fd = fcntl.fcntl(_fd, fcntl.F_DUPFD_CLOEXEC, 500)
        except OSError:
            pass


def debug(text: str, **fields: object) -> None:
    """Say what is being done, when --debug asks for it."""
    if _debug:
        _write("debug", text, fields)


def finish() -> None:
    """The command succeeded: write the warnings that waited."""
    for text, fields in _waiting:
        _write("warning", text, fields)
    del _waiting[:]


def _write(level: str, text: str, fields: Mapping[str, object]) -> None:
    import time

    # UTC: RFC 3339 wants an offset, and reading the local time zone opens files.
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if _json:
        line = f'{{"level":{quote(level)},"msg":{quote(text)},"time":"{now}"'
        for name, value in fields.items():
            line += f",{quote(name)}:{_value(value)}"
        line += "}\n"
    elif _fd == 2 and posix.isatty(2):
        line = f"{level[:4].upper()}[0000] {text}\n"  # for a person, as logrus: no quotes in quotes
    else:
        line = f'time="{now}" level={level} msg={quote(text, False)}\n'
    try:
        write(_fd, line)
    except OSError:
        pass  # a full disk or a closed standard error must not hide the exit status


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([_value(one) for one in value]) + "]"
    return quote(str(value))


def quote(text: str, ascii_only: bool = True) -> str:
    """A JSON string. Escapes what is not printable, or not ASCII; a byte that is not UTF-8 becomes U+FFFD.

    Own code, since the JSON module may be what failed to load.
    """
    out = ['"']
    for c in text:
        o = ord(c)
        if c in '"\\':
            out.append("\\" + c)
        elif 0x20 <= o < 0x7F or (o >= 0xA0 and not ascii_only and not 0xD800 <= o < 0xE000):
            out.append(c)
        elif c in "\n\r\t":
            out.append("\\" + "nrt"["\n\r\t".index(c)])
        elif 0xD800 <= o < 0xE000:
            out.append("\\ufffd")
        elif o < 0x10000:
            out.append(f"\\u{o:04x}")
        else:
            out.append(f"\\u{0xD7C0 + (o >> 10):04x}\\u{0xDC00 + (o & 0x3FF):04x}")
    out.append('"')
    return "".join(out)


def write(fd: int, text: str) -> None:
    """Write all of text to a descriptor. Raises OSError."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[posix.write(fd, data) :]


def output(text: str) -> None:
    """Write a command's result to standard output. Raises BrokenPipeError, or PyruncError for any other failure."""
    try:
        write(1, text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PyruncError("write to standard output: " + reason(error), errno=error.errno) from None

"""JSON text to objects and back: RFC 8259 and not a byte more.

A text is refused for what stands after its end, a number that 64 bits or a double do not hold, half of a surrogate
pair, too much nesting, and a name that stands twice in an object, which runtime-spec config.md forbids. native/json.c
reads; what is written is little, and written here.
"""

from __future__ import annotations

from typing import Any, Final

from pyrunc import _json
from pyrunc.errors import ConfigError

MAX_BYTES: Final = 4 << 20
MAX_DEPTH: Final = 128

#: What stands for a character in a JSON string (RFC 8259, 7).
_ESCAPES: Final = {number: f"\\u{number:04x}" for number in range(32)}
_ESCAPES.update({ord(letter): "\\" + name for letter, name in zip('"\\\b\f\n\r\t', '"\\bfnrt', strict=True)})


def pointer(*names: str | int) -> str:
    """The JSON pointer (RFC 6901) that leads through these property names and indexes; printable whatever they hold."""
    text = "".join(["/" + str(name).replace("~", "~0").replace("/", "~1") for name in names])
    return text if text.isprintable() else quote(text)[1:-1]


def strings(value: object, path: str = "") -> list[tuple[str, str]]:
    """Every string within value, names too, each with the JSON pointer to it."""
    if isinstance(value, str):
        return [(path, value)]
    found = []
    if isinstance(value, dict):
        for name, item in value.items():
            place = path + pointer(name)
            found.append((place, name))
            found += strings(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += strings(item, f"{path}/{index}")
    return found


def loads(
    data: bytes,
    what: str = "config.json",
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    surrogates: bool = False,
) -> Any:
    """The value that a JSON text stands for: dict, list, str, int, float, bool or None.

    data: UTF-8, without a byte-order mark. what: its name for errors. max_bytes, max_depth: refused beyond, unparsed.
    surrogates: take \\udc80 to \\udcff, which `dumps` writes for a path that is not UTF-8. Only for texts of our own.
    Integers lie within -2^63 and 2^64-1. A number with a point or an exponent is a float, however whole it is.
    Raises ConfigError: malformed, too large, too deep, a repeated name (with its pointer).
    """
    if len(data) > max_bytes:
        raise ConfigError(f"{what}: larger than {max_bytes} bytes: {len(data)} bytes")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(what + ": starts with a byte-order mark: plain UTF-8 is expected")
    try:
        # What is no UTF-8 anywhere is said before what is no JSON.
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: not UTF-8 at byte {error.start}: {error.reason}") from None
    if not text.strip(" \t\n\r"):
        raise ConfigError(what + ": is empty, a JSON object is expected")
    try:
        return _json.read(data, max_depth, surrogates)
    except ValueError as error:
        reason, byte, path, detail = error.args
    if reason == "a name stands twice":
        raise ConfigError(f"the name {quote(detail)} stands twice in one object", pointer=pointer(*path, detail))
    before = data[:byte].decode()
    # Not of what is too deep: it would be longer than all else.
    where = pointer(*path) if path and len(path) < max_depth else None
    place = "line " + str(before.count("\n") + 1) + " column " + str(len(before) - before.rfind("\n"))
    if detail is None:
        raise ConfigError(f"{what}: {place}: {reason}", pointer=where)
    if reason.startswith("half"):
        raise ConfigError(f"{what}: half of a surrogate pair: {quote(detail)}", pointer=pointer(*path) or None)
    raise ConfigError(
        what + ": " + place + ": " + reason + ": " + (detail if len(detail) < 40 else detail[:37] + "..."),
        pointer=where,
    )


def quote(text: str) -> str:
    """A string as JSON for a message: printable, on one line and encodable whatever it holds."""
    return _escaped(text, not text.isprintable())


def _escaped(text: str, ascii_only: bool) -> str:
    if text.isprintable() and '"' not in text and "\\" not in text and not (ascii_only and not text.isascii()):
        return f'"{text}"'
    out = text.translate(_ESCAPES)
    if ascii_only and not (out.isascii() and out.isprintable()):
        units = [
            (number,) if number < 0x10000 else (0xD7C0 + (number >> 10), 0xDC00 + (number & 0x3FF))
            for number in map(ord, out)
        ]
        out = "".join(
            ["".join([chr(unit) if unit < 0x7F else f"\\u{unit:04x}" for unit in character]) for character in units]
        )
    return f'"{out}"'


def _written(value: object, ascii_only: bool, indent: str, margin: str) -> str:
    """margin: a line break and what the line begins with, where the value stands; "" for one line of all."""
    if isinstance(value, str):
        return _escaped(value, ascii_only)
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        if value - value != 0:
            raise ValueError("Out of range float values are not JSON compliant: " + repr(value))
        return float.__repr__(value)
    inner = margin and margin + indent
    if isinstance(value, dict):
        colon = ": " if margin else ":"
        items = [
            _escaped(name, ascii_only) + colon + _written(item, ascii_only, indent, inner)
            for name, item in value.items()
        ]
        brackets = "{}"
    elif isinstance(value, (list, tuple)):
        items = [_written(item, ascii_only, indent, inner) for item in value]
        brackets = "[]"
    else:
        raise TypeError("no JSON for " + type(value).__name__)
    return brackets[0] + inner + ("," + inner).join(items) + margin + brackets[1] if items else brackets


def dumps(value: object, indent: int | str | None = None) -> str:
    """JSON text of dicts (their names str), lists, tuples, str, int, float, bool and None, in the order they stand in.

    indent: spaces a level, or the characters themselves, or None for one line without any space.
    The text can always be encoded as UTF-8: where a string holds undecodable bytes (half surrogates), everything beyond
    ASCII is escaped, and `loads` takes that back with surrogates=True.
    Raises ValueError for infinity or NaN, TypeError for other types.
    """
    level = " " * indent if isinstance(indent, int) else indent or ""
    margin = "" if indent is None else "\n"
    text = _written(value, False, level, margin)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _written(value, True, level, margin)
    return text

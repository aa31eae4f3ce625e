"""JSON text to objects and back, with the checks that CPython's C accelerator leaves out.

`_json` does the work: the json package costs 9 ms to import. By itself it takes text after the end, reads 1e999 as
infinity, lets half of a surrogate pair through, keeps the last of two equal names, and raises StopIteration,
RecursionError or even SystemError where JSON is malformed. RFC 8259 is the grammar; runtime-spec config.md forbids
repeated names.
"""

import sys

from pyrunc.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, NoReturn

MAX_BYTES: "Final" = 4 << 20
MAX_DEPTH: "Final" = 128

_SPACE: "Final" = " \t\n\r"
_NOT_BRACKETS: "Final" = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _accelerator() -> "Any":
    """The module _json. In Debian it is a file; opened by its full path it needs no search of sys.path."""
    module = sys.modules.get("_json")
    if module is None and "_json" not in sys.builtin_module_names:
        import _imp

        class Spec:
            name = "_json"
            origin = ""

        for directory in sys.path:
            if directory.endswith("/lib-dynload"):
                Spec.origin = directory + "/_json" + _imp.extension_suffixes()[0]
                try:
                    module = _imp.create_dynamic(Spec)  # type: ignore[arg-type]
                    _imp.exec_dynamic(module)
                except ImportError:
                    module = None
                    break
                sys.modules["_json"] = module
                break
    if module is None:
        import _json as module
    return module


class _Repeated:
    """Stands where an object had one name twice, until its place is found."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def _number(text: str) -> int:
    # 20 characters hold every 64-bit number, signed or not; int() itself balks at some thousand digits.
    if len(text) <= 20 and -(1 << 63) <= (value := int(text)) < 1 << 64:
        return value
    raise ConfigError("a number beyond 64 bits: " + (text if len(text) < 40 else text[:37] + "..."))


def _real(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ConfigError("a number beyond what a double holds: " + (text if len(text) < 40 else text[:37] + "..."))
    return value


def _constant(text: str) -> "NoReturn":
    raise ConfigError(text + " is not a JSON value")


class _Settings:
    """What make_scanner reads of a json.JSONDecoder."""

    __slots__ = ("repeated",)
    strict = True
    object_hook = None
    parse_float = staticmethod(_real)
    parse_int = staticmethod(_number)
    parse_constant = staticmethod(_constant)

    def __init__(self) -> None:
        self.repeated = False

    def object_pairs_hook(self, pairs: "list[tuple[str, object]]") -> object:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        self.repeated = True
        seen = set()
        for name, _ in pairs:
            if name in seen:
                break
            seen.add(name)
        return _Repeated(name)


def pointer(*names: "str | int") -> str:
    """The JSON pointer (RFC 6901) that leads through these property names and indexes; printable whatever they hold."""
    text = "".join(["/" + str(name).replace("~", "~0").replace("/", "~1") for name in names])
    return text if text.isprintable() else quote(text)[1:-1]


def strings(value: object, path: str = "") -> "list[tuple[str, str]]":
    """Every string within value, names too, each with the JSON pointer to it; and what repeated names left."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, _Repeated):
        raise ConfigError("the name " + quote(value.name) + " stands twice in one object", pointer=path or None)
    found = []
    if isinstance(value, dict):
        for name, item in value.items():
            place = path + pointer(name)
            found.append((place, name))
            found += strings(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += strings(item, path + "/" + str(index))
    return found


def _too_deep(data: bytes, max_depth: int) -> bool:
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    # What stands between quotes does not nest. Then peel the innermost brackets, one level a turn.
    data = b"".join(data.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    for _ in range(max_depth):
        peeled = data.replace(b"[]", b"").replace(b"{}", b"")
        if not peeled or len(peeled) == len(data):
            # Brackets that have no partner: malformed, but not to be parsed when there are too many either.
            return peeled.count(b"[") + peeled.count(b"{") > max_depth
        data = peeled
    return True


def _explain(text: str) -> "tuple[str, int]":
    """Why the text is malformed, and at which character. Only after a failure: the json package costs 9 ms."""
    import json.decoder

    try:
        json.decoder.JSONDecoder().decode(text)
    except json.decoder.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        return reason.removesuffix(" at").removesuffix(" starting"), error.pos
    except (ValueError, RecursionError) as error:
        return str(error), 0
    return "not JSON", 0


def loads(
    data: bytes,
    what: str = "config.json",
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    surrogates: bool = False,
) -> "Any":
    """The value that a JSON text stands for: dict, list, str, int, float, bool or None.

    data: UTF-8, without a byte-order mark. what: its name for errors. max_bytes, max_depth: refused beyond, unparsed.
    surrogates: take \\udc80 to \\udcff, which `dumps` writes for a path that is not UTF-8. Only for texts of our own.
    Integers lie within -2^63 and 2^64-1. A number with a point or an exponent is a float, however whole it is.
    Raises ConfigError: malformed, too large, too deep, a repeated name (with its pointer).
    """
    if len(data) > max_bytes:
        raise ConfigError(what + ": larger than " + str(max_bytes) + " bytes: " + str(len(data)) + " bytes")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(what + ": starts with a byte-order mark: plain UTF-8 is expected")
    if _too_deep(data, max_depth):
        raise ConfigError(what + ": nested deeper than " + str(max_depth) + " levels")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(what + ": not UTF-8 at byte " + str(error.start) + ": " + error.reason) from None
    settings = _Settings()
    start = len(text) - len(text.lstrip(_SPACE))
    if start == len(text):
        raise ConfigError(what + ": is empty, a JSON object is expected")
    try:
        value, end = _accelerator().make_scanner(settings)(text, start)
    except ConfigError as error:
        raise ConfigError(what + ": " + error.message) from None
    except (StopIteration, SystemError, ValueError, RecursionError):
        end = -1
    if end < 0:
        reason, position = _explain(text)
    elif text[end:].strip(_SPACE):
        reason, position = "text after the end", len(text) - len(text[end:].lstrip(_SPACE))
    else:
        position = -1
    if position >= 0:
        line = str(text.count("\n", 0, position) + 1)
        column = str(position - text.rfind("\n", 0, position))
        raise ConfigError(what + ": line " + line + " column " + column + ": " + reason)
    if settings.repeated or b"\\ud" in data or b"\\uD" in data:
        for path, string in strings(value):
            try:
                string.encode("utf-8", "surrogateescape" if surrogates else "strict")
            except UnicodeEncodeError:
                raise ConfigError(what + ": half of a surrogate pair: " + quote(string), pointer=path or None) from None
    return value


def quote(text: str) -> str:
    """A string as JSON for a message: printable, on one line and encodable whatever it holds."""
    accelerator = _accelerator()
    escape = accelerator.encode_basestring if text.isprintable() else accelerator.encode_basestring_ascii
    return str(escape(text))


def _indented(value: object, indent: str, margin: str, scalar: "Any") -> str:
    inner = margin + indent
    if isinstance(value, dict) and value:
        items = [scalar(str(name)) + ": " + _indented(item, indent, inner, scalar) for name, item in value.items()]
        return "{" + inner + ("," + inner).join(items) + margin + "}"
    if isinstance(value, (list, tuple)) and value:
        elements = [_indented(item, indent, inner, scalar) for item in value]
        return "[" + inner + ("," + inner).join(elements) + margin + "]"
    return str(scalar(value))


def dumps(value: object, indent: "int | str | None" = None) -> str:
    """JSON text of dicts (their names str), lists, tuples, str, int, float, bool and None, in the order they stand in.

    indent: spaces a level, or the characters themselves, or None for one line without any space.
    The text can always be encoded as UTF-8: where a string holds undecodable bytes (half surrogates), everything beyond
    ASCII is escaped, and `loads` takes that back with surrogates=True.
    Raises ValueError for infinity or NaN, TypeError for other types.
    """

    def refuse(other: object) -> "NoReturn":
        raise TypeError("no JSON for " + type(other).__name__)

    accelerator = _accelerator()
    text = ""
    for escape in (accelerator.encode_basestring, accelerator.encode_basestring_ascii):
        encode = accelerator.make_encoder(None, refuse, escape, None, ":", ",", False, False, False)
        if indent is None:
            text = "".join(encode(value, 0))
        else:
            level = " " * indent if isinstance(indent, int) else indent
            text = _indented(value, level, "\n", lambda item, encode=encode: "".join(encode(item, 0)))
        try:
            text.encode()
            break
        except UnicodeEncodeError:
            continue
    return text

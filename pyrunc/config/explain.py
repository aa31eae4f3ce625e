"""Why a config is not valid: jsonschema's verdict in pyrunc's words. Only after a rejection, and for `validate`.

jsonschema takes 60 ms to import; the hot path decides with code made from the same schemas (schema.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pyrunc.errors import PyruncError
from pyrunc.jsontext import dumps, pointer, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.config.schema_types import Json, Schema, Validator

_FILES: Final = {
    "config": "config.json",
    "process": "process.json",
    "resources": "resources.json",
    "state": "state.json",
    "features": "features.json",
}


class Violation:
    """One thing that is wrong in a config.

    pointer: JSON pointer to where it is, "" for the whole. found: what stands there. allowed: what may.
    section: file and heading of the specification that say so. message: the whole in one line, but for the pointer.
    hint: what to do. found, allowed, section and hint are "" where they are not known.
    """

    __slots__ = ("allowed", "found", "hint", "message", "pointer", "section")

    def __init__(self, pointer: str, found: str, allowed: str, section: str, message: str, hint: str = "") -> None:
        self.hint = hint
        self.pointer = pointer
        self.found = found
        self.allowed = allowed
        self.section = section
        self.message = message


def describe(value: object) -> str:
    """What a value is, on one line and not long."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array" if value else "an empty array"
    text = quote(value) if isinstance(value, str) else dumps(value)
    return text if len(text) <= 60 else text[:56] + '..."' if isinstance(value, str) else text[:57] + "..."


def expected(schema: Schema) -> str:
    """What a schema allows, in words."""
    kind = schema.get("type")
    if "title" in schema and kind != "object":
        return schema["title"]
    if "enum" in schema:
        return "one of " + ", ".join([str(item) for item in schema["enum"]])
    if "minLength" in schema:
        return "a string that is not empty"
    if kind == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and high is not None:
            return f"an integer from {low} to {high}"
        return "an integer" if low is None else f"an integer of at least {low}"
    if kind == "array":
        return "an array of at least one entry" if "minItems" in schema else "an array"
    words = {"string": "a string", "boolean": "true or false", "object": "an object", "null": "null"}
    return " or ".join([words.get(str(k), str(k)) for k in (kind if isinstance(kind, list) else [kind])])


def schemas() -> Schema:
    """All schemas of spec/ in one, under "definitions" by file name. Raises PyruncError when they were not built."""
    try:
        from pyrunc.config._schema import SCHEMAS
    except ImportError:
        raise PyruncError("pyrunc/config/_schema.py is missing: make build") from None
    built: Any = SCHEMAS
    found: Schema = built
    return found


def _resolve(bundle: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        target: Any = bundle
        for name in schema["$ref"][2:].split("/"):
            target = target[name]
        schema = target
    return schema


def _below(schema: Schema, name: str) -> Schema | None:
    """What a schema says of a property, or of an entry, None for nothing."""
    if name in schema.get("properties", {}):
        return schema["properties"][name]
    other = schema.get("items") or schema.get("additionalProperties")
    return other if isinstance(other, dict) else None


def section(place: str, part: str = "config") -> str:
    """The heading of the specification that a JSON pointer into a config belongs to, such as config.md#root."""
    bundle = schemas()
    schema = bundle["definitions"][_FILES[part]]
    found = schema.get("$comment", "")
    for name in place.split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        schema = _resolve(bundle, schema)
        found = schema.get("$comment", found)
        below = _below(schema, name)
        if below is None:
            break
        schema = below
        found = schema.get("$comment", found)
    else:
        found = _resolve(bundle, schema).get("$comment", found)
    return found


_VALIDATORS: dict[str, Validator] = {}


def validator(part: str = "config") -> Validator:
    """jsonschema's validator of a schema: the authority. Raises PyruncError when jsonschema is not there."""
    if part not in _VALIDATORS:
        try:
            import jsonschema
        except ImportError:
            raise PyruncError(
                "not valid, and why can only be said with jsonschema", hint="apt install python3-jsonschema"
            ) from None
        # A float is never an integer here, however whole: 1.0 and 1e3 are errors, as in Go.
        checker = jsonschema.Draft7Validator.TYPE_CHECKER.redefine(
            "integer", lambda _, item: isinstance(item, int) and not isinstance(item, bool)
        )
        made = jsonschema.validators.extend(jsonschema.Draft7Validator, type_checker=checker)
        _VALIDATORS[part] = made({"$ref": "#/definitions/" + _FILES[part], **schemas()})
    return _VALIDATORS[part]


def explain(value: object, part: str = "config") -> list[Violation]:
    """Everything in a value that its schema does not allow, in the schema's order. Uses jsonschema: 60 ms."""
    bundle = schemas()
    found = []
    for error in validator(part).iter_errors(value):
        place = pointer(*error.absolute_path)
        stands = describe(error.instance)
        schema = error.schema
        inside = error.instance if isinstance(error.instance, dict) else {}
        if error.validator == "required":
            # One error a missing property, in jsonschema's words: found again, not parsed.
            missing = [name for name in error.validator_value if name not in inside]
            quoted = [name for name in missing if error.message.startswith(repr(name))]
            name = (quoted or missing)[0]
            allowed = expected(_resolve(bundle, schema["properties"][name]))
            stands = "nothing"
            message = f"{quote(name)} is missing: {allowed} is required"
        elif error.validator == "additionalProperties":
            names = [name for name in inside if name not in schema.get("properties", {})]
            allowed = "only " + ", ".join(schema.get("properties", {}))
            stands = ", ".join(map(quote, names))
            message = f"{stands} is not a property of the specification"
        else:
            allowed = expected(schema)
            if "propertyNames" in error.absolute_schema_path:
                allowed = "a name that is " + (allowed if "enum" in schema else "not empty")
                message = f"the name {stands} stands where {allowed} is expected"
            else:
                message = f"{stands} stands where {allowed} is expected"
        about = place + pointer(name) if error.validator == "required" else place
        hint = _meant(error.instance, schema.get("enum")) or described(about, part)
        found.append(Violation(place, stands, allowed, section(place, part), _prefix(place) + message, hint))
    return found


def _meant(value: object, names: list[object] | None) -> str:
    """A question for the name of a list that a value is nearest to, "" for none."""
    from pyrunc.nearest import nearest

    found = nearest(value, [str(name) for name in names]) if isinstance(value, str) and names else ""
    return f"did you mean {found}?" if found else ""


def described(place: str, part: str = "config") -> str:
    """What the property at a JSON pointer is, in the words of its schema: the last one on the way that says it."""
    bundle = schemas()
    schema = bundle["definitions"][_FILES[part]]
    said, about = schema.get("description", ""), part
    for name in place.split("/")[1:]:
        name = name.replace("~1", "/").replace("~0", "~")
        schema = _resolve(bundle, schema)
        is_named = name in schema.get("properties", {})
        if is_named:
            about = name
        below = _below(schema, name)
        if below is None:
            break
        schema = below
        words = schema.get("description") or _resolve(bundle, schema).get("description")
        if words and (is_named or "description" in schema):
            said = words
    return f"{about} is: {said.rstrip('.')}"


def _prefix(place: str) -> str:
    """Words that scripts match in runc's messages."""
    if not place.startswith("/linux/memoryPolicy"):
        return ""
    return "invalid memory policy " + ("flag: " if "/flags" in place else "mode: ")


def misspelled(value: Json, part: str = "config") -> list[tuple[dict[str, Json], str, str, str]]:
    """Properties that would be known if upper and lower case did not count, as they do not to Go's reader.

    Each as (the object, its JSON pointer, the name in it, the known name).
    """
    found: list[tuple[dict[str, Json], str, str, str]] = []
    for item, place, name, known in _strangers(schemas()["definitions"][_FILES[part]], value, ""):
        meant = [one for one in known if one.lower() == name.lower()]
        if meant:
            found.append((item, place, name, meant[0]))
    return found


def unknown(value: Json, part: str = "config") -> list[tuple[str, str, str]]:
    """Properties that the specification does not have, but for a typo: (JSON pointer of the object, name, known name).

    Those that are not like any are of another platform, or of a later version.
    """
    from pyrunc.nearest import nearest

    found: list[tuple[str, str, str]] = []
    for _, place, name, known in _strangers(schemas()["definitions"][_FILES[part]], value, ""):
        if known and (meant := nearest(name, known)):
            found.append((place, name, meant))
    return found


def _strangers(schema: Schema, item: Json, place: str) -> Iterator[tuple[dict[str, Json], str, str, dict[str, Schema]]]:
    """The properties that a schema does not have: the object, its JSON pointer, the name, what it has there."""
    schema = _resolve(schemas(), schema)
    if isinstance(item, list) and "items" in schema:
        for index, entry in enumerate(item):
            yield from _strangers(schema["items"], entry, f"{place}/{index}")
    elif isinstance(item, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        for name, entry in item.items():
            below = known.get(name, other)
            if isinstance(below, dict):
                yield from _strangers(below, entry, place + pointer(name))
            else:
                yield item, place, name, known


def respell(value: Json, part: str = "config") -> bool:
    """Give misspelled properties their known names, in place. Whether there were any.

    Of two spellings in one object the later one counts; objects are merged, as by Go's reader.
    """
    return bool(respelled(value, part))


def respelled(value: Json, part: str = "config") -> list[tuple[str, str, str]]:
    """respell(), and what was done: (JSON pointer of the object, the name, the known name)."""
    found = []
    # What is below a misspelled name is looked at when that is known. Each round leaves fewer names.
    while names := misspelled(value, part):
        for item, place, name, meant in names:
            found.append((place, name, meant))
            _rename(item, name, meant)
    return found


def _rename(item: dict[str, Json], name: str, meant: str) -> None:
    """In its place, since the order tells which of two is the later one."""
    entries = list(item.items())
    item.clear()
    for key, entry in entries:
        key = meant if key == name else key
        before = item.pop(key, None)
        item[key] = {**before, **entry} if isinstance(before, dict) and isinstance(entry, dict) else entry

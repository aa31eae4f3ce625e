"""Generate the check of configs that the hot path uses, from the schemas in spec/.

    /usr/bin/python3 tools/gencheck.py SPEC_DIRECTORY pyrunc/config/_check.py

writes two modules: _check.py, plain code that accepts or rejects a config and imports nothing; and beside it
_schema.py, the schemas bundled into one, with which jsonschema explains a rejection. Both are build products.

Each schema becomes one call: of a helper that is there for its type, or of a function that is written for it. A keyword
that its type has no code for stops the build: nothing is lost by accident.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

#: The schemas that become functions of _check.py: name of the function, file in spec/.
ENTRIES = {"config": "config.json", "process": "process.json", "resources": "resources.json"}

#: What there is code for, by type. Of an object either the first two or the last two.
KEYWORDS: dict[str, set[str]] = {
    "boolean": set(),
    "integer": {"minimum", "maximum"},
    "string": {"enum", "pattern", "minLength"},
    "array": {"items", "minItems"},
    "object": {"required", "properties", "propertyNames", "additionalProperties"},
}
NOTES = {"$comment", "title", "description", "definitions"}

#: How a pattern says `to the very end`: a bare $ matches before a final newline, in Python's re, and not everywhere.
END = "$(?!\\n)"

#: One item of a pattern: a character or a set of them, and how often.
ITEM = re.compile(r"(?:\[(?P<but>\^?)(?P<set>(?:\\n|[^]\\])+)\]|(?P<one>[^][\\^$.(){}|*+?]))(?P<often>[*+?]?)")

MANY = 1 << 30

#: What the written code calls; the last one for patterns that are not a test or two.
HELPERS = """
def _flag(value):
    if not isinstance(value, bool):
        raise Mismatch
def _text(value):
    if not isinstance(value, str):
        raise Mismatch
def _name(value):
    if not isinstance(value, str) or not value:
        raise Mismatch
def _int(value, low, high=1 << 64):
    # Neither a bool, which is an int to isinstance, nor a float, however whole.
    if type(value) is not int or not low <= value <= high:
        raise Mismatch
def _one(value, allowed):
    if not isinstance(value, str) or value not in allowed:
        raise Mismatch
def _some(value, allowed):
    if not isinstance(value, list):
        raise Mismatch
    for item in value:
        _one(item, allowed)
def _all(value, check, least=0):
    if not isinstance(value, list) or len(value) < least:
        raise Mismatch
    for item in value:
        check(item)
def _map(value, check, names=None):
    if not isinstance(value, dict):
        raise Mismatch
    for name, item in value.items():
        if name not in names if names else not name:
            raise Mismatch
        check(item)
def _each(value, check, *names):
    for name in names:
        if name in value:
            check(value[name])
def _matches(text, at, items, whole):
    # Of items (characters, or any but these, at least, at most), each taken greedily.
    for characters, negated, least, most in items:
        count = 0
        while count < most and at < len(text) and (text[at] in characters) != negated:
            at += 1
            count += 1
        if count < least:
            return False
    return not whole or at == len(text)
"""


def fail(text: str) -> NoReturn:
    sys.exit("gencheck: " + text)


# --- the schemas ---------------------------------------------------------------------------------------------------


def bundle(directory: Path) -> dict[str, Any]:
    """All schemas of a directory as one: {"definitions": {file name: schema}}, with references that stay within it."""
    schemas = {path.name: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
    for schema in schemas.values():
        # Said once, at the top: wherever jsonschema meets it again, it forgets what it was told of integers.
        schema.pop("$schema", None)

    def adopt(value: Any, home: str) -> Any:
        if isinstance(value, list):
            return [adopt(item, home) for item in value]
        if not isinstance(value, dict):
            return value
        adopted = {name: adopt(item, home) for name, item in value.items()}
        if isinstance(value.get("$ref"), str):
            file, _, place = value["$ref"].partition("#")
            adopted["$ref"] = f"#/definitions/{file or home}{place}"
            if find(schemas, adopted["$ref"]) is None:
                fail(f"{home}: nothing at {value['$ref']}")
        return adopted

    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {name: adopt(schema, name) for name, schema in schemas.items()},
    }


def find(schemas: dict[str, Any], reference: str) -> Any:
    """The schema that a reference of the bundle means, or None."""
    target: Any = schemas
    for name in reference.removeprefix("#/definitions/").split("/"):
        target = target.get(name) if isinstance(target, dict) else None
    return target


# --- patterns ------------------------------------------------------------------------------------------------------


def parse_pattern(pattern: str) -> tuple[list[tuple[str, bool, int, int]], bool]:
    """The items (characters, negated, least, most), and whether it must match to the end.

    Only what runs without backtracking is taken.
    """
    if not pattern.startswith("^"):
        fail("a pattern must start with ^: " + pattern)
    whole = pattern.endswith(END)
    text = pattern[1:].removesuffix(END)
    items: list[tuple[str, bool, int, int]] = []
    while text:
        item = ITEM.match(text)
        if not item:
            fail(f"not supported in a pattern: {text[0]} in {pattern}")
        text = text[item.end() :]
        characters = (item["one"] or item["set"]).replace("\\n", "\n")
        if item["set"]:
            characters = re.sub("(.)-(.)", lambda ends: span(ends[1], ends[2]), characters)
        variable = items and items[-1][2] != items[-1][3]
        if variable and (item["but"] or items[-1][1] or item["often"] or set(characters) & set(items[-1][0])):
            # Greedy matching must never have to give back.
            fail("ambiguous without backtracking: " + pattern)
        least, most = int(item["often"] in ("", "+")), 1 if item["often"] in ("", "?") else MANY
        items.append((characters, bool(item["but"]), least, most))
    return items, whole


def span(first: str, last: str) -> str:
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


def mismatch(pattern: str) -> str:
    """A Python expression that is true when the string `value` does not match the pattern."""
    items, whole = parse_pattern(pattern)
    fixed = ""
    while items and len(items[0][0]) == 1 and items[0][1:] == (False, 1, 1):
        fixed += items.pop(0)[0]
    tests = [f"not value.startswith({fixed!r})"] if fixed else []
    characters, negated, least, most = items[0] if len(items) == 1 and whole else ("", False, 0, 0)
    if negated and most == MANY and not least and len(characters) == 1 and characters not in fixed:
        tests.append(f"{characters!r} in value")
    elif not negated and most == MANY and not fixed:
        # strip() empties a string exactly when it has no other characters.
        tests += ["not value"] * least + [f"value.strip({characters!r})"]
    elif items or whole:
        tests.append(f"not _matches(value, {len(fixed)}, {tuple(items)}, {whole})")
    return " or ".join(tests) or "False"


# --- the code ------------------------------------------------------------------------------------------------------


class Code:
    """The functions that were written so far. A check is a function's name, and its arguments after the value."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self.schemas = schemas
        self.functions: dict[str, str] = {}
        self.references: dict[str, str] = {}
        self.taken = set(re.findall(r"def (\w+)", HELPERS))

    def check(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        """The check of a schema, which stands at that place."""
        if "$ref" in schema:
            if schema.keys() - NOTES - {"$ref"}:
                fail(place + ": draft-07 ignores what stands beside $ref")
            return self.reference(schema["$ref"]), ""
        kind = schema.get("type")
        if not isinstance(kind, str) or kind not in KEYWORDS:
            fail(f"{place}: only one type, of {', '.join(KEYWORDS)}")
        for keyword in schema.keys() - KEYWORDS[kind] - NOTES - {"type"}:
            fail(f"{place}: keyword {keyword} is not supported")
        check: tuple[str, str] = getattr(self, kind)(schema, place)
        return check

    def reference(self, reference: str) -> str:
        """The name of the function of what is referred to."""
        if reference not in self.references:
            self.references[reference] = ""
            self.references[reference] = self.named(find(self.schemas, reference), reference)
        return self.references[reference] or fail(reference + ": a schema within itself")

    def named(self, schema: dict[str, Any], place: str) -> str:
        """The name of a function that takes nothing but the value."""
        name, more = self.check(schema, place)
        return self.write(place, f"{name}(value{more})") if more else name

    def write(self, place: str, *lines: str) -> str:
        """The name of a new function: the last one in its place."""
        parts = [part for part in place.split("/") if part not in ("items", "additionalProperties")]
        name = "_" + re.sub(r"\W", "_", parts[-1].removesuffix(".json"))
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        self.functions[name] = f"def {name}(value):\n" + "".join(f" {line}\n" for line in lines)
        return name

    def boolean(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        return "_flag", ""

    def integer(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        if "minimum" not in schema:
            fail(place + ": an integer without a minimum")
        return "_int", "".join(f", {schema[name]}" for name in ("minimum", "maximum") if name in schema)

    def string(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        if len(schema.keys() & KEYWORDS["string"]) > 1 or schema.get("minLength", 1) != 1:
            fail(place + ": only one of enum, pattern and a minLength of 1")
        if "enum" in schema:
            return "_one", f", {words(schema['enum'], place)}"
        if "pattern" in schema:
            test = f"not isinstance(value, str) or {mismatch(schema['pattern'])}"
            return self.write(place, f"if {test}:", " raise Mismatch"), ""
        return "_name" if "minLength" in schema else "_text", ""

    def array(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        if "items" not in schema:
            fail(place + ": an array without items")
        least = f", {schema['minItems']}" if "minItems" in schema else ""
        if "enum" in schema["items"] and not least:
            return "_some", self.check(schema["items"], place + "/items")[1]
        return "_all", f", {self.named(schema['items'], place + '/items')}{least}"

    def object(self, schema: dict[str, Any], place: str) -> tuple[str, str]:
        if "additionalProperties" in schema:
            names = {name: value for name, value in schema.get("propertyNames", {}).items() if name not in NOTES}
            if schema.keys() & {"properties", "required"} or (names != {"minLength": 1} and names.keys() != {"enum"}):
                fail(place + ": additionalProperties has propertyNames, not empty or of an enum, and no properties")
            allowed = f", {words(names['enum'], place)}" if "enum" in names else ""
            return "_map", f", {self.named(schema['additionalProperties'], place + '/additionalProperties')}{allowed}"
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if "propertyNames" in schema or set(required) - properties.keys():
            fail(place + ": propertyNames without additionalProperties, or required what is no property")
        missing = "".join(f" or {name!r} not in value" for name in required)
        lines = [f"if not isinstance(value, dict){missing}:", " raise Mismatch"]
        alike: dict[str, list[str]] = {}
        for name, value in properties.items():
            check, more = self.check(value, f"{place}/{name}")
            if name in required:
                lines.append(f"{check}(value[{name!r}]{more})")
            elif more:
                lines += [f"if {name!r} in value:", f" {check}(value[{name!r}]{more})"]
            else:
                alike.setdefault(check, []).append(repr(name))
        lines += [f"_each(value, {check}, {', '.join(names)})" for check, names in alike.items()]
        return self.write(place, *lines), ""


def words(values: list[Any], place: str) -> str:
    """A set of strings, as Python has it."""
    if not values or not all(isinstance(value, str) for value in values):
        fail(place + ": an enum is of strings")
    return f"{{{', '.join(map(repr, values))}}}"


def names(schemas: dict[str, Any], files: Iterable[str]) -> set[str]:
    """The names of all properties, at any depth: what a property that is in none of these may be a misspelling of."""
    found: set[str] = set()
    seen: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            if isinstance(value.get("properties"), dict):
                found.update(value["properties"])
            if isinstance(value.get("$ref"), str) and value["$ref"] not in seen:
                seen.add(value["$ref"])
                walk(find(schemas, value["$ref"]))
            for item in value.values():
                walk(item)

    for file in files:
        walk(schemas[file])
    return found


def generate(schemas: dict[str, Any]) -> str:
    """The text of _check.py."""
    code = Code(schemas)
    exports = [f"{name} = {code.reference('#/definitions/' + file)}\n" for name, file in ENTRIES.items()]
    known = f"NAMES = frozenset(({', '.join(map(repr, sorted(names(schemas, ENTRIES.values()))))}))\n"
    head = '"""Made by tools/gencheck.py from spec/: do not edit."""\nclass Mismatch(Exception):\n pass\n'
    return head + HELPERS.replace("    ", " ") + known + "".join(code.functions.values()) + "".join(exports)


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        sys.exit("usage: gencheck.py SPEC_DIRECTORY OUTPUT.py")
    schemas = bundle(Path(arguments[0]))
    output = Path(arguments[1])
    text = generate(schemas["definitions"])
    compile(text, str(output), "exec")
    header = '"""Made by tools/gencheck.py from spec/, all files bundled: do not edit."""\n\nSCHEMAS = '
    for path, content in ((output, text), (output.with_name("_schema.py"), f"{header}{schemas!r}\n")):
        temporary = path.with_suffix(".tmp")
        temporary.write_text(content)
        temporary.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])

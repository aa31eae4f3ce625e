"""Every property of config.json, and the test that shows what the kernel makes of it.

`python -m tests.support.properties` writes docs/properties.md from the schema in spec/ and from
tests/properties.txt; tests/unit/docs/test_properties.py fails when they do not agree, when a property has no row, or a
row no test.
"""

import ast
import json
from functools import cache
from typing import Any, NamedTuple

from . import TOP

TABLE = TOP / "tests/properties.txt"
PAGE = TOP / "docs/properties.md"

Schema = dict[str, Any]


class Row(NamedTuple):
    """tests: node IDs below tests/; remark: why the kernel cannot show it here, or what else is to say."""

    tests: tuple[str, ...]
    remark: str


@cache
def _file(name: str) -> Schema:
    found: Schema = json.loads((TOP / "spec" / name).read_text())
    return found


def properties() -> dict[str, str]:
    """Each property, as a JSON pointer with * for what stands in a list or under a free name: its section."""
    found: dict[str, str] = {}
    _walk("config.json", _file("config.json"), "", "", found, frozenset())
    return found


def _walk(
    file: str, node: Schema, path: str, section: str, found: dict[str, str], above: frozenset[tuple[str, str]]
) -> None:
    section = node.get("$comment", section)
    if "$ref" in node:
        name, _, place = node["$ref"].partition("#")
        name = name or file
        target = _file(name)
        for part in place.strip("/").split("/") if place.strip("/") else []:
            target = target[part]
        if (name, place) not in above:
            _walk(name, target, path, section, found, above | {(name, place)})
    for key, value in (node.get("properties") or {}).items():
        found.setdefault(f"{path}/{key}", value.get("$comment", section))
        _walk(file, value, f"{path}/{key}", section, found, above)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            _walk(file, node[key], f"{path}/*", section, found, above)
    for key in ("allOf", "anyOf", "oneOf"):
        for part in node.get(key, ()):
            _walk(file, part, path, section, found, above)
    for key in ("then", "else"):
        if key in node:
            _walk(file, node[key], path, section, found, above)


def rows() -> dict[str, Row]:
    """properties.txt: blocks of `= TEST...`, `- REMARK` and then properties, one a line."""
    found: dict[str, Row] = {}
    row = Row((), "")
    fresh = True
    for line in TABLE.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        mark, _, rest = line.partition(" ")
        if mark in ("=", "-"):
            if not fresh:
                row, fresh = Row((), ""), True
            row = row._replace(tests=(*row.tests, *rest.split())) if mark == "=" else row._replace(remark=rest)
        else:
            fresh = False
            if line in found:
                raise ValueError(f"{line} stands twice in {TABLE.name}")
            found[line] = row
    return found


@cache
def tests_of(file: str) -> frozenset[str]:
    """The test functions of a file below tests/."""
    tree = ast.parse((TOP / "tests" / file).read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def page() -> str:
    """docs/properties.md."""
    table = rows()
    lines = [
        "# Properties of config.json",
        "",
        "Written by `python -m tests.support.properties` from spec/ and tests/properties.txt; do not edit.",
        "Of each property of the schema: the tests that show what the kernel makes of it. `*` stands for an entry of a",
        "list or a free name. Names are below tests/; vm/ is a virtual machine with cgroup v2 and systemd.",
        "",
        "| property | specification | shown by | remark |",
        "| --- | --- | --- | --- |",
    ]
    for name, section in properties().items():
        row = table.get(name, Row((), "**no row**"))
        shown = "<br>".join(f"`{test}`" for test in row.tests)
        lines.append(f"| `{name}` | {section} | {shown} | {row.remark} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

"""Where a test stands: unit tests beside what they are about, and nothing that others need in a file of tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support import TOP

UNIT = TOP / "tests/unit"
TESTS = sorted(path.relative_to(UNIT) for path in UNIT.rglob("test_*.py"))
FILES = sorted(path for folder in ("tests", "bench", "tools") for path in (TOP / folder).rglob("*.py"))

#: What is about more than one file.
WHOLE = {
    "catalogue/test_catalogue.py": "the catalogue, against all places that raise an error",
    "catalogue/test_container_of.py": "a function of the package itself",
    "config/test_schema_agreement.py": "the generated check, the schemas and the published ones",
    "docs/test_compatibility.py": "a table of docs/, against the command table and the helps of others",
    "docs/test_links.py": "all documents",
    "docs/test_names.py": "all texts",
    "native/test_compilers.py": "all of the C",
    "plan/test_picture.py": "the README's picture of a birth, against plan/order.py",
    "test_conventions.py": "all of the Python",
    "test_rooms.py": "all tests",
    "test_sizes.py": "all of the Python",
}


def subjects(test: Path) -> list[Path]:
    """Where that may stand which tests/unit/ROOM/test_NAME.py is about."""
    name = test.stem.removeprefix("test_")
    rooms = [TOP / "pyrunc" / test.parent, TOP / test.parent, TOP / "tests/support"]
    return [room / file for room in rooms for file in (f"{name}.py", f"{name}.c", name, name.capitalize())]


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_a_unit_test_is_named_after_what_it_is_about(test: Path) -> None:
    """tests/unit/steps/rootfs/test_mount.py is about pyrunc/steps/rootfs/mount.py, native/ about native/, and so on."""
    named = any(path.exists() for path in subjects(test))
    assert named != (str(test) in WHOLE), "name it after a file, or say in WHOLE what it is about"


def imported(path: Path) -> set[str]:
    """The last parts of the modules, and of what is taken from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
    return found


def test_nobody_imports_tests() -> None:
    """Nor a conftest.py: what two files need is in tests/support, or in a file of their room that has no tests."""
    modules = {path.stem for path in FILES if path.name.startswith("test_") or path.name == "conftest.py"}
    assert {str(path.relative_to(TOP)): names for path in FILES if (names := imported(path) & modules)} == {}

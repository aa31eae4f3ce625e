"""A function fits a screen, a file has one subject; a table may be longer."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support import TOP

LINES_OF_A_FUNCTION = 50
LINES_OF_A_FILE = 400

#: Each line of them is an entry.
TABLES = {"pyrunc/cli/help.py", "pyrunc/plan/order.py:create"}

FILES = [
    path
    for path in sorted((TOP / "pyrunc").rglob("*.py"))
    if path.name not in ("_schema.py", "_check.py", "_compiler.py")
]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each. A text of several lines that is no docstring is one line: it is a template."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            texts = [one for one in ast.walk(node) if isinstance(one, ast.JoinedStr)]
            length = (node.end_lineno or 0) - node.lineno + 1
            yield node.name, length - sum((text.end_lineno or 0) - text.lineno for text in texts)


def test_functions_fit_a_screen() -> None:
    long = [
        f"{place} has {length} lines"
        for path in FILES
        for name, length in functions(path)
        if length > LINES_OF_A_FUNCTION and (place := f"{path.relative_to(TOP)}:{name}") not in TABLES
    ]
    assert long == []


def test_files_have_one_subject() -> None:
    lengths = {str(path.relative_to(TOP)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_A_FILE and name not in TABLES} == {}


def test_the_exceptions_are_needed() -> None:
    lengths = {str(path.relative_to(TOP)): len(path.read_text().splitlines()) for path in FILES}
    lengths |= {f"{path.relative_to(TOP)}:{name}": length * 8 for path in FILES for name, length in functions(path)}
    assert {name for name in TABLES if lengths[name] <= LINES_OF_A_FILE} == set()

"""What CONTRIBUTING.md says of the hand that all code is written in, where a linter has no rule for it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.support import TOP

# Written by the build.
WRITTEN = {"_check.py", "_schema.py", "_compiler.py", "_commit.py"}
FILES = sorted(
    path for folder in ("pyrunc", "tools", "bench") for path in (TOP / folder).rglob("*.py") if path.name not in WRITTEN
)


def inside(node: ast.AST, taken: frozenset[str] = frozenset()) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """All below a node, each with the names of the arguments and of the exceptions around it."""
    for child in ast.iter_child_nodes(node):
        yield child, taken
        more = taken
        if isinstance(child, ast.FunctionDef | ast.Lambda):
            more = frozenset(argument.arg for argument in [*child.args.args, *child.args.kwonlyargs])
        elif isinstance(child, ast.ExceptHandler):
            more = taken | {child.name or "", "except"}
        yield from inside(child, more)


def names_of_exceptions(tree: ast.AST) -> list[str]:
    """Those other than `error`, where nothing around them has that name."""
    handlers = [(node, taken) for node, taken in inside(tree) if isinstance(node, ast.ExceptHandler)]
    return [
        f"{node.lineno}: as {node.name}"
        for node, taken in handlers
        if node.name not in (None, "error") and "error" not in taken
    ]


def causes_of_errors(tree: ast.AST) -> list[str]:
    """Errors raised for another one, that do not end its story with `from None`."""
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node, taken in inside(tree)
        if isinstance(node, ast.Raise) and node.exc is not None and "except" in taken
        if not (isinstance(node.cause, ast.Constant) and node.cause.value is None)
    ]


def parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*parts(node.left), node.right]
    return [node]


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def is_plain(node: ast.expr) -> bool:
    """Whether it could stand in an f-string: no text in it that has to be quoted, and no choice."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and "\n" not in node.value
    return not any(
        isinstance(below, ast.IfExp | ast.BoolOp | ast.GeneratorExp | ast.ListComp | ast.Lambda)
        or (isinstance(below, ast.Constant) and isinstance(below.value, str | bytes))
        for below in ast.walk(node)
    )


def sums_of_texts(tree: ast.AST) -> list[str]:
    """Three or more parts joined with +, which an f-string shows as the text that they are."""
    left = {id(node.left) for node in ast.walk(tree) if isinstance(node, ast.BinOp)}
    sums = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and id(node) not in left]
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in sums
        if len(parts(node)) > 2 and any(map(is_text, parts(node))) and all(map(is_plain, parts(node)))
    ]


@pytest.mark.parametrize("rule", [names_of_exceptions, causes_of_errors, sums_of_texts])
def test_all_is_written_in_one_hand(rule) -> None:  # type: ignore[no-untyped-def]
    found = [f"{path.relative_to(TOP)}:{place}" for path in FILES for place in rule(ast.parse(path.read_text()))]
    assert found == []


def test_the_rules_see_what_they_forbid() -> None:
    source = """
def f(a):
    try:
        print("x" + a + "y")
    except OSError as e:
        raise ValueError(a) from e
"""
    tree = ast.parse(source)
    assert names_of_exceptions(tree) == ["5: as e"]
    assert causes_of_errors(tree) == ["6: raise ValueError(a) from e"]
    assert sums_of_texts(tree) == ["4: 'x' + a + 'y'"]

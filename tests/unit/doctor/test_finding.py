"""What all findings of `doctor` have."""

from __future__ import annotations

import ast

from tests.support import TOP

#: Warnings about a config: their own words say what would be right.
WARNINGS = {("bundle.py", "words")}


def test_what_is_not_well_has_a_remedy() -> None:
    bare = []
    for path in sorted((TOP / "pyrunc/doctor").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"):
                continue
            level = node.args[0]
            has_remedy = len(node.args) > 3 or any(isinstance(given, ast.Starred) for given in node.args)
            if isinstance(level, ast.Name) and level.id in ("NOTE", "PROBLEM") and not has_remedy:
                bare.append((path.name, ast.unparse(node.args[2])))
    assert set(bare) == WARNINGS

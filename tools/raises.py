"""All places in pyrunc/ that raise an error of ours, by reading the source: what each says, as a template.

A template is the message with {} for what is only known when it happens. The message is followed through names,
conditional expressions and functions of the same file, so a place may have several.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parent.parent
#: The classes of pyrunc.errors, and those made of them.
CLASSES = frozenset(("PyruncError", "ConfigError", "UsageError", "StateError", "Busy", "Malformed"))
#: Written by the build, and types for the reader.
_LEFT_OUT = frozenset(("_check.py", "_schema.py", "_compiler.py", "_commit.py"))
_HOLE = "{}"
_DEPTH = 6

_Functions = ast.FunctionDef | ast.Lambda


class Place(NamedTuple):
    """One place. file: below pyrunc/'s parent. pointer, hint: whether it gives them itself."""

    file: str
    line: int
    function: str
    templates: tuple[str, ...]
    pointer: bool
    hint: bool


class _Module:
    """A file's functions, constants, and which function each node is in."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text())
        self.functions: dict[str, list[ast.FunctionDef]] = {}
        self.calls: dict[str, list[tuple[ast.Call, ast.FunctionDef | None]]] = {}
        self.constants: dict[str, ast.expr] = {}
        self.above: dict[ast.AST, ast.AST] = {}
        self.others: list[_Module] = []
        self.inside: dict[ast.AST, ast.FunctionDef | None] = {}
        self._walk(self.tree, None)
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.constants[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                self.constants[node.target.id] = node.value

    def _walk(self, node: ast.AST, function: ast.FunctionDef | None) -> None:
        for child in ast.iter_child_nodes(node):
            self.inside[child] = function
            self.above[child] = node
            if isinstance(child, ast.FunctionDef):
                self.functions.setdefault(child.name, []).append(child)
            elif isinstance(child, ast.Call):
                self.calls.setdefault(_name(child.func), []).append((child, function))
            self._walk(child, child if isinstance(child, ast.FunctionDef) else function)

    def templates(self, node: ast.expr, function: ast.FunctionDef | None, depth: int = 0) -> set[str]:
        """What an expression can be."""
        if depth > _DEPTH:
            return {_HOLE}
        if isinstance(node, ast.Constant):
            return {str(node.value).replace("{}", "{ }")} if isinstance(node.value, str) else {_HOLE}
        if isinstance(node, ast.JoinedStr):
            found = {""}
            for part in node.values:
                inner = part.value if isinstance(part, ast.FormattedValue) else part
                words = self.templates(inner, function, depth)
                found = {_joined(one, word) for one in found for word in words}
            return found
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left = self.templates(node.left, function, depth)
            right = self.templates(node.right, function, depth)
            return {_joined(one, other) for one in left for other in right}
        if isinstance(node, ast.IfExp):
            return self.templates(node.body, function, depth) | self.templates(node.orelse, function, depth)
        if isinstance(node, ast.BoolOp):
            return set[str]().union(*[self.templates(value, function, depth + 1) for value in node.values])
        if isinstance(node, ast.Name):
            return self._variable(node, function, depth)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Dict)
        ):
            return set[str]().union(*[self.templates(value, function, depth + 1) for value in node.func.value.values])
        if isinstance(node, ast.Call) and _name(node.func) in self.functions:
            return self._returned(_name(node.func), depth)
        return {_HOLE}

    def _variable(self, node: ast.Name, function: ast.FunctionDef | None, depth: int) -> set[str]:
        name = node.id
        if function is not None:
            found = self._assigned(node, function, depth) - {""} or self._looped(node, function, depth)
            if found:
                return found
            names = [argument.arg for argument in function.args.args + function.args.kwonlyargs]
            if name in names:
                return self._passed(name, function, depth)
        if name in self.constants:
            return self.templates(self.constants[name], None, depth + 1)
        return {_HOLE}

    def _assigned(self, node: ast.Name, function: ast.FunctionDef, depth: int) -> set[str]:
        """What is assigned to a variable: just before in the same block, or else anywhere in the function."""
        statement: ast.AST = node
        while not isinstance(statement, ast.stmt):
            statement = self.above[statement]
        nearest: list[ast.Assign] = []
        for field in ("body", "orelse", "handlers", "finalbody"):
            block = getattr(self.above[statement], field, [])
            if isinstance(block, list) and statement in block:
                for before in block[: block.index(statement)]:
                    if isinstance(before, ast.Assign) and _targets(before, node.id):
                        nearest = [before]
                    elif nearest:  # what is below it may be in between
                        nearest += [
                            one for one in ast.walk(before) if isinstance(one, ast.Assign) and _targets(one, node.id)
                        ]
        if not nearest:
            found = self._unpacked(node, function, depth)
            if found:
                return found
        if nearest:
            return set[str]().union(*[self.templates(one.value, function, depth + 1) for one in nearest])
        found = set[str]()
        for other in ast.walk(function):
            if isinstance(other, ast.Assign) and _targets(other, node.id):
                found |= self.templates(other.value, function, depth + 1)
            elif isinstance(other, ast.AugAssign) and isinstance(other.target, ast.Name) and other.target.id == node.id:
                found |= {_joined(one, _HOLE) for one in found}
        return found

    def _unpacked(self, node: ast.Name, function: ast.FunctionDef, depth: int) -> set[str]:
        """What a variable gets as one of several that a function of this file returns."""
        found = set[str]()
        for other in ast.walk(function):
            if not (isinstance(other, ast.Assign) and isinstance(other.targets[0], ast.Tuple)):
                if isinstance(other, ast.Assign) and _targets(other, node.id):
                    found |= self.templates(other.value, function, depth + 1)
                continue
            names = [getattr(one, "id", "") for one in other.targets[0].elts]
            if node.id not in names or not isinstance(other.value, ast.Call):
                continue
            for called in self.functions.get(_name(other.value.func), ()):
                for line in ast.walk(called):
                    if isinstance(line, ast.Return) and isinstance(line.value, ast.Tuple):
                        found |= self.templates(line.value.elts[names.index(node.id)], called, depth + 1)
        return found - {""}

    def _looped(self, node: ast.Name, function: ast.FunctionDef, depth: int) -> set[str]:
        """What the loops around give to a variable."""
        above: ast.AST | None = node
        while above is not None and above is not function:
            if isinstance(above, ast.For) and _is_of_pairs(above, node.id):
                return self._pairs(above, node.id, function, depth)
            above = self.above.get(above)
        return set()

    def _pairs(self, node: ast.For, name: str, function: ast.FunctionDef, depth: int) -> set[str]:
        """What a loop over a tuple of constants gives to a variable."""
        at = [getattr(one, "id", "") for one in getattr(node.target, "elts", ())].index(name)
        found = set[str]()
        for item in getattr(node.iter, "elts", ()):
            if isinstance(item, ast.Tuple) and len(item.elts) > at:
                found |= self.templates(item.elts[at], function, depth + 1)
        return found

    def _passed(self, name: str, function: ast.FunctionDef, depth: int) -> set[str]:
        """What the calls in this file give to a parameter."""
        names = [argument.arg for argument in function.args.args]
        if names[:1] == ["self"]:
            del names[0]
        found = set[str]()
        for module, call, caller in self._callers(function.name):
            given = [keyword.value for keyword in call.keywords if keyword.arg == name]
            if name in names and names.index(name) < len(call.args):
                given.append(call.args[names.index(name)])
            for one in given:
                found |= module.templates(one, caller, depth + 1)
        return found or {_HOLE}

    def _callers(self, name: str) -> Iterator[tuple[_Module, ast.Call, ast.FunctionDef | None]]:
        """Of a function: in this file, or else in the others."""
        for module in [self] if name in self.calls or name[:1] == "_" else self.others:
            for call, caller in module.calls.get(name, ()):
                yield module, call, caller

    def _returned(self, name: str, depth: int) -> set[str]:
        found = set[str]()
        for function in self.functions[name]:
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None and self.inside[node] is function:
                    found |= self.templates(node.value, function, depth + 2)
        return found or {_HOLE}


def _targets(node: ast.Assign, name: str) -> bool:
    """Whether it assigns to a variable, also as one of several."""
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _is_of_pairs(node: ast.For, name: str) -> bool:
    return isinstance(node.target, ast.Tuple) and name in [getattr(one, "id", "") for one in node.target.elts]


def _joined(one: str, other: str) -> str:
    return one if one.endswith(_HOLE) and other == _HOLE else one + other


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _files() -> Iterator[Path]:
    for path in sorted((TOP / "pyrunc").rglob("*.py")):
        if path.name not in _LEFT_OUT:
            yield path


def places() -> list[Place]:
    """Every place, in the order of the files."""
    found = []
    modules = {path: _Module(path) for path in _files()}
    for path, module in modules.items():
        module.others = list(modules.values())
        rules = "/config/rules" in str(path)
        for node, function in module.inside.items():
            message: ast.expr | None = None
            keywords: set[str | None] = set()
            if isinstance(node, ast.Call) and _name(node.func) in CLASSES and node.args:
                message = node.args[0]
                keywords = {keyword.arg for keyword in node.keywords}
            elif rules and isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                message = node.value.elts[1]
                keywords = {"pointer"}
            if message is None:
                continue
            where = str(path.relative_to(TOP))
            templates = tuple(sorted(module.templates(message, function)))
            name = function.name if function is not None else ""
            found.append(
                Place(where, getattr(node, "lineno", 0), name, templates, "pointer" in keywords, "hint" in keywords)
            )
    return sorted(found)


def steps() -> dict[str, str]:
    """The name of each kind of step, and the file that it is in."""
    found = {}
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(
                _name(base) in ("Step", "Tree") or _name(base).endswith("Step") for base in node.bases
            ):
                for line in node.body:
                    if isinstance(line, ast.Assign) and _name(line.targets[0]) == "name":
                        value = line.value
                        if isinstance(value, ast.Constant):
                            found[str(value.value)] = str(path.relative_to(TOP))
    return found


if __name__ == "__main__":
    for place in places():
        for template in place.templates:
            print(f"{place.file}:{place.line}", "P" if place.pointer else "-", "H" if place.hint else "-", template)
    print(steps())

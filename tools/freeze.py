"""Build-time: turns the modules of native/frozen.txt into C, code objects as marshal writes them.

usage: freeze.py [--debug] OUTPUT.c SOURCE_TREE

Docstrings, asserts, annotations, blocks under TYPE_CHECKING and what is imported from typing and __future__ are left
out: none of them is ever used there, and every byte is read and built again at each start. The build fails if a name of
typing is used for anything else. Line numbers stay, for the one line of an internal error.
"""

import ast
import marshal
import runpy
import sys
import sysconfig
from pathlib import Path


class _Trim(ast.NodeTransformer):
    """Takes out what only readers and mypy want. typing: the names that were imported from there."""

    def __init__(self) -> None:
        self.typing: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module not in ("__future__", "typing"):
            return node
        if node.module == "typing":
            self.typing.update([alias.asname or alias.name for alias in node.names])
        return ast.copy_location(ast.Pass(), node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        arguments = node.args
        for argument in [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]:
            if argument is not None:
                argument.annotation = None
        node.returns = None
        return self.generic_visit(node)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            # Not nothing: in a function it makes the name local, and a body must not become empty.
            return ast.copy_location(ast.Pass(), node)
        return ast.copy_location(ast.Assign([node.target], node.value), node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        test, read, kept = node.test, node.body, node.orelse
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            test, read, kept = test.operand, node.orelse, node.body
        if not (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"):
            self.generic_visit(node)
            return node
        for statement in read:
            self.visit(statement)
        return [self.visit(statement) for statement in kept] or ast.copy_location(ast.Pass(), node)


def trimmed(source: bytes, name: str) -> ast.Module:
    """What is left of a module; name is what its errors call it.

    Raises ValueError if it uses a name of typing, which would not be there.
    """
    trim = _Trim()
    tree: ast.Module = ast.fix_missing_locations(trim.visit(ast.parse(source, name)))
    used = trim.typing & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if used:
        raise ValueError(f"{name} is frozen, and uses {', '.join(sorted(used))} of typing for more than annotations")
    return tree


def code(source: bytes, name: str) -> bytes:
    """The marshalled code of what is left of a module. Raises ValueError as trimmed() does."""
    return marshal.dumps(compile(trimmed(source, name), name, "exec", dont_inherit=True, optimize=2))


def files(listing: str, tree: Path) -> dict[str, Path]:
    """The modules that a listing names, by name: the format is in native/frozen.txt. Raises ValueError."""
    found: dict[str, Path] = {}
    for line in listing.splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        base, pattern, out = tree, line, False
        if line.startswith("stdlib "):
            base, pattern = Path(sysconfig.get_path("stdlib")), line.removeprefix("stdlib ")
        elif line.startswith("!"):
            pattern, out = line[1:], True
        for path in sorted(base.glob(pattern)):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if out:
                found.pop(name, None)
            else:
                found[name] = path
    return found


def literal(data: bytes) -> str:
    """A C string literal, in lines."""
    lines = []
    for start in range(0, len(data), 4096):
        lines.append('\t"' + "".join([f"\\{byte:03o}" for byte in data[start : start + 4096]]) + '"')
    return "\n".join(lines)


def compiler(tree: Path) -> tuple[str, bytes]:
    """The module that says what compiles seccomp profiles, which the launcher need not read to know."""
    digest = runpy.run_path(str(tree / "pyrunc/steps/seccomp/digest.py"))["of"](str(tree / "pyrunc/steps/seccomp"))
    return "pyrunc.steps.seccomp._compiler", code(
        f'DIGEST = "{digest}"\n'.encode(), "pyrunc/steps/seccomp/_compiler.py"
    )


def main(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    output, tree = [Path(word) for word in arguments if word != "--debug"]
    modules = files((tree / "native/frozen.txt").read_text(), tree)
    modules["_pyrunc_boot"] = tree / "native/boot.py"
    modules["_pyrunc_image"] = tree / "native/image.py"
    if debug:
        modules["_pyrunc_debug"] = tree / "native/debug.py"
    out = ["/* Made by tools/freeze.py. */", "#include <Python.h>", ""]
    table, sizes = [], {}
    for name, path in modules.items():
        data = code(path.read_bytes(), str(path.relative_to(tree)) if path.is_relative_to(tree) else name)
        sizes[name] = len(data)
        table.append((name, data, path))
    name, data = compiler(tree)
    sizes[name] = len(data)
    table.append((name, data, tree / "pyrunc/steps/seccomp/_compiler.py"))
    if debug:
        table.append(("_pyrunc_sizes", code(b"BYTES = " + repr(sizes).encode(), "_pyrunc_sizes"), tree))
    for index, (_, data, _) in enumerate(table):
        out.append(f"static const unsigned char code_{index}[] =\n{literal(data)};")
    out.append("\nextern const struct _frozen frozen_modules[];\nconst struct _frozen frozen_modules[] = {")
    for index, (name, data, path) in enumerate(table):
        package = int(path.name == "__init__.py")
        out.append(f'\t{{.name = "{name}", .code = code_{index}, .size = {len(data)}, .is_package = {package}}},')
    out.append("\t{0}\n};\n")
    output.write_text("\n".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

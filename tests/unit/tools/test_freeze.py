"""tools/freeze.py: which modules are frozen, and that what is left of them means the same."""

from __future__ import annotations

import ast
import marshal
import sys
from pathlib import Path
from types import CodeType

import pytest

from tests.support import TOP
from tools import freeze

SOURCE = '''
"""Words."""
from __future__ import annotations
from typing import TYPE_CHECKING, Any, Final
if TYPE_CHECKING:
    from nowhere import Nothing
else:
    other = 1
if not TYPE_CHECKING:
    third = 3
bare: Nothing
value: Final = 2


class Thing:
    """Words."""

    __slots__ = ("a",)
    a: int


class Empty:
    """Words and no more."""


def shadow(value: Nothing, *rest: Any, key: Any = 3, **more: Nothing) -> Nothing:
    """Words."""
    assert value != 2, "left out"
    total: int = value + key

    def inner(x: int) -> int:
        local: int
        try:
            return local
        except UnboundLocalError:
            local = x
        return local

    return inner(total)
'''


def run(data: bytes) -> dict[str, object]:
    names: dict[str, object] = {"__name__": "m"}
    exec(marshal.loads(data), names)
    return names


def test_what_is_left_means_the_same() -> None:
    names = run(freeze.code(SOURCE.encode(), "m.py"))
    assert (names["other"], names["value"], names["third"]) == (1, 2, 3)
    assert not {"annotations", "TYPE_CHECKING", "Any", "Final", "Nothing"} & set(names)
    assert "bare" not in names and "__annotations__" not in names and names.get("__doc__") is None
    shadow = names["shadow"]
    assert callable(shadow)
    assert shadow(2, 9, key=4, z=5) == 6
    assert shadow.__annotations__ == {} and shadow.__doc__ is None


@pytest.mark.parametrize("use", ["x = cast(int, 1)", "def f():\n    return cast(int, 1)", "class C(cast): ..."])
def test_a_name_of_typing_in_use_ends_the_build(use: str) -> None:
    with pytest.raises(ValueError, match=r"^m\.py is frozen, and uses cast of typing for more than annotations$"):
        freeze.code(f"from typing import Any, cast\n{use}\n".encode(), "m.py")


def test_lines_are_kept() -> None:
    """An internal error names file and line."""
    code = marshal.loads(freeze.code(b"\n\ndef f():\n    raise ValueError\n", "pyrunc/x.py"))
    (function,) = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    assert (function.co_filename, function.co_firstlineno) == ("pyrunc/x.py", 3)
    assert {line for _, _, line in function.co_lines()} >= {4}


def test_the_listing(tmp_path: Path) -> None:
    for name in ("a/__init__.py", "a/b.py", "a/c.py", "a/d/__init__.py", "other.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = freeze.files("# words\n\na/*.py\na/d/*.py\n!a/c.py\nstdlib encodings/__init__.py\n", tmp_path)
    assert list(found) == ["a", "a.b", "a.d", "encodings"]


def test_ours() -> None:
    """The commands that engines call are frozen, with no types and no jsonschema among them."""
    found = freeze.files((TOP / "native/frozen.txt").read_text(), TOP)
    for command in ("create", "start", "state", "kill", "delete", "exec", "run"):
        assert f"pyrunc.cli.{command}" in found
    assert "pyrunc.config.types" not in found and "pyrunc.config.explain" not in found


#: What a frozen module asks of Python's library all the same, and when.
FROM_FILES = {
    ("pyrunc/cli/version.py", "ctypes"): "`version` asks libseccomp for its own",
    ("pyrunc/steps/seccomp/libseccomp.py", "ctypes"): "a flag of a profile is tried where it is compiled, or listed",
}


def foreign(path: Path) -> set[str]:
    """What a frozen module imports of what is neither built in, nor pyrunc's, nor left out by freeze."""
    left = freeze.trimmed(path.read_bytes(), str(path))
    names = {alias.name for node in ast.walk(left) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(left) if isinstance(node, ast.ImportFrom)}
    return {
        name
        for name in names
        if name.split(".")[0] != "pyrunc" and name not in (*sys.builtin_module_names, "_launcher")
    }


def test_frozen_modules_need_no_files() -> None:
    """What else they import is built into libpython: the rest of Python's start costs more than most commands."""
    modules = freeze.files((TOP / "native/frozen.txt").read_text(), TOP)
    paths = [path for name, path in modules.items() if name.split(".")[0] == "pyrunc"]
    assert len(paths) > 50
    found = {(str(path.relative_to(TOP)), name) for path in paths for name in foreign(path)}
    assert found == set(FROM_FILES)


def test_an_import_from_files_is_seen(tmp_path: Path) -> None:
    text = "from typing import Any\nimport posix, os.path\ndef f():\n    from collections import abc\n"
    (tmp_path / "m.py").write_text(text)
    assert foreign(tmp_path / "m.py") == {"os.path", "collections"}


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"??/\\\"'\n" * 3000])
def test_bytes_in_c(data: bytes) -> None:
    """Three octal digits each: nothing that follows can be taken for a part of an escape."""
    text = "".join([line.strip()[1:-1] for line in freeze.literal(data).splitlines()])
    assert bytes(int(digits, 8) for digits in text.split("\\")[1:]) == data


def test_native_code_stays_small() -> None:
    """Comments and all: it is what nobody's type checker reads.

    A quarter is _linux, half the image and its stages, a tenth what the launcher says of what it cannot do.
    """
    native = TOP / "native"
    files = [*native.glob("*.c"), *native.glob("*.h")]
    assert len(files) > 5 and sum(len(file.read_text().splitlines()) for file in files) < 3300

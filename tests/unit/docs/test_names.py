"""What texts name of pyrunc/ is there: modules that programs in strings import, and files that documents speak of."""

from __future__ import annotations

import re

from tests.support import TOP

# Written by the build; and what stands for any.
NOT_THERE = {"pyrunc._commit", "pyrunc.steps.seccomp._compiler", "pyrunc.NAME"}


def texts() -> dict[str, str]:
    wanted = (".py", ".md", ".txt", ".c", ".h")
    files = [*TOP.glob("*.md"), TOP / "setup.cfg"]
    for folder in ("pyrunc", "tests", "tools", "native", "bench", "docs"):
        files += [path for path in (TOP / folder).rglob("*") if path.suffix in wanted and path.is_file()]
    return {str(path.relative_to(TOP)): path.read_text() for path in files}


def is_module(name: str) -> bool:
    path = TOP / name.replace(".", "/")
    return path.is_dir() or any(path.with_suffix(kind).exists() for kind in (".py", ".pyi"))


def defines(module: str, name: str) -> bool:
    """Whether a module has a name, as far as its source tells."""
    if is_module(module + "." + name):
        return True
    path = TOP / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.exists():
        return path.with_suffix(".pyi").exists()
    return (
        re.search(rf"^\s*(?:def|class) {name}\b|^\s*{name}\b.*[:=]|\b{name}\b,?\)?$", source.read_text(), re.M)
        is not None
    )


def missing(text: str) -> list[str]:
    found = []
    for module, names in re.findall(r"from (pyrunc[\w.]*) import ([\w, ]+)", text):
        if module in NOT_THERE:
            continue
        names = [name.split(" as ")[0].strip() for name in names.split(",")]
        if not is_module(module):
            found.append(module)
        else:
            found += [f"{module}.{name}" for name in names if name and not defines(module, name)]
    return found


def test_what_is_imported_anywhere_is_there() -> None:
    """Programs in strings too, which no type checker reads."""
    assert {name: missing(text) for name, text in texts().items() if missing(text)} == {}


def test_a_module_that_is_not_there_is_seen() -> None:
    text = "FROM pyrunc.nowhere import a\nFROM pyrunc.steps import hooks, nothing\n".replace("FROM", "from")
    assert missing(text) == ["pyrunc.nowhere", "pyrunc.steps.nothing"]


def test_files_that_are_named_are_there() -> None:
    """But NAME.py and x.py, which stand for any, and what the build writes."""
    named = {path for text in texts().values() for path in re.findall(r"\bpyrunc/[\w/]*/[a-z]\w+\.py\b", text)}
    assert sorted(path for path in named if not (TOP / path).exists()) == []

"""config/types.py is what the readers of a config are held to: a misspelt key is an error, in mypy or here."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import TOP

#: Where a config is read.
FILES = [
    path
    for pattern in ("plan/*.py", "steps/**/*.py", "config/*.py", "lifecycle/*.py")
    for path in sorted((TOP / "pyrunc").glob(pattern))
    if path.name not in ("_schema.py", "_check.py", "why_record.py", "remains.py")
]

#: Names that are asked for by get(), and are none of a config: of the environment, of annotations.
OTHERS = {"HOME", "run.oci.keep_original_groups", "run.oci.pidfd_receiver"}


def keys() -> set[str]:
    """All that a TypedDict of a config, or of a schema, has."""
    found: set[str] = set()
    texts = [(TOP / "pyrunc/config" / name).read_text() for name in ("types.py", "schema_types.py")]
    for node in [node for text in texts for node in ast.walk(ast.parse(text))]:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Dict):
            found |= {one.value for one in node.keys if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


def asked() -> Iterator[tuple[str, str]]:
    """Each name that a get() asks for, with where it does."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"):
                continue
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value, f"{path.relative_to(TOP)}:{node.lineno}"


def test_what_get_asks_for_is_a_property() -> None:
    """mypy takes get() of any name, and its value for an object."""
    names = list(asked())
    assert len(names) > 200
    assert [(name, where) for name, where in names if name not in keys() | OTHERS] == []


#: Of each file a name, and what mypy is to say when it is misspelt there.
MISSPELT = {
    "pyrunc/plan/create_parts.py": ("uidMappings", '"WriteMappings" has incompatible type "object"'),
    "pyrunc/plan/process_parts.py": ("rlimits", 'TypedDict "Process" has no key "rlimitz"'),
    "pyrunc/steps/rootfs/devices.py": ("fileMode", "Unsupported operand types"),
    "pyrunc/steps/rootfs/mount.py": ("destination", 'TypedDict "Mount" has no key "destinatioz"'),
    "pyrunc/lifecycle/exec.py": ("apparmorProfile", 'TypedDict "Process" has no key "apparmorProfilz"'),
    "pyrunc/cgroups/v2/limits.py": ("swap", "object"),
}


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="no mypy")
def test_mypy_finds_a_misspelt_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", "--cache-dir", str(tmp_path)]
    for number, (file, (name, _)) in enumerate(MISSPELT.items()):
        text = (TOP / file).read_text()
        assert f'"{name}"' in text
        other = tmp_path / f"misspelt{number}.py"
        other.write_text(text.replace(f'"{name}"', f'"{name[:-1]}z"'))
        command += ["--shadow-file", file, str(other)]
    done = subprocess.run([*command, *MISSPELT], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    for file, (_, said) in MISSPELT.items():
        lines = [line for line in done.stdout.splitlines() if line.startswith(file + ":")]
        assert any(said in line for line in lines), (file, lines)

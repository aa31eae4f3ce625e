"""tools/gencheck.py: the check is of these schemas, and nothing that they say is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TOP
from tests.support.configs import SPEC, Json


def generate(spec: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOP / "tools/gencheck.py"), str(spec), str(output)], capture_output=True, text=True
    )


def test_the_check_is_of_these_schemas(tmp_path: Path) -> None:
    made = generate(SPEC, tmp_path / "_check.py")
    assert (made.returncode, made.stderr) == (0, "")
    for name in ("_check.py", "_schema.py"):
        assert (tmp_path / name).read_text() == (TOP / "pyrunc/config" / name).read_text(), "make build"
    text = (tmp_path / "_check.py").read_text()
    assert "import" not in text
    assert len(text) < 20_000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxLength": 3}, "hostname: keyword maxLength is not supported"),
        ({"$ref": "defs.json#/definitions/none"}, "config.json: nothing at defs.json#/definitions/none"),
        ({"$ref": "defs.json#/definitions/text"}, "draft-07 ignores what stands beside $ref"),
        ({"type": ["string", "null"]}, "only one type"),
        ({"pattern": "a$"}, "a pattern must start with ^"),
        ({"pattern": "^a$"}, "not supported in a pattern: $"),
        ({"pattern": "^(a|b)"}, "not supported in a pattern: ("),
        ({"pattern": "^[0-9]*5$(?!\\n)"}, "ambiguous without backtracking"),
        ({"pattern": "^\\d"}, "not supported in a pattern: \\"),
        ({"pattern": "^[\\d]"}, "not supported in a pattern: ["),
        ({"minLength": 2}, "only one of enum, pattern and a minLength of 1"),
        ({"minLength": 1, "enum": ["a"]}, "only one of enum, pattern and a minLength of 1"),
        ({"type": "number"}, "only one type"),
        ({"type": "integer"}, "an integer without a minimum"),
        ({"type": "array"}, "an array without items"),
        ({"type": "object", "required": ["a"]}, "required what is no property"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "additionalProperties has propertyNames"),
    ],
)
def test_the_generator_takes_nothing_it_would_lose(change: Json, text: str, tmp_path: Path) -> None:
    for path in SPEC.glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    config = json.loads((SPEC / "config.json").read_text())
    config["properties"]["hostname"].update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = generate(tmp_path, tmp_path / "_check.py")
    assert made.returncode == 1
    assert text in made.stderr
    assert "Traceback" not in made.stderr
    assert not (tmp_path / "_check.py").exists()

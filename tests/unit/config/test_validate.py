"""What `validate` finds: everything at once, and what is probably meant otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyrunc.config import validate
from tests.support.configs import started


def test_all_at_once(tmp_path: Path) -> None:
    """validate tells every violation, each with what stands there, what is allowed and where that is said."""
    config = started(cwd=1, rlimits=[{"type": "RLIMIT_AS"}])
    config["root"] = {"readonly": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, odd = validate.problems(str(tmp_path))
    assert [(one.pointer, one.found, one.allowed, one.section) for one in found] == [
        ("/root", "nothing", "a string that is not empty", "config.md#root"),
        ("/root/readonly", "0", "true or false", "config.md#root"),
        ("/process/cwd", "1", "a string", "config.md#process"),
        ("/process/rlimits/0", "nothing", "an integer from 0 to 18446744073709551615", "config.md#posix-process"),
        ("/process/rlimits/0", "nothing", "an integer from 0 to 18446744073709551615", "config.md#posix-process"),
    ]
    assert odd == []
    (tmp_path / "config.json").write_text(json.dumps({**started(cwd="a", args=[]), "hostname": "\0"}))
    found, _ = validate.problems(str(tmp_path))
    assert [(one.pointer, one.section) for one in found] == [
        ("/hostname", "config.md#hostname"),
        ("/process/cwd", "config.md#process"),
        ("/process/args", "config.md#process"),
        ("/hostname", "config.md#hostname"),
    ]


def test_validate_warns_of_unknown_capabilities(tmp_path: Path) -> None:
    pytest.importorskip("pyrunc._linux")
    sets = {"bounding": ["CAP_KILL", "CAP_NEW"], "effective": ["CAP_NEW", "kill"], "later": [1]}
    (tmp_path / "config.json").write_text(json.dumps(started(capabilities=sets)))
    assert validate.problems(str(tmp_path)) == (
        [],
        [
            "unknown capability CAP_NEW is ignored (config.json /process/capabilities/bounding/1)",
            "unknown capability kill is ignored (config.json /process/capabilities/effective/1)"
            ": did you mean CAP_KILL?",
        ],
    )


def test_validate_warns_of_misspelt_properties(tmp_path: Path) -> None:
    """spec.md: unknown properties are ignored. One that is nearly a known one is probably a typo; others are not."""
    config = started(usr={"uid": 1}, later=True, rlimits=[{"type": "RLIMIT_CPU", "sotf": 1, "soft": 1, "hard": 1}])
    (tmp_path / "config.json").write_text(json.dumps({**config, "windows": {}, "mouts": []}))
    assert validate.problems(str(tmp_path)) == (
        [],
        [
            '"usr" is no property of the specification, and ignored (config.json /process/usr): did you mean user?',
            '"sotf" is no property of the specification, and ignored (config.json /process/rlimits/0/sotf)'
            ": did you mean soft?",
            '"mouts" is no property of the specification, and ignored (config.json /mouts): did you mean mounts?',
        ],
    )

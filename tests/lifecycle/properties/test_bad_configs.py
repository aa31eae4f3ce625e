"""Configs that are wrong, through the command line: exit status 1, one line that points, and nothing left."""

import json

import pytest

from tests.support import TOP
from tests.support.workplace import Bundle, MakeBundle, Workplace

FOLDER = TOP / "tests/data/bad_configs"
# Name, JSON pointer ("-" when the whole is meant), words.
EXPECTED = [
    tuple(line.split(" | ", 2))
    for line in (FOLDER / "expected.txt").read_text().splitlines()
    if not line.startswith("#")
]


def refuse(workplace: Workplace, box: Bundle, text: bytes) -> str:
    """The one line that create and run say, the same in the log."""
    (box.path / "config.json").write_bytes(text)
    log = workplace.path / "log.json"
    lines = []
    for command in ("create", "run"):
        log.unlink(missing_ok=True)
        done = workplace.call(
            command, "--bundle", box.path, box.id, flags=("--log", str(log), "--log-format", "json"), timeout=20
        )
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
        logged = [json.loads(line) for line in log.read_text().splitlines()]
        assert [entry["level"] for entry in logged] == ["error"]
        assert workplace.leftovers() == []
        lines.append(logged[0]["msg"])
    assert lines[0].replace("create", "run", 1) == lines[1].replace("create", "run", 1)
    return str(lines[0])


@pytest.mark.parametrize(("name", "pointer", "words"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_each_file(bundle: MakeBundle, workplace: Workplace, name: str, pointer: str, words: str) -> None:
    line = refuse(workplace, bundle(), (FOLDER / (name + ".json")).read_bytes())
    assert words in line
    if pointer != "-":
        assert f"config.json {pointer}" in line


def test_there_are_enough() -> None:
    assert len(EXPECTED) >= 20
    assert {row[0] for row in EXPECTED} == {path.stem for path in FOLDER.glob("*.json")}


def test_too_large_and_too_deep(bundle: MakeBundle, workplace: Workplace) -> None:
    """By size and depth, before it is parsed: however wrong the rest is."""
    box = bundle()
    assert "larger than 4194304 bytes" in refuse(workplace, box, b'{"a":"' + b"x" * 10_000_000)
    assert "128" in refuse(workplace, box, b"[" * 10_000)
    assert "128" in refuse(workplace, box, b'{"a":' * 10_000 + b"1" + b"}" * 10_000)


def test_what_is_no_file(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle()
    config = box.path / "config.json"
    config.unlink()
    for bundle_path in (box.path, box.path / "none"):
        done = workplace.call("create", "--bundle", bundle_path, box.id)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    config.mkdir()
    done = workplace.call("create", "--bundle", box.path, box.id)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "config.json" in done.stderr

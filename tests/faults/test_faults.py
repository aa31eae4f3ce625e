"""Each fault of the table: its exit status, one complete line, and nothing left behind.

Complete: what it is about, the kernel's reason, the place in config.json where one can be given, and what to do; the
same in text and in the log's JSON.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.workplace import Bundle, MakeBundle, Workplace

from .fault import Fault, clear, filled, flags, prepare, words
from .table import FAULTS


def told(fault: Fault, box: Bundle, log: Path | None) -> tuple[str, dict[str, Any]]:
    """The one line that standard error has, and the object in the log."""
    given = (*flags(fault, box), *(("--log", str(log), "--log-format", "json") if log is not None else ()))
    got = box.place.call(*words(fault, box), flags=given, timeout=60, **fault.how)
    assert got.returncode == fault.status, got.stderr
    lines = got.stderr.splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0] and lines[0].isprintable(), got.stderr
    if log is None:
        return lines[0], {}
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["level"] for entry in entries] == ["error"]
    log.unlink()
    return lines[0], entries[0]


def there(found: list[str]) -> list[str]:
    """What is there, whether its processes sleep or run just now."""
    return sorted(re.sub(r"^(process .*) [A-Z]$", r"\1", line) for line in found)


def plain(line: str) -> str:
    """The message of a line in logrus's text format."""
    found = re.search(r' msg="(.*)"$', line)
    return found[1].replace('\\"', '"').replace("\\\\", "\\") if found else line


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_the_line(fault: Fault, bundle: MakeBundle, workplace: Workplace) -> None:
    missing = fault.needs() if fault.needs is not None else ""
    if missing:
        pytest.skip(missing)
    box = bundle()
    try:
        prepare(fault, box)
        before = there(workplace.leftovers())
        if fault.log:
            line, record = told(fault, box, workplace.path / "log.json")
            assert line == record["msg"]
        else:
            line = plain(told(fault, box, None)[0])
            record = {"hint": line.partition(": hint: ")[2]}
        for word in fault.holds:
            assert filled(word, box) in line
        assert record.get("hint") and f": hint: {record['hint']}" in line
        assert fault.hint in record["hint"]
        assert record.get("pointer", "") == fault.pointer
        if fault.pointer:
            assert f"{fault.file} {fault.pointer})" in line
        if box.id in words(fault, box) and record.get("container"):
            assert re.search(rf"\b{re.escape(box.id)}\b", line)
        # In the foreground and without a log it is the same.
        again, _ = told(fault, box, None)
        # What is counted may differ.
        assert re.sub(r"\d+", "N", plain(again)) == re.sub(r"\d+", "N", line)
        assert there(workplace.check() if not before else workplace.leftovers()) == before
    finally:
        clear(fault, box)


def test_names_are_unique() -> None:
    names = [fault.name for fault in FAULTS]
    assert sorted(set(names)) == sorted(names)


def test_each_says_why_it_points_nowhere() -> None:
    assert [fault.name for fault in FAULTS if not fault.pointer and not fault.none] == []
    assert [fault.name for fault in FAULTS if not fault.hint or not fault.holds] == []

"""runc's own suite as tests: a file in each set, and what is recorded of runc. `make conformance` runs all of it."""

import os
from pathlib import Path

import pytest

from tests.support.cgroups import hierarchies
from tests.support.workplace import Workplace

from . import bats, bats_suite, tap

#: A short file for each set.
QUICK = {"root": "start_hello.bats", "none": "create.bats", "idmap": "userns.bats", "idmap+cgroup": "cgroups.bats"}


@pytest.mark.parametrize("features", bats_suite.SETS)
def test_a_file_of_the_suite(features: str, workplace: Workplace, tmp_path: Path) -> None:
    """What runc passes is passed, but for what has its reason."""
    if "memory" not in hierarchies():
        pytest.skip("cgroup v1 is not mounted, and what runc does was recorded on it")
    file = QUICK[features]
    with bats_suite.work(workplace.runtime) as folder:
        ours = bats_suite.run(file, features, folder, tmp_path / "log")
    theirs = {test: result for test, result in bats.recorded()[features].items() if test.startswith(f"{file}: ")}
    assert ours.keys() == theirs.keys()
    behind = [test for test in bats.behind(ours, theirs) if test not in bats.reasons()]
    assert not behind, (tmp_path / "log").read_text()
    assert "ok" in ours.values()


def test_what_is_recorded() -> None:
    """runc's results are of all four sets, each test once, and each reason is of a test that runc passes somewhere.

    Or that all four leave out: it is run in the virtual machine.
    """
    theirs = bats.recorded()
    assert tuple(theirs) == bats_suite.SETS
    names = [set(results) for results in theirs.values()]
    assert all(one == names[0] for one in names) and len(names[0]) == 353
    passed = {test for results in theirs.values() for test, result in results.items() if result == "ok"}
    left_out = {test for test in names[0] if all(results[test] == "skip" for results in theirs.values())}
    assert set(bats.reasons()) <= passed | left_out and all(bats.reasons().values())


def test_behind() -> None:
    theirs = {"a": "ok", "b": "ok", "c": "not ok", "d": "skip"}
    assert bats.behind({"a": "ok", "b": "not ok", "c": "not ok", "d": "not ok"}, theirs) == ["b"]
    assert bats.behind({"a": "skip", "b": "ok"}, theirs) == ["a"]


def test_tap_is_read() -> None:
    text = "1..4\nok 1 runs\r\nnot ok 2 fails # with a sign\n# not ok 9 said\nok 3 left out # skip test requires root\n"
    text += "ok 4 x in 5ms\n"
    assert tap.read(text) == {"runs": "ok", "fails # with a sign": "not ok", "left out": "skip", "x": "ok"}


def test_an_ordinary_user_reaches_what_is_run(tmp_path: Path) -> None:
    """The runtime in a work folder is one that others may execute, by the name runc."""
    program = tmp_path / "some-runtime"
    program.write_text("#!/bin/sh\necho it\n")
    program.chmod(0o700)
    with bats_suite.work(program) as folder:
        runc = folder / "bin/runc"
        assert runc.stat().st_mode & 0o055 and all(above.stat().st_mode & 1 for above in runc.parents)
        assert os.listdir(folder / "tmp") == []

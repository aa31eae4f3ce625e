"""Every place that raises an error is in the catalogue, and each entry names an object, a place and a remedy."""

import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest

from pyrunc import catalogue
from pyrunc.catalogue import command_line, entry, steps
from pyrunc.catalogue.entry import Case
from pyrunc.cli import kill
from pyrunc.errors import PyruncError, StateError
from tests.support.launcher_failures import CAUSES, NOT_CAUSED
from tools import launcher_errors, raises

#: Places that hand the message of another error on: it is in the catalogue where it was raised.
HANDED_ON = {
    ("pyrunc/config/load.py", "read"): "of what is no plain file",
    ("pyrunc/config/rules.py", "_raise_first"): "a rule's, which is yielded",
    ("pyrunc/config/schema.py", "check"): "a schema's, whose remedies explain.py has",
    ("pyrunc/library.py", "_error"): "the launcher's",
    ("pyrunc/library.py", "validate_bundle"): "a rule's or a schema's, to look up its remedy",
    ("pyrunc/cli/validate.py", "run"): "a rule's or a schema's, to look up its remedy",
    ("pyrunc/lifecycle/checkpoint/criu_process.py", "go_on"): "CRIU's process's",
    ("pyrunc/lifecycle/start.py", "_problem"): "a startContainer hook's",
    ("pyrunc/state/container.py", "manager"): "of a cgroup that a state names",
}


#: Words that engines look for (docs/compatibility.md): no remedy may hold them, they would be taken for the error.
MATCHED = (
    "does not exist",
    "already exists",
    "not running",
    "still running",
    "container paused",
    "container not paused",
    "already finished",
    "no such process",
    "no such file or directory",
    "permission denied",
    "operation not permitted",
    "executable file not found",
    "open executable",
    # docker makes 126 and "permission denied" of the one, an advice about mounts of the other
    "is a directory",
    "not a directory",
)


@pytest.fixture(autouse=True)
def _as_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error has no remedy until it is told: another test may have imported the library."""
    monkeypatch.setattr(PyruncError, "advise", None)


def handed_on(place: raises.Place) -> bool:
    return any(
        place.file.endswith(name.rpartition("/")[2]) and place.function == function for name, function in HANDED_ON
    )


def test_every_place_is_in_the_catalogue() -> None:
    unknown = [
        f"{place.file}:{place.line}: {template}"
        for place in raises.places()
        if not handed_on(place)
        for template in place.templates
        if catalogue.find(template) is None
    ]
    assert unknown == []


def test_every_entry_has_its_places() -> None:
    """What no place raises any more is no entry; and what an entry says of its places is so."""
    entries = catalogue.entries()
    found = defaultdict(list)
    for place in raises.places():
        for template in place.templates:
            known = catalogue.find(template)
            if known is not None:
                found[known[0]].append(place)
    assert set(entries) == set(found)
    for template, places in found.items():
        _, where, remedy = entries[template]
        if where == entry.CONFIG:
            assert [place for place in places if not place.pointer] == [], template
        given = remedy == entry.GIVEN or (isinstance(remedy, dict) and entry.GIVEN in remedy.values())
        if given:
            assert [place for place in places if not place.hint] == [], template


def test_no_entry_is_there_twice() -> None:
    """Of two in different files one would be lost."""
    folder = Path(catalogue.__file__).parent
    texts = [getattr(import_module(f"pyrunc.catalogue.{path.stem}"), "ENTRIES", {}) for path in folder.glob("*.py")]
    assert sum(len(some) for some in texts) == len(catalogue.entries())


def test_every_entry_names_its_object() -> None:
    for template, (thing, _, _) in catalogue.entries().items():
        hole = re.fullmatch(r"\{(\d)\}", thing)
        if hole:
            assert int(hole[1]) < template.count("{}"), template
        else:
            # A container's ID comes after the message.
            assert thing == "container" or thing in template, template


def test_every_entry_has_a_remedy() -> None:
    for template, (_, where, remedy) in catalogue.entries().items():
        assert where, template
        if template == "{}: {}":
            continue  # a step's: the next test
        texts = list(remedy.values()) if isinstance(remedy, dict) else [remedy]
        for text in texts:
            assert text if isinstance(text, str) else callable(text), template


def test_every_step_has_a_remedy() -> None:
    known = raises.steps()
    assert set(steps.STEPS) - {"systemd"} == set(known)
    for name, remedies in steps.STEPS.items():
        assert remedies.get(0), name


def test_the_launcher_reports_what_its_table_has() -> None:
    """native/failures.h: each row has its place, each place a row, and nothing speaks past report.h."""
    rows = launcher_errors.rows()
    assert {row.where for row in rows} == {place.where for place in launcher_errors.reports() if place.where}
    assert launcher_errors.strangers() == []
    assert [row for row in rows if not row.message or not row.hint] == []
    # The last row of a failure is for any other error: the search for one ends there.
    last = {row.where: row.error for row in rows}
    assert set(last.values()) == {""}


def test_each_failure_of_the_launcher_is_caused() -> None:
    """By tests/lifecycle/launcher/test_launcher_errors.py, or it says why nobody can."""
    rows = {(row.where, row.error) for row in launcher_errors.rows()}
    assert rows == {cause.row for cause in CAUSES} | set(NOT_CAUSED)
    assert all(NOT_CAUSED.values())


def test_remedies_are_not_taken_for_errors() -> None:
    texts = [text for remedies in (*steps.STEPS.values(), steps.ANY) for text in remedies.values()]
    for _, _, remedy in catalogue.entries().values():
        texts += [text for text in (remedy.values() if isinstance(remedy, dict) else [remedy]) if isinstance(text, str)]
    texts += [row.hint for row in launcher_errors.rows()]
    for text in texts:
        assert "\n" not in text
        assert [words for words in MATCHED if words in text.lower()] == [], text


def test_match_finds_what_stands_in_the_holes() -> None:
    assert catalogue.match("open {}: {}", "open /a: b: no") == ["/a", "b: no"]
    assert catalogue.match("a{}b{}c", "axbyc") == ["x", "y"]
    assert catalogue.match("a{}b", "ab") == [""]
    assert catalogue.match("a{}a", "a") is None
    assert catalogue.match("same", "same") == [] and catalogue.match("same", "same ") is None


def test_the_most_exact_template_counts() -> None:
    found = catalogue.find('exec: "x": executable file not found in $PATH')
    assert found is not None and found[0] == 'exec: "{}": executable file not found in $PATH'


def test_complete_gives_what_is_missing_and_keeps_what_is_there() -> None:
    error = PyruncError("unable to freeze cgroup /x", hint="given")
    catalogue.complete(error)
    assert error.hint == "given"
    error = StateError("container not paused")
    error.container = "box"
    catalogue.complete(error)
    assert error.line().startswith("container not paused (container box): hint: ")
    error = PyruncError("nothing that anybody says")
    catalogue.complete(error)
    assert error.hint is None


def test_names_of_signals_are_those_of_kill() -> None:
    assert command_line.SIGNALS == kill._NAMES + " RTMIN RTMAX"


def test_a_remedy_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(case: Case) -> str:
        raise OSError

    monkeypatch.setattr(catalogue, "remedy", fail)
    error = PyruncError("container not paused")
    catalogue.complete(error)
    assert error.hint is None

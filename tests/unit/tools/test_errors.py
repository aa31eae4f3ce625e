"""docs/errors.md, and what was said of each fault."""

import json

from tests.faults.table import FAULTS
from tools import errors


def test_the_document_is_made_of_what_is_there() -> None:
    """docs/errors.md: `make errors`."""
    assert (errors.TOP / "docs/errors.md").read_text() == errors.page()


def test_what_was_said_of_each_fault_is_kept() -> None:
    """And still holds what the table wants: `python -m tests.faults --own` asks pyrunc anew."""
    said = json.loads(errors.SAID.read_text())["said"]["pyrunc"]
    here = {fault.name: fault for fault in FAULTS if fault.needs is None or fault.name in said}
    assert set(said) == set(here)
    assert len(said) >= 150
    for name, answer in said.items():
        fault = here[name]
        if fault.needs is not None and fault.needs():
            continue
        assert answer["status"] == fault.status and answer["left"] == [], name
        assert fault.hint in answer["line"].partition(": hint: ")[2], name
        assert not fault.pointer or f"{fault.file} {fault.pointer})" in answer["line"], name

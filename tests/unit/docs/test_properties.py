"""The table of properties is whole: every property of the schema has a test that shows its effect, or a reason."""

import pytest

from tests.support import properties as table

ROWS = table.rows()
PROPERTIES = table.properties()


def test_the_schema_is_walked_whole() -> None:
    assert len(PROPERTIES) > 200
    assert {"/ociVersion", "/hooks/poststop/*/timeout", "/linux/seccomp/syscalls/*/args/*/valueTwo"} <= set(PROPERTIES)
    assert {"/linux/netDevices/*/name", "/mounts/*/gidMappings/*/size", "/linux/rootfsPropagation"} <= set(PROPERTIES)


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_has_a_row(name: str) -> None:
    assert name in ROWS, f"{name} has no row in tests/properties.txt"


def test_every_row_is_a_property() -> None:
    assert set(ROWS) - set(PROPERTIES) == set()


@pytest.mark.parametrize("name", ROWS)
def test_the_tests_of_a_row_exist(name: str) -> None:
    row = ROWS[name]
    assert row.tests, f"{name}: no test"
    for test in row.tests:
        file, _, function = test.partition("::")
        assert function in table.tests_of(file), f"{name}: there is no {test}"
    # A test without the kernel shows no effect: then the row says why.
    if all(test.startswith(("unit/", "vm/")) for test in row.tests):
        assert row.remark, f"{name}: why does no test show it on this kernel?"


def test_the_page_is_up_to_date() -> None:
    assert table.PAGE.read_text() == table.page(), "run python -m tests.support.properties"

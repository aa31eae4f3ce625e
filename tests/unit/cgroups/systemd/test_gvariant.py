"""Values of annotations, in GVariant's text form."""

import pytest

from pyrunc.cgroups.systemd import gvariant
from pyrunc.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("5", ("i", 5)),
        ("uint64 0x10", ("t", 16)),
        ("'it\\'s'", ("s", "it's")),
        ("['a', \"b\"]", ("as", ["a", "b"])),
        ("[uint32 1, uint32 2]", ("au", [1, 2])),
    ],
)
def test_values(text: str, value: object) -> None:
    assert gvariant.parse(text, "") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'a",
        "[1, 'a']",
        "uint64 -1",
        "byte 256",
        "1 2",
        "none",
        "[[[[[[1]]]]]]",
        "os.system()",
        "'a\0b'",
        "\0",
        "\u0661",
        "uint64 \u0661",
        "1_0",
        "uint64 0x_1",
        "--1",
        "+-1",
        "0x",
        "0x-1",
        "uint64 ",
        "9" * 5000,
    ],
)
def test_bad_values(text: str) -> None:
    with pytest.raises(ConfigError):
        gvariant.parse(text, "/annotations/x")

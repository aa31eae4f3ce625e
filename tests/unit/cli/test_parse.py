"""Go's flag grammar, and paths made absolute."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.cli.parse import absolute, parse
from pyrunc.errors import UsageError

FLAGS = (
    ("bundle", "b", "str"),
    ("detach", "d", "bool"),
    ("env", "e", "strs"),
    ("gid", "g", "ints"),
    ("fds", "", "int"),
)


@pytest.mark.parametrize(
    ("argv", "values", "args"),
    [
        (["-b", "x", "id"], {"bundle": "x"}, ["id"]),
        (["--b=x", "id"], {"bundle": "x"}, ["id"]),
        (["-bundle=x=y"], {"bundle": "x=y"}, []),
        (["--bundle="], {"bundle": ""}, []),
        (["--bundle", "--detach", "id"], {"bundle": "--detach"}, ["id"]),
        (["-b", "1", "-b", "2"], {"bundle": "2"}, []),
        (["-d", "id"], {"detach": True}, ["id"]),
        (["-detach=false", "id"], {"detach": False}, ["id"]),
        (["--detach=T", "id"], {"detach": True}, ["id"]),
        (["-e", "A=1,B=2", "-env", "C", "id"], {"env": ["A=1,B=2", "C"]}, ["id"]),
        (["-g", "1", "--gid=0x10", "-g=010", "-g", "0b11", "-g", "1_000"], {"gid": [1, 16, 8, 3, 1000]}, []),
        (["--fds=-3"], {"fds": -3}, []),
        (["-", "id"], {}, ["-", "id"]),
        (["-d", "--", "-d", "--x"], {"detach": True}, ["-d", "--x"]),
        ([], {}, []),
        (["", "id"], {}, ["", "id"]),
    ],
)
@pytest.mark.parametrize("reorder", [True, False])
def test_flags(argv: list[str], values: dict[str, object], args: list[str], reorder: bool) -> None:
    got, given, rest = parse(FLAGS, argv, reorder)
    default = {"bundle": "", "detach": False, "env": [], "gid": [], "fds": 0}
    assert got == {**default, **values}
    assert given == set(values)
    assert rest == args


def test_flags_end_at_the_first_argument_where_a_command_follows() -> None:
    got, _, rest = parse(FLAGS, ["-d", "id", "sh", "-e", "--bundle=x"], False)
    assert rest == ["id", "sh", "-e", "--bundle=x"]
    assert got["env"] == []


def test_known_flags_count_after_the_arguments_elsewhere() -> None:
    got, _, rest = parse(FLAGS, ["id", "-d", "x", "-b", "B", "-9", "--", "-d"], True)
    assert rest == ["id", "x", "-9", "-d"]
    assert (got["detach"], got["bundle"]) == (True, "B")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-x"], "flag provided but not defined: -x"),
        (["--bundles=1"], "flag provided but not defined: -bundles"),
        (["---d"], "bad flag syntax: ---d"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-=x"], "bad flag syntax: -=x"),
        (["-b"], "flag needs an argument: -b"),
        (["id", "--bundle"], "flag needs an argument: -bundle"),
        (["-d=7"], 'invalid boolean value "7" for -d: parse error'),
        (["--detach="], 'invalid boolean value "" for -detach: parse error'),
        (["-b", "x", "--bundle", "y"], "Cannot use two forms of the same flag: b bundle"),
        (["--fds", "x"], 'invalid value "x" for flag -fds: parse error'),
        (["--fds="], 'invalid value "" for flag -fds: parse error'),
        (["--fds", "1.0"], 'invalid value "1.0" for flag -fds: parse error'),
        (["--fds", " 1"], 'invalid value " 1" for flag -fds: parse error'),
        (["--fds", "1\n"], 'invalid value "1\n" for flag -fds: parse error'),
        (["--fds", "+-1"], 'invalid value "+-1" for flag -fds: parse error'),
        (["--fds", "09"], 'invalid value "09" for flag -fds: parse error'),
        (["--fds", "٣"], 'invalid value "٣" for flag -fds: parse error'),
        (["--fds", "9" * 5000], f'invalid value "{"9" * 5000}" for flag -fds: parse error'),
        (["--fds", "9223372036854775808"], 'invalid value "9223372036854775808" for flag -fds: value out of range'),
        (["-g", "1", "-g", "a"], 'invalid value "a" for flag -g: strconv.ParseInt: parsing "a": invalid syntax'),
    ],
)
def test_bad_flags(argv: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(FLAGS, argv, True)
    assert caught.value.message == message


def test_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("/") == "/"
    assert absolute("/a//b/./c/../d/") == "/a/b/d"
    assert absolute("/../../x") == "/x"
    assert absolute("x") == f"{tmp_path}/x"
    assert absolute("") == str(tmp_path)
    assert absolute("../x") == f"{tmp_path.parent}/x"

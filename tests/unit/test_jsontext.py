"""pyrunc.jsontext: what is JSON and what is not, and that both directions agree."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc import _json
from pyrunc.errors import ConfigError
from pyrunc.jsontext import MAX_BYTES, MAX_DEPTH, dumps, loads, pointer


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (b" \n\t\r ", "is empty"),
        (b"\xef\xbb\xbf{}", "byte-order mark"),
        (b"\xff\xfe{\0}\0", "byte-order mark"),
        (b"{} {}", "line 1 column 4: text after the end"),
        (b"{}\n\n x", "line 3 column 2: text after the end"),
        (b"{}\0", "text after the end"),
        (b"{", "line 1 column 2: expecting property name"),
        (b"[1,", "expecting value"),
        (b"[1,]", "expecting value"),
        (b'{"a":1,}', "expecting property name"),
        (b"{'a': 1}", "expecting property name"),
        (b'{"a" 1}', "line 1 column 6: expecting ':' delimiter"),
        (b'{"a":1', "expecting ',' delimiter"),
        (b'"abc', "unterminated string"),
        (b'"\\x"', "invalid \\escape"),
        (b'"\\u12"', "invalid \\uXXXX escape"),
        (b'"a\nb"', "invalid control character"),
        (b'["\0"]', "invalid control character"),
        (b"nul", "expecting value"),
        (b"[01]", "expecting ',' delimiter"),
        (b"[+1]", "expecting value"),
        (b"[.5]", "expecting value"),
        (b"[1.]", "expecting ',' delimiter"),
        (b"[0x1]", "expecting ',' delimiter"),
        (b"/* */ {}", "expecting value"),
        (b"[NaN]", "not a JSON value: NaN"),
        (b"[Infinity]", "not a JSON value: Infinity"),
        (b"[-Infinity]", "not a JSON value: -Infinity"),
        (b"[1e999]", "beyond what a double holds: 1e999"),
        (b"[-1e999]", "beyond what a double holds: -1e999"),
        (b"[18446744073709551616]", "a number beyond 64 bits"),
        (b"[-9223372036854775809]", "a number beyond 64 bits"),
        (b"[" + b"9" * 5000 + b"]", "a number beyond 64 bits"),
        (b"[1" + b"0" * 5000 + b".5]", "beyond what a double holds"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b'["\\udc80"]', "half of a surrogate pair"),
        (b'["\\uDFFF\\uD800"]', "half of a surrogate pair"),
        (b'{"\\ud800": 1}', "half of a surrogate pair"),
        (b'["\xed\xa0\x80"]', "not UTF-8 at byte 2"),
        (b'["\xff"]', "not UTF-8 at byte 2"),
        ("[1]".encode("utf-16-le"), "expecting"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper than 128 levels"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested deeper than 128 levels"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 128 levels"),
        (b"[" * 100_000, "nested deeper than 128 levels"),
        (b"[}" * 100_000, "line 1 column 2: expecting value"),
        (b'["\\\\\\"", ' + b"[" * 200 + b"]" * 201, "nested deeper than 128 levels"),
    ],
)
def test_refused(text: bytes, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert why in caught.value.line()
    assert "\n" not in caught.value.line()
    assert caught.value.line().isprintable()
    caught.value.line().encode()


def test_size() -> None:
    padding = b" " * (MAX_BYTES - 2)
    assert loads(padding + b"{}") == {}
    with pytest.raises(ConfigError, match="larger than 4194304 bytes: 4194305 bytes"):
        loads(padding + b" {}")
    with pytest.raises(ConfigError, match=r"state\.json: larger than 3 bytes"):
        loads(b"[1,2]", "state.json", max_bytes=3)


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        (b'{"a": 1, "a": 1}', '"a"', "/a"),
        (b'{"x": [{}, {"b": 1, "c": 2, "b": 3}]}', '"b"', "/x/1/b"),
        (b'{"a/b": {"~": {"k": 1, "\\u006b": 2}}}', '"k"', "/a~1b/~0/k"),
    ],
)
def test_repeated_names(text: bytes, name: str, place: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert caught.value.message == f"the name {name} stands twice in one object"
    assert caught.value.pointer == place


@pytest.mark.parametrize(
    "text",
    [
        b" [1]\n",
        b"\r\n\t{}",
        b"[-0, 0, 18446744073709551615, -9223372036854775808]",
        b'{"": {"": []}, "a": null, "b": [true, false]}',
        b'"plain"',
        b"12",
        b'["\\u0000\\b\\f\\n\\r\\t\\/\\\\\\"\\ud83d\\ude00\\u00e9"]',
        '["é😀\u2028"]'.encode(),
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        b'"' + b"[{" * 500 + b'"',
        b'["\\\\", "[[[[\\"[[[[", "\\\\\\\\"' + b', "[[\\"{{"' * 200 + b"]",
    ],
)
def test_same_as_the_json_package(text: bytes) -> None:
    assert loads(text) == json.loads(text)


def test_reals_are_no_integers() -> None:
    values = loads(b"[1.0, 1e3, 1E-2, -0.0]")
    assert values == [1.0, 1000.0, 0.01, 0.0]
    assert all(type(value) is float for value in values)


SAMPLES = [
    None,
    True,
    0,
    -5,
    1.5,
    "",
    'a"\\\n\0',
    "é\u2028😀",
    [],
    {},
    [[], {}, [1, [2]]],
    {"a": [1, {"b": None}], "c": {}, "d": "x"},
]


@pytest.mark.parametrize("value", SAMPLES, ids=repr)
def test_dumps(value: object) -> None:
    assert dumps(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert dumps(value, 2) == json.dumps(value, ensure_ascii=False, indent=2)
    assert dumps(value, "\t") == json.dumps(value, ensure_ascii=False, indent="\t")
    assert loads(dumps(value).encode()) == value
    assert loads(dumps(value, 4).encode()) == value


def test_dumps_of_undecodable_paths() -> None:
    value = {"bundle": b"/tmp/\xff\xe9".decode("utf-8", "surrogateescape"), "é": [1]}
    for indent in (None, 2):
        text = dumps(value, indent)
        assert loads(text.encode(), surrogates=True) == value
        with pytest.raises(ConfigError, match="half of a surrogate pair"):
            loads(text.encode())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_dumps_refuses_what_json_has_not(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(value)
    with pytest.raises(TypeError, match="no JSON for bytes"):
        dumps(b"x")


def test_pointer() -> None:
    assert pointer("a/b", 3, "~", "") == "/a~1b/3/~0/"
    assert pointer("line\nbreak") == "/line\\nbreak"
    assert pointer("half\ud800").encode()


TEXTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
).map(json.dumps)


def of_the_package(text: str) -> object:
    """As Python's json package reads it, with our rules about numbers and names."""

    def pairs(all_of_them: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(all_of_them)) < len(all_of_them):
            raise ValueError("twice")
        return dict(all_of_them)

    def real(digits: str) -> float:
        if math.isinf(float(digits)):
            raise ValueError("beyond")
        return float(digits)

    def whole(digits: str) -> int:
        if not -(1 << 63) <= int(digits) < 1 << 64:
            raise ValueError("beyond")
        return int(digits)

    def constant(word: str) -> None:
        raise ValueError(word)

    value = json.loads(text, object_pairs_hook=pairs, parse_float=real, parse_int=whole, parse_constant=constant)
    json.dumps(value, ensure_ascii=False).encode()
    return value


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.integers(0, 10_000), st.sampled_from('{}[]",:\\u0dD8-+.eE1 \n\tantfr/\x00\x7fé😀'), st.integers(0, 2))
def test_whatever_the_text(text: str, where: int, letter: str, cut: int) -> None:
    """A text with one letter changed, put in or taken out is read, or refused, as by Python's own package."""
    where %= len(text) + 1
    text = text[:where] + letter + text[where + cut :]
    try:
        value = of_the_package(text)
    except ValueError:
        with pytest.raises(ConfigError):
            loads(text.encode())
    else:
        assert repr(loads(text.encode())) == repr(value)


def test_the_reader_by_itself() -> None:
    """What it tells: reason, byte, the way there, and the text concerned."""
    for data, told in [
        ('["é", {"x": [1, 2e999]}]'.encode(), ("a number beyond what a double holds", 17, [1, "x", 1], "2e999")),
        (b'{"a": {"b": 1, "b": 2}}', ("a name stands twice", 15, ["a"], "b")),
        (b'[["\\ud800"]]', ("half of a surrogate pair", 2, [0, 0], "\ud800")),
        (b"[1 2]", ("expecting ',' delimiter", 3, [], None)),
    ]:
        with pytest.raises(ValueError) as caught:
            _json.read(data, 10, False)
        assert caught.value.args == told
    for wrong in (("[]", 1, False), (b"[]", 1), (b"[]", "x", False)):
        with pytest.raises(TypeError):
            _json.read(*wrong)

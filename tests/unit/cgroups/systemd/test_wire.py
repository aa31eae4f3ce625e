"""pyrunc.cgroups.systemd.wire: D-Bus messages are the same as jeepney's, and a real bus understands them."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrunc.cgroups.systemd import wire

jeepney = pytest.importorskip("jeepney")

FIELDS = {wire.PATH: "/a/b", wire.INTERFACE: "c.d", wire.MEMBER: "E", wire.DESTINATION: "f.g"}

NUMBERS = {"y": (0, 255), "n": (-(2**15), 2**15 - 1), "q": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1)}
NUMBERS |= {"u": (0, 2**32 - 1), "x": (-(2**63), 2**63 - 1), "t": (0, 2**64 - 1)}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)

#: (signature of one complete type, a value of it).
SIMPLE = st.one_of(
    *[st.tuples(st.just(letter), st.integers(*bounds)) for letter, bounds in NUMBERS.items()],
    st.tuples(st.just("b"), st.booleans()),
    st.tuples(st.just("s"), TEXT),
)
TYPED = st.recursive(
    SIMPLE,
    lambda inner: (
        inner.map(lambda one: ("v", one))
        | st.lists(inner, min_size=1, max_size=3).map(
            lambda items: ("(" + "".join([kind for kind, _ in items]) + ")", tuple([value for _, value in items]))
        )
        | st.tuples(inner.filter(lambda one: one[0] != "y"), st.integers(0, 3)).map(
            lambda one: ("a" + one[0][0], [one[0][1]] * one[1])
        )
    ),
    max_leaves=8,
)


def theirs(signature: str, body: tuple[Any, ...], serial: int = 7) -> bytes:
    address = jeepney.DBusAddress("/a/b", bus_name="f.g", interface="c.d")
    message = jeepney.new_method_call(address, "E", signature or None, body)
    return bytes(message.serialise(serial))


@settings(max_examples=300, deadline=None)
@given(st.lists(TYPED, max_size=4))
def test_the_same_as_jeepney(arguments: list[tuple[str, Any]]) -> None:
    """Both read what both write, and our length of it is right."""
    signature, body = "".join([kind for kind, _ in arguments]), tuple([value for _, value in arguments])
    ours, other = wire.pack(7, FIELDS, signature, body), theirs(signature, body)
    assert jeepney.low_level.Parser().feed(ours)[0].body == body
    for data in (ours, other):
        assert wire.size_of(data[:16]) == len(data)
        message = wire.unpack(data)
        assert (message.kind, message.body) == (wire.CALL, list(body))
        assert {field: message.fields[field] for field in FIELDS} == FIELDS


@settings(max_examples=300, deadline=None)
@given(st.lists(TYPED, min_size=1, max_size=3), st.integers(0, 10_000), st.integers(0, 255))
@example([("v", ("v", ("v", ("y", 0))))], 6158, 105)  # its signature becomes a number
def test_a_broken_message_is_an_error(arguments: list[tuple[str, Any]], where: int, byte: int) -> None:
    """Whatever a byte is changed to: a value, or ValueError; never another exception, and never for ever."""
    signature, body = "".join([kind for kind, _ in arguments]), tuple([value for _, value in arguments])
    data = bytearray(wire.pack(7, FIELDS, signature, body))
    data[where % len(data)] = byte
    try:
        wire.size_of(bytes(data[:16]))
        wire.unpack(bytes(data))
    except ValueError:
        pass


@pytest.mark.parametrize("signature", ["a", "(", "(s", "z", "sa", "a{s", ")"])
def test_a_wrong_signature(signature: str) -> None:
    with pytest.raises(ValueError, match="not a D-Bus signature"):
        wire.split(signature)


def test_a_real_bus(tmp_path: Path) -> None:
    """Hello, a call with its answer, an error, a signal that came before it was waited for, and a deadline."""
    path = tmp_path / "bus"
    command = ["dbus-daemon", "--session", "--nofork", "--address", f"unix:path={path}", "--print-address=1"]
    try:
        bus = subprocess.Popen(command, stdout=subprocess.PIPE)
    except FileNotFoundError:
        pytest.skip("no dbus-daemon here")
    try:
        assert bus.stdout is not None
        # It says so when it listens; the socket is there before.
        assert bus.stdout.readline().startswith(b"unix:path=")
        connection = wire.Connection(str(path))
        fields = {wire.PATH: "/org/freedesktop/DBus", wire.INTERFACE: "org.freedesktop.DBus"}
        fields |= {wire.DESTINATION: "org.freedesktop.DBus"}

        def call(member: str, signature: str = "", *body: object) -> wire.Message:
            return connection.call({**fields, wire.MEMBER: member}, signature, body, 10.0)

        assert len(call("GetId").body[0]) == 32
        wrong = call("NoSuchMethod", "s", "x")
        assert wrong.kind == wire.ERROR and wrong.fields[wire.ERROR_NAME].endswith("UnknownMethod")
        call("AddMatch", "s", "type='signal',member='NameOwnerChanged'")
        assert call("RequestName", "su", "org.pyrunc.Test", 0).body == [1]
        signal = connection.signal(time.monotonic() + 10)
        while signal.body[:1] != ["org.pyrunc.Test"]:
            signal = connection.signal(time.monotonic() + 10)
        assert signal.fields[wire.MEMBER] == "NameOwnerChanged" and signal.body[1] == ""
        with pytest.raises(TimeoutError):
            while True:
                connection.signal(time.monotonic() + 0.05)
        bus.terminate()
        bus.wait(10)
        with pytest.raises(OSError, match=r"closed|reset|pipe"):
            call("GetId")
        connection.close()
    finally:
        bus.kill()
        if bus.stdout is not None:
            bus.stdout.close()
        bus.wait(10)
    with pytest.raises(OSError):
        wire.Connection(str(path))

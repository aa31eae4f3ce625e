"""D-Bus messages to bytes and back (D-Bus specification, "Message Protocol"), and a connection for them.

As much as a client needs that calls methods and waits for signals: no descriptors are sent, nobody calls us. Written
for the manager, which many commands of an engine need, so no package is loaded for it.
"""

from __future__ import annotations

import _socket
import sys
import time
from typing import Any, Final

from pyrunc.linux import sockets

CALL: Final = 1
RETURN: Final = 2
ERROR: Final = 3
SIGNAL: Final = 4

# Header fields.
PATH: Final = 1
INTERFACE: Final = 2
MEMBER: Final = 3
SENDER: Final = 7
ERROR_NAME: Final = 4
REPLY_SERIAL: Final = 5
DESTINATION: Final = 6
SIGNATURE: Final = 8
_TYPES: Final = {PATH: "o", INTERFACE: "s", MEMBER: "s", DESTINATION: "s", SIGNATURE: "g"}

# Type: (bytes, signed). b is a number too, but 0 or 1.
_NUMBERS: Final = {
    "y": (1, False),
    "b": (4, False),
    "n": (2, True),
    "q": (2, False),
    "i": (4, True),
    "u": (4, False),
    "x": (8, True),
    "t": (8, False),
}
_ALIGN: Final = {"s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8}
# The specification's limits are 128 MiB and 64; systemd's messages are small and flat.
_MAX_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 16
_MAX_WAITING: Final = 1024
# Seconds.
_CONNECT: Final = 5.0


class Message:
    """fields: header fields by number. body: the arguments, a variant as (signature, value)."""

    __slots__ = ("body", "fields", "kind")

    def __init__(self, kind: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind = kind
        self.fields = fields
        self.body = body


def split(signature: str) -> list[str]:
    """The complete types that a signature is made of. Raises ValueError."""
    found = []
    at = 0
    while at < len(signature):
        end = _end(signature, at)
        found.append(signature[at:end])
        at = end
    return found


def _end(signature: str, at: int) -> int:
    """Where the complete type that begins at `at` ends."""
    letter = signature[at : at + 1]
    if letter == "a":
        return _end(signature, at + 1)
    if letter in ("(", "{"):
        close = ")" if letter == "(" else "}"
        at += 1
        while signature[at : at + 1] != close:
            at = _end(signature, at)
        return at + 1
    if letter and (letter in _NUMBERS or letter in "sogv"):
        return at + 1
    raise ValueError("not a D-Bus signature: " + repr(signature))


class _Writer:
    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def write(self, kind: str, value: Any) -> None:
        letter = kind[0]
        if letter in _NUMBERS:
            size, signed = _NUMBERS[letter]
            self.align(size)
            self.data += int(value).to_bytes(size, sys.byteorder, signed=signed)
        elif letter in "sog":
            data = value.encode()
            self.write("y" if letter == "g" else "u", len(data))
            self.data += data + b"\0"
        elif letter == "v":
            signature, inner = value
            self.write("g", signature)
            self.write(signature, inner)
        elif letter == "a":
            self._array(kind[1:], value)
        else:
            self.align(8)
            for part, item in zip(split(kind[1:-1]), value, strict=True):
                self.write(part, item)

    def _array(self, kind: str, items: Any) -> None:
        self.write("u", 0)
        place = len(self.data)
        self.align(_NUMBERS[kind[0]][0] if kind[0] in _NUMBERS else _ALIGN[kind[0]])
        start = len(self.data)
        for item in items:
            self.write(kind, item)
        self.data[place - 4 : place] = (len(self.data) - start).to_bytes(4, sys.byteorder)


class _Reader:
    __slots__ = ("at", "data", "order")

    def __init__(self, data: bytes, order: Any) -> None:
        self.data = data
        self.order = order
        self.at = 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError("a D-Bus message is cut short")
        self.at += size
        return part

    def read(self, kind: str, depth: int = 0) -> Any:
        letter = kind[0]
        if depth > _MAX_DEPTH:
            raise ValueError("a D-Bus message is nested too deep")
        if letter in _NUMBERS:
            size, signed = _NUMBERS[letter]
            self.at += -self.at % size
            number = int.from_bytes(self.take(size), self.order, signed=signed)
            return bool(number) if letter == "b" else number
        if letter in "sog":
            text = self.take(self.read("y" if letter == "g" else "u")).decode()
            self.take(1)
            return text
        if letter == "v":
            signature = self.read("g")
            if len(split(signature)) != 1:
                raise ValueError("a D-Bus variant is not of one type")
            return signature, self.read(signature, depth + 1)
        if letter == "a":
            return self._array(kind[1:], depth)
        self.at += -self.at % 8
        return tuple([self.read(part, depth + 1) for part in split(kind[1:-1])])

    def _array(self, kind: str, depth: int) -> list[Any]:
        size = self.read("u")
        self.at += -self.at % (_NUMBERS[kind[0]][0] if kind[0] in _NUMBERS else _ALIGN[kind[0]])
        end = self.at + size
        items = []
        while self.at < end:
            before = self.at
            items.append(self.read(kind, depth + 1))
            if self.at == before:
                raise ValueError("a D-Bus array of nothing")
        return items


def pack(serial: int, fields: dict[int, str], signature: str, body: tuple[Any, ...]) -> bytes:
    """A method call."""
    inner, head = _Writer(), _Writer()
    for kind, value in zip(split(signature), body, strict=True):
        inner.write(kind, value)
    named = {**fields, SIGNATURE: signature} if signature else fields
    head.write("y", ord("l" if sys.byteorder == "little" else "B"))
    for kind, number in (("y", CALL), ("y", 0), ("y", 1), ("u", len(inner.data)), ("u", serial)):
        head.write(kind, number)
    head.write("a(yv)", [(field, (_TYPES[field], value)) for field, value in named.items()])
    head.align(8)
    return bytes(head.data + inner.data)


def size_of(data: bytes) -> int:
    """How long the message is whose first 16 bytes these are. Raises ValueError."""
    order: Any = {b"l": "little", b"B": "big"}.get(data[:1])
    if order is None:
        raise ValueError("not a D-Bus message")
    fields = 16 + int.from_bytes(data[12:16], order)
    size = fields + -fields % 8 + int.from_bytes(data[4:8], order)
    if size > _MAX_BYTES:
        raise ValueError(f"a D-Bus message of {size} bytes")
    return size


def unpack(data: bytes) -> Message:
    """A whole message. Raises ValueError."""
    reader = _Reader(data, "little" if data[:1] == b"l" else "big")
    reader.at = 1
    kind = reader.read("y")
    reader.at = 12
    fields = {number: value for number, (_, value) in reader.read("a(yv)")}
    reader.at += -reader.at % 8
    body = _Reader(data[reader.at :], reader.order)
    signature = fields.get(SIGNATURE, "")
    if not isinstance(signature, str):
        raise ValueError("the signature of a message is no text")
    return Message(kind, fields, [body.read(part) for part in split(signature)])


class Connection:
    """A connection to a bus, by the path of its socket. Raises OSError (TimeoutError among them), ValueError."""

    __slots__ = ("_data", "_serial", "_socket", "_waiting")

    def __init__(self, path: str) -> None:
        self._serial = 0
        self._data = b""
        # Signals that came while something else was waited for.
        self._waiting: list[Message] = []
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sockets.connect(self._socket, path)
            self._socket.settimeout(_CONNECT)
            self._authenticate()
            hello = {PATH: "/org/freedesktop/DBus", DESTINATION: "org.freedesktop.DBus", MEMBER: "Hello"}
            hello[INTERFACE] = "org.freedesktop.DBus"
            answer = self.call(hello, "", (), _CONNECT)
            if answer.kind != RETURN:
                raise ValueError("the bus does not greet: " + str(answer.body))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def _authenticate(self) -> None:
        """The SASL dialogue (D-Bus specification, "Authentication Protocol").

        No uid is told: in a user namespace the bus knows us by another one. It takes what the kernel gives it.
        """
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        answer = b""
        while answer.count(b"\r\n") < 2:
            data = self._socket.recv(256)
            if not data or not answer.startswith(b"DATA"[: len(answer)]):
                break
            answer += data
        if not answer.startswith(b"DATA\r\nOK "):
            raise ValueError("authentication refused: " + answer.decode("ascii", "replace").strip())
        self._socket.sendall(b"BEGIN\r\n")

    def call(self, fields: dict[int, str], signature: str, body: tuple[Any, ...], seconds: float) -> Message:
        """The answer to a method call: a RETURN or an ERROR."""
        deadline = time.monotonic() + seconds
        self._serial += 1
        self._socket.settimeout(seconds)
        self._socket.sendall(pack(self._serial, fields, signature, body))
        while True:
            message = self._receive(deadline)
            if message.kind in (RETURN, ERROR) and message.fields.get(REPLY_SERIAL) == self._serial:
                return message
            if message.kind == SIGNAL and len(self._waiting) < _MAX_WAITING:
                self._waiting.append(message)

    def signal(self, deadline: float) -> Message:
        """The next signal, of those that AddMatch asked for. deadline: of time.monotonic()."""
        while not self._waiting:
            message = self._receive(deadline)
            if message.kind == SIGNAL:
                return message
        return self._waiting.pop(0)

    def _receive(self, deadline: float) -> Message:
        self._fill(16, deadline)
        size = size_of(self._data)
        self._fill(size, deadline)
        data, self._data = self._data[:size], self._data[size:]
        return unpack(data)

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._data) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            more = self._socket.recv(1 << 16)
            if not more:
                raise ConnectionResetError(104, "the bus has closed the connection")
            self._data += more

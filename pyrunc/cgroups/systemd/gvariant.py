"""Values in GVariant's text form, as `org.systemd.property.*` annotations carry them: data, never code.

The part of the format that unit properties need: booleans, numbers with or without their type's word, strings, arrays
of one type. (GLib documentation, "GVariant Text Format".)
"""

from __future__ import annotations

from typing import Any, Final

from pyrunc.errors import ConfigError

# Word: (D-Bus type, least, most).
_NUMBERS: Final = {
    "byte": ("y", 0, 2**8 - 1),
    "int16": ("n", -(2**15), 2**15 - 1),
    "uint16": ("q", 0, 2**16 - 1),
    "int32": ("i", -(2**31), 2**31 - 1),
    "uint32": ("u", 0, 2**32 - 1),
    "int64": ("x", -(2**63), 2**63 - 1),
    "uint64": ("t", 0, 2**64 - 1),
}
_DIGITS: Final = "0123456789"


def parse(text: str, pointer: str) -> tuple[str, Any]:
    """(D-Bus signature, value). Raises ConfigError."""
    reader = _Reader(text, pointer)
    if "\0" in text:
        # Annotations may have it, but no string on the bus.
        raise reader.error("a NUL character")
    result = reader.value()
    reader.space()
    if reader.position != len(text):
        raise reader.error("text after the value")
    return result


class _Reader:
    __slots__ = ("pointer", "position", "text")

    def __init__(self, text: str, pointer: str) -> None:
        self.text = text
        self.pointer = pointer
        self.position = 0

    def error(self, what: str) -> ConfigError:
        return ConfigError(f"not a GVariant value: {self.text[:100]!r}: {what}", pointer=self.pointer)

    def space(self) -> None:
        while self.position < len(self.text) and self.text[self.position] in " \t\n":
            self.position += 1

    def value(self, depth: int = 0) -> tuple[str, Any]:
        self.space()
        if depth > 4 or self.position >= len(self.text):
            raise self.error("it ends too early" if depth <= 4 else "nested too deeply")
        letter = self.text[self.position]
        if letter in "'\"":
            return "s", self._string(letter)
        if letter == "[":
            return self._array(depth)
        word = self._word()
        if word in ("true", "false"):
            return "b", word == "true"
        if word in _NUMBERS:
            self.space()
            return self._number(self._word(), word)
        if word and (word[0].isdigit() or word[0] in "+-"):
            return self._number(word, "int32")
        raise self.error("unknown word " + repr(word[:40]))

    def _word(self) -> str:
        start = self.position
        while self.position < len(self.text) and (
            self.text[self.position].isascii()
            and (self.text[self.position].isalnum() or self.text[self.position] in "+-.@")
        ):
            self.position += 1
        return self.text[start : self.position]

    def _number(self, word: str, kind: str) -> tuple[str, Any]:
        signature, least, most = _NUMBERS[kind]
        digits = word[1:] if word[:1] in ("+", "-") else word
        base = 16 if digits[:2].lower() == "0x" else 10
        plain = digits[2:] if base == 16 else digits
        # int() takes more than the format has: other scripts' digits, signs, underscores; and time, for long ones.
        if not plain or len(plain) > 20 or plain.strip(_DIGITS if base == 10 else _DIGITS + "abcdefABCDEF"):
            raise self.error("not a number: " + repr(word[:40]))
        number = int(plain, base)
        number = -number if word.startswith("-") else number
        if not least <= number <= most:
            raise self.error(f"{word} does not fit {kind}")
        return signature, number

    def _string(self, quote: str) -> str:
        self.position += 1
        result = ""
        while True:
            if self.position >= len(self.text):
                raise self.error("a string without its end")
            letter = self.text[self.position]
            self.position += 1
            if letter == quote:
                return result
            if letter == "\\":
                if self.position >= len(self.text):
                    raise self.error("a string without its end")
                letter = {"n": "\n", "t": "\t"}.get(self.text[self.position], self.text[self.position])
                self.position += 1
            result += letter

    def _array(self, depth: int) -> tuple[str, Any]:
        self.position += 1
        signature = ""
        values: list[Any] = []
        while True:
            self.space()
            if self.text[self.position : self.position + 1] == "]":
                self.position += 1
                return "a" + (signature or "s"), values
            kind, value = self.value(depth + 1)
            if signature and kind != signature:
                raise self.error("an array of different types")
            signature = kind
            values.append(value)
            self.space()
            if self.text[self.position : self.position + 1] == ",":
                self.position += 1
            elif self.text[self.position : self.position + 1] != "]":
                raise self.error("an array without its end")

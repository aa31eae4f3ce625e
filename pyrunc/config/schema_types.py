"""The types of JSON, of our schemas, and of what jsonschema says. For type checkers alone: never imported."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Protocol, TypedDict

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
"""What a JSON text says."""

Schema = TypedDict(
    "Schema",
    {
        "$comment": str,
        "$ref": str,
        "title": str,
        "description": str,
        "type": str | list[str],
        "enum": list[object],
        "minLength": int,
        "minimum": int,
        "maximum": int,
        "minItems": int,
        "items": "Schema",
        "properties": dict[str, "Schema"],
        "additionalProperties": "Schema | bool",
        "definitions": dict[str, "Schema"],
    },
    total=False,
)
"""A JSON Schema of spec/, as far as explain.py reads it."""


class Refusal(Protocol):
    """What jsonschema says of one thing that a schema does not allow: its ValidationError."""

    validator: str
    validator_value: list[str]
    instance: Json
    schema: Schema
    message: str

    @property
    def absolute_path(self) -> Iterable[str | int]: ...
    @property
    def absolute_schema_path(self) -> Container[str | int]: ...


class Validator(Protocol):
    """jsonschema's."""

    def iter_errors(self, value: object) -> Iterable[Refusal]: ...
    def is_valid(self, value: object) -> bool: ...

"""What is said of a container: one row for each thing that was requested and that the kernel has."""

from typing import Any


class Row:
    """One thing. section and name say which. requested: what config.json, or a later update, asks for; None: nothing.

    effective: what the kernel has; None: not known. pointer: JSON pointer of the property that asks, "" for none.
    differs: the two are not the same. note: why, or what else there is to say. usage: how much of a limit is in use.
    """

    __slots__ = ("differs", "effective", "name", "note", "pointer", "requested", "section", "usage")

    def __init__(self, section: str, name: str, requested: Any, effective: Any, pointer: str) -> None:
        self.section = section
        self.name = name
        self.requested = requested
        self.effective = effective
        self.pointer = pointer
        self.differs = False
        self.note = ""
        self.usage: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "section": self.section,
            "name": self.name,
            "requested": self.requested,
            "effective": self.effective,
            "differs": self.differs,
            "pointer": self.pointer or None,
            "note": self.note or None,
            "usage": self.usage,
        }


class Report:
    """The rows of one container, section by section."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(
        self,
        section: str,
        name: str,
        requested: Any,
        effective: Any,
        pointer: str = "",
        *,
        differs: bool | None = None,
        note: str = "",
    ) -> Row:
        """differs: None to compare the two, where both are known."""
        row = Row(section, name, requested, effective, pointer)
        known = requested is not None and effective is not None
        row.differs = known and requested != effective if differs is None else differs
        row.note = note
        self.rows.append(row)
        return row


def escaped(name: str) -> str:
    """A property's name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")

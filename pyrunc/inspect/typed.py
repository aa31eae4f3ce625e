"""What inspect() gives, as objects for Python programs."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Property:
    """One thing that was requested and that the kernel has; None where there is nothing or it is not known.

    pointer: JSON pointer of the property of config.json that asks for it. usage: how much of a limit is in use.
    """

    section: str
    name: str
    requested: Any
    effective: Any
    differs: bool
    pointer: str | None
    note: str | None
    usage: int | None


@dataclass(frozen=True)
class SystemCall:
    """What the seccomp filter does of a call: one verdict ("action", and with it "data" and "error"), several where it
    depends on the arguments. source: "kernel", or "config.json" where the kernel does not give its filter.
    """

    name: str
    number: int
    source: str
    verdicts: list[dict[str, Any]]


@dataclass(frozen=True)
class Inspection:
    """A container, requested and effective. pid: 0 when it has no process, and then nothing is effective."""

    id: str
    status: str
    pid: int
    bundle: str
    created: str
    properties: list[Property]
    syscalls: list[SystemCall]

    @property
    def differences(self) -> list[Property]:
        return [one for one in self.properties if one.differs]


def typed(found: Mapping[str, Any]) -> Inspection:
    """The objects for the data. Properties that a newer launcher adds are left out."""
    return Inspection(
        **{name: found[name] for name in ("id", "status", "pid", "bundle", "created")},
        properties=[Property(**_of(Property, one)) for one in found["properties"]],
        syscalls=[SystemCall(**_of(SystemCall, one)) for one in found["syscalls"]],
    )


def _of(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(kind)}

"""The service manager of a container's scope: a connection to it, and what it is told when limits change."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.cgroups.systemd import properties
from pyrunc.errors import PyruncError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.cgroups.systemd.dbus import Systemd
    from pyrunc.cgroups.systemd.manager import Manager
    from pyrunc.cgroups.systemd.properties import Property
    from pyrunc.cgroups.v2.limits import Setting


def connect(user: bool) -> Systemd:
    """The system's manager, or the calling user's. Raises PyruncError."""
    from pyrunc.cgroups.systemd.dbus import Systemd

    return Systemd(user=user, session_bus=_session_bus())


def _session_bus() -> str | None:
    """The path of the user's bus: DBUS_SESSION_BUS_ADDRESS, or `bus` in XDG_RUNTIME_DIR."""
    address = posix.environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    for part in address.split(";"):
        if part.startswith("unix:path="):
            return part[len("unix:path=") :].partition(",")[0]
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return directory + "/bus" if directory else None


class Told:
    """systemd, as it is told of an update: the properties for what is to be written, and the ones before.

    given: what it knows already. A connection is made when there is something to tell; the end of `with` closes it.
    """

    __slots__ = ("_before", "_connection", "_unit", "given", "manager")

    def __init__(self, manager: Manager, given: Sequence[Property] = ()) -> None:
        self.manager = manager
        self.given = given
        self._connection: Systemd | None = None
        self._before: list[Property] = []
        self._unit = ""

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def tell(self, settings: list[Setting]) -> list[Setting]:
        """The settings as they are to be written: quotas as systemd keeps them. Raises PyruncError, ConfigError."""
        directory = self.manager.paths[""]
        self.set(properties.properties(settings, directory, lambda: self._bus().version()))
        return properties.rounded(settings)

    def set(self, wanted: list[Property]) -> None:
        """Tell systemd what it does not know yet. Raises PyruncError."""
        wanted = [item for item in wanted if item not in self.given]
        if not wanted:
            return
        self._before = self._get([name for name, _ in wanted])
        self._bus().set(self._unit, wanted)

    def period(self) -> int:
        """The period that was asked for last, in microseconds, 0 when none was. Raises PyruncError.

        Without a quota systemd writes the kernel's own period to the file, but remembers the other.
        """
        ((_, (_, period)),) = self._get(["CPUQuotaPeriodUSec"])
        return 0 if period == properties.INFINITY else int(period)

    def _get(self, names: list[str]) -> list[Property]:
        place, bus = self.manager.place, self._bus()
        if not self._unit:
            identity = self.manager.identity
            unit = bus.invocation(identity) if identity else bus.unit(place.unit)
            if unit is None:
                raise PyruncError(f"the scope {place.unit} of the container has ended", step="systemd")
            self._unit = unit
        return bus.get(self._unit, "Slice" if place.unit.endswith(".slice") else "Scope", names)

    def take_back(self) -> None:
        """Have the properties as they were before. Never fails."""
        if not self._before:
            return
        # A list is added to, unless it is emptied.
        lists: list[Property] = [(name, (kind, [])) for name, (kind, _) in self._before if kind == "a(st)"]
        try:
            self._bus().set(self._unit, lists + self._before)
        except PyruncError:
            return

    def _bus(self) -> Systemd:
        if self._connection is None:
            self._connection = connect(self.manager.place.user)
        return self._connection

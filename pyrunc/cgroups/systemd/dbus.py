"""systemd's manager on D-Bus: start, change and stop a transient unit (org.freedesktop.systemd1).

wire.py does the protocol. Every wait is bounded.
"""

from __future__ import annotations

import time
from typing import Any, Final

from pyrunc.cgroups.systemd import wire
from pyrunc.errors import PyruncError
from pyrunc.linux import sockets

_SYSTEM_BUS: Final = "/run/dbus/system_bus_socket"
_SERVICE: Final = "org.freedesktop.systemd1"
# A method's object and interface.
_MANAGER: Final = ("/org/freedesktop/systemd1", _SERVICE + ".Manager")
# Seconds: for one answer, and for a job to be done (runc waits as long for a job).
_ANSWER: Final = 25.0
_JOB: Final = 30.0
# What it says of a unit that has ended: by its name, by its invocation, and by its object.
_GONE: Final = ("NoSuchUnit", "NoUnitForInvocationID", "UnknownObject")
# What the bus says while systemd executes itself anew, as at an upgrade; and the waits between attempts.
_AWAY: Final = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected")
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 0.0)


class Failure(PyruncError):
    """systemd said no. name: the D-Bus error's."""

    def __init__(self, message: str, name: str = "") -> None:
        PyruncError.__init__(self, message, step="systemd")
        self.name = name


class Systemd:
    """A connection to the system's manager, or to a user's. Raises PyruncError when there is no answer."""

    __slots__ = ("_bus",)

    def __init__(self, *, user: bool, session_bus: str | None = None) -> None:
        path = session_bus if user and session_bus else _SYSTEM_BUS
        if user and not session_bus:
            raise PyruncError(
                "no D-Bus session bus for the systemd cgroup driver",
                step="systemd",
                hint="DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR must name it",
            )
        try:
            self._bus = wire.Connection(path)
        except (OSError, ValueError) as error:
            words = sockets.reason(error) if isinstance(error, OSError) else str(error)
            raise PyruncError(
                f"connect to D-Bus at {path} for the systemd cgroup driver: {words}", step="systemd"
            ) from None

    def close(self) -> None:
        self._bus.close()

    def start(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
        """StartTransientUnit, and wait until its job is done. Raises Failure."""
        self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []), unit)

    def unit(self, name: str) -> str | None:
        """The object of a unit that systemd knows by this name. Raises Failure."""
        return self._object("GetUnit", "s", (name,))

    def invocation(self, identity: str) -> str | None:
        """The object of the unit whose InvocationID (in hexadecimal) this is; None when that has ended.

        The object means this invocation alone: a later unit of the name has another. Raises Failure.
        """
        return self._object("GetUnitByInvocationID", "ay", (bytes.fromhex(identity),))

    def identity(self, unit: str) -> str:
        """A unit's InvocationID in hexadecimal: of each start, and never given again. unit: its object."""
        ((_, value),) = self._get(unit, _SERVICE + ".Unit", "InvocationID")
        return bytes(value).hex()

    def stop(self, unit: str, name: str) -> None:
        """Unit.Stop, and wait. unit: its object; name: for errors. What is gone already is stopped. Raises Failure."""
        try:
            self._job("Stop", "s", ("replace",), name, (unit, _SERVICE + ".Unit"))
        except Failure as error:
            if not error.name.endswith((*_GONE, "UnitMasked")):
                raise

    def forget_failure(self, unit: str) -> None:
        """ResetFailedUnit: a failed unit would keep its name taken."""
        try:
            self._call("ResetFailedUnit", "s", (unit,))
        except Failure:
            return

    def get(self, unit: str, kind: str, names: list[str]) -> list[tuple[str, tuple[str, Any]]]:
        """Properties of a unit as they are, in the shape of set(). kind: "Scope" or "Slice". Raises Failure."""
        return [(name, self._get(unit, f"{_SERVICE}.{kind}", name)[0]) for name in names]

    def set(self, unit: str, properties: list[tuple[str, tuple[str, Any]]]) -> None:
        """Unit.SetProperties, until the next start of the machine. unit: its object. Raises Failure."""
        self._reply((unit, _SERVICE + ".Unit"), "SetProperties", "ba(sv)", (True, properties))

    def attach(self, unit: str, below: str, pid: int) -> None:
        """AttachProcessesToUnit: move a process of the caller's into a unit of its, where itself may not.

        below: an absolute path below the unit's cgroup, "/" for that. Raises Failure.
        """
        self._call("AttachProcessesToUnit", "ssau", (unit, below, [pid]))

    def control_group(self) -> str:
        """The cgroup below which the manager keeps all its units: "" for the system's."""
        return str(self._get("/org/freedesktop/systemd1", _SERVICE + ".Manager", "ControlGroup")[0][1]).rstrip("/")

    def version(self) -> int:
        """systemd's version; 0 when it does not say."""
        digits = ""
        for letter in str(self._get("/org/freedesktop/systemd1", _SERVICE + ".Manager", "Version")[0][1]):
            if not letter.isdigit():
                break
            digits += letter
        return int(digits or 0)

    def _get(self, path: str, interface: str, name: str) -> Any:
        return self._reply((path, "org.freedesktop.DBus.Properties"), "Get", "ss", (interface, name))[0]

    def _object(self, method: str, signature: str, body: tuple[Any, ...]) -> str | None:
        try:
            return str(self._call(method, signature, body)[0])
        except Failure as error:
            if error.name.endswith(_GONE):
                return None
            raise

    def _job(
        self,
        method: str,
        signature: str,
        body: tuple[Any, ...],
        unit: str,
        place: tuple[str, str] = _MANAGER,
    ) -> None:
        rule = f"type='signal',sender='{_SERVICE}',interface='{_SERVICE}.Manager',member='JobRemoved'"
        # Before the call: the job may be done before its answer is read.
        self._reply(("/org/freedesktop/DBus", "org.freedesktop.DBus"), "AddMatch", "s", (rule,), "org.freedesktop.DBus")
        (job,), sender = self._reply(place, method, signature, body)
        deadline = time.monotonic() + _JOB
        while True:
            try:
                signal = self._bus.signal(deadline)
            except TimeoutError:
                raise Failure(f"systemd did not finish {method} of {unit} within 30 s") from None
            except (OSError, ValueError) as error:
                raise Failure("systemd: " + str(error)) from None
            # Anybody on the bus may send a signal of this name: the bus tells who.
            ours = signal.fields.get(wire.SENDER) == sender and signal.fields.get(wire.MEMBER) == "JobRemoved"
            if ours and signal.body[1:2] == [job]:
                result = signal.body[3]
                break
        if result != "done":
            raise Failure(f"systemd: {method} of {unit} ended with: {result}")

    def _call(self, method: str, signature: str, body: tuple[Any, ...]) -> Any:
        return self._reply(_MANAGER, method, signature, body)[0]

    def _reply(
        self,
        place: tuple[str, str],
        method: str,
        signature: str,
        body: tuple[Any, ...],
        service: str = _SERVICE,
    ) -> tuple[Any, Any]:
        """What is answered, and by whom. place: the object's path and the interface. service: whose it is."""
        path, interface = place
        fields = {wire.PATH: path, wire.INTERFACE: interface, wire.MEMBER: method, wire.DESTINATION: service}
        for pause in _PAUSES:
            reply = self._ask(fields, signature, body)
            if reply.kind != wire.ERROR:
                break
            name = str(reply.fields.get(wire.ERROR_NAME, ""))
            text = str(reply.body[0]) if reply.body else name
            # Started a second time, a unit exists already.
            if not (pause and name in _AWAY and method != "StartTransientUnit"):
                raise Failure(f"systemd: {method}: {text}", name)
            time.sleep(pause)
        return reply.body, reply.fields.get(wire.SENDER)

    def _ask(self, fields: dict[int, str], signature: str, body: tuple[Any, ...]) -> wire.Message:
        what = fields[wire.MEMBER]
        try:
            return self._bus.call(fields, signature, body, _ANSWER)
        except TimeoutError:
            raise Failure("systemd does not answer: " + what) from None
        except (OSError, ValueError) as error:
            raise Failure(f"systemd: {what}: {error}") from None

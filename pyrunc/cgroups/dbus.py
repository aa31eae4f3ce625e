"""systemd's manager on D-Bus: start, change and stop a transient unit (org.freedesktop.systemd1).

jeepney does the protocol; it is loaded here only, so only where --systemd-cgroup is given. Every wait is bounded.
"""

import socket
import time

from jeepney import DBusAddress, HeaderFields, MatchRule, MessageType, new_method_call
from jeepney.io.blocking import DBusConnection
from jeepney.low_level import Message

from pyrunc.errors import PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_SYSTEM_BUS: "Final" = "/run/dbus/system_bus_socket"
_SERVICE: "Final" = "org.freedesktop.systemd1"
_MANAGER: "Final" = DBusAddress("/org/freedesktop/systemd1", bus_name=_SERVICE, interface=_SERVICE + ".Manager")
# Seconds: for a connection, for one answer, and for a job to be done (runc waits as long for a job).
_CONNECT: "Final" = 5.0
_ANSWER: "Final" = 25.0
_JOB: "Final" = 30.0
# What the bus says while systemd executes itself anew, as at an upgrade; and the waits between attempts.
_AWAY: "Final" = ("org.freedesktop.DBus.Error.NoReply", "org.freedesktop.DBus.Error.Disconnected")
_PAUSES: "Final" = (0.2, 0.5, 1.0, 2.0, 0.0)


class Failure(PyruncError):
    """systemd said no. name: the D-Bus error's."""

    def __init__(self, message: str, name: str = "") -> None:
        PyruncError.__init__(self, message, step="systemd")
        self.name = name


class Systemd:
    """A connection to the system's manager, or to a user's. Raises PyruncError when there is no answer."""

    __slots__ = ("_bus",)

    def __init__(self, *, user: bool, session_bus: "str | None" = None) -> None:
        path = session_bus if user and session_bus else _SYSTEM_BUS
        if user and not session_bus:
            raise PyruncError(
                "no D-Bus session bus for the systemd cgroup driver",
                step="systemd",
                hint="DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR must name it",
            )
        try:
            self._bus = DBusConnection(_authenticated(path))
        except (OSError, ValueError) as error:
            raise PyruncError(
                "connect to D-Bus at " + path + " for the systemd cgroup driver: " + str(error), step="systemd"
            ) from None

    def close(self) -> None:
        self._bus.close()

    def start(self, unit: str, properties: "list[tuple[str, tuple[str, Any]]]") -> None:
        """StartTransientUnit, and wait until its job is done. Raises Failure."""
        self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "replace", properties, []), unit)

    def unit(self, name: str) -> "str | None":
        """The object of a unit that systemd knows by this name. Raises Failure."""
        return self._object("GetUnit", "s", (name,))

    def invocation(self, identity: str) -> "str | None":
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
            self._job("Stop", "s", ("replace",), name, DBusAddress(unit, _SERVICE, _SERVICE + ".Unit"))
        except Failure as error:
            if not error.name.endswith(("NoSuchUnit", "UnitMasked", "UnknownObject", "UnknownMethod")):
                raise

    def forget_failure(self, unit: str) -> None:
        """ResetFailedUnit: a failed unit would keep its name taken."""
        try:
            self._call("ResetFailedUnit", "s", (unit,))
        except Failure:
            return

    def get(self, unit: str, kind: str, names: "list[str]") -> "list[tuple[str, tuple[str, Any]]]":
        """Properties of a unit as they are, in the shape of set(). kind: "Scope" or "Slice". Raises Failure."""
        return [(name, self._get(unit, _SERVICE + "." + kind, name)[0]) for name in names]

    def set(self, unit: str, properties: "list[tuple[str, tuple[str, Any]]]") -> None:
        """Unit.SetProperties, until the next start of the machine. unit: its object. Raises Failure."""
        address = DBusAddress(unit, _SERVICE, _SERVICE + ".Unit")
        self._send(new_method_call(address, "SetProperties", "ba(sv)", (True, properties)))

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

    def _get(self, path: str, interface: str, name: str) -> "Any":
        address = DBusAddress(path, bus_name=_SERVICE, interface="org.freedesktop.DBus.Properties")
        return self._send(new_method_call(address, "Get", "ss", (interface, name)))

    def _object(self, method: str, signature: str, body: "tuple[Any, ...]") -> "str | None":
        try:
            return str(self._call(method, signature, body)[0])
        except Failure as error:
            if error.name.endswith(("NoSuchUnit", "NoUnitForInvocationID")):
                return None
            raise

    def _job(
        self,
        method: str,
        signature: str,
        body: "tuple[Any, ...]",
        unit: str,
        address: DBusAddress = _MANAGER,
    ) -> None:
        rule = MatchRule(type="signal", interface=_SERVICE + ".Manager", member="JobRemoved")
        bus = DBusAddress("/org/freedesktop/DBus", bus_name="org.freedesktop.DBus", interface="org.freedesktop.DBus")
        # Before the call: the job may be done before its answer is read.
        self._send(new_method_call(bus, "AddMatch", "s", (rule.serialise(),)))
        with self._bus.filter(rule, bufsize=1024) as signals:
            (job,) = self._send(new_method_call(address, method, signature, body))
            deadline = time.monotonic() + _JOB
            while True:
                try:
                    signal = self._bus.recv_until_filtered(signals, timeout=max(deadline - time.monotonic(), 0.0))
                except TimeoutError:
                    raise Failure("systemd did not finish " + method + " of " + unit + " within 30 s") from None
                except OSError as error:
                    raise Failure("systemd: " + str(error)) from None
                _, path, _, result = signal.body
                if path == job:
                    break
        if result != "done":
            raise Failure("systemd: " + method + " of " + unit + " ended with: " + str(result))

    def _call(self, method: str, signature: str, body: "tuple[Any, ...]") -> "Any":
        return self._send(new_method_call(_MANAGER, method, signature, body))

    def _send(self, message: Message) -> "Any":
        what = str(message.header.fields[HeaderFields.member])
        for pause in _PAUSES:
            reply = self._ask(message, what)
            if reply.header.message_type is not MessageType.error:
                break
            name = str(reply.header.fields.get(HeaderFields.error_name, ""))
            text = str(reply.body[0]) if reply.body else name
            # Started a second time, a unit exists already.
            if not (pause and name in _AWAY and what != "StartTransientUnit"):
                raise Failure("systemd: " + what + ": " + text, name)
            time.sleep(pause)
        return reply.body

    def _ask(self, message: Message, what: str) -> Message:
        try:
            return self._bus.send_and_get_reply(message, timeout=_ANSWER)
        except TimeoutError:
            raise Failure("systemd does not answer: " + what) from None
        except OSError as error:
            raise Failure("systemd: " + what + ": " + str(error)) from None


def _authenticated(path: str) -> socket.socket:
    """A connected socket after the SASL dialogue (D-Bus specification, "Authentication Protocol").

    jeepney's own tells our uid; in a user namespace the bus knows us by another one. Nothing told, the bus takes the
    uid that the kernel gives it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.settimeout(_CONNECT)
    try:
        sock.connect(path)
        sock.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        answer = b""
        while answer.count(b"\r\n") < 2:
            data = sock.recv(256)
            if not data or not answer.startswith(b"DATA"[: len(answer)]):
                break
            answer += data
        if not answer.startswith(b"DATA\r\nOK "):
            raise ValueError("authentication refused: " + answer.decode("ascii", "replace").strip())
        sock.sendall(b"BEGIN\r\n")
    except BaseException:
        sock.close()
        raise
    # jeepney waits by itself, with timeouts of its own.
    sock.settimeout(None)
    return sock

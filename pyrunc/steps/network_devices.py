"""linux.netDevices: network devices of the host that become the container's.

Loaded only for a config that names some, and pyroute2 only once a device is moved: its import takes longer than all
else that a create does. Nothing is moved back when the container is deleted: the kernel gives physical devices to the
first network namespace and removes the others (config-linux.md, "Namespace Lifecycle and Container Termination").
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.jsontext import pointer
from pyrunc.steps.step import RUNTIME, Step

if TYPE_CHECKING:
    from pyrunc.config.types import NetDevice
    from pyrunc.steps.context import Context
    from pyrunc.steps.host import Host
    from pyrunc.steps.namespaces import OpenNamespaces

_IFF_UP: Final = 1
# linux/if_addr.h: an address without a lifetime, and the flags that whoever adds an address may give.
_IFA_F_PERMANENT: Final = 0x80
_IFA_F_SETTABLE: Final = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
_RT_SCOPE_UNIVERSE: Final = 0


def compile(devices: dict[str, NetDevice], host: Host, opened: OpenNamespaces | None) -> list[Step]:
    """One step a device, in the order of the config. Raises ConfigError where devices cannot be moved."""
    if host.rootless or host.in_user_namespace:
        raise ConfigError("unable to move network devices for rootless containers", pointer="/linux/netDevices")
    from importlib.util import find_spec

    if find_spec("pyroute2") is None:
        raise PyruncError(
            "network devices are moved by pyroute2, which is not installed",
            pointer="/linux/netDevices",
            hint="apt-get install python3-pyroute2",
        )
    return [MoveDevice(name, device.get("name") or name, opened) for name, device in devices.items()]


class MoveDevice(Step):
    """Move one device into the container's network namespace, with its new name and its addresses, and bring it up.

    The kernel drops the addresses of a device that it moves; those that are permanent and of global scope are added
    again. A new name with %d in it is completed by the kernel.
    """

    __slots__ = ("addresses", "index", "new", "old", "opened", "space", "there", "up")
    name = "netDevices"
    section = "config-linux.md#network-devices"
    side = RUNTIME

    def __init__(self, old: str, new: str, opened: OpenNamespaces | None) -> None:
        """opened: what has the namespaces that are joined, if any are."""
        Step.__init__(self, "/linux/netDevices" + pointer(old))
        self.old = old
        self.new = new
        self.opened = opened
        # The container's network namespace, held open until the runtime ends: a failed create takes the device back
        # from it even when all its processes are gone.
        self.space = -1
        # Index of the device here and in the namespace; 0 while it is not there.
        self.index = 0
        self.there = 0
        self.up = False
        self.addresses: list[dict[str, Any]] = []

    def describe(self) -> str:
        words = f"move network device {self.old} into the network namespace"
        return words + (" as " + self.new if self.new != self.old else "") + ", with its addresses, and bring it up"

    def apply(self, context: Context) -> None:
        from pyroute2.netlink.exceptions import NetlinkError

        self.space = _open_space(context, self.opened)
        here, there = _sockets(self.space)
        try:
            self._move(here, there, NetlinkError)
        finally:
            here.close()
            there.close()

    def _move(self, here: Any, there: Any, failure: type[Any]) -> None:
        what = f"move network device {self.old}: "
        try:
            # Both before anything is changed: an interface that goes down loses its IPv6 addresses.
            link = here.get_links(ifname=self.old)[0]
            self.index = link["index"]
            self.up = bool(link["flags"] & _IFF_UP)
            self.addresses = [_settable(address) for address in here.get_addr(index=self.index) if _permanent(address)]
        except failure as error:
            raise _error(what, error) from None
        except IndexError:
            raise PyruncError(what + "no such device") from None
        taken = {found["index"] for found in there.get_links()}
        wanted = self.index if self.index not in taken else max(taken) + 1
        try:
            here.link("set", index=self.index, net_ns_fd=self.space, ifname=self.new, new_ifindex=wanted)
        except failure as error:
            # The kernel first moves, then renames: when only the second fails the device is there, by its old name.
            if not _has(here, self.index, failure):
                self.there = wanted
            if error.code == 17:
                raise PyruncError(
                    f"{what}the container's network namespace has a device {self.new} already", errno=17
                ) from None
            raise _error(what, error) from None
        self.there = wanted
        try:
            for address in self.addresses:
                if address["scope"] == _RT_SCOPE_UNIVERSE:
                    there.addr("add", index=wanted, **address)
            there.link("set", index=wanted, state="up")
        except failure as error:
            raise _error(f"set up network device {self.old} in the container: ", error) from None

    def undo(self, context: Context) -> None:
        """For a create that failed: the device, its name, addresses and state as they were; its routes are lost."""
        if self.there:
            from pyroute2.netlink.exceptions import NetlinkError

            here, there = _sockets(self.space)
            own = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                there.link("set", index=self.there, net_ns_fd=own, ifname=self.old, new_ifindex=self.index)
                self.there = 0
                for address in self.addresses:
                    here.addr("add", index=self.index, **address)
                if self.up:
                    here.link("set", index=self.index, state="up")
            except NetlinkError as error:
                context.warnings.append(f"take back network device {self.old}: {_words(error)}")
            finally:
                posix.close(own)
                here.close()
                there.close()
        if self.space >= 0:
            posix.close(self.space)
            self.space = -1


def _open_space(context: Context, opened: OpenNamespaces | None) -> int:
    """A descriptor of the container's network namespace. Raises ConfigError when it is the runtime's own."""
    for fd, _, kind, place in opened.fds if opened is not None else ():
        if kind == "network":
            mine, other = posix.stat("/proc/self/ns/net"), posix.fstat(fd)
            if (mine.st_dev, mine.st_ino) == (other.st_dev, other.st_ino):
                raise ConfigError(
                    "unable to move network devices into the runtime's own network namespace", pointer=place
                )
            return posix.dup(fd)
    return posix.open(f"/proc/{context.pid}/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)


def _sockets(space: int) -> tuple[Any, Any]:
    """Two connections to the kernel: of the runtime's network namespace and of another. Raises OSError."""
    from pyroute2.iproute.linux import IPRoute

    own = posix.open("/proc/self/ns/net", posix.O_RDONLY | posix.O_CLOEXEC)
    here = IPRoute()
    try:
        # A socket is of the network namespace that it was made in, whoever uses it and from where.
        _linux.setns(space, _linux.CLONE_NEWNET)
        try:
            there = IPRoute()
        finally:
            _linux.setns(own, _linux.CLONE_NEWNET)
    except OSError as error:
        here.close()
        raise PyruncError("enter the container's network namespace: " + reason(error), errno=error.errno) from None
    finally:
        posix.close(own)
    return here, there


def _has(socket: Any, index: int, failure: type[Any]) -> bool:
    try:
        return bool(socket.get_links(index))
    except failure:
        return False


def _permanent(address: Any) -> bool:
    """Whether an address (RTM_NEWADDR) has no lifetime: flags beyond eight bits are an attribute."""
    return bool((address.get_attr("IFA_FLAGS") or address["flags"]) & _IFA_F_PERMANENT)


def _settable(address: Any) -> dict[str, Any]:
    """What an address is added with, on whatever device: not its label, which is made of the device's name."""
    values = {"prefixlen": address["prefixlen"], "scope": address["scope"], "family": address["family"]}
    for key, attribute in (("address", "IFA_ADDRESS"), ("local", "IFA_LOCAL"), ("broadcast", "IFA_BROADCAST")):
        value = address.get_attr(attribute)
        if value is not None:
            values[key] = value
    flags = (address.get_attr("IFA_FLAGS") or 0) & _IFA_F_SETTABLE
    if flags:
        values["IFA_FLAGS"] = flags
    return values


def _error(what: str, error: Any) -> PyruncError:
    return PyruncError(what + _words(error), errno=error.code)


def _words(error: Any) -> str:
    """What the kernel said: netlink's own words where it has some, beside the errno's."""
    said = str(error.args[-1]) if error.args else ""
    text = posix.strerror(error.code).lower()
    return text if not said or said.lower() == text else f"{text}: {said}"

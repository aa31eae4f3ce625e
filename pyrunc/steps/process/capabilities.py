"""process.capabilities: its sets as masks, and what of them cannot be given."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import at

if TYPE_CHECKING:
    from pyrunc.config.types import Capabilities


CAP_SYS_ADMIN: Final = 1 << _linux.CAPS["CAP_SYS_ADMIN"]


class Caps:
    """The five sets of process.capabilities as masks.

    unknown: names that are no capability of this build, each with its place within the sets, such as bounding/3.
    """

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted", "unknown")

    def __init__(self, sets: Capabilities | None) -> None:
        self.unknown: dict[str, str] = {}
        given: Capabilities = sets or {}
        self.bounding = self._mask("bounding", given.get("bounding"))
        self.effective = self._mask("effective", given.get("effective"))
        self.inheritable = self._mask("inheritable", given.get("inheritable"))
        self.permitted = self._mask("permitted", given.get("permitted"))
        self.ambient = self._mask("ambient", given.get("ambient"))

    def all(self) -> int:
        """The capabilities of any set."""
        return self.bounding | self.effective | self.inheritable | self.permitted | self.ambient

    def has_ungrantable(self, available: int) -> bool:
        """Whether something cannot be given: see warnings(). available: what there is to give, a mask; -1 is all."""
        beyond = self.effective & ~self.permitted | self.inheritable & ~self.bounding
        beyond |= self.ambient & ~(self.permitted & self.inheritable) | self.all() & ~available
        return bool(self.unknown or beyond)

    def _mask(self, kind: str, names: list[str] | None) -> int:
        mask = 0
        for name in names or ():
            number = _linux.CAPS.get(name)
            if number is None:
                if name not in self.unknown and names:
                    self.unknown[name] = f"{kind}/{names.index(name)}"
            else:
                mask |= 1 << number
        return mask


def drop_bounding(number: int) -> None:
    try:
        _linux.prctl(_linux.PR_CAPBSET_DROP, number)
    except OSError as error:
        # EINVAL: a capability that this kernel does not know.
        if error.errno != errno.EINVAL:
            raise


def warnings(caps: Caps, available: int, pointer: str = "/process/capabilities") -> list[str]:
    """What of process.capabilities cannot be given: no error, but to be told (config.md, "Linux Process").

    available: as in Caps.has_ungrantable. pointer: where the sets are in config.json, "" for elsewhere.
    """
    found = []
    for name, place in caps.unknown.items():
        from pyrunc.nearest import unknown_capability

        found.append(unknown_capability(name, _linux.CAPS, pointer and f"{pointer}/{place}"))
    missing = caps.all() & ~available
    if missing:
        text = "capabilities that the runtime itself does not have are left out: " + ", ".join(_names(missing))
        found.append(at(text, pointer))
    for mask, verb, state, why in (
        (caps.effective & ~caps.permitted, "make", " effective", "not permitted"),
        (caps.inheritable & ~caps.bounding, "make", " inheritable", "not in the bounding set"),
        (caps.ambient & ~(caps.permitted & caps.inheritable), "raise ambient", "", "not permitted and inheritable"),
    ):
        names = _names(mask)
        if names:
            many = len(names) > 1
            subject = " capabilities " if many else " capability "
            text = "can't " + verb + subject + ", ".join(names) + state + (": they are " if many else ": it is ") + why
            found.append(at(text, pointer and pointer + "/" + (state.strip() or "ambient")))
    return found


def _names(mask: int) -> list[str]:
    """The names in a mask, in the order of their numbers."""
    return [name for name, number in _linux.CAPS.items() if mask >> number & 1]

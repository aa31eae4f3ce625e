"""What of process.capabilities cannot be given. Loaded only when there is such a thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import _linux

if TYPE_CHECKING:
    from pyrunc.steps.process.init import Caps


def warnings(caps: Caps, available: int) -> list[str]:
    """Such are no errors, and must be told (config.md, "Linux Process"). available: as in Caps.odd."""
    found = ["unknown capability " + name + " is ignored" for name in caps.unknown]
    missing = caps.all() & ~available
    if missing:
        found.append("capabilities that the runtime itself does not have are left out: " + ", ".join(_names(missing)))
    for mask, verb, state, why in (
        (caps.effective & ~caps.permitted, "make", " effective", "not permitted"),
        (caps.inheritable & ~caps.bounding, "make", " inheritable", "not in the bounding set"),
        (caps.ambient & ~(caps.permitted & caps.inheritable), "raise ambient", "", "not permitted and inheritable"),
    ):
        names = _names(mask)
        if names:
            many = len(names) > 1
            subject = " capabilities " if many else " capability "
            found.append(
                "can't " + verb + subject + ", ".join(names) + state + (": they are " if many else ": it is ") + why
            )
    return found


def _names(mask: int) -> list[str]:
    """The names in a mask, in the order of their numbers."""
    return [name for name, number in _linux.CAPS.items() if mask >> number & 1]

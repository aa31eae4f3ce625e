"""What of process.capabilities cannot be given. Loaded only when there is such a thing."""

from pyrunc import _linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.process import Caps


def warnings(caps: "Caps", available: int) -> "list[str]":
    """Such are no errors, and must be told (config.md, "Linux Process"). available: as in Caps.odd."""
    found = ["unknown capability " + name + " is ignored" for name in caps.unknown]
    missing = caps.all() & ~available
    if missing:
        found.append("capabilities that the runtime itself does not have are left out: " + ", ".join(_names(missing)))
    for name in _names(caps.effective & ~caps.permitted):
        found.append("can't make capability " + name + " effective: it is not permitted")
    for name in _names(caps.inheritable & ~caps.bounding):
        found.append("can't make capability " + name + " inheritable: it is not in the bounding set")
    for name in _names(caps.ambient & ~(caps.permitted & caps.inheritable)):
        found.append("can't raise ambient capability " + name + ": it is not permitted and inheritable")
    return found


def _names(mask: int) -> "list[str]":
    """The names in a mask, in the order of their numbers."""
    return [name for name, number in _linux.CAPS.items() if mask >> number & 1]

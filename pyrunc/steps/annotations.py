"""Annotations of crun's that reach the host: which of a config's are heeded.

They make the runtime append to any file (run.oci.hooks.stdout, .stderr), connect to any socket (run.oci.pidfd_receiver)
and leave root's groups to the process (run.oci.keep_original_groups): as much as hooks can do. But engines let those
who may not have hooks have annotations. So they are heeded only where the caller says so (--trust-annotations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyrunc.errors import at
from pyrunc.jsontext import pointer

if TYPE_CHECKING:
    from pyrunc.steps.host import Host

KEEP_GROUPS: Final = "run.oci.keep_original_groups"
PIDFD_RECEIVER: Final = "run.oci.pidfd_receiver"
HOOKS_STDOUT: Final = "run.oci.hooks.stdout"
HOOKS_STDERR: Final = "run.oci.hooks.stderr"
_KNOWN: Final = (HOOKS_STDOUT, HOOKS_STDERR, PIDFD_RECEIVER, KEEP_GROUPS)


def heeded(annotations: dict[str, str], trusted: bool, host: Host) -> dict[str, str]:
    """Those of crun's that count. Pure.

    The groups of a runtime that is not the host's root are its caller's own, who may keep them.
    """
    found: dict[str, str] = {name: annotations[name] for name in _KNOWN if name in annotations}
    if trusted:
        return found
    if host.rootless or host.in_user_namespace:
        return {name: value for name, value in found.items() if name == KEEP_GROUPS}
    return {}


def warnings(annotations: dict[str, str], counting: dict[str, str]) -> list[str]:
    """What is told of those that are not heeded. Pure."""
    return [
        at(f"annotation {name} is not heeded without --trust-annotations", "/annotations" + pointer(name))
        for name in _KNOWN
        if name in annotations and name not in counting
    ]

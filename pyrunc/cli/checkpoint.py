"""pyrunc checkpoint: save a running container to images, by CRIU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.checkpoint.criu import CriuOptions

_SWITCHES = (
    "auto-dedup",
    "ext-unix-sk",
    "file-locks",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "pre-dump",
    "shell-job",
    "tcp-established",
    "tcp-skip-in-flight",
)


def options(call: Call) -> CriuOptions:
    """CRIU's options of checkpoint and restore. Raises UsageError; nothing was done then."""
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.checkpoint import criu

    flags = call.flags
    # Both refer to where the caller stands; restore works in the bundle later.
    wanted = criu.CriuOptions(absolute(flags["image-path"] or "checkpoint"))
    wanted.work_path = absolute(flags["work-path"]) if flags["work-path"] else None
    wanted.cgroups_mode = flags["manage-cgroups-mode"]
    criu.check_mode(wanted.cgroups_mode)
    for name in flags["empty-ns"]:
        # Network devices are never restored, so the one kind that there is needs no word.
        if name != "network":
            raise UsageError(f'namespace "{name}" is not supported')
    for name in _SWITCHES:
        if flags.get(name):
            setattr(wanted, name.replace("-", "_"), True)
    return wanted


def _page_server(text: str) -> tuple[str, int]:
    """ADDRESS:PORT, an IPv6 address in brackets. Raises UsageError."""
    address, colon, port = text.rpartition(":")
    if address[:1] == "[" and address[-1:] == "]":
        address = address[1:-1]
    elif ":" in address:
        address = ""
    if not (colon and address and port):
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65536):
        raise UsageError("Invalid port number")
    return address, int(port)


def run(call: Call) -> int:
    wanted = options(call)
    flags = call.flags
    if flags["page-server"]:
        wanted.page_server = _page_server(flags["page-server"])
    if flags["parent-path"].startswith("/"):
        raise UsageError("--parent-path must be relative")
    wanted.parent_path = flags["parent-path"] or None
    if "status-fd" in call.given:
        wanted.status_fd = flags["status-fd"]
    from pyrunc.lifecycle.checkpoint.checkpoint import checkpoint
    from pyrunc.state.store import Store

    checkpoint(Store(call.root), call.args[0], wanted)
    return 0

"""The seccomp listener, which the container process has handed over, sent to the agent at linux.seccomp.listenerPath.

config-linux.md, "The Container Process State": one connection, one sendmsg(2) with the JSON and the descriptor.
"""

from __future__ import annotations

import _socket
import posix
from typing import TYPE_CHECKING

from pyrunc.errors import PyruncError
from pyrunc.jsontext import dumps
from pyrunc.linux import sockets

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.seccomp.cache import Filter


def hand_over(context: Context, seccomp: Filter, listener: int) -> None:
    """Send the listener to the agent, and close it. Raises PyruncError."""
    path = seccomp.listener_path
    assert path is not None
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        try:
            sockets.connect(sock, path)
        except OSError as error:
            raise _error("failed to connect with seccomp agent at " + path, error) from None
        text = dumps(_process_state(context, seccomp)).encode("utf-8", "surrogateescape")
        rights = listener.to_bytes(4, "little")
        sent = sock.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        if sent < len(text):
            sock.sendall(text[sent:])
    except OSError as error:
        raise _error("send the seccomp listener to " + path, error) from None
    finally:
        sock.close()
        posix.close(listener)


def _process_state(context: Context, seccomp: Filter) -> dict[str, object]:
    state = context.state.copy()
    state.pop("owner", None)
    if state.get("status") != "running":
        state["status"] = "creating"
        state["pid"] = context.pid
    return {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": context.pid,
        "metadata": seccomp.metadata or "",
        "state": state,
    }


def _error(what: str, error: OSError) -> PyruncError:
    return PyruncError(
        f"{what}: {sockets.reason(error)}", step="seccomp", pointer="/linux/seccomp/listenerPath", errno=error.errno
    )

"""How the runtime and the container process say what they have to: sending and receiving. The words: steps/messages.py.

Whoever may trace in a joined pid namespace can take hold of the container process, and say anything. So what is not
expected, where it is said, is an error.
"""

from __future__ import annotations

import _socket
import posix
import sys
from typing import TYPE_CHECKING, Final

from pyrunc.plan.failures import MESSAGE_LIMIT, failure_of, stage_failure_of, unexpected
from pyrunc.steps import messages

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.step import Plan

# Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD of its net/scm.h).
_RIGHTS_LIMIT: Final = 200


# ---- the container process's side ----


def take_rights(context: Context) -> bytes:
    """The runtime's next word, after the descriptors that come with it. Raises OSError."""
    while True:
        word, ancillary, _, _ = context.talk().recvmsg(
            16, _socket.CMSG_SPACE(4 * _RIGHTS_LIMIT), _socket.MSG_CMSG_CLOEXEC
        )
        if word != messages.RIGHTS:
            return bytes(word)
        some = ancillary[0][2]
        context.rights += [int.from_bytes(some[at : at + 4], sys.byteorder) for at in range(0, len(some), 4)]


def report_meeting(context: Context) -> None:
    """Say that a meeting point is reached. Raises OSError."""
    if context.console_fd >= 0:
        rights = context.console_fd.to_bytes(4, sys.byteorder)
        context.talk().sendmsg([messages.MEETING], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        posix.close(context.console_fd)
        context.console_fd = -1
    else:
        context.talk().send(messages.MEETING)


# ---- the runtime's side ----


def send_rights(context: Context) -> None:
    """The descriptors that the container process is to get: the runtime has no further use for them."""
    while context.rights:
        some = context.rights[:_RIGHTS_LIMIT]
        numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in some)
        try:
            context.talk().sendmsg([messages.RIGHTS], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
        except OSError:
            return  # It has ended; what it had to say comes first.
        del context.rights[:_RIGHTS_LIMIT]
        for fd in some:
            posix.close(fd)


def send(context: Context, message: bytes) -> None:
    """Raises nothing."""
    try:
        context.talk().send(message)
    except OSError:
        # It has ended; what it had to say comes first.
        return


def receive(plan: Plan, context: Context) -> tuple[bytes, int]:
    """The next message, b"" at the end, and the descriptor that came with it, or -1.

    Raises PyruncError for a failure that it tells of, and for what no container process of ours says; OSError.
    """
    try:
        message, rights, flags, _ = _packet(context)
    except ConnectionResetError:
        # It ended before it read our last word. The kernel tells that first, and once; what it said is still there.
        message, rights, flags, _ = _packet(context)
    fds = [int.from_bytes(some[at : at + 4], sys.byteorder) for _, _, some in rights for at in range(0, len(some), 4)]
    kind = message[:1]
    # More than a packet, or more than a descriptor, and the kernel has cut it.
    odd = flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC)
    if odd or (fds and (len(fds) > 1 or kind not in (messages.MEETING, messages.LISTENER))):
        for fd in fds:
            posix.close(fd)
        raise unexpected()
    if kind == messages.FAILED:
        raise failure_of(plan, message)
    if kind == messages.STAGE_FAILED:
        raise stage_failure_of(plan, context, message)
    return message, fds[0] if fds else -1


def _packet(context: Context) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
    return context.talk().recvmsg(MESSAGE_LIMIT + 64, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)

"""What the runtime and the container process say to each other, over a socket pair (SOCK_SEQPACKET).

One message a packet, its kind in the first byte, numbers in native order:
  runtime to container   G  go on: a meeting point is reached, what was asked for is done
                         S  descriptors (SCM_RIGHTS), in packets before the G; or: send the listener itself
  container to runtime   M  a meeting point is reached (with a terminal's master as SCM_RIGHTS, once)
                         F  the cgroup is too full to clone in: move this process out of it
                         P  the number (u32) of a second process that takes this one's place; "O" when it was cloned
                            outside the cgroup, else "I"
                         X  a step failed: its index (u16), errno (u32), and what to say
                         E  from finish(): the stage (u8) and errno (u32) of its failure
                         L  from finish(): the number (u32) of a seccomp listener, or the listener (SCM_RIGHTS)
An end of file is the other's end, or, after the last meeting point, the sign that the process waits for start.

Whoever may trace in a joined pid namespace can take hold of the container process, and say anything. So what is not
expected, where it is said, is an error.
"""

from __future__ import annotations

import _socket
import posix
import sys
from typing import TYPE_CHECKING, Final

from pyrunc.plan.failures import MESSAGE_LIMIT, failure_of, stage_failure_of, unexpected

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.step import Plan

# Descriptors in one packet; the kernel takes 253 (SCM_MAX_FD of its net/scm.h).
_RIGHTS_LIMIT: Final = 200


# ---- the container process's side ----


def take_rights(context: Context) -> bytes:
    """The runtime's next word, after the descriptors that come with it. Raises OSError."""
    while True:
        word, ancillary, _, _ = context.sync.recvmsg(
            16, _socket.CMSG_SPACE(4 * _RIGHTS_LIMIT), _socket.MSG_CMSG_CLOEXEC
        )
        if word != b"S":
            return bytes(word)
        some = ancillary[0][2]
        context.rights += [int.from_bytes(some[at : at + 4], sys.byteorder) for at in range(0, len(some), 4)]


def report_meeting(context: Context) -> None:
    """Say that a meeting point is reached. Raises OSError."""
    if context.console_fd >= 0:
        rights = context.console_fd.to_bytes(4, sys.byteorder)
        context.sync.sendmsg([b"M"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        posix.close(context.console_fd)
        context.console_fd = -1
    else:
        context.sync.send(b"M")


# ---- the runtime's side ----


def send_rights(context: Context) -> None:
    """The descriptors that the container process is to get: the runtime has no further use for them."""
    while context.rights:
        some = context.rights[:_RIGHTS_LIMIT]
        numbers = b"".join(fd.to_bytes(4, sys.byteorder) for fd in some)
        try:
            context.sync.sendmsg([b"S"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)])
        except OSError:
            return  # It has ended; what it had to say comes first.
        del context.rights[:_RIGHTS_LIMIT]
        for fd in some:
            posix.close(fd)


def send(context: Context, message: bytes) -> None:
    """Raises nothing."""
    try:
        context.sync.send(message)
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
    if odd or (fds and (len(fds) > 1 or kind not in (b"M", b"L"))):
        for fd in fds:
            posix.close(fd)
        raise unexpected()
    if kind == b"X":
        raise failure_of(plan, message)
    if kind == b"E":
        raise stage_failure_of(plan, context, message)
    return message, fds[0] if fds else -1


def _packet(context: Context) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
    return context.sync.recvmsg(MESSAGE_LIMIT + 64, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)  # type: ignore[no-any-return]


# ---- failures ----


# ---- a second process ----


# ---- the seccomp listener ----

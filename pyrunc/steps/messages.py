"""The messages of the runtime and the container process, by name: over a socket pair (SOCK_SEQPACKET), by plan/sync.py.

One message a packet, its kind in the first byte, numbers in native order. native/finish.c sends some of them: its
header, messages.h, is made of the lines below, with 'G' for MESSAGE_GO. CRIU's process uses the same names, and so do
startContainer hooks, whose errors go through the error file.

An end of file is the other's end, or, after the last meeting point, the sign that the process waits for start.
"""

from __future__ import annotations

from typing import Final

# ---- from the runtime ----

# Go on: a meeting point is reached, or what was asked for is done.
GO: Final = b"G"
# Descriptors (SCM_RIGHTS), in packets before GO.
RIGHTS: Final = b"S"
# The answer to LISTENER where its number is of no use: send the listener itself (SCM_RIGHTS).
SEND_LISTENER: Final = b"A"

# ---- from the container process ----

# A meeting point is reached; with a terminal's master as SCM_RIGHTS, once.
MEETING: Final = b"M"
# A step failed: its index (u16), errno (u32), and what to say: text, pointer and hint with NUL between them.
FAILED: Final = b"X"

# ---- from finish(), the last call of all ----

# The cgroup is too full to clone in: move this process out of it.
FULL: Final = b"F"
# The number (u32) of a second process that takes this one's place; then where it was cloned: inside the cgroup or not.
CLONED: Final = b"P"
INSIDE: Final = b"I"
OUTSIDE: Final = b"O"
# The number (u32) of a seccomp listener, or, with the same bytes, the listener itself (SCM_RIGHTS).
LISTENER: Final = b"L"
# It failed: the stage (u8, an index into _linux.STAGES) and errno (u32).
STAGE_FAILED: Final = b"E"

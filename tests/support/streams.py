"""Bytes through a relay: written and read in pieces of any size, and compared."""

from __future__ import annotations

import os
import random
import socket
from typing import IO

#: Bytes each way through a relay: 10 MiB, and 100 MiB in `make soak`.
MUCH = int(os.environ.get("PYRUNC_ROUNDS", "100")) * (100 << 10)

DATA = random.Random(1).randbytes(1 << 20)


def feed(stream: IO[bytes] | socket.SocketIO, size: int, chunks: random.Random) -> None:
    """Write so many bytes of DATA over and over, in pieces of any size."""
    done = 0
    while done < size:
        at = done % len(DATA)
        piece = DATA[at : at + min(chunks.choice((1, 7, 4095, 4096, 4097, 65536, 300000)), size - done)]
        done += os.write(stream.fileno(), piece)
    stream.close()


def collect(fd: int, size: int, chunks: random.Random) -> None:
    """Read so many, in pieces of any size, and hold them against what was written."""
    done = 0
    while piece := os.read(fd, chunks.choice((1, 7, 4095, 65536, 300000))):
        at = done % len(DATA)
        assert piece == (DATA + DATA)[at : at + len(piece)], done
        done += len(piece)
    assert done == size

"""Says which small blocks of an image's heap are to lie side by side: those that commands write to (native/heap.c).

Whoever reads a Python object writes to it, since it counts its references: some 3,700 blocks of 30,000, spread over all
pages. A first image has a page for each block; so the pages that commands have written (tools/warm.py) are blocks. They
come in three kinds, so that what a command does not need lies on no page that it does: written by every command, by
those that enter a container alone, and by the process of a new container.
"""

from __future__ import annotations

import struct
from pathlib import Path

from tools import warm

#: native/heap.c: class and number stand before a block.
_HEADER = struct.Struct("<2I")
#: struct order: bytes of each kind.
_SIZES = struct.Struct("<3Q")


def _size(of_class: int) -> int:
    """Bytes of a block, up to 2 KiB."""
    return of_class * 16 if of_class <= 64 else 1024 + (of_class - 64) * 256


def order(image: Path, apart: int, seen: warm.Seen) -> bytes:
    """What the second maker reads.

    image: the first one's; apart: where in memory the first of its small blocks is. seen: what commands wrote in it.
    """
    heap = warm.segment(image)
    data = image.read_bytes()[heap.place : heap.place + heap.size]
    kinds: dict[int, int] = {}
    sizes = [0, 0, 0]
    for kind, all_pages in enumerate(seen, 1):
        for page in set[int]().union(*all_pages):
            # What lies before are larger blocks and libpython's own data; behind, new objects.
            if not apart <= page * warm.PAGE < heap.start + heap.size:
                continue
            of_class, number = _HEADER.unpack_from(data, page * warm.PAGE + _HEADER.size - heap.start)
            if number not in kinds:
                kinds[number] = kind
                sizes[kind - 1] += _size(of_class)
    calls = bytearray(max(kinds, default=-1) + 1)
    for number, kind in kinds.items():
        calls[number] = kind
    return _SIZES.pack(*sizes) + calls

"""Tells an image which of its pages commands write soon, when a few have been seen doing it.

A private page that is written is copied, by a fault of its own. Stage one makes those that nearly every command writes
in some calls for all (native/map.c). Which they are, /proc/PID/pagemap says of commands that are held up at their end:
by standard output and error that nobody reads, or by a container that runs.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

#: native/image.h: struct record, and in it how many runs there are of each kind.
_HEAD = struct.Struct("<2Q 5Q 9q")
_SEGMENT = struct.Struct("<2I 6Q")
SEGMENTS, RUNS = 12, 96
_RUN = struct.Struct("<2I")
RECORD = _HEAD.size + SEGMENTS * _SEGMENT.size + 2 * RUNS * _RUN.size
PAGE = os.sysconf("SC_PAGESIZE")
_SECONDS = 20


def written(pid: int, image: Path) -> set[int]:
    """Numbers of the image's pages that a process has copied or made: neither the file's nor untouched."""
    found = set()
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        first, end = _data(image)
        pagemap.seek(first * 8)
        for number, (entry,) in enumerate(struct.iter_unpack("<Q", pagemap.read((end - first) * 8)), first):
            if entry >> 63 and not entry >> 61 & 1:
                found.add(number)
    return found


class Segment(NamedTuple):
    """What holds Python's data and heap. In bytes: place in the file, address, size in the file and in memory."""

    place: int
    start: int
    size: int
    memory: int


def segment(image: Path) -> Segment:
    """The one of an image."""
    with open(image, "rb") as file:
        file.seek(-RECORD, os.SEEK_END)
        record = file.read()
    segments = [_SEGMENT.unpack_from(record, _HEAD.size + index * _SEGMENT.size) for index in range(SEGMENTS)]
    writable = [Segment(*numbers[2:4], *numbers[5:7]) for numbers in segments if numbers[1] & 2]
    return max(writable, key=lambda each: each.memory)


def _data(image: Path) -> tuple[int, int]:
    """First page of that segment, and the one after the last."""
    data = segment(image)
    return data.start // PAGE, (data.start + data.memory + PAGE - 1) // PAGE


def offset(image: Path, address: int) -> int:
    """Where in the file something of that segment is."""
    data = segment(image)
    return data.place + address - data.start


def runs(pages: set[int]) -> list[tuple[int, int]]:
    """(first page, how many), the longest if there is no room for all."""
    found: list[list[int]] = []
    for page in sorted(pages):
        if found and page == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([page, 1])
    longest = sorted(found, key=lambda run: -run[1])[:RUNS]
    return sorted((first, count) for first, count in longest)


def nearly_all(seen: list[set[int]]) -> set[int]:
    """The pages that three of four commands have written.

    Not all: on a busy machine one may seem to rest before it does, or not come to rest in time.
    """
    times = Counter(page for pages in seen for page in pages)
    return {page for page, count in times.items() if 4 * count >= 3 * len(seen)}


def tell(image: Path, seen: Seen) -> None:
    """Write into the image's record what nearly all short commands write, and nearly all that enter a container.

    By way of a copy: whoever has it mapped keeps what it has.
    """
    data = bytearray(image.read_bytes())
    at = len(data) - 2 * RUNS * _RUN.size
    for kind in (seen.short, seen.long):
        entries = runs(nearly_all(kind))
        for first, count in entries + [(0, 0)] * (RUNS - len(entries)):
            _RUN.pack_into(data, at, first, count)
            at += _RUN.size
    start = len(data) - RECORD
    total = 0xCBF29CE484222325
    for (word,) in struct.iter_unpack("<Q", data[start + 16 :]):
        total = (total ^ word) * 0x100000001B3 % (1 << 64)
    struct.pack_into("<Q", data, start + 8, total)
    fresh = image.with_name(image.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)  # the sum is of the record alone: after a crash it must not stand behind pages that are none
    fresh.rename(image)


def full_pipe() -> tuple[int, int]:
    """A pipe that whoever writes to waits for."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (1 << 16, 1):
        try:
            while True:
                os.write(writer, bytes(size))
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    return reader, writer


def held_up(argv: list[str | Path], image: Path, meanwhile: Callable[[], object] = lambda: None) -> set[int]:
    """The pages that a command has written when it waits: for its pipes, or for its container.

    meanwhile: called while it waits.
    """
    reader, writer = full_pipe()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=writer, stderr=writer) as process:
        os.close(writer)
        try:
            return written(process.pid, image) if _is_still(process) and not meanwhile() else set()
        finally:
            _end(process)
            os.close(reader)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command. By SIGTERM, which exec passes on to its program.

    One that was left behind in a container would keep that from ending where nobody reaps orphans, as in many a
    container that is itself somebody's host.
    """
    process.terminate()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        process.kill()


def _is_still(process: subprocess.Popen[bytes]) -> bool:
    """Whether it comes to rest: asleep for a tenth of a second without having run."""
    deadline = time.monotonic() + _SECONDS
    before, times = "", 0
    while times < 10 and time.monotonic() < deadline and process.poll() is None:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        now = " ".join([fields[0], fields[7], fields[11], fields[12]])
        times = times + 1 if now == before and fields[0] == "S" else 0
        before = now
        time.sleep(0.01)
    return times == 10


class Seen(NamedTuple):
    """The pages that commands have written: each short one, each that enters a container, each process of a new one."""

    short: list[set[int]]
    long: list[set[int]]
    child: list[set[int]]


def observe(image: Path, launcher: Path, root: Path, bundles: list[Path]) -> Seen:
    """Run every hot command and hold it up at its end.

    bundles: whose programs go on until they are ended; none where no container can be made. Raises OSError.
    """
    call: list[str | Path] = [launcher, "--root", root]
    seen = Seen([held_up([*call, command, "none"], image) for command in ("state", "start", "kill", "delete")], [], [])
    null = subprocess.DEVNULL

    def beside() -> None:
        seen.short.append(held_up([*call, "state", "warm"], image))
        seen.long.append(held_up([*call, "exec", "warm", "/usr/bin/sleep", "100"], image))

    def quietly(*words: str | Path) -> None:
        subprocess.run([*call, *words], stdin=null, stdout=null, stderr=null, timeout=_SECONDS, check=False)

    for bundle in bundles:
        try:
            seen.long.append(held_up([*call, "run", "--bundle", bundle, "warm"], image, beside))
            quietly("delete", "--force", "warm")
            quietly("create", "--bundle", bundle, "--pid-file", root / "pid", "warm")
            if not (root / "pid").exists():
                raise OSError(f"{launcher} creates no container")
            seen.child.append(written(int((root / "pid").read_text()), image))
            (root / "pid").unlink()
        finally:
            quietly("delete", "--force", "warm")
    return seen

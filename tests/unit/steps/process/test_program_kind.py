"""What kind of file stands where a program should: any bytes at all are some kind, and little of them is read."""

import errno
import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.steps.process import inside, program_kind, unrunnable

HEAD = st.sampled_from([b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x02", b"#!", b"", b"MZ"])
FIELDS = st.sampled_from([b"\0\0", b"\x01\0", b"\x03\0\0\0", b"\x3e\0", b"\xb7\0", b"\xff" * 8, b"\x40" + bytes(7)])


@settings(max_examples=400, deadline=None)
@given(HEAD, st.lists(st.one_of(FIELDS, st.binary(max_size=40)), max_size=40))
def test_any_bytes(tmp_path_factory: object, head: bytes, parts: list[bytes]) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"pyrunc-kind-{os.getpid()}"
    path.mkdir(exist_ok=True)
    try:
        (path / "prog").write_bytes(head + b"".join(parts))
        files = inside.Inside(os.open(path, os.O_PATH))
        place = files.walk("/prog")
        kind = program_kind.look(place)
        assert len(kind.interpreter) <= 4096 and (kind.problem == "" or kind.interpreter == "")
        place.close()
        files.close()
    finally:
        (path / "prog").unlink()
        path.rmdir()


def test_this_interpreter() -> None:
    files = inside.Inside(os.open("/", os.O_PATH))
    place = files.walk("/usr/bin/python3")
    kind = program_kind.look(place)
    assert kind.problem == "" and kind.its_interpreter == "its loader" and Path(kind.interpreter).exists()
    place.close()
    files.close()


def test_a_name_ends_at_a_zero_byte_as_to_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "prog").write_bytes(b"#!/bin/a\0b\n")
    (tmp_path / "prog").chmod(0o755)
    files = inside.Inside(os.open(tmp_path, os.O_PATH))
    place = files.walk("/prog")
    assert program_kind.look(place).interpreter == "/bin/a"
    place.close()
    files.close()
    program: Any = {"args": ["/prog"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
    assert "/bin/a is not" in unrunnable.from_outside(str(tmp_path), program, errno.ENOENT)


def test_from_outside_the_very_file_is_opened_whatever_its_name_stands_for_by_now(tmp_path: Path) -> None:
    """A container may exchange it for a device, which the host's root is not to open."""
    (tmp_path / "prog").write_bytes(b"#!/bin/sh\n")
    files = inside.Inside(os.open(tmp_path, os.O_PATH), is_outside=True)
    place = files.walk("/prog")
    (tmp_path / "prog").rename(tmp_path / "old")
    os.mkfifo(tmp_path / "prog")
    assert place.read(64) == b"#!/bin/sh\n"
    place.close()
    files.close()

"""What kind of file stands where a program should: any bytes at all are some kind, and little of them is read."""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pyrunc.steps.process import inside, program_kind

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

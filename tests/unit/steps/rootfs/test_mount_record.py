"""A mount that was recorded is known again."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyrunc import _linux
from pyrunc.steps.rootfs import mount_record


def test_a_mount_of_a_record_before_ids_were_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 5.12 to 6.7 use a mount's id again: then the device and the inode of its root must be the same, too."""
    fd = os.open("/proc", os.O_PATH)
    root = os.fstat(fd)
    record: Any = {"destination": "/x", "path": "/x", "id": 7, "unique": False, "device": root.st_dev}
    record["inode"] = root.st_ino
    known = {(7, False): True, (8, False): False, (7, True): False}
    for answer, same in known.items():
        monkeypatch.setattr(_linux, "mount_id", lambda _fd, answer=answer: answer)
        assert mount_record.is_same(record, fd) is same
    monkeypatch.setattr(_linux, "mount_id", lambda _fd: (7, False))
    others: tuple[Any, ...] = ({"device": 1}, {"inode": root.st_ino + 1})
    for other in others:
        assert not mount_record.is_same(record | other, fd)
    os.close(fd)

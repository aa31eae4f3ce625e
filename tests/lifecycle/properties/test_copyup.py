"""What tmpcopyup copies, and what it is not led to: on directories, and a container with it."""

import os
import posix
import resource
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyrunc.steps.rootfs import tmpcopyup
from tests.support.workplace import MakeBundle

DEPTH = 1500


def copy(source: Path, target: Path) -> None:
    fds = [os.open(path, os.O_PATH) for path in (source, target)]
    before = len(os.listdir("/proc/self/fd"))
    try:
        tmpcopyup.copy(*fds)
    finally:
        assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
        for fd in fds:
            os.close(fd)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with DEPTH folders in each other, files in the first and the last."""
    top = tmp_path / "deep"
    top.mkdir()
    script = f"i=0; while [ $i -lt {DEPTH} ]; do mkdir d; cd d; i=$((i+1)); done; echo last >file"
    subprocess.run(["sh", "-c", script], cwd=top, check=True)
    (top / "d/first").write_text("first\n")
    yield top
    subprocess.run(["rm", "-r", tmp_path], check=True)  # too deep for shutil, which pytest uses


def test_any_depth_with_few_descriptors(deep: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    os.utime(deep / "d", (1_000_000_000, 1_000_000_000))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 150, before[1]))
    try:
        copy(deep, target)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (target / "d/first").read_text() == "first\n"
    assert (target / "d").stat().st_mtime == 1_000_000_000
    assert (target / ("d/" * DEPTH + "file")).read_text() == "last\n"


def test_a_container_with_a_deep_copy(deep: Path, bundle: MakeBundle) -> None:
    box = bundle("cat", "/m/" + "d/" * DEPTH + "file")
    deep.rename(box.rootfs / "m")
    box.config["mounts"].append(
        {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=64m"]}
    )
    try:
        assert box.run().ok().stdout == "last\n"
    finally:
        (box.rootfs / "m").rename(deep)


class Exchanging:
    """posix; what is looked at becomes something else, once, before it is opened."""

    def __init__(self, victim: Path, other: Path) -> None:
        self.names = [victim, other]

    def __getattr__(self, name: str) -> Any:
        return getattr(posix, name)

    def _after(self, result: os.stat_result) -> os.stat_result:
        if self.names and result.st_ino == self.names[0].lstat().st_ino:
            victim, other = self.names
            victim.rename(victim.with_name("gone"))
            other.rename(victim)
            self.names = []
        return result

    def stat(self, *args: Any, **how: Any) -> os.stat_result:
        return self._after(posix.stat(*args, **how))

    def fstat(self, *args: Any) -> os.stat_result:
        return self._after(posix.fstat(*args))


@pytest.mark.parametrize("kind", ["fifo", "link", "device"])
def test_what_was_looked_at_is_what_is_copied(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device would do something as it is opened: rewind a tape, start a watchdog."""
    source, target, other = tmp_path / "source", tmp_path / "target", tmp_path / "other"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("text\n")
    (source / "file").chmod(0o640)
    if kind == "fifo":
        os.mkfifo(other)
    elif kind == "link":
        other.symlink_to("/etc/passwd")
    else:
        os.mknod(other, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    monkeypatch.setattr(tmpcopyup, "posix", Exchanging(source / "file", other))
    copy(source, target)
    assert (target / "file").read_text() == "text\n"
    assert stat.S_IMODE((target / "file").stat().st_mode) == 0o640


def test_every_kind_of_file(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder/empty").mkdir(parents=True)
    target.mkdir()
    os.mkfifo(source / "fifo", 0o620)
    os.mknod(source / "device", 0o640 | stat.S_IFBLK, os.makedev(7, 3))
    (source / "link").symlink_to("/nowhere")
    (source / "folder/file").write_bytes(bytes(3 << 20))
    for name in ("fifo", "device", "link", "folder"):
        os.chown(source / name, 1, 2, follow_symlinks=False)
    copy(source, target)
    for name in ("fifo", "device", "link", "folder", "folder/empty", "folder/file"):
        before, after = (source / name).lstat(), (target / name).lstat()
        for what in ("st_mode", "st_uid", "st_gid", "st_rdev"):
            assert getattr(before, what) == getattr(after, what), (name, what)
    assert os.readlink(target / "link") == "/nowhere"
    assert (target / "folder/file").read_bytes() == bytes(3 << 20)

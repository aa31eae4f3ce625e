"""Directories and files made below a root whose links may lead anywhere (pyrunc.linux.paths)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc.linux import paths


class Root:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY)

    def where(self, fd: int) -> str:
        """What a descriptor names, as seen from the root."""
        found = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        assert found == str(self.path) or found.startswith(f"{self.path}/"), found
        return found.removeprefix(str(self.path)) or "/"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path / "root")
    before = len(os.listdir("/proc/self/fd"))
    yield made
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    os.close(made.fd)
    assert sorted(os.listdir(tmp_path)) == ["root"]


LINKS = {
    "absolute": "/made/there",
    "relative": "made/there",
    "up": "../../../made/there",
    "dotted": "./made/./there/",
    "chain": "absolute",
    "through": "sub/back/made/there",
}


@pytest.mark.parametrize("link", LINKS)
def test_what_a_dangling_link_names_is_made_inside(root: Root, link: str) -> None:
    (root.path / "sub").mkdir()
    (root.path / "sub/back").symlink_to("..")
    for name, target in LINKS.items():
        (root.path / name).symlink_to(target)
    assert root.where(paths.make_directories(root.fd, f"/{link}/a//b/")) == "/made/there/a/b"
    assert root.where(paths.make_directories(root.fd, link)) == "/made/there"


@pytest.mark.parametrize("link", LINKS)
def test_a_file_at_the_end_of_a_dangling_link(root: Root, link: str) -> None:
    (root.path / "sub").mkdir()
    (root.path / "sub/back").symlink_to("..")
    for name, target in LINKS.items():
        (root.path / name).symlink_to(target.rstrip("/"))
    assert root.where(paths.make_file(root.fd, link)) == "/made/there"
    assert (root.path / "made/there").is_file()
    assert root.where(paths.make_file(root.fd, link)) == "/made/there"


def test_up_means_up_from_where_the_link_leads(root: Root) -> None:
    (root.path / "a/b").mkdir(parents=True)
    (root.path / "link").symlink_to("/a/b")
    assert root.where(paths.make_directories(root.fd, "link/../new")) == "/a/new"
    assert root.where(paths.make_directories(root.fd, "../../x/../y")) == "/y"
    assert root.where(paths.make_directories(root.fd, "/../..")) == "/"


@pytest.mark.parametrize(
    ("path", "number"),
    [("loop", errno.ELOOP), ("loop/a", errno.ELOOP), ("file/a", errno.ENOTDIR), ("to-file/a/b", errno.ENOTDIR)],
)
def test_what_cannot_be(root: Root, path: str, number: int) -> None:
    (root.path / "loop").symlink_to("loop")
    (root.path / "file").touch()
    (root.path / "to-file").symlink_to("/file")
    for make in (paths.make_directories, paths.make_file):
        with pytest.raises(OSError) as caught:
            make(root.fd, path)
        assert caught.value.errno == number
    with pytest.raises(OSError) as caught:
        paths.make_file(root.fd, "missing/..")
    assert caught.value.errno == errno.EISDIR

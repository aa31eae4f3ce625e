"""Every mount option of the specification's table, by its effect in the container's /proc/self/mountinfo.

The sources of binds are tmpfs mounts in a mount namespace of the test's own, with the opposite of what is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.namespaces import MAPPED, add_user_namespace, own_mounts, set_namespaces
from tests.support.processes import command
from tests.support.workplace import Bundle, MakeBundle, Workplace

ATIMES = {"noatime", "relatime"}  # neither: strictatime


class Mount:
    """A line of mountinfo: options of the mount, of the superblock, and the optional fields."""

    def __init__(self, line: str) -> None:
        head, tail = line.split(" - ")
        fields = head.split()
        self.where = fields[4]
        self.options = set(fields[5].split(","))
        self.optional = {field.split(":")[0] for field in fields[6:]}
        self.fstype, _, words = tail.split(" ", 2)
        self.superblock = set(words.split(","))

    @property
    def atime(self) -> str:
        return next(iter(self.options & ATIMES), "strictatime")


def mounts_of(box: Bundle) -> dict[str, Mount]:
    """Run the container; its mounts by place, of several in one place the uppermost."""
    box.config["process"]["args"] = ["cat", "/proc/self/mountinfo"]
    found = [Mount(line) for line in box.run().ok().stdout.splitlines()]
    return {mount.where: mount for mount in found}


def with_mount(bundle: MakeBundle, *entries: dict[str, Any]) -> Bundle:
    box = bundle()
    box.config["mounts"].extend(entries)
    return box


def new(*options: str, **more: Any) -> dict[str, Any]:
    return {"destination": "/m", "type": "tmpfs", "source": "tmpfs", "options": list(options), **more}


def bind(source: Path, *options: str, **more: Any) -> dict[str, Any]:
    return {"destination": "/m", "type": "none", "source": str(source), "options": list(options), **more}


@pytest.fixture
def sources(workplace: Workplace) -> Iterator[Sources]:
    with own_mounts():
        yield Sources(workplace.path)


class Sources:
    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, name: str, options: str) -> Path:
        """A tmpfs with those options, and another one mounted below it at `below`."""
        path = self.path / name
        path.mkdir()
        for folder in (path, path / "below"):
            # As one command: tmpfs takes "ro" too.
            command("mount", "-t", "tmpfs", "tmpfs", str(folder))
            (folder / "below").mkdir()
        for folder in (path / "below", path):
            command("mount", "-o", f"remount,bind,{options}", str(folder))
        return path


# Option: what a bind's source has, and what the mount is to have or not to have.
ATTRIBUTES = {
    "ro": ("rw", {"ro"}, {"rw"}),
    "rw": ("ro", {"rw"}, {"ro"}),
    "nosuid": ("suid", {"nosuid"}, set()),
    "suid": ("nosuid", set(), {"nosuid"}),
    "nodev": ("dev", {"nodev"}, set()),
    "dev": ("nodev", set(), {"nodev"}),
    "noexec": ("exec", {"noexec"}, set()),
    "exec": ("noexec", set(), {"noexec"}),
    "nosymfollow": ("symfollow", {"nosymfollow"}, set()),
    "symfollow": ("nosymfollow", set(), {"nosymfollow"}),
    "nodiratime": ("diratime", {"nodiratime"}, set()),
    "diratime": ("nodiratime", set(), {"nodiratime"}),
    "noatime": ("relatime", {"noatime"}, {"relatime"}),
    "strictatime": ("relatime", set(), {"relatime", "noatime"}),
    "relatime": ("noatime", {"relatime"}, {"noatime"}),
    "atime": ("noatime", {"relatime"}, {"noatime"}),
    "nostrictatime": ("strictatime", {"relatime"}, {"noatime"}),
    "norelatime": ("relatime", {"relatime"}, {"noatime"}),  # what the kernel does by default
}  # fmt: skip


#: Options that a bind mount is not changed by, as mount(2) has it: a remount keeps access times as they are kept.
WITHOUT_EFFECT = {"diratime": {"nodiratime"}, "atime": {"noatime"}, "nostrictatime": set(), "norelatime": {"relatime"}}


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_an_attribute_of_a_bind(bundle: MakeBundle, sources: Sources, option: str) -> None:
    before, there, missing = ATTRIBUTES[option]
    if option in WITHOUT_EFFECT:
        there, missing = (
            WITHOUT_EFFECT[option],
            {"relatime"} - WITHOUT_EFFECT[option] if option != "diratime" else set(),
        )
    source = sources.make("source", before)
    box = with_mount(bundle, bind(source, "rbind", option))
    found = mounts_of(box)
    assert there <= found["/m"].options and not missing & found["/m"].options
    # What is mounted below it keeps what it has.
    box.config["mounts"][-1]["options"] = ["rbind"]
    plain = mounts_of(box)
    assert found["/m/below"].options == plain["/m/below"].options == plain["/m"].options
    # The source on the host too.
    (host,) = [m for m in map(Mount, Path("/proc/self/mountinfo").read_text().splitlines()) if m.where == str(source)]
    assert host.options == plain["/m"].options


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_an_attribute_of_a_new_mount(bundle: MakeBundle, option: str) -> None:
    _, there, missing = ATTRIBUTES[option]
    found = mounts_of(with_mount(bundle, new(option)))["/m"]
    assert there <= found.options and not missing & found.options
    assert found.fstype == "tmpfs"


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_an_attribute_and_all_that_is_mounted_below(bundle: MakeBundle, sources: Sources, option: str) -> None:
    before, there, missing = ATTRIBUTES[option]
    source = sources.make("source", before)
    found = mounts_of(with_mount(bundle, bind(source, "rbind", "r" + option)))
    for where in ("/m", "/m/below"):
        assert there <= found[where].options and not missing & found[where].options, where


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_remount_changes_what_it_names(bundle: MakeBundle, option: str) -> None:
    before, there, missing = ATTRIBUTES[option]
    opposite = [before, "nosuid", "nodev"] if option not in ("suid", "dev") else ["nosuid", "nodev"]
    entries = (new(*opposite), {"destination": "/m", "options": ["remount", option]})
    for how in ([], ["bind"]):
        entries[1]["options"] = ["remount", *how, option]
        entries[1]["source"] = "x"
        found = mounts_of(with_mount(bundle, *entries))["/m"]
        assert there <= found.options and not missing & found.options
        for kept in ("nosuid", "nodev"):
            assert kept in found.options or kept in missing


def test_a_bind_without_options_keeps_all_and_one_with_any_what_it_names(bundle: MakeBundle, sources: Sources) -> None:
    """As runc and crun, which bind and then remount: access times stay unless a way to keep them is named."""
    all_of_them = {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"}
    source = sources.make("source", ",".join(sorted(all_of_them)))
    for options, kept in (
        (["rbind"], all_of_them),
        (["bind", "private"], all_of_them),
        (["rbind", "rro"], all_of_them),
        (["rbind", "ro"], {"ro", "noatime"}),
        (["rbind", "nosuid", "nodev"], {"nosuid", "nodev", "noatime"}),
        (["bind", "rw"], {"noatime"}),
        (["bind", "exec", "relatime"], {"relatime"}),
        (["bind", "nodiratime"], {"nodiratime", "relatime"}),
    ):
        found = mounts_of(with_mount(bundle, bind(source, *options)))["/m"]
        assert found.options & (all_of_them | {"relatime", "nodiratime"}) == kept, options


def test_a_bind_in_a_user_namespace_takes_nothing_away(bundle: MakeBundle, sources: Sources) -> None:
    """What the source has there is locked; nosymfollow is not."""
    all_of_them = {"ro", "nosuid", "nodev", "noexec", "noatime"}
    source = sources.make("source", ",".join(sorted(all_of_them | {"nosymfollow"})))
    for options in (["ro"], ["nosuid"], ["noatime"], ["norelatime"]):
        box = with_mount(bundle, bind(source, "rbind", *options))
        (box.rootfs / "m").mkdir()
        add_user_namespace(box)
        assert mounts_of(box)["/m"].options & (all_of_them | {"nosymfollow"}) == all_of_them, options
    for option in ("rw", "suid", "dev", "exec", "relatime", "strictatime", "nodiratime"):
        box = with_mount(bundle, bind(source, "rbind", option))
        (box.rootfs / "m").mkdir()
        add_user_namespace(box)
        refused = box.run()
        assert refused.returncode == 1, option
        assert f"mount {source} to /m: operation not permitted" in refused.stderr


@pytest.mark.parametrize(
    ("options", "there", "below"),
    [
        (["ro", "rw"], {"rw"}, {"rw"}),
        (["rw", "ro"], {"ro"}, {"rw"}),
        # The recursive ones come after the others, as in runc.
        (["rro", "rw"], {"ro"}, {"ro"}),
        (["rrw", "ro"], {"rw"}, {"rw"}),
        (["rro", "rrw"], {"rw"}, {"rw"}),
        (["noatime", "strictatime"], {"strictatime"}, {"relatime"}),
        (["strictatime", "norelatime"], {"strictatime"}, {"relatime"}),
        (["noatime", "nostrictatime"], {"noatime"}, {"relatime"}),
        (["noatime", "atime"], {"relatime"}, {"relatime"}),
        (["rnoatime", "rstrictatime"], {"strictatime"}, {"strictatime"}),
        (["rnoatime", "rnosuid", "nodev"], {"noatime", "nosuid", "nodev"}, {"noatime", "nosuid"}),
    ],
)
def test_of_two_that_contradict_the_later_counts(
    bundle: MakeBundle, sources: Sources, options: list[str], there: set[str], below: set[str]
) -> None:
    found = mounts_of(with_mount(bundle, bind(sources.make("source", "rw"), "rbind", *options)))
    assert there <= found["/m"].options | {found["/m"].atime}
    assert below <= found["/m/below"].options | {found["/m/below"].atime}


# ---- bind and propagation ----


def test_bind_takes_one_mount_and_rbind_all(bundle: MakeBundle, sources: Sources) -> None:
    source = sources.make("source", "rw")
    assert "/m/below" not in mounts_of(with_mount(bundle, bind(source, "bind")))
    assert "/m/below" in mounts_of(with_mount(bundle, bind(source, "rbind")))
    # The type does not make it one, and a relative source is of the bundle.
    box = with_mount(bundle, {"destination": "/m", "type": "bind", "source": "rootfs/etc", "options": ["bind"]})
    box.config["process"]["args"] = ["ls", "/m"]
    assert "passwd" in box.run().ok().stdout


PROPAGATIONS = {
    "shared": {"shared"},
    "slave": {"master"},
    "private": set(),
    "unbindable": {"unbindable"},
}


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize("option", PROPAGATIONS)
def test_propagation_of_a_bind(bundle: MakeBundle, sources: Sources, option: str, recursive: bool) -> None:
    source = sources.make("source", "rw")
    # A source that is shared, or there is nothing to be a slave of.
    command("mount", "--make-rshared", str(source))
    found = mounts_of(with_mount(bundle, bind(source, "rbind", ("r" if recursive else "") + option)))
    for where, changed in (("/m", True), ("/m/below", recursive)):
        optional = found[where].optional
        # Without a word about it the bind of a shared source is its slave: nothing spreads to the host.
        assert optional - {"master"} == PROPAGATIONS[option] - {"master"} if changed else optional == {"master"}, where
        if changed and option in ("private", "unbindable"):
            assert "master" not in optional


def test_propagation_of_a_new_mount(bundle: MakeBundle) -> None:
    for option, fields in PROPAGATIONS.items():
        if option != "slave":  # of nothing
            assert mounts_of(with_mount(bundle, new(option)))["/m"].optional == fields


# ---- the superblock ----


@pytest.mark.parametrize(
    ("options", "there", "missing"),
    [
        (["sync"], {"sync"}, set()),
        (["async"], set(), {"sync"}),
        (["sync", "async"], set(), {"sync"}),
        (["dirsync"], {"dirsync"}, set()),
        (["lazytime"], {"lazytime"}, set()),
        (["lazytime", "nolazytime"], set(), {"lazytime"}),
        (["mand", "nomand"], set(), {"mand"}),
        (["defaults"], {"rw"}, {"sync", "dirsync", "lazytime"}),
        (["silent"], {"rw"}, set()),
        (["loud"], {"rw"}, set()),
        (["iversion"], {"rw"}, set()),
        (["iversion", "noiversion"], {"rw"}, set()),
    ],
)
def test_an_option_of_the_superblock(
    bundle: MakeBundle, options: list[str], there: set[str], missing: set[str]
) -> None:
    found = mounts_of(with_mount(bundle, new(*options, "size=64k", "nosuid")))["/m"]
    assert there <= found.superblock and not missing & found.superblock
    assert {"size=64k"} <= found.superblock and "nosuid" in found.options


def test_mand(bundle: MakeBundle) -> None:
    """Mandatory locks are gone since Linux 5.15, which takes the option and warns in its log."""
    found = mounts_of(with_mount(bundle, new("mand")))["/m"]
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    assert ("mand" in found.superblock) or release >= (5, 15)


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_iversion_reaches_the_kernel(bundle: MakeBundle, workplace: Workplace) -> None:
    """Nothing shows it but the call itself: it makes a counter that only the kernel sees."""
    for options, passed in ((["iversion", "nodev"], True), (["iversion", "noiversion", "nodev"], False)):
        box = with_mount(bundle, new(*options))
        trace = box.path / "trace"
        argv = ["strace", "-f", "-qq", "-e", "trace=mount,fsconfig", "-o", str(trace), str(workplace.runtime)]
        argv += ["--root", str(workplace.root), "run", "--bundle", str(box.save()), box.id]
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
        lines = [line for line in trace.read_text().splitlines() if "MS_I_VERSION" in line]
        assert bool(lines) == passed
        assert all("MS_NODEV" in line and '"tmpfs"' in line for line in lines)


def test_remount_changes_the_superblock(bundle: MakeBundle) -> None:
    box = with_mount(
        bundle,
        new("size=64k", "sync", "nosuid"),
        {"destination": "/m", "type": "tmpfs", "source": "x", "options": ["remount", "size=128k", "async", "lazytime"]},
    )
    found = mounts_of(box)["/m"]
    assert {"size=128k", "lazytime"} <= found.superblock
    assert "sync" not in found.superblock
    assert "nosuid" in found.options


def test_remount_of_nothing(bundle: MakeBundle) -> None:
    box = with_mount(bundle, {"destination": "/tmp", "type": "tmpfs", "source": "x", "options": ["remount", "ro"]})
    refused = box.create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "/mounts/7" in refused.stderr


# ---- data of the file system ----


def test_data_for_the_file_system(bundle: MakeBundle) -> None:
    found = mounts_of(with_mount(bundle, new("size=128k", "mode=1750", "uid=7", "nr_inodes=33", "noexec")))["/m"]
    assert {"size=128k", "mode=1750", "uid=7", "nr_inodes=33"} <= found.superblock
    assert "noexec" in found.options


def test_data_that_the_file_system_refuses(bundle: MakeBundle) -> None:
    refused = with_mount(bundle, new("size=many")).create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "mount tmpfs to /m: invalid argument: tmpfs: Bad value for 'size'" in refused.stderr
    assert "/mounts/7" in refused.stderr
    refused = with_mount(bundle, new("no-such-option")).create()
    assert "no-such-option" in refused.stderr


@pytest.mark.parametrize("link", [False, True])
def test_data_longer_than_fsconfig_takes(bundle: MakeBundle, sources: Sources, link: bool) -> None:
    """An overlay of many layers: its lowerdir is longer than 255 bytes, and goes by mount(2)."""
    layers = []
    for number in range(12):
        layer = sources.path / f"layer-{number:030}"
        layer.mkdir()
        (layer / str(number)).touch()
        layers.append(str(layer))
    lower = ":".join(layers)
    assert len(lower) > 255
    entry = {"destination": "/m", "type": "overlay", "source": "overlay", "options": [f"lowerdir={lower}", "nodev"]}
    box = with_mount(bundle, {**entry, "options": [*entry["options"], "ro", "rnosuid", "private"]})
    if link:
        (box.rootfs / "real").mkdir()
        (box.rootfs / "m").symlink_to("real")
    where = "/real" if link else "/m"
    found = mounts_of(box)[where]
    assert {"ro", "nodev", "nosuid"} <= found.options
    assert found.optional == set()
    assert f"lowerdir={lower}" in found.superblock or any(word.startswith("lowerdir") for word in found.superblock)
    box.config["process"]["args"] = ["ls", "/m"]
    assert set(box.run().ok().stdout.split()) == {str(number) for number in range(12)}


# ---- tmpcopyup ----


def test_tmpcopyup(bundle: MakeBundle) -> None:
    box = with_mount(bundle, new("tmpcopyup", "size=1m"))
    image = box.rootfs / "m"
    (image / "folder/deep").mkdir(parents=True)
    (image / "file").write_text("text of the image\n")
    (image / "file").chmod(0o640)
    (image / "folder").chmod(0o2775)
    (image / "folder/deep/program").write_bytes(b"x" * 5000)
    (image / "folder/deep/program").chmod(0o4755)
    os.chown(image / "file", 1000, 7)
    os.utime(image / "file", (1000000000, 1000000000))
    (image / "link").symlink_to("/nowhere")
    os.mkfifo(image / "pipe", 0o600)
    os.setxattr(image / "file", "trusted.own", b"kept")
    image.chmod(0o1777)
    find = "cd /m && find . | sort | xargs stat -c '%n %F %a %u %g %s %Y' && cat file && readlink link"
    box.config["process"]["args"] = ["sh", "-c", find + " && echo new > file && echo more > other"]
    box.config["process"]["capabilities"] = {
        kind: ["CAP_DAC_OVERRIDE"] for kind in ("bounding", "permitted", "effective")
    }
    lines = box.run().ok().stdout.splitlines()
    described = {line.split()[0]: line.split(" ", 1)[1] for line in lines if line.startswith(".")}
    assert described["."].startswith("directory 1777")
    assert described["./file"] == "regular file 640 1000 7 18 1000000000"
    assert described["./folder"].startswith("directory 2775")
    assert described["./folder/deep/program"].startswith("regular file 4755 0 0 5000")
    assert described["./link"].startswith("symbolic link")
    assert described["./pipe"].startswith("fifo 600")
    assert lines[-2:] == ["text of the image", "/nowhere"]
    # It was a copy.
    assert (image / "file").read_text() == "text of the image\n"
    assert not (image / "other").exists()


def test_tmpcopyup_of_what_is_not_there_and_read_only(bundle: MakeBundle) -> None:
    box = with_mount(bundle, new("tmpcopyup", destination="/not-there"), new("tmpcopyup", "ro", destination="/etc"))
    box.config["process"]["args"] = ["sh", "-c", "ls /not-there; cat /etc/passwd; touch /etc/x 2>&1"]
    done = box.run()
    assert "root:x:0:0" in done.stdout and "Read-only file system" in done.stdout


def test_tmpcopyup_follows_nothing_out_of_the_image(bundle: MakeBundle, workplace: Workplace) -> None:
    outside = workplace.path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host")
    box = with_mount(bundle, new("tmpcopyup", destination="/m/inner"))
    (box.rootfs / "m").mkdir()
    (box.rootfs / "m/inner").symlink_to(outside)
    box.config["process"]["args"] = ["find", "/", "-name", "secret"]
    done = box.run()
    assert "secret" not in done.stdout
    # What the link names is made inside the image, not followed to the host.
    assert done.returncode == 0 and sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (box.rootfs / outside.relative_to("/")).is_dir()


# ---- symbolic links, as crun ----


def linked(bundle: MakeBundle, sources: Sources, user: bool, *options: str, source: str = "link") -> Bundle:
    """A source that is a link to a directory, and a mount point that is one, too."""
    place = sources.make("source", "rw")
    (place / "link").symlink_to("below")
    (place / "below/file").touch()
    box = with_mount(bundle, bind(place / source, "bind", *options))
    (box.rootfs / "real").mkdir()
    (box.rootfs / "m").symlink_to("real")
    if user:
        add_user_namespace(box)
        os.chown(box.rootfs, MAPPED, MAPPED)
    box.config["root"]["readonly"] = False
    return box


USERS = pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])


@USERS
def test_links_are_followed(bundle: MakeBundle, sources: Sources, user: bool) -> None:
    assert "/real" in mounts_of(linked(bundle, sources, user))


@USERS
def test_both_nofollow(bundle: MakeBundle, sources: Sources, user: bool) -> None:
    """A link is bound on a link."""
    box = linked(bundle, sources, user, "src-nofollow", "dest-nofollow", "nosuid")
    found = mounts_of(box)
    assert "/real" not in found and "nosuid" in found["/m"].options
    box.config["process"]["args"] = ["readlink", "/m"]
    assert box.run().ok().stdout == "below\n"
    assert os.readlink(box.rootfs / "m") == "real"


@USERS
def test_dest_nofollow(bundle: MakeBundle, sources: Sources, user: bool) -> None:
    box = linked(bundle, sources, user, "dest-nofollow", source="below/file")
    found = mounts_of(box)
    assert "/m" in found and "/real" not in found
    # A directory cannot be mounted on a link, and nothing is made in the place of one that is missing.
    refused = linked_again(box, "bind", "dest-nofollow", source="below")
    assert "not a directory" in refused.create().stderr
    (box.rootfs / "m").unlink()
    assert 'make mountpoint \\"/m\\": no such file or directory' in refused.create().stderr


def linked_again(box: Bundle, *options: str, source: str) -> Bundle:
    entry = box.config["mounts"][-1]
    place = Path(entry["source"])
    while not (place / source).exists():
        place = place.parent
    entry.update(source=str(place / source), options=list(options))
    return box


@USERS
def test_src_nofollow(bundle: MakeBundle, sources: Sources, user: bool) -> None:
    box = linked(bundle, sources, user, "src-nofollow")
    (box.rootfs / "m").unlink()
    (box.rootfs / "m").touch()
    assert "/m" in mounts_of(box)
    box.config["process"]["args"] = ["readlink", "/m"]
    assert box.run().ok().stdout == "below\n"


@USERS
def test_copy_symlink(bundle: MakeBundle, sources: Sources, user: bool) -> None:
    box = linked(bundle, sources, user, "copy-symlink")
    refused = box.create()
    assert refused.returncode == 1 and "to /m: file exists" in refused.stderr, refused.stderr
    (box.rootfs / "m").unlink()
    for _ in range(2):  # the second time it is there
        assert "/m" not in mounts_of(box)
        assert os.readlink(box.rootfs / "m") == "below"
    # What is no link is bound.
    box = linked_again(box, "bind", "copy-symlink", source="below")
    (box.rootfs / "m").unlink()
    (box.rootfs / "m").mkdir()
    assert "/m" in mounts_of(box)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["bind", "copy-symlink", "src-nofollow"], "copy-symlink excludes src-nofollow and dest-nofollow"),
        (["bind", "dest-nofollow", "copy-symlink"], "copy-symlink excludes src-nofollow and dest-nofollow"),
        (["copy-symlink"], "for bind mounts"),
        (["remount", "bind", "src-nofollow"], "for bind mounts"),
    ],
)
def test_options_about_links_that_mean_nothing(bundle: MakeBundle, options: list[str], words: str) -> None:
    refused = with_mount(bundle, {"destination": "/m", "type": "tmpfs", "source": "/tmp", "options": options}).create()
    assert refused.returncode == 1 and words in refused.stderr and "/mounts/7/options" in refused.stderr


# ---- in a user namespace ----


@pytest.mark.parametrize(
    ("option", "there"),
    [("noatime", "noatime"), ("strictatime", "strictatime"), ("rnoatime", "noatime"), ("nodiratime", "relatime")],
)
@pytest.mark.parametrize("joined", [False, True])
def test_access_times_in_a_user_namespace(
    bundle: MakeBundle, sources: Sources, joined: bool, option: str, there: str
) -> None:
    """Locked in there, so set before; as long as there is nothing that must stay locked."""
    source = sources.make("source", "relatime")
    command("umount", str(source / "below"))
    box = with_mount(bundle, bind(source, "rbind", option, "nosuid"))
    (box.rootfs / "m").mkdir()
    first = bundle("sleep", "1000")
    add_user_namespace(first)
    if joined:
        set_namespaces(box, "pid", "mount", "ipc", "uts", user=running(first))
    else:
        add_user_namespace(box)
    found = mounts_of(box)["/m"]
    assert found.atime == there and "nosuid" in found.options
    assert ("nodiratime" in found.options) == (option == "nodiratime")
    assert "master" in found.optional or not found.optional
    first.delete("--force")


def test_access_times_are_no_way_to_take_locks_away(bundle: MakeBundle, sources: Sources) -> None:
    """Of a source with a restriction, or with something mounted below, the copy keeps the kernel's locks."""
    source = sources.make("source", "relatime,nosuid")
    for change in (["mount", "-o", "remount,bind,suid"], ["umount"]):
        box = with_mount(bundle, bind(source, "rbind", "noatime"))
        (box.rootfs / "m").mkdir()
        add_user_namespace(box)
        assert "/m: operation not permitted" in box.create().stderr
        # First something is mounted below a source that is restricted, then it is not restricted any more.
        command(*change, str(source if change[0] == "mount" else source / "below"))
    assert mounts_of(box)["/m"].atime == "noatime"


@pytest.mark.parametrize("own", [False, True])
def test_sysfs_in_a_user_namespace(bundle: MakeBundle, own: bool) -> None:
    """Without a network namespace of its own the kernel gives no new one: the host's is bound, as crun does."""
    box = bundle()
    kinds = ["pid", "mount", "ipc", "uts", *(["network"] if own else [])]
    box.config["linux"]["namespaces"] = [{"type": kind} for kind in kinds]
    add_user_namespace(box)
    found = mounts_of(box)
    assert found["/sys"].fstype == "sysfs"
    assert found["/sys"].options >= {"ro", "nosuid", "noexec", "nodev"}
    below = [mount for mount in found.values() if mount.where.startswith("/sys/")]
    assert all(mount.options >= {"ro", "nosuid", "noexec", "nodev"} for mount in below)
    assert found["/sys/fs/cgroup"].fstype in ("tmpfs", "cgroup2")
    box.config["process"]["args"] = ["ls", "/sys/class/net"]
    assert box.run().ok().stdout.split() == (["lo"] if own else sorted(os.listdir("/sys/class/net")))


# ---- the whole table ----


def test_no_option_is_left_out(runtime: Path) -> None:
    """The table of config.md, as `pyrunc features` prints it: each is tried above, or in test_idmap.py."""
    printed = subprocess.run([runtime, "features"], capture_output=True, check=True).stdout
    listed = json.loads(printed)["mountOptions"]
    tried = set(ATTRIBUTES) | {"r" + name for name in ATTRIBUTES}
    tried |= set(PROPAGATIONS) | {"r" + name for name in PROPAGATIONS}
    tried |= {"bind", "rbind", "remount", "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand"}
    tried |= {"defaults", "silent", "loud", "iversion", "noiversion", "tmpcopyup", "idmap", "ridmap"}
    tried |= {"copy-symlink", "src-nofollow", "dest-nofollow"}
    assert set(listed) == tried
    assert len(listed) == len(tried)

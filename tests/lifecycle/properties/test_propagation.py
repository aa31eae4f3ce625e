"""linux.rootfsPropagation: what spreads between the host, the container's root and mounts made later."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrunc._linux import CLONE_NEWNS
from tests.support.namespaces import own_mounts, setns, unshare
from tests.support.processes import command
from tests.support.workplace import Bundle, MakeBundle, Workplace


@pytest.fixture(autouse=True)
def mounts(workplace: Workplace) -> Iterator[None]:
    # Gone again before the workplace looks for what is left.
    with own_mounts():
        yield


def fields(pid: int | str, where: str) -> dict[str, str]:
    """The optional fields of a mount, by name, the uppermost there: {"shared": "12"}; {} when it is not there."""
    found = {"": "none"}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        words = line.split(" - ")[0].split()
        if words[4] == where:
            found = {field.partition(":")[0]: field.partition(":")[2] for field in words[6:]}
    return {} if "" in found else found


def there(pid: int | str, where: str) -> bool:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return any(line.split()[4] == where for line in lines)


def inside(box: Bundle, *argv: str) -> None:
    command("nsenter", f"--mount=/proc/{box.pid()}/ns/mnt", f"--root=/proc/{box.pid()}/root", *argv)


def with_propagation(bundle: MakeBundle, word: str | None) -> Bundle:
    """A container whose rootfs is a shared mount of the host."""
    box = bundle("sleep", "1000")
    if word is not None:
        box.config["linux"]["rootfsPropagation"] = word
    for name in ("host", "inner"):
        (box.rootfs / name).mkdir()
    command("mount", "--bind", str(box.rootfs), str(box.rootfs))
    command("mount", "--make-shared", str(box.rootfs))
    return box


def host_group(box: Bundle) -> str:
    return fields("self", str(box.rootfs))["shared"]


def from_host(box: Bundle) -> bool:
    """Whether what the host mounts below the rootfs appears in the container."""
    command("mount", "-t", "tmpfs", "tmpfs", str(box.rootfs / "host"))
    return there(box.pid(), "/host")


def to_host(box: Bundle) -> bool:
    """Whether what is mounted in the container appears on the host."""
    inside(box, "/bin/mount", "-t", "tmpfs", "tmpfs", "/inner")
    assert there(box.pid(), "/inner")
    return there("self", str(box.rootfs / "inner"))


@pytest.mark.parametrize("word", ["private", "rprivate", "unbindable", "runbindable"])
def test_private_and_unbindable(bundle: MakeBundle, word: str) -> None:
    box = with_propagation(bundle, word)
    box.create().ok()
    expected = {"unbindable": ""} if "unbindable" in word else {}
    assert fields(box.pid(), "/") == expected
    assert fields(box.pid(), "/proc") == (expected if word[0] == "r" else fields(box.pid(), "/proc"))
    assert not from_host(box) and not to_host(box)
    try:
        if "unbindable" in word:
            with pytest.raises(AssertionError, match="mount"):
                inside(box, "/bin/mount", "-o", "bind", "/", "/tmp")
        else:
            inside(box, "/bin/mount", "-o", "bind", "/", "/tmp")
    finally:
        box.delete("--force").ok()


@pytest.mark.parametrize("word", ["slave", "rslave"])
def test_slave(container: MakeBundle, word: str) -> None:
    box = with_propagation(container, word)
    box.create().ok()
    assert fields(box.pid(), "/") == {"master": host_group(box)}
    assert from_host(box) and not to_host(box)


@pytest.mark.parametrize("word", ["shared", "rshared"])
def test_shared(container: MakeBundle, word: str) -> None:
    box = with_propagation(container, word)
    box.create().ok()
    group = fields(box.pid(), "/")
    # A new peer group, not the host's.
    assert group["shared"] and group["shared"] != host_group(box)
    assert not to_host(box)
    # A nested container's copy of it is a peer: what is mounted in one appears in the other.
    space = os.open(f"/proc/{box.pid()}/ns/mnt", os.O_RDONLY)

    def nest() -> None:
        setns(space, CLONE_NEWNS)
        unshare(CLONE_NEWNS)

    nested = subprocess.Popen(["/bin/sleep", "1000"], preexec_fn=nest)
    os.close(space)
    try:
        assert fields(nested.pid, "/").get("shared") == group["shared"]
        inside(box, "/bin/mount", "-t", "tmpfs", "tmpfs", "/host")
        assert there(nested.pid, "/host")
    finally:
        nested.kill()
        nested.wait()


def test_nothing_said(container: MakeBundle) -> None:
    box = with_propagation(container, None)
    box.create().ok()
    assert not to_host(box)
    assert "shared" not in fields(box.pid(), "/")


@pytest.mark.parametrize("word", ["shared", "slave", "private", "unbindable", None])
def test_the_host_s_own_mounts_stay_as_they_are(bundle: MakeBundle, word: str | None) -> None:
    box = with_propagation(bundle, word)
    before = Path("/proc/self/mountinfo").read_text()
    box.config["process"]["args"] = ["true"]
    box.run().ok()
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_shared_volume_spreads_both_ways_with_a_shared_root(container: MakeBundle) -> None:
    """What Kubernetes calls bidirectional: rshared on the mount, rootfsPropagation shared."""
    box = with_propagation(container, "shared")
    volume = box.path / "volume"
    (volume / "made").mkdir(parents=True)
    (volume / "seen").mkdir()
    command("mount", "-t", "tmpfs", "tmpfs", str(volume))
    command("mount", "--make-shared", str(volume))
    for name in ("made", "seen"):
        (volume / name).mkdir()
    box.config["mounts"].append({"destination": "/v", "source": str(volume), "options": ["rbind", "rshared"]})
    box.create().ok()
    inside(box, "/bin/mount", "-t", "tmpfs", "tmpfs", "/v/made")
    assert there("self", str(volume / "made"))
    command("mount", "-t", "tmpfs", "tmpfs", str(volume / "seen"))
    assert there(box.pid(), "/v/seen")


@pytest.mark.parametrize(("option", "comes"), [("rslave", True), ("rprivate", False)])
def test_a_volume_that_takes_from_the_host_or_not(container: MakeBundle, option: str, comes: bool) -> None:
    box = with_propagation(container, "slave")
    volume = box.path / "volume"
    volume.mkdir()
    command("mount", "-t", "tmpfs", "tmpfs", str(volume))
    command("mount", "--make-shared", str(volume))
    (volume / "seen").mkdir()
    box.config["mounts"].append({"destination": "/v", "source": str(volume), "options": ["rbind", option]})
    box.create().ok()
    command("mount", "-t", "tmpfs", "tmpfs", str(volume / "seen"))
    assert there(box.pid(), "/v/seen") == comes


def test_an_unknown_word_and_no_mount_namespace(bundle: MakeBundle) -> None:
    box = with_propagation(bundle, "sideways")
    refused = box.create()
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "/linux/rootfsPropagation" in refused.stderr

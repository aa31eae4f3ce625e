"""File systems given to containers by podman and docker."""

import os

import pytest

from . import images
from .engines import Engine, new_id


def test_a_bind_mount(engine: Engine) -> None:
    """Both ways, and its owner as it is outside."""
    shared = engine.sandbox.folder(f"shared/{new_id()}")
    (shared / "in").write_text("from outside\n")
    os.chown(shared / "in", 1000, 1000)
    text = engine.sh("cat /mnt/in; stat -c %u /mnt/in; echo from inside >/mnt/out", "-v", f"{shared}:/mnt")
    assert text.splitlines() == ["from outside", "1000"]
    assert (shared / "out").read_text() == "from inside\n"


def test_a_read_only_bind_mount(engine: Engine) -> None:
    shared = engine.sandbox.folder(f"shared/{new_id()}")
    done = engine("run", "--rm", "-v", f"{shared}:/mnt:ro", images.NAME, "touch", "/mnt/x")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert list(shared.iterdir()) == []


def test_a_bind_mounted_file(engine: Engine) -> None:
    shared = engine.sandbox.folder(f"shared/{new_id()}") / "file"
    shared.write_text("a file\n")
    assert engine.sh("cat /etc/new/file", "-v", f"{shared}:/etc/new/file") == "a file"


def test_a_missing_source(engine: Engine) -> None:
    done = engine("run", "--rm", "--mount", "type=bind,source=/no/such/source,target=/mnt", images.NAME, "true")
    assert done.returncode in (125, 126, 127)
    assert "/no/such/source" in done.stderr


def test_a_named_volume(engine: Engine) -> None:
    """It keeps what was written; it starts as a copy of what the image has there."""
    volume = new_id()
    try:
        engine.sh("echo kept >/data/mark", "-v", f"{volume}:/data")
        text = engine.sh("cat /data/mark; ls /data; grep ' /data ' /proc/self/mounts | wc -l", "-v", f"{volume}:/data")
        assert text.split() == ["kept", "mark", "not-a-program", "1"]
    finally:
        engine.out("volume", "rm", volume)


def test_a_read_only_root(engine: Engine) -> None:
    script = "touch /x 2>&1; touch /etc/x 2>&1; echo fine >/scratch/x; cat /scratch/x; touch /dev/shm/x && echo shm"
    lines = engine.sh(script, "--read-only", "--tmpfs", "/scratch").splitlines()
    assert [("Read-only file system" in line) for line in lines[:2]] == [True, True]
    assert lines[2:] == ["fine", "shm"]


def test_tmpfs(engine: Engine) -> None:
    options = ["--tmpfs", "/scratch:size=1m,mode=1770,noexec", "--shm-size", "8m"]
    script = "grep -E ' /(scratch|dev/shm) ' /proc/self/mounts; stat -c %a /scratch; stat -c %a /dev/shm"
    *lines, scratch, shm = engine.sh(script, *options).splitlines()
    mounts = {line.split()[1]: line.split()[3].split(",") for line in lines}
    assert {"size=1024k", "noexec", "mode=1770"} <= set(mounts["/scratch"])
    assert "size=8192k" in mounts["/dev/shm"]
    assert (scratch, shm) == ("1770", "1777")


@pytest.mark.parametrize("mode", ["rslave", "rprivate"])
def test_propagation(engine: Engine, mode: str) -> None:
    """A mount made outside after the start is seen inside exactly when the bind mount is a slave."""
    place = engine.sandbox
    shared = place.folder(f"shared/{new_id()}")
    place.run("mount", "-t", "tmpfs", "tmpfs", shared, check=True)
    place.run("mount", "--make-shared", shared, check=True)
    try:
        place.run("mkdir", shared / "late", check=True)
        with engine.container("exec sleep 1000", "-v", f"{shared}:/mnt:{mode}") as box:
            place.run("mount", "-t", "tmpfs", "tmpfs", shared / "late", check=True)
            place.run("touch", shared / "late" / "seen", check=True)
            assert box.exec("ls", "/mnt/late").stdout.split() == (["seen"] if mode == "rslave" else [])
    finally:
        place.run("umount", "-R", shared, check=True)


def test_mounts_stay_inside(engine: Engine) -> None:
    """What a container mounts itself never reaches the outside, whose mounts are shared."""
    before = sorted(engine.sandbox.mounts())
    unconfined = ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
    options = ["--cap-add", "SYS_ADMIN", *unconfined]
    with engine.container("mount -t tmpfs x /data && mkdir /data/y && echo mounted; exec sleep 1000", *options) as box:
        box.says("mounted")
        assert not [mount for mount in engine.sandbox.mounts() if mount.endswith("/data")]
        text = engine.sandbox.run("cat", f"/proc/{box.pid}/mountinfo", check=True).stdout
        root = next(line for line in text.splitlines() if line.split()[4] == "/")
        assert "shared:" not in root
    assert len(engine.sandbox.mounts()) <= len(before) + 1


def test_cgroups_inside(engine: Engine) -> None:
    """/sys/fs/cgroup shows the container's own cgroup, and what is mounted there cannot be written."""
    text = engine.sh(
        "for d in $(awk '$9 ~ /^cgroup/ {print $5}' /proc/self/mountinfo); do"
        " echo here; test $(wc -l <$d/cgroup.procs) -lt 9 && echo own; mkdir $d/x; done 2>&1; true"
    )
    lines = text.splitlines()
    assert lines.count("here") == lines.count("own") == text.count("Read-only file system") > 0

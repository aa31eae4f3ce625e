"""mounts add and remove, and a container that renames and links what leads to its mounts."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.mounts import bind, mounts_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Result, one_line


def mounts(box: Bundle, verb: str, *wanted: dict[str, Any]) -> Result:
    return box.call("mounts", verb, box.id, "-", stdin=json.dumps(wanted).encode())


def attacked(bundle: MakeBundle, place: Path, script: str, how: str, *destinations: str) -> Bundle:
    """A container without any capability, with a volume at each destination, that has carried out its script."""
    box = bundle("sh", "-c", f"until [ -e /go ]; do sleep 0.05; done; {script}; touch /done; sleep 1000")
    box.config["process"]["capabilities"] = {}
    box.config["root"]["readonly"] = False
    for destination in destinations:
        if how == "config":
            bind(box, place, destination)
    running(box)
    for destination in destinations:
        if how == "added":
            mounts(box, "add", {"destination": destination, "source": str(place), "options": ["bind"]}).ok()
    (box.rootfs / "go").touch()
    wait_until((box.rootfs / "done").exists, "the attack is over")
    return box


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("of the volume\n")
    return tmp_path


HOW = pytest.mark.parametrize("how", ["config", "added"])


@HOW
@pytest.mark.parametrize("link", ["/proc", "proc", "/proc/self/root/proc"])
def test_a_link_where_the_volume_was_leads_to_no_other_mount(
    how: str, link: str, container: MakeBundle, volume: Path
) -> None:
    """It would uncover /proc/sys: kernel.core_pattern is the whole host's."""
    box = attacked(container, volume, f"mv /data /away; ln -s {link} /data", how, "/data/sys")
    before = mounts_of(box.pid())
    assert "ro" in before["/proc/sys"].options
    one_line(mounts(box, "remove", {"destination": "/data/sys"}), 1, "unmount /data/sys: ", "/mounts/0")
    assert mounts_of(box.pid()) == before


@HOW
def test_a_renamed_directory_brings_another_mount_to_the_place(how: str, container: MakeBundle, volume: Path) -> None:
    """A mask is a mount of ours, too, but not the one that is to go."""
    script = "mv /data /away; mv /hidden /data"
    box = container("sh", "-c", f"until [ -e /go ]; do sleep 0.05; done; {script}; touch /done; sleep 1000")
    box.config["process"]["capabilities"] = {}
    box.config["root"]["readonly"] = False
    for name in ("secret", "folder"):
        (box.rootfs / "hidden" / name).mkdir(parents=True)
        (box.rootfs / "hidden" / name / "file").write_text("visible\n")
    box.config["linux"]["maskedPaths"].append("/hidden/secret")
    bind(box, volume, "/hidden/folder")
    wanted = [
        {"destination": f"/data/{name}", "source": str(volume), "options": ["bind"]} for name in ("secret", "folder")
    ]
    if how == "config":
        box.config["mounts"] += wanted
    running(box)
    if how == "added":
        mounts(box, "add", *wanted).ok()
    (box.rootfs / "go").touch()
    wait_until((box.rootfs / "done").exists, "the attack is over")
    before = mounts_of(box.pid())
    assert "/data/secret" in before and "/away/secret" in before
    for name in ("secret", "folder"):
        one_line(mounts(box, "remove", {"destination": f"/data/{name}"}), 1, f"unmount /data/{name}: ")
    # A place that nothing was mounted on by its name.
    one_line(mounts(box, "remove", {"destination": "/away/secret"}), 1, "unmount /away/secret: ")
    assert mounts_of(box.pid()) == before


@HOW
def test_what_is_put_on_top_is_not_taken_for_the_mount(how: str, container: MakeBundle, volume: Path) -> None:
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    for kind in ("bounding", "effective", "permitted"):
        box.config["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")
    wanted = {"destination": "/data", "source": str(volume), "options": ["bind"]}
    if how == "config":
        box.config["mounts"].append(wanted)
    pid = running(box)
    if how == "added":
        mounts(box, "add", wanted).ok()
    box.exec("mount", "-t", "tmpfs", "theirs", "/data").ok()
    one_line(mounts(box, "remove", wanted), 1, "unmount /data: ")
    box.exec("umount", "/data").ok()
    mounts(box, "remove", wanted).ok()
    assert "/data" not in mounts_of(pid)
    # And once more, now that it is gone.
    one_line(mounts(box, "remove", wanted), 1, "unmount /data: ")


def test_what_lies_on_procfs_and_sysfs_stays(container: MakeBundle) -> None:
    """Masks and read-only paths there are not the config's mounts, and what is does not go either."""
    box = container("sleep", "1000")
    box.config["mounts"].append({"destination": "/sys/firmware", "type": "tmpfs", "source": "tmpfs"})
    pid = running(box)
    before = mounts_of(pid)
    for place in ("/proc/sys", "/proc/keys", "/sys/firmware", "/sys/fs/cgroup"):
        assert place in before, place
        one_line(mounts(box, "remove", {"destination": place}), 1, "/mounts/0")
    assert mounts_of(pid) == before


def test_remove_makes_nothing_and_follows_nothing(container: MakeBundle, volume: Path) -> None:
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    (box.rootfs / "run").mkdir()
    (box.rootfs / "var/run").symlink_to("../run")
    pid = running(box)
    before, files = mounts_of(pid), sorted(box.rootfs.rglob("*"))
    for place in ("/a/b/c", "/var/run/x/y", "/", "/etc/passwd/x"):
        one_line(mounts(box, "remove", {"destination": place}), 1, "/mounts/0")
    assert sorted(box.rootfs.rglob("*")) == files
    # A link of the image that was there as the mount was made: the mount is known by where it led.
    wanted = {"destination": "/var/run/./x", "source": str(volume), "options": ["bind"]}
    mounts(box, "add", wanted).ok()
    assert mounts_of(pid).keys() - before.keys() == {"/run/x"}
    mounts(box, "remove", {"destination": "/var/run/x"}).ok()
    assert mounts_of(pid) == before


def test_the_mounts_that_are_known_are_in_the_state(container: MakeBundle, volume: Path) -> None:
    box = container("sleep", "1000")
    box.config["root"]["readonly"] = False
    pid = running(box)

    def known() -> list[str]:
        state = json.loads((box.place.root / box.id / "state.json").read_text())
        return [mount["destination"] for mount in state["mounts"]]

    made = [mount["destination"] for mount in box.config["mounts"]]
    assert known() == made
    one, bad = {"destination": "/one", "source": str(volume), "options": ["bind"]}, {"destination": "/two", "type": "x"}
    # The second fails; the first stays, and is known.
    one_line(mounts(box, "add", one, bad), 1, "/mounts/1")
    assert "/one" in mounts_of(pid) and known() == [*made, "/one"]
    # As before.
    one_line(mounts(box, "remove", one, {"destination": "/two"}), 1, "/mounts/1")
    assert "/one" not in mounts_of(pid) and known() == made

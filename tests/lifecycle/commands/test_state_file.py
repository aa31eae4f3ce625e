"""state.json: containers of an older pyrunc are started, asked for, killed and deleted by a newer one.

tests/data/state-vN.json is a sample of each format, as it was written by the pyrunc of its time; it stays as it is.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pyrunc.state import state_file
from tests.support import TOP
from tests.support.cgroups import hierarchies
from tests.support.containers import running
from tests.support.workplace import Bundle, MakeBundle, one_line

SAMPLES = sorted((TOP / "tests/data").glob("state-v*.json"))

#: Where the sample's container had its cgroup.
SAMPLE_CGROUP = "/pyrunc-test-sample/sample"


def put_sample(box: Bundle, sample: Path) -> None:
    """Give a container that is there the state file of the sample: only what differs from machine to machine is new."""
    file = box.place.root / box.id / "state.json"
    mine, old = json.loads(file.read_text()), json.loads(sample.read_text())
    for key in ("id", "pid", "start", "bundle", "rootfs", "created"):
        assert key in old
        old[key] = mine[key]
    mounted = {f"name={name}" if name == "systemd" else name for name in hierarchies()}
    old["cgroup"] = {
        name: path.replace(SAMPLE_CGROUP, box.cgroup) for name, path in old["cgroup"].items() if name in mounted
    }
    file.write_text(json.dumps(old))


def remove_what_it_did_not_know(box: Bundle) -> None:
    """Of a hybrid host's cgroup v2 a pyrunc of that time made no use, so its state does not name what ours has made."""
    if "unified" in hierarchies() and box.cgroup_dir("unified").exists():
        box.cgroup_dir("unified").rmdir()


def test_there_is_a_sample_of_each_format() -> None:
    assert [sample.name for sample in SAMPLES] == [
        f"state-v{number}.json" for number in range(1, state_file.FORMAT + 1)
    ]
    for number, sample in enumerate(SAMPLES, 1):
        assert json.loads(sample.read_text())["format"] == number


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_a_container_of_that_time(sample: Path, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.create().ok()
    put_sample(box, sample)
    assert box.status() == "created"
    box.start().ok()
    put_sample(box, sample)
    state = box.state()
    assert state["status"] == "running" and state["annotations"] == {"org.example.note": "a sample"}
    assert state["bundle"] == str(box.path)
    assert json.loads(box.call("list", "-f", "json").ok().stdout)[0]["id"] == box.id
    assert box.exec("echo", "hello").ok().stdout == "hello\n"
    box.call("update", "--pids-limit", "33", box.id).ok()
    assert (box.cgroup_dir("pids") / "pids.max").read_text() == "33\n"
    box.call("pause", box.id).ok()
    assert box.status() == "paused"
    box.call("resume", box.id).ok()
    assert json.loads(box.call("ps", "-f", "json", box.id).ok().stdout) == [state["pid"]]
    box.kill("KILL").ok()
    box.wait_for("stopped")
    assert box.delete().ok().stderr == ""
    remove_what_it_did_not_know(box)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_force_takes_a_running_one_of_that_time(sample: Path, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    running(box)
    put_sample(box, sample)
    assert box.delete("--force").ok().stderr == ""
    remove_what_it_did_not_know(box)


def test_what_is_written_now_has_the_sample_s_keys(bundle: MakeBundle) -> None:
    """Or the format has changed, and wants a new number and a new sample."""
    box = bundle("sleep", "1000")
    box.config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in ("poststart", "poststop")}
    box.create().ok()
    file = box.place.root / box.id / "state.json"
    now: dict[str, Any] = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sample = json.loads(SAMPLES[-1].read_text())
    assert now.keys() >= sample.keys()
    for key, value in sample.items():
        assert type(now[key]) is type(value), key
    assert now["start"] == int(Path(f"/proc/{box.pid()}/stat").read_text().rsplit(") ", 1)[1].split()[19])
    assert not [name for name in os.listdir(file.parent) if name.startswith(".")]
    box.delete().ok()


def test_a_bundle_whose_path_is_not_utf_8(bundle: MakeBundle, tmp_path: Path) -> None:
    """A path is bytes. What was written could once not be read again: the container ran and nothing could end it."""
    box = bundle("sleep", "1000")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    odd.mkdir()
    box.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/told"]}]}
    box.config["root"]["path"] = str(box.rootfs)
    (odd / "config.json").write_bytes(box.save().joinpath("config.json").read_bytes())
    box.call("run", "--detach", "--bundle", odd, box.id).ok()
    assert box.state()["bundle"] == str(odd) and box.status() == "running"
    assert json.loads(box.call("list", "-f", "json").ok().stdout)[0]["bundle"] == str(odd)
    assert box.exec("echo", "hello").ok().stdout == "hello\n"
    box.call("update", "--pids-limit", "33", box.id).ok()
    assert box.delete("--force").ok().stderr == ""
    assert json.loads((tmp_path / "told").read_text())["bundle"] == str(odd)


def test_a_link_in_place_of_a_state_directory(bundle: MakeBundle, tmp_path: Path) -> None:
    """Once `delete --force` emptied the directory that it leads to, /etc for example."""
    box = bundle("sleep", "1000")
    running(box)
    precious = tmp_path / "precious"
    (precious / "below").mkdir(parents=True)
    (precious / "below/file").write_text("kept")
    link = box.place.root / "link"
    link.symlink_to(precious)
    one_line(box.call("state", "link"), 1, "container does not exist")
    box.call("delete", "--force", "link").ok()
    assert (precious / "below/file").read_text() == "kept" and not os.path.lexists(link)
    # Within a state directory too.
    (box.place.root / box.id / "link").symlink_to(precious)
    box.delete("--force").ok()
    assert (precious / "below/file").read_text() == "kept" and not (box.place.root / box.id).exists()


@pytest.mark.parametrize("flags", [(), ("--force",)])
def test_a_directory_that_is_no_container_s(flags: tuple[str, ...], bundle: MakeBundle) -> None:
    """What a wrong --root would lead to is not emptied; what a create that was killed leaves is."""
    box = bundle("true")
    other = box.place.root / "lib"
    (other / "dpkg").mkdir(parents=True)
    (other / "dpkg/status").write_text("kept")
    one_line(box.call("delete", *flags, "lib"), 1, f"{other} is no container's: there is a dpkg in it")
    assert (other / "dpkg/status").read_text() == "kept"
    (other / "dpkg/status").unlink()
    (other / "dpkg").rename(other / "notify")
    for name in ("config.json", "exec.fifo", ".config.json.7", ".state.json.7"):
        (other / name).write_text("{}")
    done = box.call("delete", *flags, "lib")
    assert done.returncode == (0 if flags else 1) and not other.exists(), done

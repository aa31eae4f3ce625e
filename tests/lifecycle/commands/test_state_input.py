"""What lies in a state root is input: whose file it is, of which type, and what is in it.

Everything that is named here, to be killed or removed by mistake, is a decoy of the test's own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import cgroups_below, remove_cgroups
from tests.support.containers import running
from tests.support.processes import has_ended, reap, start_time_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

PATIENCE = 10.0


@pytest.fixture
def decoy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody may end."""
    process = subprocess.Popen(["/bin/sleep", "1000"])
    yield process
    assert process.poll() is None, "the decoy was killed"
    process.kill()
    process.wait()


def file_of(box: Bundle) -> Path:
    return box.place.root / box.id / "state.json"


def commands_of(box: Bundle) -> list[tuple[str, ...]]:
    """All that read it and must not do anything then."""
    return [
        ("state", box.id),
        ("kill", box.id, "KILL"),
        ("start", box.id),
        ("exec", box.id, "true"),
        ("ps", box.id),
        ("pause", box.id),
        ("resume", box.id),
        ("update", "--pids-limit", "33", box.id),
        ("events", "--stats", box.id),
        ("inspect", box.id),
        ("top", box.id),
        ("delete", box.id),
    ]


def refused(box: Bundle, *words: str) -> None:
    """Each command says in one line what is wrong with the file, and `list` has the others."""
    for command in commands_of(box):
        got = box.call(*command, timeout=PATIENCE)
        one_line(got, 255 if command[0] == "exec" else 1, *words)
    other = box.place.bundle("sleep", "1000")
    other.create().ok()
    listed = box.call("list", "-q", timeout=PATIENCE).ok()
    assert listed.stdout == f"{other.id}\n" and listed.stderr.count("\n") == 1
    for word in words:
        assert word in listed.stderr
    other.delete("--force").ok()


# ---- a file of ours that is not what we write ----

WRONG: list[tuple[str, Any]] = [
    ("format", None),
    ("format", 2),
    ("format", True),
    ("ociVersion", 1),
    ("id", "other"),
    ("id", 7),
    ("phase", "running"),
    ("pid", "1"),
    ("pid", -1),
    ("pid", 2**40),
    ("pid", True),
    ("start", 1.5),
    ("start", None),
    ("bundle", ["/"]),
    ("bundle", "/a\0b"),
    ("rootfs", {}),
    ("created", 0),
    ("annotations", []),
    ("annotations", {"a": 1}),
    ("cgroup", {"pids": 1}),
    ("cgroup", {"pids": "relative"}),
    ("cgroup", {"pids": "/sys/fs/cgroup/pids/../../.."}),
    ("cgroup", []),
    ("hooks", {"poststop": [{}]}),
    ("hooks", {"poststop": [{"path": "/bin/true", "args": [1]}]}),
    ("hooks", {"poststop": [{"path": "/bin/true", "timeout": "1"}]}),
    ("hooks", {"poststop": {}}),
    ("systemd", {"unit": 1}),
    ("systemd", "a.scope"),
    ("ownMounts", "yes"),
    ("privatePids", 1),
    ("rootless", None),
    ("intelRdt", {"clos": 1}),
    ("mounts", [{"destination": "/a", "path": "/a", "id": "1", "unique": True, "device": 1, "inode": 1}]),
    ("mounts", {}),
    ("trustAnnotations", "no"),
]


def test_every_value_that_is_none_of_ours(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.create().ok()
    good = json.loads(file_of(box).read_text())
    for name, value in WRONG:
        file_of(box).write_text(json.dumps({**good, name: value}))
        for command in (("state", box.id), ("kill", box.id, "0"), ("delete", box.id)):
            line = one_line(box.call(*command), 1, "state.json")
            assert name in line or name in ("format", "id"), (name, value, line)
    for name in good:
        if name in ("systemd", "ownMounts", "ownPids", "privatePids", "ownKeyring", "rootless", "hasProcess", "mounts"):
            continue  # older ones lack some
        file_of(box).write_text(json.dumps({key: item for key, item in good.items() if key != name}))
        one_line(box.call("state", box.id), 1, "state.json")
    file_of(box).write_text(json.dumps(good))
    assert box.status() == "created"
    box.delete().ok()


def test_numbers_of_the_host_and_of_the_config_may_be_large(container: MakeBundle) -> None:
    """An inode may have all 64 bits (an overlay's, a hash), and a hook's timeout any number of them."""
    box = container("sleep", "1000")
    box.config["hooks"] = {"poststop": [{"path": "/bin/true", "timeout": 1 << 63}]}
    box.create().ok()
    fields = json.loads(file_of(box).read_text())
    mount = {"destination": "/a", "path": "/a", "id": 1, "unique": True, "device": 1, "inode": (1 << 64) - 1}
    file_of(box).write_text(json.dumps({**fields, "mounts": [mount]}))
    assert box.status() == "created"


@pytest.mark.parametrize("text", ["{}", "[]", '{"format":1,"pid":"1","cgroup":{}}', '{"format":1,"pid":1}', "", "\0"])
def test_a_file_that_is_none_of_ours(text: str, bundle: MakeBundle) -> None:
    """An error about that file, `list` has the others, and delete --force takes it away."""
    box = bundle("sleep", "1000")
    folder = box.place.root / box.id
    folder.mkdir(parents=True)
    file_of(box).write_text(text)
    refused(box, "state.json")
    box.delete("--force").ok()
    assert not folder.exists()


def test_delete_force_ends_the_process_that_was_recorded(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    pid = running(box)
    fields = json.loads(file_of(box).read_text())
    file_of(box).write_text(json.dumps({**fields, "bundle": 7}))
    done = box.call("delete", "--force", box.id, timeout=PATIENCE).ok()
    assert has_ended(pid) and not file_of(box).parent.exists()
    # Where its cgroup is cannot be believed.
    assert "malformed: bundle" in done.stderr and "left as they are" in done.stderr
    assert box.cgroup_dir("pids").exists()
    remove_cgroups()


@pytest.mark.parametrize("start", ["another", "none"])
def test_delete_force_ends_no_other(start: str, bundle: MakeBundle, decoy: subprocess.Popen[bytes]) -> None:
    box = bundle("sleep", "1000")
    file_of(box).parent.mkdir(parents=True)
    fields: dict[str, Any] = {"format": 1, "pid": decoy.pid}
    if start == "another":
        fields["start"] = start_time_of(decoy.pid) - 1
    file_of(box).write_text(json.dumps(fields))
    box.delete("--force").ok()
    assert decoy.poll() is None and not file_of(box).parent.exists()


def test_what_else_lies_there_is_not_removed(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    folder = file_of(box).parent
    (folder / "precious").mkdir(parents=True)
    file_of(box).write_text("{}")
    one_line(box.delete("--force"), 1, f"{folder} is no container's: there is a precious in it")
    assert (folder / "precious").exists()
    (folder / "precious").rmdir()


# ---- a file that is not ours alone ----


def make_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


def make_device(file: Path) -> None:
    file.unlink()
    os.mknod(file, 0o600 | 0o020000, os.makedev(1, 5))  # zero


def give_away(file: Path) -> None:
    os.chown(file, 1900, 1900)


def give_the_folder_away(file: Path) -> None:
    os.chown(file.parent, 1900, 1900)


CHANGES = (
    make_link,
    make_fifo,
    make_directory,
    make_device,
    give_away,
    lambda file: file.chmod(0o620),
    lambda file: file.chmod(0o602),
    give_the_folder_away,
    lambda file: file.parent.chmod(0o770),
    lambda file: file.parent.chmod(0o707),
)


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_a_file_that_others_may_have_made(number: int, container: MakeBundle) -> None:
    """Nothing is believed of it, not even for delete --force, and nothing is waited for."""
    box = container("sleep", "1000")
    pid = running(box)
    folder = file_of(box).parent
    text = file_of(box).read_text()
    CHANGES[number](file_of(box))
    refused(box, str(folder))
    one_line(box.call("delete", "--force", box.id, timeout=PATIENCE), 1, str(folder))
    assert not has_ended(pid)
    # As it was.
    os.chown(folder, 0, 0)
    folder.chmod(0o700)
    if number == CHANGES.index(make_directory):
        file_of(box).rmdir()
    else:
        file_of(box).unlink()
    (folder / "elsewhere").unlink(missing_ok=True)
    file_of(box).touch(0o600)
    file_of(box).write_text(text)


# ---- what a file names ----


def test_a_cgroup_that_is_none(bundle: MakeBundle, tmp_path: Path, decoy: subprocess.Popen[bytes]) -> None:
    """A folder with the files of one: it is not read, nobody in it is killed, it is not removed."""
    box = bundle("sleep", "1000")
    pid = running(box)
    fake = tmp_path / "cgroup"
    (fake / "below").mkdir(parents=True)
    (fake / "cgroup.procs").write_text(f"{decoy.pid}\n")
    os.mkfifo(fake / "freezer.state")
    fields = json.loads(file_of(box).read_text())
    text = json.dumps({**fields, "cgroup": dict.fromkeys(fields["cgroup"], str(fake)), "privatePids": False})
    file_of(box).write_text(text)
    for command in (("state", box.id), ("ps", box.id), ("kill", box.id, "KILL"), ("pause", box.id), ("start", box.id)):
        one_line(box.call(*command, timeout=PATIENCE), 1, f"{fake} is no cgroup")
    assert not has_ended(pid)
    done = box.call("delete", "--force", box.id, timeout=PATIENCE).ok()
    assert f"{fake} is no cgroup" in done.stderr
    assert has_ended(pid) and decoy.poll() is None and (fake / "below").is_dir()
    assert cgroups_below(box.cgroup, itself=True) != []
    remove_cgroups()


def test_too_many_open_files_are_no_end_of_a_container(container: MakeBundle) -> None:
    """A process is gone when the kernel says so (ENOENT, ESRCH), and not when we cannot look."""
    box = container("sleep", "1000")
    running(box)
    said = set()
    for limit in range(3, 24):

        def few(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        argv = [str(box.place.runtime), "--root", str(box.place.root), "state", box.id]
        done = subprocess.run(argv, capture_output=True, text=True, preexec_fn=few)
        said.add(json.loads(done.stdout)["status"] if done.returncode == 0 else "an error")
        assert "internal error" not in done.stderr, (limit, done.stderr)
    assert said == {"running", "an error"}


def test_a_state_directory_that_is_deep(bundle: MakeBundle) -> None:
    """A container that has got hold of its notify directory can nest as many as it likes there."""
    box = bundle("sleep", "1000")
    box.create().ok()
    fd = os.open(file_of(box).parent, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("notify", dir_fd=fd)
        below = os.open("notify", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    box.delete("--force").ok()
    assert not file_of(box).parent.exists()


# ---- files that a caller names ----


def test_a_fifo_is_never_waited_for_without_a_limit(container: MakeBundle, workplace: Workplace) -> None:
    box = container("sleep", "1000")
    pid = running(box)
    empty, silent = workplace.path / "empty", workplace.path / "silent"
    os.mkfifo(empty)
    os.mkfifo(silent)
    writer = os.open(silent, os.O_RDWR)
    waiting = {}
    for fifo in (empty, silent):
        for command in (
            ("update", "--resources", fifo, box.id),
            ("exec", "--process", fifo, box.id),
            ("mounts", "add", box.id, fifo),
            ("create", "--bundle", box.path, "--config", fifo, "another"),
        ):
            waiting[command] = workplace.spawn(*command, stderr=subprocess.PIPE)
    for command, process in waiting.items():
        _, errors = process.communicate(timeout=30)
        assert process.returncode in (1, 255), command
        assert errors.count(b"\n") == 1 and b"internal" not in errors, (command, errors)
        assert b"nothing has come from" in errors, (command, errors)
    os.close(writer)
    # Written to, when there is a reader; else an error.
    one_line(workplace.call("state", box.id, flags=("--log", empty), timeout=PATIENCE), 1, f"open log {empty}")
    reader = os.open(empty, os.O_RDONLY | os.O_NONBLOCK)
    one_line(workplace.call("state", "none", flags=("--log", empty), timeout=PATIENCE), 1, "does not exist")
    assert b"does not exist" in os.read(reader, 4096)
    filler = os.open(empty, os.O_WRONLY | os.O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(filler, bytes(4096))
    one_line(workplace.call("state", "none", flags=("--log", empty), timeout=PATIENCE), 1, "does not exist")
    os.close(reader)
    os.close(filler)
    # Replaced.
    workplace.call("exec", "--pid-file", empty, "--detach", box.id, "true", timeout=PATIENCE).ok()
    assert empty.is_file() and empty.read_text().isdigit()
    assert not has_ended(pid)
    wait_until(lambda: has_ended(int(empty.read_text())), "the other process ends")
    reap()  # or the pid namespace could not end


def test_a_fifo_that_is_written_to_in_time_is_read_whole(container: MakeBundle, tmp_path: Path) -> None:
    """As `--process <(generate)` in a shell, slowly."""
    box = container("sleep", "1000")
    running(box)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = json.dumps({**box.config["process"], "args": ["echo", "hello"]})
    script = f"sleep 0.3; printf '%s' '{text[:50]}'; sleep 0.3; printf '%s' '{text[50:]}'"
    writer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; ({script}) >{fifo}"])
    assert box.exec("--process", fifo).ok().stdout == "hello\n"
    assert writer.wait() == 0

"""`why`: what is kept of a container that failed or ended badly, as its files and the command show it."""

import calendar
import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from pyrunc.lifecycle import kernel_log
from tests.support.containers import running
from tests.support.processes import has_ended
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line


def why(box: Bundle, *flags: str) -> str:
    return box.call("why", *flags, box.id).ok().stdout


def events(box: Bundle) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(why(box, "--json"))["events"]
    return found


def last(box: Bundle) -> dict[str, Any]:
    return events(box)[-1]


def folder(place: Workplace) -> Path:
    return place.root / "@why"


def refused(place: Workplace, name: str) -> None:
    """A create of that name that fails for its bundle."""
    place.call("create", "--bundle", place.path, name)


def share_pids(box: Bundle) -> None:
    """No pid namespace of its own: the first process of one takes no signal that it does not handle."""
    namespaces = box.config["linux"]["namespaces"]
    box.config["linux"]["namespaces"] = [entry for entry in namespaces if entry["type"] != "pid"]


def reads_the_log() -> bool:
    """Whether the kernel's log is there, and counts processes as we do."""
    return os.access("/dev/kmsg", os.R_OK) and os.stat("/proc/self/ns/pid").st_ino == 0xEFFFFFFC


# ---- ends ----


@pytest.mark.parametrize("flags", [(), ("--keep",)], ids=["deleted", "kept"])
def test_an_exit_status(flags: tuple[str, ...], bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "exit 3")
    assert box.run(*flags).returncode == 3
    event = last(box)
    assert (event["what"], event["command"], event["exitStatus"]) == ("ended", "run", 3)
    assert event["bundle"] == str(box.path) and "signal" not in event
    text = why(box)
    assert "exit status 3" in text and ("is stopped" if flags else "not there any more") in text
    if flags:
        box.delete().ok()


def test_what_ends_well_is_not_kept(bundle: MakeBundle) -> None:
    """No folder, no file: nothing is written where all goes well."""
    box = bundle("true")
    box.run().ok()
    box.create().ok()
    box.start().ok()
    wait_until(lambda: box.status() == "stopped", "stopped")
    box.delete().ok()
    running_box = bundle("sleep", "100")
    running(running_box)
    running_box.exec("true").ok()
    running_box.delete("--force").ok()
    assert not folder(box.place).exists()
    one_line(box.call("why", box.id), 1, f"nothing is known of a container {box.id}")


def test_a_signal_of_its_own(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "kill -SEGV $$")
    share_pids(box)
    assert box.run().returncode == 128 + signal.SIGSEGV
    event = last(box)
    assert event["signal"] == signal.SIGSEGV and "sender" not in event and "exitStatus" not in event
    assert "killed by signal 11 (SIGSEGV)" in why(box)


def test_who_sent_the_signal(bundle: MakeBundle) -> None:
    """The one that `run` passed on: number, and who by process, user and name."""
    box = bundle("sh", "-c", "echo here; exec sleep 100")
    share_pids(box)
    call = box.place.spawn("run", "--bundle", box.save(), box.id, stdout=subprocess.PIPE)
    assert call.stdout is not None and call.stdout.readline() == b"here\n"
    call.send_signal(signal.SIGUSR1)
    assert call.wait() == 128 + signal.SIGUSR1
    call.stdout.close()
    event = last(box)
    name = Path("/proc/self/comm").read_text().strip()
    assert event["signal"] == signal.SIGUSR1
    assert event["sender"] == {"signal": signal.SIGUSR1, "pid": os.getpid(), "uid": 0, "name": name}
    assert f"by {name}, process {os.getpid()} of user 0, passed on by run" in why(box)


def test_a_detached_one_that_nobody_has_waited_for(bundle: MakeBundle) -> None:
    """While it is there `why` looks itself; `delete` keeps how it ended."""
    box = bundle("sh", "-c", "kill -ABRT $$")
    share_pids(box)
    box.create().ok()
    pid = box.pid()
    box.start().ok()
    wait_until(lambda: has_ended(pid), "ended")
    found = json.loads(why(box, "--json"))
    assert (found["now"]["status"], found["now"]["signal"], found["events"]) == ("stopped", signal.SIGABRT, [])
    box.delete().ok()
    event = last(box)
    assert (event["command"], event["signal"], event["pid"]) == ("delete", signal.SIGABRT, pid)


def test_out_of_memory(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "tail /dev/zero")
    limit = 16 << 20
    box.config["linux"]["resources"]["memory"] = {"limit": limit}
    box.config["process"]["args"] = ["tail", "/dev/zero"]
    assert box.run().returncode == 137
    event = last(box)
    assert event["oom"]["kills"] >= 1 and event["oom"]["limit"] == limit
    assert limit // 2 < event["oom"]["peak"] <= limit
    text = why(box)
    assert "killed by signal 9 (SIGKILL), out of memory" in text
    assert f"limit {limit} bytes" in text and "/linux/resources/memory/limit" in text
    if reads_the_log():
        assert any("Killed process" in line for line in event["kernel"])


def test_delete_keeps_that_memory_ran_out(bundle: MakeBundle) -> None:
    """Also of a child, where the first process has ended well, and is long reaped: the cgroup has counted it."""
    box = bundle("sh", "-c", "tail /dev/zero; exit 0")
    limit = 16 << 20
    box.config["linux"]["resources"]["memory"] = {"limit": limit}
    box.create().ok()
    pid = box.pid()
    box.start().ok()
    wait_until(lambda: has_ended(pid), "ended")
    os.waitpid(pid, 0)
    assert json.loads(why(box, "--json"))["now"]["oom"]["kills"] == 1
    box.delete().ok()
    event = last(box)
    assert event["command"] == "delete" and event["oom"]["kills"] == 1 and event["oom"]["limit"] == limit
    assert "exitStatus" not in event and "signal" not in event
    if reads_the_log():
        (victim,) = event["oom"]["killed"]
        assert (victim["name"], victim["uid"]) == ("tail", 0) and victim["pid"] not in (0, pid)
        assert f"tail, process {victim['pid']} of user 0" in why(box)


def test_when_it_was_started(container: MakeBundle) -> None:
    """Not known before `start`, nor after an `update`, which writes to the same directory."""
    box = container("sleep", "100")
    box.create().ok()
    created = json.loads(why(box, "--json"))["now"]
    assert "started" not in created and created["created"]
    time.sleep(0.05)
    before = time.time()
    box.start().ok()
    started = json.loads(why(box, "--json"))["now"]["started"]
    seconds = calendar.timegm(time.strptime(started[:19], "%Y-%m-%dT%H:%M:%S")) + float(f"0{started[19:-1]}")
    # The kernel's clock for files goes by ticks.
    assert before - 0.02 <= seconds <= time.time()
    assert f"started:  {started[:23]}Z" in why(box)
    box.kill().ok()
    box.wait_for("stopped")
    assert json.loads(why(box, "--json"))["now"]["started"] == started
    box.delete().ok()
    assert last(box)["started"] == started
    box.create().ok()
    box.start().ok()
    box.call("update", "--pids-limit", "50", box.id).ok()
    assert "started" not in json.loads(why(box, "--json"))["now"]


def test_another_process_that_a_signal_ended(container: MakeBundle) -> None:
    """Of `exec`, while the container goes on; a status is its caller's affair."""
    box = container("sleep", "100")
    running(box)
    assert box.call("exec", box.id, "sh", "-c", "exit 3").returncode == 3
    assert json.loads(why(box, "--json"))["events"] == []
    assert box.call("exec", box.id, "sh", "-c", "kill -SEGV $$").returncode == 128 + signal.SIGSEGV
    event = last(box)
    assert (event["what"], event["command"], event["program"]) == ("ended", "exec", "sh")
    assert event["signal"] == signal.SIGSEGV and "sender" not in event
    assert box.call("exec", box.id, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL
    assert [one["signal"] for one in events(box)] == [signal.SIGSEGV, signal.SIGKILL]
    text = why(box)
    assert f"{box.id} is running" in text and "exec of sh: killed by signal 11 (SIGSEGV)" in text


def test_a_number_that_another_process_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the kernel's log only what was said of a process before it had ended, and before the number was another's."""
    log = tmp_path / "kmsg"
    log.write_text("6,1,5000000,-;x[77]: ours\n")
    now = time.monotonic()
    lines = [
        f"6,{at},{int(when * 1e6)},-;x[77]: {what}\n"
        for at, (when, what) in enumerate([(now - 60, "ours"), (now - 5, "later")])
    ]

    def read(descriptor: int, size: int) -> bytes:
        return lines.pop(0).encode() if lines else b""

    kept = list(lines)
    monkeypatch.setattr("pyrunc.lifecycle.kernel_log.posix.open", lambda *args: os.open(log, os.O_RDONLY))
    monkeypatch.setattr("pyrunc.lifecycle.kernel_log.posix.read", read)
    monkeypatch.setattr(kernel_log, "_is_ours", lambda: True)
    start = int((now - 100 + kernel_log._asleep()) * os.sysconf("SC_CLK_TCK"))
    for ended, next_start, found in (
        (float("inf"), float("inf"), 2),
        (time.time() - 50, float("inf"), 1),
        (float("inf"), now - 30, 1),
    ):
        lines[:] = kept
        monkeypatch.setattr(kernel_log, "_next_start", lambda pid, start, moment=next_start: moment)
        assert [line[7:] for line in kernel_log.of_process(77, start, ended)] == ["ours", "later"][:found]


# ---- failures ----


def test_a_create_that_failed(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["mounts"].append({"destination": "/x", "type": "no-such-type", "source": "none"})
    got = box.create()
    assert got.returncode == 1
    event = last(box)
    assert (event["what"], event["command"], event["step"]) == ("failed", "create", "mount")
    assert event["pointer"].startswith(f"/mounts/{len(box.config['mounts']) - 1}")
    assert "no-such-type" in event["message"] and event["bundle"] == str(box.path)
    assert "create failed: " + event["message"] in why(box)


def test_a_config_that_is_refused(bundle: MakeBundle) -> None:
    """Before anything was made; and where the root is not there yet it is made, for its owner alone."""
    box = bundle("true")
    box.config["process"]["cwd"] = "relative"
    assert not box.place.root.exists()
    assert box.run().returncode == 1
    assert last(box)["pointer"] == "/process/cwd"
    assert stat.S_IMODE(box.place.root.stat().st_mode) == 0o700


def test_a_hook_and_what_it_said(bundle: MakeBundle) -> None:
    box = bundle("true")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo first; echo second >&2; exit 4"]}
    box.config["hooks"] = {"createRuntime": [hook]}
    assert box.run().returncode == 1
    event = last(box)
    assert (event["step"], event["pointer"]) == ("hooks", "/hooks/createRuntime/0")
    lines = [line.split() for line in why(box).splitlines()]
    assert ["output:", "first"] in lines and ["output:", "second"] in lines
    assert "createRuntime hook #0: /bin/sh: exit status 4\n" in why(box)


def test_a_program_that_is_not_there(container: MakeBundle) -> None:
    """By start, by run in the foreground as a shell says it, and by exec."""
    box = container("/bin/no-program")
    (box.rootfs / "bin/no-program").write_text("#!/no/interpreter\n")
    (box.rootfs / "bin/no-program").chmod(0o755)
    box.create().ok()
    assert box.start().returncode == 1
    assert (last(box)["command"], last(box)["errno"]) == ("start", 2)
    box.delete().ok()
    assert box.run().returncode == 127
    assert (last(box)["command"], last(box)["pointer"]) == ("run", "/process/args/0")
    box.config["process"]["args"] = ["sleep", "100"]
    running(box)
    assert box.exec("/no/such").returncode == 255
    assert last(box)["command"] == "exec" and "/no/such" in last(box)["message"]


def test_the_same_again_and_again(container: MakeBundle) -> None:
    """A health check that fails every few seconds pushes nothing else out."""
    box = container("sleep", "100")
    running(box)
    for _ in range(3):
        box.exec("/no/such")
    assert [event.get("times") for event in events(box)] == [3]
    assert "(3 times, this is the last)" in why(box)


def test_what_is_not_its_failure(bundle: MakeBundle) -> None:
    """Another create of the name, a container that is not there, and a wrong command line."""
    box = bundle("sleep", "100")
    running(box)
    assert box.create().returncode == 1
    assert box.call("start", "other").returncode == 1
    assert box.call("create", "--nonsense", box.id).returncode == 1
    assert box.call("create", "../../etc").returncode == 1
    box.delete("--force").ok()
    assert not folder(box.place).exists()


def test_a_name_again(container: MakeBundle) -> None:
    """What became of one container is still told when there is another one of its name."""
    box = container("sh", "-c", "exit 3")
    box.run()
    box.config["process"]["args"] = ["sleep", "100"]
    running(box)
    found = json.loads(why(box, "--json"))
    assert found["now"]["status"] == "running" and found["events"][0]["exitStatus"] == 3


# ---- the list, and names ----


def test_all_that_is_kept(bundle: MakeBundle, workplace: Workplace) -> None:
    assert workplace.call("why").ok().stdout.split() == ["ID", "TIME", "WHAT"]
    box = bundle("sh", "-c", "exit 3", name="three")
    box.run()
    refused(workplace, "never")
    lines = workplace.call("why").ok().stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ID", "three", "never"]
    assert lines[1].endswith("exit status 3") and "create failed: " in lines[2]
    found = json.loads(workplace.call("why", "--json").ok().stdout)
    assert [entry["id"] for entry in found] == ["three", "never"]


def test_a_name_that_is_not_known(container: MakeBundle, workplace: Workplace) -> None:
    box = container("sleep", "100", name="webserver")
    running(box)
    refused(workplace, "database")
    one_line(workplace.call("why", "webserwer"), 1, "nothing is known of a container webserwer", "webserver")
    one_line(workplace.call("why", "databaze"), 1, "hint: known are database")
    one_line(workplace.call("why", "../state"), 1, "invalid container ID format")


def test_the_folder_is_no_container(bundle: MakeBundle, workplace: Workplace) -> None:
    refused(workplace, "x")
    assert folder(workplace).is_dir()
    assert workplace.call("list", "--quiet").ok().stdout == ""
    for command in ("delete", "state", "why"):
        one_line(workplace.call(command, "@why"), 1, "invalid container ID format")
    workplace.call("delete", "--force", "--regex", ".*")
    assert (folder(workplace) / "x").exists()


# ---- how it is kept ----


def test_owner_only(workplace: Workplace) -> None:
    before = os.umask(0)
    try:
        refused(workplace, "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder(workplace).stat().st_mode) == 0o700
    assert stat.S_IMODE((folder(workplace) / "x").stat().st_mode) == 0o600
    assert os.listdir(folder(workplace)) == ["x"]


def test_at_most_64(workplace: Workplace) -> None:
    """The oldest go; one that something happens to again is not old."""
    refused(workplace, "first")
    made = json.loads((folder(workplace) / "first").read_text())
    for number in range(63):
        path = folder(workplace) / f"c{number}"
        path.write_text(json.dumps({**made, "id": path.name}))
        path.chmod(0o600)
        os.utime(path, (1000 + number, 1000 + number))
    refused(workplace, "first")
    assert len(os.listdir(folder(workplace))) == 64
    refused(workplace, "second")
    refused(workplace, "third")
    names = set(os.listdir(folder(workplace)))
    assert len(names) == 64
    assert {"first", "second", "third", "c2"} <= names and not {"c0", "c1"} & names
    assert len(json.loads(workplace.call("why", "--json").ok().stdout)) == 64


def test_at_most_16_kib_each(bundle: MakeBundle) -> None:
    """Of 64 at most that is 1 MiB: of one that goes on failing the latest is kept."""
    box = bundle("true")
    hook = {"path": "/bin/sh"}
    box.config["hooks"] = {"createRuntime": [hook]}
    for number in range(8):
        hook["args"] = ["sh", "-c", f"head -c 4000 /dev/zero | tr '\\000' {number}; exit 1"]  # type: ignore[assignment]
        assert box.run().returncode == 1
    path = folder(box.place) / box.id
    assert 12000 < path.stat().st_size <= 16384
    kept = events(box)
    assert 3 <= len(kept) < 8 and "7" * 4000 in kept[-1]["message"]


def test_output_that_is_no_text(bundle: MakeBundle) -> None:
    """In JSON it would be six times as long."""
    box = bundle("true")
    box.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "head -c 9999 /dev/zero; exit 1"]}]
    }
    assert box.run().returncode == 1
    assert last(box)["pointer"] == "/hooks/createRuntime/0"
    assert (folder(box.place) / box.id).stat().st_size <= 16384


def test_at_most_1_mib(workplace: Workplace) -> None:
    """Also of what is in there and is not ours."""
    refused(workplace, "x")
    for number in range(8):
        path = folder(workplace) / f"large{number}"
        path.write_bytes(b"\0" * 200_000)
        os.utime(path, (1000 + number, 1000 + number))
    refused(workplace, "y")
    sizes = {path.name: path.stat().st_size for path in folder(workplace).iterdir()}
    assert sum(sizes.values()) <= 1 << 20 and {"x", "y", "large7"} <= set(sizes)


def test_links_in_the_folder(workplace: Workplace, tmp_path: Path) -> None:
    """They are not followed, neither to be read nor to be written; the write takes their place."""
    refused(workplace, "x")
    secret = tmp_path / "secret"
    secret.write_text((folder(workplace) / "x").read_text().replace('"x"', '"linked"'))
    secret.chmod(0o600)
    before = secret.read_text()
    for name in ("linked", "@new"):
        (folder(workplace) / name).symlink_to(secret)
    one_line(workplace.call("why", "linked"), 1, "nothing is known")
    assert "linked" not in workplace.call("why").ok().stdout
    refused(workplace, "linked")
    assert secret.read_text() == before
    assert not (folder(workplace) / "linked").is_symlink() and "linked" in workplace.call("why").ok().stdout
    assert not os.path.lexists(folder(workplace) / "@new")


@pytest.mark.parametrize("what", ["link", "others", "file"])
def test_a_folder_that_is_not_ours_alone(what: str, workplace: Workplace, tmp_path: Path) -> None:
    """The command's own error stays what it is; nothing is written there, and nothing read."""
    workplace.root.mkdir(mode=0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if what == "link":
        folder(workplace).symlink_to(elsewhere)
    elif what == "file":
        folder(workplace).write_text("")
    else:
        folder(workplace).mkdir()
        folder(workplace).chmod(0o777)
    got = workplace.call("create", "--bundle", tmp_path, "x")
    one_line(got, 1, "create failed: ", "config.json")
    assert list(elsewhere.iterdir()) == []
    assert what == "file" or list(folder(workplace).iterdir()) == []
    one_line(workplace.call("why"), 1, f"open {folder(workplace)}: ")


def test_entries_that_are_not_ours(workplace: Workplace) -> None:
    """No JSON, another format, another container's, a FIFO, somebody else's file: as if they were not there."""
    refused(workplace, "x")
    good = (folder(workplace) / "x").read_text()
    texts = {
        "nojson": "{",
        "array": "[]",
        "format": good.replace('"format":1', '"format":2').replace('"x"', '"format"', 1),
        "other": good,
        "events": '{"format":1,"id":"events","events":[1]}',
        "open": good.replace('"x"', '"open"', 1),
        "theirs": good.replace('"x"', '"theirs"', 1),
    }
    for name, text in texts.items():
        path = folder(workplace) / name
        path.write_text(text)
        path.chmod(0o644 if name == "open" else 0o600)
    os.chown(folder(workplace) / "theirs", 1234, 1234)
    os.mkfifo(folder(workplace) / "fifo", 0o600)
    found = json.loads(workplace.call("why", "--json").ok().stdout)
    assert [entry["id"] for entry in found] == ["x"]
    for name in (*texts, "fifo"):
        one_line(workplace.call("why", name), 1, f"nothing is known of a container {name}")
    refused(workplace, "nojson")
    assert "nojson" in workplace.call("why").ok().stdout


def test_a_full_root(bundle: MakeBundle) -> None:
    """What cannot be kept is not; the error stays what it is."""
    box = bundle("true")
    script = f'mount -t tmpfs -o size=4k,nr_inodes=1 none {box.place.root} && exec "$@"'
    box.place.root.mkdir()
    config = box.save()
    (config / "config.json").write_text("{}")
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(box.place.runtime), "--root", str(box.place.root)]
    got = subprocess.run([*argv, "run", "--bundle", config, box.id], capture_output=True, text=True, check=False)
    one_line(got, 1, "run failed: ")


def test_words_of_an_image(bundle: MakeBundle) -> None:
    """What a container names does not speak to the terminal."""
    box = bundle("/no/\x1b]0;such\x07")
    box.run()
    assert box.id in box.call("why").ok().stdout
    assert "\x1b" not in why(box)
    assert "\x1b" not in box.call("why").stdout

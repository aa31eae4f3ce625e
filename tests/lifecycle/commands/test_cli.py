"""What the commands print and return for a container that is there."""

import json
import re
from pathlib import Path

from tests.support.workplace import MakeBundle

TABLE = r"ID +PID +STATUS +BUNDLE +CREATED +OWNER\n"


def test_state_list_and_ps_of_a_container_s_life(bundle: MakeBundle) -> None:
    box = bundle("sleep", "100")
    box.config["annotations"] = {"org.example.a": "ä <&>"}
    box.create().ok()
    text = box.call("state", box.id).ok().stdout
    assert text.startswith('{\n  "ociVersion": "')
    assert text.endswith("\n}")
    state = json.loads(text)
    assert list(state) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert (state["status"], state["id"], state["owner"]) == ("created", box.id, "")
    assert state["annotations"] == {"org.example.a": "ä <&>"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", state["created"])
    box.start().ok()
    box.wait_for("running")
    pid = state["pid"]

    place = box.place
    assert place.call("list", "-q").ok().stdout == box.id + "\n"
    (listed,) = json.loads(place.call("list", "-f", "json").ok().stdout)
    assert (listed["status"], listed["pid"], listed["owner"]) == ("running", pid, "root")
    assert re.fullmatch(TABLE + rf"{box.id} +{pid} +running +\S+ +\S+ +root\n", place.call("list").ok().stdout)

    assert place.call("ps", "--format", "json", box.id).ok().stdout == f"[{pid}]\n"
    title, line = place.call("ps", box.id).ok().stdout.splitlines()
    assert title.split()[1] == "PID"
    assert line.split()[1] == str(pid)
    title, line = place.call("ps", box.id, "-o", "pid,comm", "-e").ok().stdout.splitlines()
    assert (title.split(), line.split()) == (["PID", "COMMAND"], [str(pid), "sleep"])
    assert "couldn't find PID field" in place.call("ps", box.id, "-o", "comm").stderr
    assert "ps exited with status" in place.call("ps", box.id, "--nonsense").stderr

    box.kill("9").ok()
    box.wait_for("stopped")
    assert box.state()["pid"] == 0
    assert place.call("ps", "-f", "json", box.id).ok().stdout == "null\n"
    got = box.kill("TERM")
    assert (got.returncode, "container not running" in got.stderr) == (1, True)
    box.delete().ok()
    assert place.call("list", "-q").ok().stdout == ""


def test_kernel_memory_is_warned_of_once(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["linux"]["resources"] = {"memory": {"kernel": 1 << 30}}
    words = "ernel memory settings are ignored"
    assert box.run("--detach").ok().stderr.count(words) == 1
    assert box.call("update", "--kernel-memory", "5M", box.id).ok().stderr.count(words) == 1


def test_update_by_flags_by_file_and_by_standard_input(container: MakeBundle, tmp_path: Path) -> None:
    box = container("sleep", "100")
    box.create().ok()
    limit = box.cgroup_dir("memory") / "memory.limit_in_bytes"
    pids = box.cgroup_dir("pids") / "pids.max"
    box.call("update", "--memory", "64m", "--pids-limit=20", box.id).ok()
    assert (limit.read_text(), pids.read_text()) == (f"{64 << 20}\n", "20\n")
    resources = tmp_path / "resources.json"
    resources.write_text('{"memory": {"limit": 33554432}}')
    # With a file the other flags are ignored, as in runc.
    box.call("update", "--resources", resources, "--pids-limit=7", box.id).ok()
    assert (limit.read_text(), pids.read_text()) == (f"{32 << 20}\n", "20\n")
    box.call("update", "--resources=-", box.id, stdin=b'{"pids": {"limit": 9}}').ok()
    assert (limit.read_text(), pids.read_text()) == (f"{32 << 20}\n", "9\n")
    for text in (b"", b"{", b'{"memory": 1}', b'{"memory": {"limit": 1.5}}', b'{"pids": {"limit": 1}} x'):
        got = box.call("update", "-r", "-", box.id, stdin=text)
        assert (got.returncode, got.stderr.count("\n")) == (1, 1)
        assert "internal error" not in got.stderr
        assert ("/memory" in got.stderr) == (b"memory" in text) and ("empty" in got.stderr) == (not text)
    assert box.call("update", "-r", tmp_path / "nothing", box.id).returncode == 1
    assert (limit.read_text(), pids.read_text()) == (f"{32 << 20}\n", "9\n")


def test_engines_spellings(bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "100")
    box.save()
    pid_file, log = tmp_path / "pid", tmp_path / "log.json"
    flags = ("--log", log, "--log-format=json", "-debug=false")
    raw = ("-bundle", box.path, "--pid-file", pid_file, "-no-pivot=false", box.id)
    box.place.call("create", *raw, flags=flags, stdout=box.path / "stdout", stderr=box.path / "stderr").ok()
    assert pid_file.read_text() == str(box.pid())
    box.start().ok()
    for _ in range(2):
        box.place.call("kill", "--all", box.id, "9", flags=flags).ok()
        box.wait_for("stopped")
    got = box.place.call("start", box.id, flags=flags)
    assert (got.returncode, "cannot start a container that has stopped" in got.stderr) == (1, True)
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["msg"] == got.stderr.strip()
    box.delete().ok()


def test_a_program_that_cannot_be_executed(bundle: MakeBundle, tmp_path: Path) -> None:
    """As a shell has it: 127 and 126. With a log, which engines read, it is an error like any other."""
    box = bundle("/bin/lost")
    (box.rootfs / "bin/lost").write_text("#!/no/such/interpreter\n")
    (box.rootfs / "bin/lost").chmod(0o755)
    got = box.run()
    assert got.returncode == 127
    assert got.stderr.startswith(
        "exec /bin/lost: no such file or directory (container c0, config.json /process/args/0): hint: "
    )
    assert got.stderr.count("\n") == 1
    (box.rootfs / "bin/lost").write_bytes(b"\0\1")
    got = box.run()
    assert got.returncode == 126
    assert got.stderr.startswith(
        "exec /bin/lost: exec format error (container c0, config.json /process/args/0): hint: "
    )
    log = tmp_path / "log"
    for flags in (("--log", log), ("--log-format=json",)):
        got = box.place.call("run", "--bundle", box.save(), box.id, flags=flags)
        assert (got.returncode, "run failed: exec /bin/lost: exec format error" in got.stderr) == (1, True)
    assert "run failed: exec /bin/lost: exec format error" in log.read_text()


def test_debug_tells_the_steps_of_both_processes(container: MakeBundle, tmp_path: Path) -> None:
    box = container("sleep", "100")
    log = tmp_path / "log"
    flags = ("--debug", "--log", log, "--log-format", "json")
    create = ("create", "--bundle", box.save(), box.id)
    got = box.place.call(*create, flags=flags, stdout=box.path / "stdout", stderr=box.path / "stderr").ok()
    assert (got.stdout, got.stderr) == ("", "")
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["level"] for line in said} == {"debug"}
    told = [line["msg"] for line in said]
    assert told[0] == "this program is a sealed copy in memory"
    for step in (
        "clone the container process",
        "mount proc on /proc",
        "pivot_root",
        "wait for start, execute sleep 100",
    ):
        assert sum(step in line for line in told) == 1, step
    box.start().ok()
    # On standard error. A process in another's pid namespace holds nothing of the host's, the log neither.
    got = box.place.call("exec", "--tty", box.id, "true", flags=("--debug",)).ok()
    assert 'level=debug msg="enter the joined pid namespace' in got.stderr
    assert "level=debug" not in got.stdout

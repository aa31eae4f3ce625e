"""pyrunc trace: what it measures of both processes, that the command does what it does without, and its formats."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.debug import debug, loaded
from tests.support.namespaces import add_user_namespace
from tests.support.processes import has_ended
from tests.support.workplace import Bundle, MakeBundle, Result, one_line

SLEEP = "/bin/sleep"
#: What a hook sleeps, in the words of sleep(1), and in nanoseconds.
SHORT, SHORT_NS = "0.03", 30_000_000


def trace(box: Bundle, command: str, *args: str | Path, form: str = "json", **how: Any) -> tuple[Result, Any]:
    """Trace a command; how it went, and the trace that it wrote to a file."""
    out = box.path / "trace"
    out.unlink(missing_ok=True)
    got = box.call("trace", "--format", form, "--output", out, command, *args, **how)
    return got, json.loads(out.read_text())


def steps(found: Any, side: str = "") -> list[Any]:
    return [one for one in found["events"] if one["kind"] == "step" and side in ("", one["process"])]


def hook(seconds: str = SHORT) -> dict[str, Any]:
    return {"path": SLEEP, "args": ["sleep", seconds]}


def check(found: Any) -> None:
    """What holds for every trace: times lie in it, slices of a process nest, a wait ends after what it waits for."""
    said = {one["meeting"]: one for one in found["events"] if one["kind"] == "say"}
    assert [one["begin"] for one in found["events"]] == sorted(one["begin"] for one in found["events"])
    around: dict[str, list[Any]] = {"runtime": [], "container": []}
    for one in found["events"]:
        assert one["begin"] >= 0 and one["duration"] >= 0
        assert one["begin"] + one["duration"] <= found["total"]
        stack = around[one["process"]]
        del stack[one["depth"] :]
        assert len(stack) == one["depth"]
        for outer in stack:
            assert one["begin"] + one["duration"] <= outer["begin"] + outer["duration"]
        stack.append(one)
        if one["kind"] == "wait" and one["meeting"] is not None and one["outcome"] == "done":
            assert one["process"] != said[one["meeting"]]["process"]
            assert one["begin"] + one["duration"] >= said[one["meeting"]]["begin"]


def test_a_run_shows_every_step_of_both_processes_once(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "echo out; echo err >&2; cat; exit 3")
    planned = json.loads(box.call("plan", "--json", "--bundle", box.save()).ok().stdout)
    got, found = trace(box, "run", "--bundle", box.path, box.id, stdin=b"in")
    assert (got.returncode, got.stdout, got.stderr) == (3, "outin", "err\n") or got.stdout == "out\nin"
    check(found)
    assert found["command"] == "run" and found["status"] == 3 and found["error"] is None
    assert found["clock"] == "CLOCK_MONOTONIC"
    for side in ("runtime", "container"):
        wanted = [(one["step"], one["pointer"]) for one in planned if one["side"] == side and one["step"] != "meet"]
        assert [(one["step"], one["pointer"]) for one in steps(found, side)] == wanted
        assert all(one["outcome"] in ("done", "seen") for one in steps(found, side))
    clone = next(one for one in steps(found, "runtime") if one["step"] == "clone")
    assert all(one["begin"] > clone["begin"] for one in found["events"] if one["process"] == "container")
    assert [one["does"] for one in found["events"] if one["kind"] == "wait"][-1] == "the program ends"


def test_hooks_are_slices_of_the_process_that_runs_them(bundle: MakeBundle) -> None:
    box = bundle("true")
    (box.rootfs / "usr/bin/sleep").symlink_to("../../bin/busybox")
    sides = {
        "prestart": "runtime",
        "createRuntime": "runtime",
        "createContainer": "container",
        "startContainer": "container",
        "poststart": "runtime",
        "poststop": "runtime",
    }
    box.config["hooks"] = {kind: [hook(), hook()] for kind in sides}
    got, found = trace(box, "run", "--bundle", box.save(), box.id)
    got.ok()
    check(found)
    hooks = [one for one in found["events"] if one["kind"] == "hook"]
    assert [(one["pointer"], one["process"]) for one in hooks] == [
        (f"/hooks/{kind}/{number}", side) for kind, side in sides.items() for number in (0, 1)
    ]
    assert all(one["duration"] >= SHORT_NS for one in hooks)


def test_create_start_and_exec_each_by_themselves(container: MakeBundle) -> None:
    box = container("sleep", "100")
    box.config["hooks"] = {"createRuntime": [hook()], "poststart": [hook()]}
    files: dict[str, Any] = {"stdout": box.path / "stdout", "stderr": box.path / "stderr"}
    got, found = trace(box, "create", "--bundle", box.save(), box.id, **files)
    got.ok()
    check(found)
    assert box.status() == "created"
    assert found["processes"]["container"] == box.pid()
    # What it does in one call of C has its end where the runtime sees that it waits.
    last = steps(found, "container")[-1]
    wait = found["events"][-1] if found["events"][-1]["kind"] == "wait" else found["events"][-2]
    assert last["outcome"] == "seen" and wait["does"] == "the process has nothing left to set up"
    assert last["begin"] + last["duration"] == wait["begin"] + wait["duration"]

    got, found = trace(box, "start", box.id)
    got.ok()
    check(found)
    assert box.status() == "running"
    assert {one["process"] for one in found["events"]} == {"runtime"}
    assert [one["does"] for one in found["events"]] == [
        "let the process go, by exec.fifo",
        "the process is seen to have executed its program",
        "poststart hook " + SLEEP,
    ]

    got, found = trace(box, "exec", box.id, "sh", "-c", "echo hello; exit 5")
    assert (got.returncode, got.stdout) == (5, "hello\n")
    check(found)
    assert {"join namespaces: network, ipc, uts, mount"} <= {one["does"] for one in steps(found, "container")}


def test_a_failing_step_is_the_last_and_has_the_error(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["mounts"].append({"destination": "/x", "type": "nonesuch", "source": "x"})
    place = f"/mounts/{len(box.config['mounts']) - 1}"
    got, found = trace(box, "create", "--bundle", box.save(), box.id)
    one_line(got, 1, "nonesuch", place)
    check(found)
    assert found["error"]["pointer"].startswith(place) and found["error"]["message"] in got.stderr.replace('\\"', '"')
    assert found["status"] is None
    assert [one["outcome"] for one in steps(found, "container")][-2:] == ["done", "failed"]
    assert steps(found, "container")[-1]["pointer"] == place
    undone = [one["step"] for one in found["events"] if one["kind"] == "undo"]
    done = [one["step"] for one in steps(found, "runtime")]
    assert undone == [name for name in reversed(done) if name in undone] and "cgroup" in undone


def test_the_same_line_and_status_as_without(container: MakeBundle) -> None:
    box = container("sleep", "100")
    box.run("--detach").ok()
    bad = box.path / "none"
    for words in (
        ["run", "--bundle", bad, "x"],
        ["exec", box.id, "nothere"],
        ["start", box.id],
        ["create", "-b", bad, "x"],
    ):
        plainly, traced = box.call(*map(str, words)), trace(box, *words)[0]
        assert (traced.returncode, traced.stdout) == (plainly.returncode, plainly.stdout)
        assert re.sub("time=\\S+", "", traced.stderr) == re.sub("time=\\S+", "", plainly.stderr)


def test_what_a_process_that_was_killed_had_measured(bundle: MakeBundle) -> None:
    """The memory is there after its end: the step that it died in is told, as cut off."""
    box = bundle("true")
    box.config["process"]["noNewPrivileges"] = False
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["capset"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    got, found = trace(box, "create", "--bundle", box.save(), box.id)
    one_line(got, 1)
    check(found)
    assert [one["outcome"] for one in steps(found, "container")][-2:] == ["done", "unfinished"]
    assert found["error"]


@pytest.mark.parametrize("user", [False, True], ids=["root", "user-namespace"])
def test_a_time_namespace_does_not_shift_the_times(bundle: MakeBundle, user: bool) -> None:
    if not os.path.exists("/proc/self/ns/time"):
        pytest.skip("no time namespaces in this kernel")
    box = bundle("sh", "-c", "cat /proc/uptime")
    box.config["linux"]["namespaces"].append({"type": "time"})
    box.config["linux"]["timeOffsets"] = {"monotonic": {"secs": 500_000}, "boottime": {"secs": 500_000_000}}
    if user:
        add_user_namespace(box)
    got, found = trace(box, "run", "--bundle", box.save(), box.id)
    assert float(got.ok().stdout.split()[0]) > 500_000_000
    check(found)
    # All of it, and on one line of time: none lies before or after what the runtime saw.
    assert steps(found, "container")[-1]["step"] == "process"
    assert found["total"] < 500_000 * 10**9


def test_nothing_of_it_is_left_in_the_program(bundle: MakeBundle) -> None:
    """Neither the memory nor a descriptor of the trace's file; nor is anything loaded after the clone."""
    box = bundle("sh", "-c", "ls /proc/self/fd; cat /proc/self/maps")
    got, _ = trace(box, "run", "--bundle", box.save(), box.id)
    assert got.ok().stdout.split()[:4] == ["0", "1", "2", "3"]  # 3 is the folder that ls reads
    assert "/dev/zero" not in got.stdout and str(box.path) not in got.stdout
    argv: list[str | Path] = ["--root", box.place.root, "trace", "--output", "/dev/null", "run", "--bundle", box.path]
    events = loaded(debug(box.place.runtime), box.path, *argv, box.id)
    assert [event["imported"] for event in events if event["event"] == "finish"] == [[]]


def test_a_second_clone(container: MakeBundle) -> None:
    """Where the container process is made in two turns, both measure into one trace."""
    box, other = container("sleep", "100"), container("true")
    add_user_namespace(box)
    box.run("--detach").ok()
    namespaces = [{"type": "user", "path": f"/proc/{box.pid()}/ns/user"}, {"type": "mount"}, {"type": "pid"}]
    other.config["linux"]["namespaces"] = namespaces
    other.config.pop("hostname")
    # Of an IPC namespace and a network namespace that it does not own the kernel gives it none.
    other.config["mounts"] = [
        mount for mount in other.config["mounts"] if mount["type"] not in ("mqueue", "sysfs", "cgroup")
    ]
    got, found = trace(other, "run", "--bundle", other.save(), other.id)
    got.ok()
    check(found)
    assert [one["step"] for one in steps(found, "container")].count("clone") == 1
    assert steps(found, "container")[-1]["step"] == "process"


# ---- where it goes ----


def test_the_table(bundle: MakeBundle) -> None:
    """On standard error by default: standard output is the program's. What others wrote does not drive a terminal."""
    box = bundle("echo", "hello")
    box.config["mounts"].append({"destination": "/\x1b[31mred\n", "type": "tmpfs", "source": "tmpfs"})
    got = box.call("trace", "run", "--bundle", box.save(), box.id).ok()
    assert got.stdout == "hello\n"
    assert "\x1b" not in got.stderr and "mount tmpfs on /\\x1b[31mred\\n  [/mounts/" in got.stderr
    head, *lines, last = got.stderr.splitlines()
    assert head.split() == ["at", "ms", "took", "ms", "process", "step"]
    for line in lines:
        assert re.fullmatch(r" *\d+\.\d{3} +\d+\.\d{3}  (runtime  |container) +\S.*", line), line
    assert re.match(r"run: \d+\.\d{3} ms in all; runtime: steps .*; container: steps ", last)
    got = box.call("trace", "--output", "-", "run", "--bundle", box.path, box.id).ok()
    assert got.stderr == "" and got.stdout.startswith("hello\n    at ms   took ms")


def test_a_file_that_cannot_be_written_is_said_before_anything_is_done(bundle: MakeBundle) -> None:
    box = bundle("true")
    target, link = box.path / "target", box.path / "link"
    target.write_text("as it was")
    link.symlink_to(target)
    os.mkfifo(box.path / "fifo")
    for path, words in (
        (link, "a symbolic link is not followed"),
        (box.path / "no/file", "no such file"),
        (box.path / "fifo", "no such device"),  # ENXIO: nobody reads it
    ):
        got = box.call("trace", "--output", path, "create", "--bundle", box.path, box.id)
        one_line(got, 1, str(path), words)
    assert target.read_text() == "as it was"
    assert not box.place.root.exists()


def test_a_trace_that_could_not_be_written_is_a_warning(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "exit 3")
    one_line(box.call("trace", "--output", "/dev/full", "run", "--bundle", box.path, box.id), 3, "no space left")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list"], "cannot trace list"),
        (["trace", "run", "x"], "cannot trace trace"),
        (["run"], "requires exactly 1 argument"),
        (["exec"], "requires at least 1 argument"),
        (["--format", "xml", "run", "x"], "xml"),
        (["create", "--nonesuch", "x"], "nonesuch"),
    ],
)
def test_a_call_that_is_wrong(bundle: MakeBundle, words: list[str], said: str) -> None:
    one_line(bundle("true").call("trace", *words), 1, said)


def test_help_is_that_of_the_command(bundle: MakeBundle) -> None:
    box = bundle("true")
    assert box.call("trace", "run", "--help").ok().stdout == box.call("run", "--help").ok().stdout


# ---- Chrome's format ----


def check_perfetto(found: Any) -> None:
    """The rules of the Trace Event Format: what each kind of event must have, and how events belong together."""
    events = found["traceEvents"]
    named = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    timed = [event for event in events if event["ph"] != "M"]
    assert {event["ph"] for event in timed} <= {"X", "s", "f"}
    assert [event["ts"] for event in timed] == sorted(event["ts"] for event in timed)
    flows: dict[int, dict[str, Any]] = {}
    for event in timed:
        assert event["pid"] in named and event["tid"] == event["pid"]
        assert isinstance(event["name"], str) and event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0 and isinstance(event["args"], dict)
        else:
            assert event["ph"] not in flows.setdefault(event["id"], {})
            flows[event["id"]][event["ph"]] = event
    for ends in flows.values():
        begin, end = ends["s"], ends["f"]
        assert begin["ts"] <= end["ts"] and begin["pid"] != end["pid"] and begin["name"] == end["name"]
        assert end["bp"] == "e"
        for event in (begin, end):  # an arrow is drawn only from and to a slice around it
            assert [
                one
                for one in timed
                if one["ph"] == "X" and one["pid"] == event["pid"]
                if one["ts"] <= event["ts"] <= one["ts"] + one["dur"] + 0.001
            ]


def test_perfetto(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["hooks"] = {"createRuntime": [hook()]}
    got, found = trace(box, "run", "--bundle", box.save(), box.id, form="perfetto")
    got.ok()
    check_perfetto(found)
    events = found["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["pyrunc (the runtime)", "the container process"]
    arrows = {event["name"] for event in events if event["ph"] == "s"}
    assert arrows == {
        "clone",
        "the process is recorded in state.json and its id maps are written",
        "the rootfs and its mounts are made",
        "the runtime's hooks have run",
        "the process is set up",
        "resource limits are set",
    }
    (slept,) = [event for event in events if event.get("cat") == "hook"]
    assert slept["dur"] * 1000 >= SHORT_NS and slept["args"]["config.json"] == "/hooks/createRuntime/0"


def test_perfetto_of_a_failure(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["process"]["args"] = ["/nothere"]
    got, found = trace(box, "create", "--bundle", box.save(), box.id, form="perfetto")
    one_line(got, 1, "/nothere")
    check_perfetto(found)
    assert "/nothere" in found["otherData"]["error"]
    failed = [event for event in found["traceEvents"] if event.get("args", {}).get("outcome") == "failed"]
    assert failed and all(event["cname"] == "terrible" for event in failed)


def test_a_detached_run_and_its_trace_end_with_the_start(container: MakeBundle) -> None:
    box = container("sleep", "100")
    got, found = trace(box, "run", "--detach", "--bundle", box.save(), box.id)
    got.ok()
    check(found)
    assert not has_ended(box.pid())
    assert found["events"][-1]["does"] == "the process is seen to have executed its program"

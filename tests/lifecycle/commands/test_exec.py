"""exec: another process in a container, with the container's everything but what is asked otherwise."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.containers import running, with_descriptors
from tests.support.descriptors import receiver
from tests.support.namespaces import MAPPED, add_user_namespace, namespaces_of, set_namespaces
from tests.support.processes import environment_of, status_of
from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Result, Workplace, one_line


@pytest.fixture
def box(bundle: MakeBundle) -> Iterator[Bundle]:
    """A running container."""
    made = bundle("sleep", "1000")
    running(made)
    yield made
    made.delete("--force").ok()


def detached(box: Bundle, *args: str | Path) -> int:
    """exec --detach; its process."""
    file = box.path / "exec-pid"
    out, err = box.path / "exec-output", box.path / "exec-errors"
    box.exec("--detach", "--pid-file", file, *args, stdout=out, stderr=err).ok()
    return int(file.read_text())


def gone(pid: int) -> None:
    """End an exec'ed process, and wait for it: it is our child."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)


def with_process(box: Bundle, **changes: Any) -> Result:
    """exec --process with the container's process and these changes."""
    file = box.path / "process.json"
    file.write_text(json.dumps({**box.config["process"], **changes}))
    return box.exec("--process", file)


# ---- the process ----


def test_the_status_is_the_process_s(box: Bundle) -> None:
    for status in (0, 3, 126, 127, 255):
        assert box.exec("sh", "-c", f"exit {status}").returncode == status
    # 128 and the signal that ended it.
    assert box.exec("sh", "-c", "kill -KILL $$").returncode == 137
    assert box.exec("sh", "-c", "kill -TERM $$").returncode == 143


def test_streams_are_passed_through(box: Bundle) -> None:
    data = b"x" * 300_000
    got = box.exec("sh", "-c", "wc -c; echo error >&2", stdin=data)
    assert (got.returncode, got.stdout, got.stderr) == (0, f"{len(data)}\n", "error\n")


def test_it_is_in_the_container_s_everything(box: Bundle) -> None:
    pid = detached(box, "sleep", "1000")
    try:
        own, init = namespaces_of(pid), namespaces_of(box.pid())
        assert own == init
        cgroups = [Path(f"/proc/{one}/cgroup").read_text() for one in (pid, box.pid())]
        assert cgroups[0] == cgroups[1] and box.cgroup in cgroups[0]
        assert os.stat(f"/proc/{pid}/root").st_ino == os.stat(f"/proc/{box.pid()}/root").st_ino
        inside = box.exec("ps", "-o", "pid,args").ok().stdout.splitlines()
        assert [line.split()[1:] for line in inside[1:3]] == [["sleep", "1000"], ["sleep", "1000"]]
        assert sorted(json.loads(box.call("ps", "-f", "json", box.id).ok().stdout)) == sorted([pid, box.pid()])
        assert sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"]
        # Its parent is whoever asked for it, so that its status can be read.
        assert int(status_of(pid)["PPid"]) == os.getpid()
    finally:
        gone(pid)


def test_defaults_are_the_container_s_process(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    process = box.config["process"]
    process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27}
    process["cwd"] = "/tmp"
    process["env"] = ["PATH=/bin", "A=1", "B=2"]
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    process["noNewPrivileges"] = True
    running(box)
    pid = detached(box, "sleep", "1000")
    try:
        for key in ("Uid", "Gid", "Groups", "Umask", "NoNewPrivs", "Seccomp"):
            assert status_of(pid)[key] == status_of(box.pid())[key], key
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert status_of(pid)[key] == status_of(box.pid())[key], key
        assert status_of(pid)["Uid"].split() == ["1000"] * 4
        assert os.readlink(f"/proc/{pid}/cwd") == "/tmp"
        assert sorted(environment_of(pid)) == ["A=1", "B=2", "HOME=/home/user", "PATH=/bin"]
        assert Path(f"/proc/{pid}/limits").read_text() == Path(f"/proc/{box.pid()}/limits").read_text()
    finally:
        gone(pid)


def test_env_adds_to_the_container_s(box: Bundle) -> None:
    """crun 1.28, youki 0.7 and runc replaced it once."""
    text = box.exec("--env", "NEW=1", "-e", "TERM=dumb,still", "env").ok().stdout
    lines = text.splitlines()
    assert "NEW=1" in lines and "TERM=dumb,still" in lines
    assert [line for line in lines if line.startswith("PATH=")] == [box.config["process"]["env"][0]]
    assert "HOME=/root" in lines


def test_user_cwd_and_groups(box: Bundle) -> None:
    assert box.exec("--user", "1000", "id", "-u").ok().stdout == "1000\n"
    assert box.exec("--user", "1000", "id", "-g").ok().stdout == "0\n"
    text = box.exec("--user", "1000:1001", "-g", "5", "--additional-gids", "6", "--cwd", "/tmp", "sh", "-c", "id; pwd")
    first, second = text.ok().stdout.splitlines()
    assert first.startswith("uid=1000") and "gid=1001" in first
    assert all(f"{gid}" in first.partition("groups=")[2] for gid in (5, 6))
    assert second == "/tmp"
    assert "HOME=/home/user\n" in box.exec("--user", "1000", "env").ok().stdout


def test_a_user_that_is_no_number(box: Bundle) -> None:
    """crun CVE-2026-30892: parsed wrongly it became root."""
    for user in ("1000x", "root", "-1", "1000:", "1000:x", "4294967295", "1000:1000:1000", " 0", "0x0", "1_0"):
        got = box.exec("--user", user, "id")
        assert got.returncode == 255 and "uid=" not in got.stdout, (user, got)
    # As if it were not given.
    assert box.exec("--user", "", "id").ok().stdout.startswith("uid=0")


def test_capabilities_are_added_but_never_inheritable(box: Bundle) -> None:
    """CVE-2022-29162, CVE-2022-27650."""
    pid = detached(box, "--cap", "CAP_SYS_PTRACE", "--cap", "CAP_NET_RAW", "sleep", "1000")
    try:
        found, init = status_of(pid), status_of(box.pid())
        added = 1 << 19 | 1 << 13
        for key in ("CapPrm", "CapEff", "CapBnd"):
            assert int(found[key], 16) == int(init[key], 16) | added, key
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    finally:
        gone(pid)


def test_a_capability_that_is_none_is_warned_of(box: Bundle) -> None:
    """config.md, "Linux Process": no error, but a warning; a name without CAP_ is easily given."""
    done = box.exec("--cap", "net_admin", "true").ok()
    assert "unknown capability net_admin is ignored" in done.stderr
    assert "warning" not in box.exec("--cap", "CAP_NET_ADMIN", "true").ok().stderr


def test_ambient_only_where_something_is_inheritable(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
    running(box)
    pid = detached(box, "--cap", "CAP_NET_RAW", "sleep", "1000")
    found = status_of(pid)
    gone(pid)
    assert int(found["CapInh"], 16) == 1 << 5
    # Not inheritable, so it cannot be ambient.
    assert int(found["CapAmb"], 16) == 0


def test_no_new_privs(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["process"]["noNewPrivileges"] = False
    running(box)
    assert "NoNewPrivs:\t0\n" in box.exec("cat", "/proc/self/status").ok().stdout
    assert "NoNewPrivs:\t1\n" in box.exec("--no-new-privs", "cat", "/proc/self/status").ok().stdout


def test_a_process_of_its_own(box: Bundle) -> None:
    """--process describes it whole: nothing of the container's is added but HOME."""
    file = box.path / "process.json"
    process = {
        "args": ["sleep", "1000"],
        "cwd": "/bin",
        "env": ["PATH=/bin", "ONLY=this"],
        "user": {"uid": 1000, "gid": 1000, "umask": 0o77},
        "capabilities": {
            kind: ["CAP_KILL"] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        "oomScoreAdj": 321,
        "noNewPrivileges": False,
    }
    file.write_text(json.dumps(process))
    pid = detached(box, "--process", file)
    try:
        found = status_of(pid)
        assert found["Uid"].split() == found["Gid"].split() == ["1000"] * 4
        assert found["Groups"] == "" and found["Umask"] == "0077" and found["NoNewPrivs"] == "0"
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[key], 16) == 1 << 5, key
        assert sorted(environment_of(pid)) == ["HOME=/home/user", "ONLY=this", "PATH=/bin"]
        assert os.readlink(f"/proc/{pid}/cwd") == "/bin"
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "321\n"
        assert "Max core file size        1                    2 " in Path(f"/proc/{pid}/limits").read_text()
    finally:
        gone(pid)


def test_cpu_affinity(box: Bundle) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    got = with_process(box, args=["grep", "Cpus_allowed_list", "/proc/self/status"])
    every = got.ok().stdout.split()[1]
    last = str(cpus[-1])
    args = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    got = with_process(box, args=args, execCPUAffinity={"initial": str(cpus[0]), "final": last})
    assert got.ok().stdout.split()[1] == last
    got = with_process(box, args=args, execCPUAffinity={"initial": last})
    assert got.ok().stdout.split()[1] in (last, every)


def test_seccomp_is_the_container_s(bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    box.config["root"]["readonly"] = False
    for no_new_privs in (True, False):
        box.config["process"]["noNewPrivileges"] = no_new_privs
        running(box)
        got = box.exec("mkdir", "/tmp/x")
        assert got.returncode == 1 and "Operation not supported" in got.stderr
        assert "Seccomp:\t2\n" in box.exec("cat", "/proc/self/status").ok().stdout
        box.delete("--force").ok()


def test_in_a_user_namespace(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    add_user_namespace(box)
    running(box)
    pid = detached(box, "--user", "5:6", "sleep", "1000")
    try:
        assert status_of(pid)["Uid"].split() == [str(MAPPED + 5)] * 4
        assert status_of(pid)["Gid"].split() == [str(MAPPED + 6)] * 4
        assert namespaces_of(pid) == namespaces_of(box.pid())
    finally:
        gone(pid)


@pytest.mark.parametrize("kinds", [("mount",), ("mount", "pid", "cgroup", "time"), ("pid",)], ids="+".join)
def test_with_some_namespaces_only(kinds: tuple[str, ...], container: MakeBundle) -> None:
    """A new cgroup or time namespace is joined, what the container shares with the host is shared by exec too."""
    box = container("sleep", "1000")
    set_namespaces(box, *kinds)
    if "mount" not in kinds:
        for name in ("maskedPaths", "readonlyPaths"):
            del box.config["linux"][name]
        box.config["root"]["readonly"] = False
    running(box)
    pid = detached(box, "sleep", "1000")
    assert namespaces_of(pid) == namespaces_of(box.pid())
    assert os.stat(f"/proc/{pid}/root").st_ino == os.stat(box.rootfs).st_ino
    gone(pid)


def test_in_a_full_cgroup(container: MakeBundle) -> None:
    """A cgroup that has no room for a clone takes a process all the same, so that one can look into it."""
    box = container("sh", "-c", "sleep 1000 & sleep 1000 & wait")
    box.config["linux"]["resources"]["pids"] = {"limit": 3}
    pid = running(box)
    wait_until(lambda: (box.cgroup_dir("pids") / "pids.current").read_text() == "3\n", "it is full")
    got = box.exec("grep", "pids:", "/proc/self/cgroup").ok()
    assert got.stdout.rstrip().endswith(box.cgroup)
    assert box.pid() == pid


# ---- states, errors ----


def test_in_a_created_container(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.create().ok()
    assert box.exec("echo", "hello").ok().stdout == "hello\n"
    assert box.status() == "created"
    box.start().ok()


def test_in_a_stopped_or_missing_container(bundle: MakeBundle) -> None:
    box = bundle("true")
    one_line(box.exec("true"), 255, "exec failed", "container does not exist")
    box.run("--detach").ok()
    box.wait_for("stopped")
    one_line(box.exec("true"), 255, "cannot exec in a stopped container")
    box.delete().ok()


def test_in_a_paused_container(box: Bundle) -> None:
    box.call("pause", box.id).ok()
    one_line(box.exec("true"), 255, "cannot exec in a paused container (use --ignore-paused to override)")
    box.save()
    process = box.place.spawn("exec", "--ignore-paused", box.id, "sh", "-c", "exit 5")
    box.call("resume", box.id).ok()
    assert process.wait() == 5


ERRORS = [
    (("nonsense",), "nonsense", "executable file not found in $PATH"),
    (("/bin/nonsense",), "/bin/nonsense", "no such file or directory"),
    (("/etc/passwd",), "/etc/passwd", "permission denied"),
    (("--cwd", "/nowhere", "true"), "chdir to cwd /nowhere", "no such file or directory"),
    (("--cwd", "tmp", "true"), "tmp", "absolute"),
    (("--preserve-fds", "50", "true"), "file descriptor 3 does not exist", ""),
    (("--process", "/nowhere/process.json"), "/nowhere/process.json", ""),
    (("--tty", "--detach", "true"), "cannot allocate tty if pyrunc will detach without setting console socket", ""),
    (("--console-socket", "/nowhere/socket", "true"), "cannot use console socket if pyrunc will not detach", ""),
    (("--tty", "--detach", "--console-socket", "/nowhere/socket", "true"), "/nowhere/socket", ""),
    (("--pidfd-socket", "/nowhere/socket", "true"), "/nowhere/socket", ""),
    (("--pid-file", "/nowhere/pid", "true"), "/nowhere/pid", ""),
    (("--cgroup", "/nowhere", "true"), "/nowhere", ""),
    (("--cgroup", "/../outside", "true"), "outside", ""),
]

PROCESSES = [
    ("", "process.json"),
    ("{", "process.json"),
    ("[]", "object"),
    ('{"args": ["true"]}', "cwd"),
    ('{"cwd": "/", "args": []}', "args"),
    ('{"cwd": "/", "args": "true"}', "/args"),
    ('{"cwd": "/", "args": ["true"], "rlimits": [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]}', "/rlimits/0"),
    ('{"cwd": "/", "args": ["true"], "user": {"uid": -1, "gid": 0}}', "/user/uid"),
    ('{"cwd": "/", "args": ["tr\\u0000ue"]}', "/args/0"),
]


def test_an_error_is_255_and_one_line(box: Bundle) -> None:
    for args, *words in ERRORS:
        line = one_line(box.exec(*args), 255, "exec failed", *words)
        # What is wrong stands on the command line, not in the bundle.
        assert "config.json" not in line
    assert json.loads(box.call("ps", "-f", "json", box.id).ok().stdout) == [box.pid()]


def test_a_process_that_is_none(box: Bundle) -> None:
    file = box.path / "process.json"
    for text, word in PROCESSES:
        file.write_text(text)
        one_line(box.exec("--process", file), 255, "exec failed", word)


def test_a_program_that_cannot_be_executed(box: Bundle) -> None:
    (box.rootfs / "bin/broken").write_bytes(b"\x7fELF")
    (box.rootfs / "bin/broken").chmod(0o755)
    one_line(box.exec("/bin/broken"), 255, "/bin/broken", "exec format error")


# ---- options ----


def test_detached(box: Bundle) -> None:
    pid = detached(box, "sh", "-c", "echo out; echo err >&2; exit 6")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
    assert (box.path / "exec-output").read_text() == "out\n"
    assert (box.path / "exec-errors").read_text() == "err\n"


def test_the_pidfd_socket(box: Bundle, workplace: Workplace) -> None:
    with receiver(workplace.path / "pidfd") as socket:
        pid = detached(box, "--pidfd-socket", socket.path, "sleep", "1000")
        fd, _ = socket.take()
        assert f"\nPid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{fd}").read_text()
        gone(pid)


def test_descriptors_are_kept_only_when_asked_for(box: Bundle) -> None:
    kept = box.path / "kept"
    with_descriptors(box, f"3>{kept} 4</dev/zero")
    # 3 is ls's own directory.
    assert box.exec("ls", "/proc/self/fd").ok().stdout.split() == ["0", "1", "2", "3"]
    assert box.exec("sh", "-c", "echo leak >&3").returncode != 0
    box.exec("--preserve-fds", "1", "sh", "-c", "echo kept >&3; ls /proc/self/fd >&3").ok()
    assert kept.read_text().split() == ["kept", "0", "1", "2", "3", "4"]


def test_another_cgroup_below_the_container_s(box: Bundle) -> None:
    for controller in ("memory", "pids"):
        (box.cgroup_dir(controller) / "below").mkdir()
    text = box.exec("--cgroup", "memory:below", "cat", "/proc/self/cgroup").ok().stdout
    found = dict(line.split(":")[1:] for line in text.splitlines())
    assert found["memory"] == f"{box.cgroup}/below"
    assert found["pids"] == box.cgroup
    text = box.exec("--cgroup", "memory,pids:/below", "cat", "/proc/self/cgroup").ok().stdout
    found = dict(line.split(":")[1:] for line in text.splitlines())
    assert found["memory"] == found["pids"] == f"{box.cgroup}/below"


def test_signals_are_passed_on(box: Bundle) -> None:
    text = 'trap "echo term; exit 7" TERM; echo ready; while :; do sleep 0.01; done'
    with box.place.spawn("exec", box.id, "sh", "-c", text, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout and process.stdout.readline() == b"ready\n"
            process.terminate()
            assert process.stdout.read() == b"term\n"
            assert process.wait() == 7
        finally:
            process.kill()


def test_a_runtime_in_the_foreground_that_is_killed(box: Bundle) -> None:
    with box.place.spawn("exec", box.id, "sh", "-c", "echo ready; exec sleep 1000", stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"ready\n"
        process.kill()
        process.wait()
    pids = json.loads(box.call("ps", "-f", "json", box.id).ok().stdout)
    pids.remove(box.pid())
    (left,) = pids
    gone(left)


def test_an_engine_s_profile(container: MakeBundle) -> None:
    """With docker's filter and without no_new_privs, as any user."""
    box = container("sleep", "1000")
    box.config["process"]["noNewPrivileges"] = False
    box.config["linux"]["seccomp"] = json.loads((TOP / "tests/data/profiles/docker.json").read_text())
    running(box)
    assert box.exec("--user", "1000:1000", "id", "-u").ok().stdout == "1000\n"


def test_a_container_that_goes_away_meanwhile(box: Bundle) -> None:
    """delete takes the files one by one; an exec that has read the first finds the second gone."""
    config = box.place.root / box.id / "config.json"
    config.rename(box.path / "kept")
    one_line(box.exec("true"), 255, "exec failed: container does not exist")
    (box.path / "kept").rename(config)
    box.exec("true").ok()

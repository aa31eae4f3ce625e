"""An ordinary user with one id, on this host: what the kernel lets only the owner of a process do.

tests/vm/guest/test_rootless.py has a range of ids, cgroups and podman.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.seccomp_agent import Agent, deny
from tests.support.waiting import PATIENCE
from tests.support.workplace import Workplace

#: An id that nobody has.
USER = 1900


class Session:
    """The user's folder: a state root, and the bundle of one container, `c`."""

    def __init__(self, place: Workplace) -> None:
        self.path = place.path / "home"
        self.path.mkdir()
        self.runtime = place.runtime
        self.box = place.bundle("sleep", "1000")
        self.root = self.path / "state"
        for path in (self.path, self.box.path):
            subprocess.run(["chown", "-R", f"{USER}:{USER}", path], check=True)
        self.config: Any = json.loads(self.call("spec", "--rootless", "--bundle", self.path).stdout or "{}") or {}
        self.config = json.loads((self.path / "config.json").read_text())
        self.config["process"].update(terminal=False, args=["sleep", "1000"])
        self.config["root"]["path"] = str(self.box.rootfs)

    def call(self, *args: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
        ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        argv = ["setpriv", *ids, self.runtime, "--root", self.root, *args]
        how.setdefault("stdout", subprocess.PIPE)
        how.setdefault("stderr", subprocess.PIPE)
        return subprocess.run(argv, stdin=subprocess.DEVNULL, text=True, timeout=PATIENCE, check=False, **how)

    def ok(self, *args: str | Path, **how: Any) -> str:
        done = self.call(*args, **how)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return done.stdout or ""

    def create(self) -> int:
        """Its process, which waits for start. Output goes to a file: the process keeps it open."""
        (self.path / "config.json").write_text(json.dumps(self.config))
        with open(self.path / "output", "w") as output:
            done = self.call("create", "--bundle", self.path, "c", stdout=output, stderr=output)
        assert done.returncode == 0, (self.path / "output").read_text()
        return int(json.loads(self.ok("state", "c"))["pid"])

    def output(self) -> str:
        return (self.path / "output").read_text()

    def stopped(self) -> None:
        end = time.monotonic() + PATIENCE
        while json.loads(self.ok("state", "c"))["status"] != "stopped":
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def session(public_place: Workplace) -> Iterator[Session]:
    made = Session(public_place)
    yield made
    made.call("delete", "--force", "c")


def test_exec_in_a_created_container(session: Session) -> None:
    """Whose process is the runtime's own still, with memory that belongs to the first user namespace."""
    pid = session.create()
    assert session.ok("exec", "c", "sh", "-c", "id -u; echo $$").split()[0] == "0"
    assert session.ok("exec", "--user", "0:0", "c", "readlink", "/proc/self/ns/pid").strip() == os.readlink(
        f"/proc/{pid}/ns/pid"
    )
    session.ok("start", "c")
    assert session.ok("exec", "c", "cat", "/proc/1/comm") == "sleep\n"
    session.ok("delete", "--force", "c")


def test_oom_score_adj_and_time_offsets(session: Session) -> None:
    """The runtime writes them: to files that only the owner of a dumpable process owns."""
    session.config["process"]["oomScoreAdj"] = 700
    session.config["linux"]["namespaces"].append({"type": "time"})
    session.config["linux"]["timeOffsets"] = {"monotonic": {"secs": 100000}, "boottime": {"secs": 200000}}
    session.config["process"]["args"] = ["sh", "-c", "cat /proc/self/oom_score_adj; cat /proc/uptime"]
    session.create()
    session.ok("start", "c")
    session.stopped()
    score, uptime = session.output().splitlines()
    assert score == "700" and float(uptime.split()[0]) > 200000
    session.ok("delete", "c")


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_seccomp_agent(session: Session, no_new_privileges: bool) -> None:
    agent = Agent(session.path / "agent", deny)
    agent.path.chmod(0o777)
    try:
        session.config["process"]["noNewPrivileges"] = no_new_privileges
        session.config["process"]["args"] = ["sh", "-c", "mkdir /tmp/x; exec sleep 1000"]
        session.config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": str(agent.path),
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
        }
        pid = session.create()
        assert [state["pid"] for state in agent.states] == [pid]
        done = session.call("exec", "c", "mkdir", "/tmp/y")
        assert done.returncode == 1 and "cross-device link" in done.stderr.lower()
        assert len(agent.states) == 2
        # In the pid namespace it must send the listener itself: not when that would be notified, and waited for.
        config = json.loads((session.root / "c/config.json").read_text())
        config["linux"]["seccomp"]["syscalls"][0]["names"].append("sendmsg")
        (session.root / "c/config.json").write_text(json.dumps(config))
        done = session.call("exec", "c", "true")
        assert (done.returncode == 255 and "sendmsg" in done.stderr) or not no_new_privileges
        session.ok("start", "c")
        session.ok("delete", "--force", "c")
    finally:
        agent.close()


def test_a_pod_of_two(session: Session) -> None:
    """A container that joins the first one's user and pid namespaces: there its process is not dumpable."""
    pid = session.create()
    session.ok("start", "c")
    config = json.loads(json.dumps(session.config))
    paths = {"user": "user", "pid": "pid", "ipc": "ipc", "uts": "uts"}
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in paths:
            entry["path"] = f"/proc/{pid}/ns/{paths[entry['type']]}"
    config.pop("hostname", None)
    config["linux"].pop("uidMappings"), config["linux"].pop("gidMappings")
    config["mounts"] = [one for one in config["mounts"] if one["type"] != "mqueue"]
    config["process"]["args"] = ["sh", "-c", "readlink /proc/self/ns/pid; grep CapPrm /proc/self/status"]
    other = session.path / "other"
    other.mkdir(mode=0o755)
    os.chown(other, USER, USER)
    (other / "config.json").write_text(json.dumps(config))
    got = session.ok("run", "--bundle", other, "d").split()
    assert got[0] == os.readlink(f"/proc/{pid}/ns/pid")
    session.ok("delete", "--force", "c")


def test_inspect(session: Session) -> None:
    """No capability over the process is needed, but the kernel does not give its filter."""
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}
    session.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    session.config["linux"]["sysctl"] = {"kernel.msgmax": "9000"}
    session.create()
    found = json.loads(session.ok("inspect", "--json", "--syscall=mkdir", "c"))
    # /sys is a recursive bind, which brings the host's /sys/fs/cgroup along, below the container's own.
    assert [row for row in found["properties"] if row["differs"]] == []
    values = {row["name"]: row["effective"] for row in found["properties"]}
    assert (values["uid"], values["uidMappings"], values["kernel.msgmax"]) == (0, [f"0 {USER} 1"], "9000")
    (call,) = found["syscalls"]
    assert (call["source"], call["verdicts"][0]["error"]) == ("config.json", "EACCES")
    assert json.loads(session.ok("top", "--json", "--interval=1ms"))[0]["id"] == "c"

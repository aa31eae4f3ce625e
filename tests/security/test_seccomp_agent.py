"""SCMP_ACT_NOTIFY with a real agent: the runtime sends it the listener, and it answers system calls of the container.

config-linux.md, "Seccomp" and "The Container Process State"; seccomp_unotify(2).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest
import seccomp as bindings

from tests.support.processes import reap
from tests.support.seccomp_agent import Agent, deny, notify
from tests.support.workplace import Bundle, MakeBundle, Workplace


def number(name: str) -> int:
    found: int = bindings.resolve_syscall(bindings.Arch.NATIVE, name)
    return found


@pytest.fixture
def agent(workplace: Workplace) -> Iterator[Agent]:
    made = Agent(workplace.path / "agent", deny)
    yield made
    made.close()


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_agent_gets_the_state_and_decides_the_calls(
    bundle: MakeBundle, agent: Agent, no_new_privileges: bool
) -> None:
    box = notify(bundle("sh", "-c", "mkdir /tmp/x; echo $?"), agent.path, listenerMetadata="free text, ünicode")
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    box.config["annotations"] = {"a.key": "a value"}
    box.create().ok()
    # It came with the create: the agent is there before the program is.
    (state,) = agent.states
    pid = box.pid()
    assert state == {
        "ociVersion": "1.3.0",
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": "free text, ünicode",
        "state": state["state"],
    }
    inner = state["state"]
    assert {key: inner[key] for key in ("ociVersion", "id", "status", "pid", "bundle", "annotations")} == {
        "ociVersion": "1.3.0",
        "id": box.id,
        "status": "creating",
        "pid": pid,
        "bundle": str(box.path),
        "annotations": {"a.key": "a value"},
    }
    # One descriptor, in the first message, and nothing after.
    assert agent.descriptors[0][0] == 1 and sum(agent.descriptors[0]) == 1
    assert agent.seen == []
    box.start().ok()
    box.wait_for("stopped")
    assert "cross-device link" in box.errors().lower()
    assert box.output() == "1\n"
    assert {seen.nr for seen in agent.seen} <= {number("mkdir"), number("mkdirat")} and agent.seen
    assert not (box.rootfs / "tmp/x").exists()
    box.delete().ok()


def test_the_agent_may_let_it_happen_or_answer_itself(bundle: MakeBundle, agent: Agent) -> None:
    agent.decide = lambda seen: (4242, 0) if seen.nr == number("getppid") else None
    box = notify(bundle("sh", "-c", "mkdir /tmp/x && echo $PPID"), agent.path, "mkdir", "mkdirat", "getppid")
    box.config["root"]["readonly"] = False
    assert box.run().ok().stdout == "4242\n"
    assert (box.rootfs / "tmp/x").is_dir()


def test_exec_connects_again(container: MakeBundle, agent: Agent) -> None:
    box = notify(container("sleep", "1000"), agent.path)
    box.create().ok()
    box.start().ok()
    done = box.exec("mkdir", "/tmp/x")
    assert done.returncode == 1 and "cross-device link" in done.stderr.lower()
    pid_file = box.path / "pid"
    box.exec("--detach", "--pid-file", pid_file, "sleep", "1000").ok()
    first, second, third = agent.states
    pid = int(pid_file.read_text())
    assert third["pid"] == pid != first["pid"]
    # The process is the exec's, the state the container's.
    assert (third["state"]["status"], third["state"]["pid"]) == ("running", box.pid())
    assert third["fds"] == second["fds"] == ["seccompFd"]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_below_a_user_namespace_and_with_a_joined_pid_namespace(container: MakeBundle, agent: Agent) -> None:
    first = container("sleep", "1000")
    first.create().ok()
    box = notify(container("mkdir", "/tmp/x"), agent.path)
    for entry in box.config["linux"]["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{first.pid()}/ns/pid"
    assert "cross-device link" in box.run().stderr.lower()
    # The filter is loaded before the process is cloned that it is told of.
    box.config["process"]["noNewPrivileges"] = False
    box.create().ok()
    assert agent.states[-1]["pid"] == agent.states[-1]["state"]["pid"] == box.pid()
    box.delete("--force").ok()
    reap()
    box = notify(container("mkdir", "/tmp/x"), agent.path)
    box.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        box.config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    assert "cross-device link" in box.run().stderr.lower()


def test_the_program_s_own_execve(bundle: MakeBundle, agent: Agent) -> None:
    """Under the filter the runtime still makes execve: the agent is asked for it."""
    agent.decide = lambda _: None
    box = notify(bundle("true"), agent.path, "execve")
    box.run().ok()
    assert [seen.nr for seen in agent.seen] == [number("execve")]
    agent.decide = deny
    done = box.run()
    assert done.returncode == 126 and "cross-device link" in done.stderr


def test_flags_for_the_listener(bundle: MakeBundle, agent: Agent) -> None:
    box = notify(bundle("mkdir", "/tmp/x"), agent.path, flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])
    assert "cross-device link" in box.run().stderr.lower()


def test_many_bytes_of_metadata(bundle: MakeBundle, agent: Agent) -> None:
    text = "x" * 3_000_000
    box = notify(bundle("true"), agent.path, listenerMetadata=text)
    box.run().ok()
    assert agent.states[0]["metadata"] == text
    assert agent.descriptors[0][0] == 1 and sum(agent.descriptors[0]) == 1


def test_without_the_action_the_path_is_ignored(bundle: MakeBundle, agent: Agent) -> None:
    box = notify(bundle("mkdir", "/tmp/x"), agent.path)
    box.config["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ERRNO"
    assert box.run().returncode == 1
    assert agent.states == []


# ---- what is refused ----


def refused(box: Bundle, *words: str) -> None:
    for command in (box.create, box.run):
        done = command()
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1, done.stderr
        for word in words:
            assert word in done.stderr, done.stderr


def test_nobody_listens(bundle: MakeBundle, workplace: Workplace) -> None:
    where = workplace.path / "nobody"
    box = notify(bundle(), where)
    refused(box, f"failed to connect with seccomp agent at {where}", "/linux/seccomp/listenerPath")
    where.touch()
    refused(box, "connection refused", "/linux/seccomp/listenerPath")
    refused(notify(bundle(), "/" + "x" * 200), "/linux/seccomp/listenerPath")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(workplace.path / "datagrams"))
        refused(notify(bundle(), workplace.path / "datagrams"), "/linux/seccomp/listenerPath")


def test_an_exec_that_the_agent_is_not_there_for(container: MakeBundle, workplace: Workplace) -> None:
    agent = Agent(workplace.path / "agent", deny)
    box = notify(container("sleep", "1000"), agent.path)
    box.create().ok()
    box.start().ok()
    agent.close()
    done = box.exec("true")
    assert (done.returncode, done.stderr.count("\n")) == (255, 1)
    assert "failed to connect with seccomp agent" in done.stderr
    assert box.status() == "running"


def test_metadata_without_a_path(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}
    refused(box, "listenerMetadata is set, but listenerPath is not", "/linux/seccomp/listenerMetadata")


def test_the_action_without_a_path(bundle: MakeBundle) -> None:
    box = notify(bundle(), "/x")
    del box.config["linux"]["seccomp"]["listenerPath"]
    refused(box, "listenerPath is not set", "/linux/seccomp/syscalls/0/action")


def test_calls_that_the_runtime_still_needs(bundle: MakeBundle, agent: Agent) -> None:
    refused(notify(bundle(), agent.path, "mkdir", "write"), "SCMP_ACT_NOTIFY cannot be used for the write syscall")
    box = notify(bundle(), agent.path)
    box.config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_NOTIFY"
    refused(box, "SCMP_ACT_NOTIFY cannot be used as default action", "/linux/seccomp/defaultAction")
    assert agent.states == []


@pytest.mark.parametrize("name", ["read", "close", "capset", "prctl", "exit_group", "close_range", "rt_sigaction"])
def test_other_calls_near_execve_end_in_a_program_or_an_error_and_never_hang(
    bundle: MakeBundle, agent: Agent, name: str
) -> None:
    agent.decide = lambda _: None
    box = notify(bundle("true"), agent.path, name)
    done = box.create(timeout=20)
    if done.returncode == 0:
        box.start().ok()
        box.wait_for("stopped")
        box.delete().ok()
    else:
        assert done.stderr.count("\n") == 1

"""Sockets whose paths are longer than an address of unix(7) has room for. The manager's: test_notify_socket.py."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import receiver
from tests.support.processes import reap
from tests.support.seccomp_agent import Agent, deny, notify
from tests.support.waiting import wait_until
from tests.support.workplace import MakeBundle, Workplace


@pytest.fixture(params=["folder", "name"])
def long(request: pytest.FixtureRequest, workplace: Workplace) -> Iterator[Path]:
    """By its folders, or by its name alone."""
    if request.param == "name":
        yield workplace.path / ("n" * 105)
        return
    folder = workplace.path / ("d" * 150) / ("e" * 150)
    folder.mkdir(parents=True)
    yield folder / "socket"


def test_console_and_pidfd_sockets(long: Path, container: MakeBundle) -> None:
    box = container("sleep", "1000")
    box.config["process"]["terminal"] = True
    second = long.with_name("p" * 105)
    with receiver(long) as console, receiver(second) as pidfd:
        box.create("--console-socket", long, "--pidfd-socket", second).ok()
        assert os.isatty(console.take()[0])
        assert "anon_inode:[pidfd]" in os.readlink(f"/proc/self/fd/{pidfd.take()[0]}")
        box.start().ok()
        box.exec("--detach", "--tty", "--console-socket", long, "--pidfd-socket", second, "true").ok()
        assert os.isatty(console.take()[0])
        pidfd.take()
    wait_until(lambda: len((box.cgroup_dir("pids") / "cgroup.procs").read_text().split()) == 1, "exec's has ended")
    reap()


def test_the_agent_of_a_listener(long: Path, bundle: MakeBundle) -> None:
    agent = Agent(long, deny)
    box = notify(bundle("mkdir", "/tmp/x"), long)
    assert box.run().returncode == 1
    agent.close()
    assert len(agent.states) == 1

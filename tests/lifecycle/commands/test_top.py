"""top: what containers use over an interval, printed once, or refreshed on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line


def rows(place: Workplace, *flags: str) -> list[dict[str, Any]]:
    got = place.call("top", "--json", *flags).ok()
    assert got.stderr == ""
    found: list[dict[str, Any]] = json.loads(got.stdout)
    return found


def busy(bundle: MakeBundle) -> Bundle:
    """It uses a tenth of a CPU, since it may not more."""
    box = bundle("sh", "-c", "while :; do :; done", name="busy")
    box.config["linux"]["resources"] |= {
        "cpu": {"quota": 1000, "period": 10000},
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 30},
    }
    running(box)
    return box


def idle(bundle: MakeBundle) -> Bundle:
    box = bundle("sleep", "1000", name="idle")
    running(box)
    return box


def test_numbers_over_an_interval(bundle: MakeBundle) -> None:
    one, other = busy(bundle), idle(bundle)
    # Somebody else may have the CPU for a while.
    wait_until(lambda: rows(one.place, "busy")[0]["throttled"] > 0, "it is throttled")
    wait_until(lambda: rows(one.place, "busy")[0]["cpu"] > 0, "it has the CPU")
    first, second = rows(one.place, "--interval", "500ms")
    assert (first["id"], second["id"]) == ("busy", "idle")
    assert first["cpu"] < 100
    assert (second["cpu"], second["throttled"]) == (0, None)
    assert (first["memoryLimit"], first["pids"], first["pidsLimit"]) == (64 << 20, 1, 30)
    assert (second["memoryLimit"], second["pidsLimit"]) == (None, None)
    assert 0 < first["memory"] < 64 << 20
    assert [row["id"] for row in rows(one.place, "--sort", "name", "--interval=1ms")] == ["busy", "idle"]
    assert [row["id"] for row in rows(one.place, "--interval=1ms", "idle")] == ["idle"]
    for box in (one, other):
        box.delete("--force").ok()


@pytest.fixture
def on_a_disk() -> Iterator[Path]:
    """A folder on a block device. /tmp is in memory on Debian 13, and all of a tree of tests/hosts is."""
    with tempfile.TemporaryDirectory(prefix="pyrunc-test-", dir="/var/tmp") as folder:
        if os.major(os.stat(folder).st_dev) == 0:
            pytest.skip("/var/tmp is on no block device")
        yield Path(folder)


def test_bytes_that_are_written(container: MakeBundle, on_a_disk: Path) -> None:
    """Counted only where the host's block devices are: then it is what the cgroup's own files say."""
    box = container("sh", "-c", "while :; do dd if=/dev/zero of=/disk/file bs=1M count=4 conv=fsync 2>/dev/null; done")
    box.config["mounts"].append({"destination": "/disk", "source": str(on_a_disk), "options": ["bind"]})
    running(box)
    file = box.cgroup_dir("blkio") / "blkio.throttle.io_service_bytes_recursive"

    def written() -> bool:
        return any(int(size) > 0 for size in re.findall(r" Write (\d+)", file.read_text()))

    if not file.exists():
        box.delete("--force").ok()
        pytest.skip("no blkio.throttle files")
    wait_until(written, "something is written")
    wait_until(lambda: rows(box.place)[0]["written"] > 0, "it is told")


def test_the_states_of_containers(bundle: MakeBundle) -> None:
    waiting, paused, ended = bundle("true"), bundle("sleep", "1000"), bundle("true")
    waiting.create().ok()
    running(paused)
    paused.call("pause", paused.id).ok()
    running(ended)
    ended.wait_for("stopped")
    found = {row["id"]: row["status"] for row in rows(waiting.place, "--interval=1ms")}
    assert found == {waiting.id: "created", paused.id: "paused"}
    text = waiting.place.call("top", "--once", "--interval=1ms", "--sort=name").ok().stdout.splitlines()
    assert text[0].split()[:4] == ["ID", "STATUS", "CPU%", "THR%"]
    assert [line.split()[:2] for line in text[1:]] == [[waiting.id, "created"], [paused.id, "paused"]]
    for box in (waiting, paused, ended):
        box.delete("--force").ok()


def test_no_terminal_is_once(bundle: MakeBundle) -> None:
    box = idle(bundle)
    got = box.place.call("top", "--interval=1ms").ok()
    assert got.stdout.count("\n") == 2
    assert "\x1b" not in got.stdout
    box.delete("--force").ok()
    assert box.place.call("top").ok().stdout.count("\n") == 1
    assert rows(box.place) == []


def test_what_cannot_be_shown(workplace: Workplace) -> None:
    one_line(workplace.call("top", "nobody"), 1, "container does not exist")
    one_line(workplace.call("top", "--sort=size"), 1, "invalid order: size", "hint: cpu, memory")
    one_line(workplace.call("top", "--interval=0s"), 1, "interval must be greater than 0")


class Terminal:
    """A pseudoterminal with top on it."""

    def __init__(self, place: Workplace, term: str, *flags: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 120)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        environment = {**os.environ, "TERM": term}
        self.process = place.spawn("top", *flags, stdin=slave, stdout=slave, stderr=slave, env=environment)
        self.text = ""

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def await_(self, pattern: str) -> str:
        """Read on until it comes; what had come until then is forgotten."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, self.text
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
        shown, self.text = self.text, self.text[found.end() :]
        return shown

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ends(self) -> int:
        """Its status; the terminal is as it was."""
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode


@contextmanager
def terminal(place: Workplace, term: str, *flags: str) -> Iterator[Terminal]:
    made = Terminal(place, term, *flags)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.slave)
        os.close(made.master)


def test_a_terminal_is_refreshed(bundle: MakeBundle) -> None:
    one = busy(bundle)
    with terminal(one.place, "xterm", "--interval=100ms") as screen:
        screen.await_("order: cpu")
        screen.await_("busy")
        # One that comes, and one that goes.
        other = idle(bundle)
        screen.await_("idle")
        other.delete("--force").ok()
        screen.press("m")
        screen.await_("memory")
        screen.press("r")
        screen.await_("reversed")
        # Narrow, and too low for the table; then as it was.
        screen.resize(2, 12)
        screen.process.send_signal(signal.SIGWINCH)
        screen.await_("containers:")
        screen.resize(24, 120)
        screen.process.send_signal(signal.SIGWINCH)
        screen.await_("busy")
        one.delete("--force").ok()
        screen.press("q")
        assert screen.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_before(number: signal.Signals, container: MakeBundle) -> None:
    box = idle(container)
    with terminal(box.place, "xterm", "--interval=1h") as screen:
        screen.await_("idle")
        screen.process.send_signal(number)
        assert screen.ends() == 0


@pytest.mark.parametrize("term", ["dumb", "no-such-terminal", ""])
def test_a_terminal_that_cannot_be_drawn_on_is_once(term: str, container: MakeBundle) -> None:
    box = idle(container)
    with terminal(box.place, term, "--interval=1ms") as screen:
        screen.await_("idle  running")
        assert screen.ends() == 0
    assert "order:" not in screen.text


def test_a_terminal_that_goes_away_ends_it(container: MakeBundle) -> None:
    box = idle(container)
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    process: subprocess.Popen[bytes] = box.place.spawn(
        "top", "--interval=1h", stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    assert select.select([master], [], [], PATIENCE)[0]
    os.close(master)
    assert process.wait(PATIENCE) in (0, 1)

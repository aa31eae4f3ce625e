"""Terminals: by --console-socket, and a foreground run or exec on the caller's own."""

import os
import pty
import re
import select
import signal
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.containers import running
from tests.support.descriptors import receiver
from tests.support.namespaces import MAPPED, add_user_namespace
from tests.support.processes import reap
from tests.support.terminals import read_all, set_size, size_of
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle, Workplace, one_line

# ---- by a socket ----

LOOK = (
    "tty; test -t 0 -a -t 1 -a -t 2 && echo all; readlink /proc/self/fd/0; echo x >/dev/tty; stat -c %t:%T /dev/console"
)


def test_a_created_container_s_terminal(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sh", "-c", LOOK)
    box.config["process"]["terminal"] = True
    box.config["process"]["consoleSize"] = {"height": 33, "width": 44}
    with receiver(workplace.path / "console") as socket:
        box.create("--console-socket", socket.path).ok()
        master, name = socket.take()
        assert name == b"/dev/ptmx"
        assert size_of(master) == (33, 44)
        # Its devpts is the container's own.
        assert os.readlink(f"/proc/{box.pid()}/fd/0") == "/dev/pts/0"
        box.start().ok()
        lines = read_all(master).decode().split("\r\n")
        assert lines == ["/dev/pts/0", "all", "/dev/pts/0", "x", "88:0", ""]
    box.wait_for("stopped")
    box.delete().ok()


@pytest.mark.parametrize("user", [False, True])
def test_the_terminal_is_the_user_s(user: bool, bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sh", "-c", "cat /dev/stdin >/dev/stdout")
    box.config["process"]["terminal"] = True
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    if user:
        add_user_namespace(box)
    with receiver(workplace.path / "console") as socket:
        box.run("--detach", "--console-socket", socket.path).ok()
        master, _ = socket.take()
        found = os.stat(f"/proc/{box.pid()}/root/dev/pts/0")
        assert found.st_uid == (MAPPED if user else 0) + 1000
        os.write(master, b"hello\n")
        assert b"hello\r\nhello\r\n" in read_all(master, b"hello\r\nhello\r\n")
        os.write(master, b"\x04")  # the end of its input
        box.wait_for("stopped")
    box.delete().ok()


def test_it_is_the_controlling_terminal(container: MakeBundle, workplace: Workplace) -> None:
    """An interrupt typed goes to the process; its hang-up ends it."""
    box = container("sh", "-c", "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.05; done")
    box.config["process"]["terminal"] = True
    with receiver(workplace.path / "console") as socket:
        box.run("--detach", "--console-socket", socket.path).ok()
        master, _ = socket.take()
        read_all(master, b"ready")
        os.write(master, b"\x03")
        assert b"interrupted" in read_all(master, b"interrupted")
        fields = Path(f"/proc/{box.pid()}/stat").read_text().rsplit(") ", 1)[1].split()
        assert fields[4] != "0"  # tty_nr


def test_an_exec_s_terminal(container: MakeBundle, workplace: Workplace) -> None:
    box = container("sleep", "1000")
    running(box)
    with receiver(workplace.path / "console") as socket:
        box.exec(
            "--detach", "--tty", "--console-socket", socket.path, "sh", "-c", "tty; test -t 2 && echo x >/dev/tty"
        ).ok()
        master, name = socket.take()
        assert name == b"/dev/ptmx"
        assert read_all(master) == b"/dev/pts/0\r\nx\r\n"
    wait_until(lambda: _commands(box) == {"sleep"}, "it has ended")
    reap()


def test_without_a_terminal_there_is_no_console(bundle: MakeBundle) -> None:
    box = bundle("ls", "/dev/console")
    box.config["process"]["consoleSize"] = {"height": 33, "width": 44}
    assert box.run().returncode != 0


def test_terminals_that_cannot_be(bundle: MakeBundle, workplace: Workplace) -> None:
    box = bundle("sleep", "1000")
    with receiver(workplace.path / "console") as socket:
        one_line(box.create("--console-socket", socket.path), 1, "cannot use console socket if pyrunc will not detach")
        one_line(box.run("--console-socket", socket.path), 1, "cannot use console socket if pyrunc will not detach")
        box.config["process"]["terminal"] = True
        for got in (box.create(), box.run("--detach")):
            one_line(got, 1, "cannot allocate tty if pyrunc will detach without setting console socket")
        one_line(box.run("--console-socket", socket.path), 1, "cannot use console socket if pyrunc will not detach")
    for path in (workplace.path / "nowhere", box.path / "config.json"):
        one_line(box.create("--console-socket", path), 1, str(path))
    long = workplace.path / ("x" * 200)
    one_line(box.create("--console-socket", long), 1, f"connect to socket {long}: no such file or directory")
    long.touch()
    one_line(box.create("--console-socket", long), 1, f"connect to socket {long}: connection refused")
    # Without a devpts there is nothing to take it from.
    box.config["mounts"] = [mount for mount in box.config["mounts"] if mount["type"] != "devpts"]
    with receiver(workplace.path / "console2") as socket:
        one_line(box.create("--console-socket", socket.path), 1, "/dev/pts", "/process/terminal")


# ---- in the foreground ----


class OnTerminal:
    """The runtime on a terminal of ours."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.master = master
        #: The runtime's own terminal, held open here so that its settings can be looked at.
        self.slave = slave

    def until(self, text: bytes) -> bytes:
        data = b""
        while text not in data:
            assert select.select([self.master], [], [], PATIENCE)[0], data
            data += os.read(self.master, 65536)
        return data

    def rest(self) -> bytes:
        data = b""
        while select.select([self.master], [], [], 0.1)[0]:
            data += os.read(self.master, 65536)
        return data


@contextmanager
def on_terminal(box: Bundle, *argv: str | Path, rows: int = 24, columns: int = 80) -> Iterator[OnTerminal]:
    box.save()
    master, slave = pty.openpty()
    set_size(slave, rows, columns)
    process = box.place.spawn(*argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    try:
        yield OnTerminal(process, master, slave)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


@pytest.fixture
def shell(bundle: MakeBundle) -> Bundle:
    """A container with a shell on a terminal."""
    box = bundle("sh")
    box.config["process"]["terminal"] = True
    box.config["process"]["env"].append("PS1=prompt> ")
    return box


def run(box: Bundle) -> list[str | Path]:
    return ["run", "--bundle", box.path, box.id]


def test_a_shell_on_our_terminal(shell: Bundle) -> None:
    with on_terminal(shell, *run(shell), rows=30, columns=100) as us:
        before = termios.tcgetattr(us.slave)
        us.until(b"prompt> ")
        os.write(us.master, b"stty size; ps -o pid,args | head -2 | tail -1\n")
        text = us.until(b"1 sh")
        assert b"30 100\r\n" in text
        # The runtime's own terminal is raw while it lasts.
        assert not termios.tcgetattr(us.slave)[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        os.write(us.master, b"exit 7\n")
        assert us.process.wait(PATIENCE) == 7
        assert before[3] & termios.ICANON


def test_the_terminal_is_as_it_was_afterwards(shell: Bundle) -> None:
    shell.config["process"]["args"] = ["true"]
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    shell.save()
    process = shell.place.spawn(*run(shell), stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    assert process.wait(PATIENCE) == 0
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_terminal_that_changes_its_size(shell: Bundle) -> None:
    text = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.01; done"
    shell.config["process"]["args"] = ["sh", "-c", text]
    with on_terminal(shell, *run(shell)) as us:
        us.until(b"ready")
        for rows, columns in ((10, 20), (50, 60)):
            # The kernel tells the foreground group of that terminal, which the runtime is not in here.
            set_size(us.slave, rows, columns)
            us.process.send_signal(signal.SIGWINCH)
            us.until(f"{rows} {columns}\r\n".encode())
        shell.kill("KILL").ok()
        assert us.process.wait(PATIENCE) == 137


def test_keys_go_to_the_container(shell: Bundle) -> None:
    """An interrupt is a byte for the container's terminal, not a signal for the runtime; so is an end of input."""
    shell.config["process"]["args"] = ["sh", "-c", "trap 'echo interrupted' INT; cat; echo $?; cat; exit 5"]
    with on_terminal(shell, *run(shell)) as us:
        wait_until(lambda: "cat" in _commands(shell), "it reads")
        os.write(us.master, b"\x03")
        us.until(b"interrupted\r\n130\r\n")
        os.write(us.master, b"hello\n")
        us.until(b"hello\r\nhello\r\n")
        os.write(us.master, b"\x04")
        assert us.process.wait(PATIENCE) == 5


def _commands(box: Bundle) -> set[str]:
    """The names of the container's processes."""
    try:
        pids = (box.cgroup_dir("pids") / "cgroup.procs").read_text().split()
        return {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
    except FileNotFoundError:
        return set()


def test_much_output_is_whole_and_in_order(shell: Bundle) -> None:
    shell.config["process"]["args"] = ["sh", "-c", "seq 1 30000; exit 3"]
    with on_terminal(shell, *run(shell)) as us:
        text = us.until(b"\r\n30000\r\n")
        assert us.process.wait(PATIENCE) == 3
        text += us.rest()
        assert text.replace(b"\r\n", b"\n") == b"".join(b"%d\n" % number for number in range(1, 30001))


def test_what_was_written_last_is_not_lost(shell: Bundle) -> None:
    shell.config["process"]["args"] = ["sh", "-c", "printf last; exit 3"]
    for _ in range(5):
        with on_terminal(shell, *run(shell)) as us:
            assert us.until(b"last") == b"last"
            assert us.process.wait(PATIENCE) == 3


def test_exec_on_our_terminal(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    running(box)
    argv = ["exec", "--tty", "--env", "PS1=prompt> ", box.id, "sh"]
    with on_terminal(box, *argv, rows=30, columns=100) as us:
        us.until(b"prompt> ")
        os.write(us.master, b"stty size; tty; exit 9\n")
        text = us.until(b"/dev/pts/0\r\n")
        assert b"30 100\r\n" in text
        assert us.process.wait(PATIENCE) == 9


@pytest.mark.parametrize("stdin", ["/dev/null", "pipe"])
def test_a_terminal_whose_input_is_none(stdin: str, shell: Bundle) -> None:
    """As engines' `run -t` without -i: there is a terminal inside, and our input is read to its end."""
    shell.config["process"]["args"] = ["sh", "-c", 'read line; echo "got <$line>"; tty']
    got = shell.run(stdin=b"hello\n" if stdin == "pipe" else None)
    assert got.returncode == 0
    lines = re.sub(r"\r", "", got.stdout).splitlines()
    assert ("got <hello>" if stdin == "pipe" else "got <>") in lines
    assert lines[-1] == "/dev/pts/0"

"""The terminal of a foreground run or exec, relayed: to its last byte, in the background, and whatever ends us."""

import fcntl
import os
import pty
import random
import re
import select
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import in_foreground
from tests.support.streams import MUCH, collect, feed
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle


def spawn(box: Bundle, command: str, text: str, **how: Any) -> subprocess.Popen[bytes]:
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **how}
    return box.place.spawn(*in_foreground(box, command, "sh", "-c", text, tty=True), **how)


# ---- to the last byte ----


def test_every_byte_once_and_in_order(command: str, box: Bundle) -> None:
    """Both ways at the same time, at any chunking."""
    text = f"stty raw -echo; echo go; head -c {MUCH}; exit 3"
    process = spawn(box, command, text)
    assert process.stdin and process.stdout
    assert os.read(process.stdout.fileno(), 3) == b"go\n"
    writer = threading.Thread(target=feed, args=(process.stdin, MUCH, random.Random(2)))
    writer.start()
    collect(process.stdout.fileno(), MUCH, random.Random(3))
    writer.join()
    process.stdout.close()
    assert process.wait(PATIENCE) == 3


@pytest.mark.parametrize("end", [b"\n", b"", b"x"])
def test_lines_beyond_what_a_terminal_holds(end: bytes, command: str, box: Bundle, tmp_path: Path) -> None:
    """A file on standard input, to a reader that is late: all of it, then the end of file, with a whole line or not."""
    data = b"".join(b"line %d\n" % number for number in range(20_000)) + end
    (tmp_path / "in").write_bytes(data)
    text = "stty -echo; sleep 0.5; wc -c; exit 3"
    with open(tmp_path / "in", "rb") as stdin:
        process = spawn(box, command, text, stdin=stdin)
        out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 3
    # What came before the echo was off is echoed, too.
    assert out.endswith(b"%d\n" % len(data)) or b"%d\n" % len(data) in out, out[-200:]


def test_a_console_that_is_closed_and_opened_again(command: str, box: Bundle) -> None:
    """As a daemon does, or a getty: neither output nor input has come to its end."""
    text = (
        'T=$(tty); echo one; exec <"/dev/null" >/dev/null 2>&1; sleep 0.5; exec <"$T" >"$T"; '
        "echo two; read line; echo got $line; exit 3"
    )
    process = spawn(box, command, text)
    assert process.stdin and process.stdout
    seen = b""
    while b"two" not in seen:
        part = os.read(process.stdout.fileno(), 4096)
        assert part, seen
        seen += part
    out = process.communicate(b"hello\n", timeout=PATIENCE)[0]
    assert process.returncode == 3
    assert b"got hello" in out


# ---- our own terminal ----


class Job:
    """The runtime as a job of a shell on a terminal of ours: in the background until it is told otherwise."""

    def __init__(self, box: Bundle, command: str, text: str, *, background: bool, tty: bool = True) -> None:
        call = [
            str(box.place.runtime),
            "--root",
            str(box.place.root),
            *map(str, in_foreground(box, command, "sh", "-c", text, tty=tty)),
        ]
        #: The shell gives it a process group, waits, and writes its status.
        shell = box.path / "shell.py"
        shell.write_text(
            "import os, signal, sys\n"
            "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
            "pid = os.fork()\n"
            "if pid == 0:\n"
            "    os.setpgid(0, 0)\n"
            f"    if not {background}: os.tcsetpgrp(0, os.getpid())\n"
            "    signal.signal(signal.SIGTTOU, signal.SIG_DFL)\n"
            "    os.execv(sys.argv[1], sys.argv[1:])\n"
            "signal.signal(signal.SIGUSR1, lambda *_: os.tcsetpgrp(0, pid))\n"
            "while True:\n"
            "    status = os.waitpid(pid, os.WUNTRACED)[1]\n"
            "    if not os.WIFSTOPPED(status): break\n"
            "    print('stopped', flush=True)\n"
            "    os.kill(pid, signal.SIGKILL)\n"
            "print('status', os.waitstatus_to_exitcode(status), flush=True)\n"
        )
        self.shell, self.master = pty.fork()
        if self.shell == 0:
            os.execv("/usr/bin/python3", ["python3", "-I", str(shell), *call])
        self.seen = b""

    def until(self, text: bytes) -> bytes:
        while text not in self.seen:
            assert select.select([self.master], [], [], PATIENCE)[0], self.seen
            self.seen += os.read(self.master, 65536)
        return self.seen

    def raw(self) -> bool:
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def close(self) -> None:
        os.close(self.master)
        try:
            os.kill(self.shell, signal.SIGKILL)
        finally:
            os.waitpid(self.shell, 0)


def test_in_the_background(command: str, box: Bundle) -> None:
    """`timeout ... exec --tty`, or `&`: output is shown, nothing stops; then, in the foreground, it is typed to."""
    job = Job(box, command, "echo one; read line; echo got $line; exit 3", background=True)
    fcntl.ioctl(job.master, termios.TIOCSWINSZ, bytes(8))
    mode = termios.tcgetattr(job.master)
    mode[3] |= termios.TOSTOP
    termios.tcsetattr(job.master, termios.TCSANOW, mode)
    job.until(b"one\r\n")
    assert not job.raw()  # it is the shell's
    os.kill(job.shell, signal.SIGUSR1)
    wait_until(job.raw, "the terminal is ours")
    os.write(job.master, b"typed\n")
    assert b"got typed\r\n" in job.until(b"status 3\r\n")
    assert b"stopped" not in job.seen
    assert not job.raw()
    job.close()


def test_in_the_background_without_a_terminal_of_its_own(command: str, box: Bundle) -> None:
    """`exec ... &`: what is typed is not for it, which is no end of its input; that comes in the foreground."""
    job = Job(box, command, "echo one; read line; echo got $line; exit 3", background=True, tty=False)
    job.until(b"one\r\n")
    os.write(job.master, b"typed\n")
    time.sleep(0.3)  # in which the runtime is told of input, and may not read it
    os.kill(job.shell, signal.SIGUSR1)
    assert b"got typed\r\n" in job.until(b"status 3\r\n")
    assert b"stopped" not in job.seen and b"standard input" not in job.seen
    job.close()


PASSED_ON = ("HUP", "INT", "QUIT", "TERM", "USR1", "ALRM", "ABRT", "SEGV", "BUS", "FPE", "ILL")
#: They are about our own streams.
KEPT = ("TTIN", "TTOU", "XFSZ", "PIPE")


@pytest.mark.parametrize("name", [*PASSED_ON, *KEPT])
def test_the_terminal_is_as_it_was_whatever_comes(name: str, bundle: MakeBundle) -> None:
    box = bundle()
    text = "trap 'exit 9' " + " ".join(PASSED_ON) + "; echo ready; while read x; do :; done; exit 3"
    job = Job(box, "run", text, background=False)
    job.until(b"ready\r\n")
    assert job.raw()
    (runtime,) = [int(word) for word in Path(f"/proc/{job.shell}/task/{job.shell}/children").read_text().split()]
    os.kill(runtime, signal.Signals[f"SIG{name}"])
    if name in KEPT:
        os.write(job.master, b"x\n\x04")
        job.until(b"status 3\r\n")
    else:
        job.until(b"status 9\r\n")
    mode = termios.tcgetattr(job.master)
    assert mode[0] & termios.ICRNL and mode[3] & (cooked := termios.ICANON | termios.ECHO | termios.ISIG) == cooked
    job.close()


# ---- the log ----


@pytest.mark.parametrize("log", [True, False])
def test_debug_lines_go_to_the_log_alone(log: bool, command: str, box: Bundle, tmp_path: Path) -> None:
    """By then its number may be another file's: the terminal's master, on which they would be typed."""
    call = [str(box.place.runtime), "--root", str(box.place.root), "--debug"]
    call += ["--log", str(tmp_path / "log")] if log else []
    call += map(str, in_foreground(box, command, "sh", "-c", "cat; exit 3", tty=True))
    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 3
    assert re.sub(rb"[\^D\x08]", b"", done.stdout) == b""
    lines = (tmp_path / "log").read_text() if log else done.stderr.decode()
    assert "become user 0 group 0" in lines and "open a terminal from /dev/pts" in lines

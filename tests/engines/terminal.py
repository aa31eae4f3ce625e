"""Terminals for what wants one: a pseudo-terminal driven from Python, and a tmux server of our own."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from .sandbox import PATIENCE


class Terminal:
    """A command that has a terminal of its own; what it writes is collected, what it reads is typed by us."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], rows: int = 33, columns: int = 99) -> None:
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.text = ""
        self._process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the foreground processes get SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` was written; what came before it since the last expectation. AssertionError at the end."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} never came; what came: {self.text!r}")
        before, _, self.text = self.text.partition(text)
        return before

    def end(self) -> int:
        """Read to the end and wait; the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self._process.wait(PATIENCE)

    def _read(self, deadline: float) -> bool:
        """Read what there is; False at the end of the output or of our patience."""
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._master, 65536) if ready else b""
        except OSError:  # EIO: the last process that had the terminal open has gone.
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._master)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Tmux:
    """A tmux server on a private socket with one window that runs one command, and stays when it has ended."""

    def __init__(self, socket: Path, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._env = dict(env)
        # By a file, since tmux 3.3a may miss a child's end: it has a pane that is dead and a zombie, and no status.
        self._status = socket.with_name(socket.name + "-status")
        shell = ["sh", "-c", '"$@"; echo $? >"$0.new"; mv "$0.new" "$0"', str(self._status)]
        start = ["new-session", "-d", "-x", "120", "-y", "40", *shell, *argv]
        self._call(*start, ";", "set-option", "remain-on-exit", "on")

    def _call(self, *args: str) -> str:
        done = subprocess.run([*self._tmux, *args], capture_output=True, text=True, env=self._env, timeout=PATIENCE)
        assert done.returncode == 0, done
        return done.stdout

    def enter(self, text: str) -> None:
        """Type a line and press Enter."""
        self._call("send-keys", "-l", text)
        self._call("send-keys", "Enter")

    def expect(self, text: str) -> str:
        """Wait until the screen shows `text`; the screen."""
        deadline = time.monotonic() + PATIENCE
        while text not in (screen := self._call("capture-pane", "-p")):
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} never came; the screen: {screen}")
            time.sleep(0.05)
        return screen

    def end(self) -> int:
        """Wait for the command's end; its exit status."""
        deadline = time.monotonic() + PATIENCE
        while not self._status.exists():
            if time.monotonic() > deadline:
                raise AssertionError(f"the command never ended; the screen: {self._call('capture-pane', '-p')}")
            time.sleep(0.05)
        return int(self._status.read_text())

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, env=self._env)

"""Who listens on a socket that the runtime connects to, and takes nothing: a limit, and a line that says so."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.descriptors import bind_socket
from tests.support.seccomp_agent import notify
from tests.support.waiting import PATIENCE
from tests.support.workplace import Bundle, MakeBundle

SAID = "who listens there has taken nothing for 10 s"


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Path]:
    """A socket whose backlog is full."""
    path = tmp_path / "socket"
    sockets = [socket.socket(socket.AF_UNIX)]
    bind_socket(sockets[0], path)
    sockets[0].listen(0)
    try:
        while True:
            one = socket.socket(socket.AF_UNIX)
            sockets.append(one)
            one.setblocking(False)
            one.connect(str(path))
    except BlockingIOError:
        yield path
    for one in sockets:
        one.close()


def test_a_full_backlog(busy: Path, bundle: MakeBundle) -> None:
    """All at once, since each takes its time."""
    calls: dict[str, tuple[Bundle, list[str | Path]]] = {
        f"connect to socket {busy}: ": (bundle(), ["--console-socket", busy]),
        f"connect to socket {busy}: {SAID}": (bundle(), ["--pidfd-socket", busy]),
        f"failed to connect with seccomp agent at {busy}: ": (notify(bundle(), busy), []),
    }
    running = []
    for words, (box, flags) in calls.items():
        box.config["process"]["terminal"] = "--console-socket" in flags
        log = box.path / "log"
        call = ["--log", log, "create", "--bundle", box.save(), *flags, box.id]
        running.append((words, log, box, box.place.spawn(*call)))
    for words, log, box, process in running:
        assert process.wait(PATIENCE) == 1
        text = log.read_text()
        assert words in text and SAID in text and text.count("\n") == 1, text
        assert not (box.place.root / box.id).exists()

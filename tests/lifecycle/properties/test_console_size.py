"""process.consoleSize, and that it is ignored without a terminal."""

import json
import os

from tests.support.descriptors import receiver
from tests.support.terminals import read_all, size_of
from tests.support.workplace import Bundle, MakeBundle, Workplace


def terminal(box: Bundle, **size: int) -> Bundle:
    box.config["process"]["terminal"] = True
    if size:
        box.config["process"]["consoleSize"] = size
    return box


def test_the_size_is_there_from_the_beginning(bundle: MakeBundle, workplace: Workplace) -> None:
    box = terminal(bundle("sh", "-c", "stty size; tty; [ -t 0 -a -t 1 -a -t 2 ] && echo all"), height=33, width=99)
    with receiver(workplace.path / "socket") as socket:
        box.create("--console-socket", socket.path).ok()
        master, _ = socket.take()
        assert size_of(master) == (33, 99)
        box.start().ok()
        assert read_all(master).split() == [b"33", b"99", b"/dev/pts/0", b"all"]
    box.wait_for("stopped")
    box.delete().ok()


def test_the_largest_and_none(bundle: MakeBundle, workplace: Workplace) -> None:
    for size in ({"height": 65535, "width": 65535}, {"height": 0, "width": 0}, {}):
        box = terminal(bundle(), **size)
        with receiver(workplace.path / box.id) as socket:
            box.create("--console-socket", socket.path).ok()
            master, _ = socket.take()
            assert size_of(master) == (size.get("height", 0), size.get("width", 0))
            box.delete("--force").ok()


def test_an_exec_s_own(container: MakeBundle, workplace: Workplace) -> None:
    box = terminal(container("sleep", "1000"), height=33, width=99)
    with receiver(workplace.path / "socket") as socket:
        box.create("--console-socket", socket.path).ok()
        socket.take()
        box.start().ok()
        process = {**box.config["process"], "args": ["stty", "size"], "consoleSize": {"height": 7, "width": 8}}
        (box.path / "process.json").write_text(json.dumps(process))
        pid = box.path / "pid"
        box.exec("-d", "--console-socket", socket.path, "--pid-file", pid, "-p", box.path / "process.json").ok()
        master, _ = socket.take()
        assert read_all(master).split() == [b"7", b"8"]
        os.waitpid(int(pid.read_text()), 0)


def test_without_a_terminal_it_is_ignored(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "[ -t 1 ] || echo none")
    box.config["process"]["consoleSize"] = {"height": 100000, "width": 100000}
    assert box.run().ok().stdout == "none\n"


def test_too_large_for_a_terminal(bundle: MakeBundle) -> None:
    done = terminal(bundle(), height=65536, width=80).run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "at most 65535 lines and columns (container c0, config.json /process/consoleSize)" in done.stderr

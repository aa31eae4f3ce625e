"""The streams of run and exec in the foreground without a terminal: pipes of the runtime's, relayed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import signal
import socket
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import in_foreground, running
from tests.support.namespaces import MAPPED, add_user_namespace, set_namespaces
from tests.support.streams import DATA, MUCH, collect, feed
from tests.support.waiting import PATIENCE, wait_until
from tests.support.workplace import Bundle, MakeBundle, one_line


def spawn(box: Bundle, command: str, *args: str, tty: bool = False, **how: Any) -> subprocess.Popen[bytes]:
    return box.place.spawn(*in_foreground(box, command, *args, tty=tty), **how)


def gone(box: Bundle, command: str) -> None:
    """run has deleted its container."""
    if command == "run":
        one_line(box.call("state", box.id), 1, "container does not exist")


# ---- what is handed in, and whose it is ----


def test_they_are_pipes(command: str, box: Bundle) -> None:
    """The caller's terminal stays outside: it takes commands (TIOCSTI), and who is left behind would read from it."""
    master, slave = os.openpty()
    look = 'ls -l /proc/self/fd | grep -o "[012] -> [a-z]*" >/seen; tty >>/seen; exit 3'
    process = spawn(box, command, "sh", "-c", look, stdin=slave, stdout=slave, stderr=slave)
    assert process.wait(PATIENCE) == 3
    # grep's are its own: what ls has is the shell's but for its standard output.
    seen = (box.rootfs / "seen").read_text()
    assert "0 -> pipe" in seen and "2 -> pipe" in seen and "not a tty" in seen
    os.close(slave)
    os.close(master)


@pytest.mark.parametrize("how", ["foreground", "detached"])
def test_nothing_of_the_caller_s_is_given_away(how: str, command: str, box: Bundle, tmp_path: Path) -> None:
    """A file on standard input, a terminal and a file on the others: their owner stays. Detached, a pipe's does not."""
    user = {"uid": 1000, "gid": 1000}
    flags = ["--detach"] if how == "detached" else []
    if command == "run":
        box.config["process"]["user"] = user
        box.config["process"]["args"] = ["true"]
        argv: list[str | Path] = ["run", *flags, "--bundle", box.save(), box.id]
    else:
        argv = ["exec", *flags, "--user", "1000:1000", box.id, "true"]
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    master, slave = os.openpty()
    reader, writer = os.pipe()
    before = [os.stat(where).st_uid for where in (secret, slave)]
    with open(secret, "rb") as stdin, open(tmp_path / "out", "wb") as out:
        for streams in ((stdin, slave, out), (reader, out, writer), (slave, slave, slave)):
            process = box.place.spawn(*argv, stdin=streams[0], stdout=streams[1], stderr=streams[2])
            assert process.wait(PATIENCE) == 0
            if command == "run" and flags:
                box.wait_for("stopped")
                box.delete().ok()
    assert [os.stat(where).st_uid for where in (secret, slave)] == before
    assert os.stat(tmp_path / "out").st_uid == 0
    assert os.fstat(reader).st_uid == (1000 if flags else 0)
    for fd in (master, slave, reader, writer):
        os.close(fd)


@pytest.mark.parametrize("user", [False, True])
def test_they_can_be_opened_by_the_user(user: bool, bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "cat /dev/stdin >/dev/stdout; echo error >/dev/stderr")
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    if user:
        add_user_namespace(box)
        box.config["linux"]["uidMappings"][0]["hostID"] = MAPPED
    got = box.run(stdin=b"hello\n").ok()
    assert (got.stdout, got.stderr) == ("hello\n", "error\n")


def test_output_and_error_in_one_place_keep_their_order(command: str, box: Bundle, tmp_path: Path) -> None:
    text = "for i in $(seq 300); do echo $i; echo $i >&2; done"
    for where in ("file", "pipe"):
        with open(tmp_path / "out", "wb") as out:
            stdout = out if where == "file" else subprocess.PIPE
            process = spawn(box, command, "sh", "-c", text, stdout=stdout, stderr=subprocess.STDOUT)
            data = process.communicate(timeout=PATIENCE)[0] or b""
            assert process.returncode == 0
        data = data or (tmp_path / "out").read_bytes()
        assert data == b"".join(b"%d\n%d\n" % (i, i) for i in range(1, 301))


def test_a_stream_of_the_other_direction_is_not_turned_round(command: str, box: Bundle) -> None:
    """Standard input that can only be written to is no input, and a pipe's reading end takes no output."""
    reader, writer = os.pipe()
    with subprocess.Popen(["cat"], stdin=reader, stdout=subprocess.PIPE) as consumer:
        process = spawn(box, command, "sh", "-c", "echo hello; cat; exit 3", stdin=writer, stdout=writer)
        os.close(writer)
        assert process.wait(PATIENCE) == 3
        assert consumer.communicate(timeout=PATIENCE)[0] == b"hello\n"
    os.close(reader)
    reader, writer = os.pipe()
    os.write(writer, b"from the producer")
    process = spawn(box, command, "sh", "-c", "echo out; exit 3", stdin=subprocess.DEVNULL, stdout=reader)
    assert process.wait(PATIENCE) == 3
    os.close(writer)
    assert os.read(reader, 100) == b"from the producer"
    os.close(reader)


@pytest.mark.parametrize("end", ["exit 200", "kill -HUP $PPID; exit 0"])
def test_a_slow_reader_gets_all(end: str, bundle: MakeBundle) -> None:
    """A status above 128 is no kill, and a signal that the process has outlived asks for no end."""
    box = bundle("sh", "-c", "trap : HUP; echo begun; read line; head -c 131072 /dev/zero; exit 200")
    set_namespaces(box, "mount", "uts", "ipc", "network")
    process = spawn(box, "run", *box.config["process"]["args"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    assert os.read(process.stdout.fileno(), 6) == b"begun\n"
    if end != "exit 200":
        process.send_signal(signal.SIGHUP)
    process.stdin.write(b"go on\n")
    process.stdin.close()
    wait_until(lambda: not box.cgroup_dir("pids").exists(), "the container's end")
    time.sleep(1.5)  # longer than a reader is waited for after a kill
    assert len(process.stdout.read()) == 131072
    assert process.wait(PATIENCE) == 200
    process.stdout.close()


def test_what_the_container_leaves_to_us_is_reaped(bundle: MakeBundle) -> None:
    """Without a pid namespace its orphans are run's, and count in its cgroup until run has waited for them."""
    box = bundle("sh", "-c", "for i in $(seq 60); do sh -c 'sleep 0.01 &'; sleep 0.02; done; echo done")
    set_namespaces(box, "mount", "uts", "ipc", "network")
    box.config["linux"].setdefault("resources", {})["pids"] = {"limit": 20}
    got = box.run()
    assert (got.returncode, got.stdout, got.stderr) == (0, "done\n", "")


# ---- exact bytes ----


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_every_byte_once_and_in_order(kind: str, command: str, box: Bundle) -> None:
    """Both ways at the same time, at any chunking, with both sides slow at times."""
    how: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    if kind == "socket":
        ours, theirs = socket.socketpair()
        how = {"stdin": theirs, "stdout": theirs}
    process = spawn(box, command, "cat", **how)
    if kind == "socket":
        theirs.close()
        from_ = ours.fileno()
    else:
        assert process.stdin and process.stdout
        from_ = process.stdout.fileno()

    def write() -> None:
        feed(process.stdin or ours.makefile("wb", buffering=0), MUCH, random.Random(2))
        if kind == "socket":
            ours.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write)
    writer.start()
    collect(from_, MUCH, random.Random(3))
    writer.join()
    for end in (ours,) if kind == "socket" else (process.stdout,):
        assert end
        end.close()
    assert process.wait(PATIENCE) == 0
    gone(box, command)


def test_files_at_both_ends(command: str, box: Bundle, tmp_path: Path) -> None:
    """From where the caller stands in one, to where it stands or with O_APPEND in the other: offsets are shared."""
    (tmp_path / "in").write_bytes(b"skipped" + DATA)
    for mode in ("wb", "ab"):
        (tmp_path / "out").write_bytes(b"")
        with open(tmp_path / "in", "rb", buffering=0) as stdin, open(tmp_path / "out", mode, buffering=0) as out:
            stdin.seek(7)
            out.write(b"before")
            assert spawn(box, command, "cat", stdin=stdin, stdout=out).wait(PATIENCE) == 0
            out.write(b"after")
        assert (tmp_path / "out").read_bytes() == b"before" + DATA + b"after"


# ---- ends ----


def test_output_goes_on_after_the_end_of_input(command: str, box: Bundle) -> None:
    process = spawn(
        box, command, "sh", "-c", "wc -c; echo after; exit 3", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(DATA, timeout=PATIENCE)
    assert (out, process.returncode) == (b"%d\nafter\n" % len(DATA), 3)


def test_input_that_is_no_longer_read(command: str, box: Bundle) -> None:
    """Its writer is told, as it would be without us between; the process goes on."""
    process = spawn(
        box,
        command,
        "sh",
        "-c",
        "read line; exec </dev/null; echo $line; sleep 1000",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    os.write(process.stdin.fileno(), b"hello\n")
    assert process.stdout.readline() == b"hello\n"
    with pytest.raises(BrokenPipeError):
        for _ in range(1000):
            os.write(process.stdin.fileno(), DATA)
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE) == 143
    process.stdout.close()
    process.stdin.close()


def test_output_that_the_process_closes(command: str, box: Bundle) -> None:
    text = "echo hello; exec >/dev/null; read line; exit 3"
    process = spawn(box, command, "sh", "-c", text, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    with process.stdout:
        assert process.stdout.read() == b"hello\n"  # to its end
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(PATIENCE) == 3


def test_a_reader_that_leaves(command: str, box: Bundle) -> None:
    """The process is told by SIGPIPE, and nothing is to be said then."""
    for program, status, lines in (("exec yes", 141, 0), ("trap '' PIPE; yes 2>/dev/null; exit 3", 3, 1)):
        process = spawn(box, command, "sh", "-c", program, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        with process.stderr:
            said = process.stderr.read().decode()
        assert process.wait(PATIENCE) == status
        assert said.count("\n") == lines
        assert not lines or "write to standard output: broken pipe" in said
        gone(box, command)


def test_a_reader_that_is_slow_slows_the_process_down(command: str, box: Bundle) -> None:
    text = "i=0; while dd if=/dev/zero bs=4096 count=1 2>/dev/null; do i=$((i+1)); echo $i >/count; done"
    with spawn(box, command, "sh", "-c", text, stdout=subprocess.PIPE) as process:
        count = box.rootfs / "count"
        wait_until(lambda: _stands_still(process), "it waits")
        assert int(count.read_text()) * 4096 < 300_000
        process.terminate()
        assert process.wait(PATIENCE) == 143
    gone(box, command)


def _waiting(process: subprocess.Popen[bytes]) -> int:
    """Bytes in its output that nobody has read."""
    assert process.stdout
    answer = fcntl.ioctl(process.stdout.fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, "little")


def _stands_still(process: subprocess.Popen[bytes]) -> bool:
    before = _waiting(process)
    threading.Event().wait(0.3)
    return _waiting(process) == before > 0


# ---- what is wrong with the caller's streams ----


@pytest.mark.parametrize("tty", [False, True])
def test_output_that_cannot_be_written(tty: bool, command: str, box: Bundle, tmp_path: Path) -> None:
    """The process goes on, its status is kept, the container deleted; one line says what was lost."""
    box.config["hooks"] = {"poststop": [{"path": "/bin/touch", "args": ["touch", str(tmp_path / "poststop")]}]}
    text = "echo a; sleep 0.2; echo b; sleep 0.2; seq 100000; touch /went-on; exit 3"
    with open("/dev/full", "wb") as full:
        process = spawn(box, command, "sh", "-c", text, tty=tty, stdout=full, stderr=subprocess.PIPE)
        said = process.communicate(timeout=PATIENCE)[1].decode()
    assert process.returncode == 3
    assert said.count("\n") == 1 and "write to standard output: no space left on device" in said
    assert (box.rootfs / "went-on").exists()
    gone(box, command)
    assert (tmp_path / "poststop").exists() == (command == "run")


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize("kind", ["folder", "write-only", "path"])
def test_input_that_cannot_be_read(kind: str, tty: bool, command: str, box: Bundle, tmp_path: Path) -> None:
    flags = {"folder": os.O_RDONLY, "write-only": os.O_WRONLY, "path": os.O_PATH}[kind]
    (tmp_path / "file").write_text("secret")
    text = "cat; exit 3"
    fd = os.open(tmp_path if kind == "folder" else tmp_path / "file", flags)
    process = spawn(box, command, "sh", "-c", text, tty=tty, stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, said = process.communicate(timeout=PATIENCE)
    os.close(fd)
    assert (process.returncode, out.replace(b"^D\b\b", b"")) == (3, b"")
    problem = "is a directory" if kind == "folder" else "bad file descriptor"
    assert said.decode().count("\n") == 1 and "read standard input: " + problem in said.decode()
    gone(box, command)


# ---- what is served whatever a stream does ----


@pytest.mark.parametrize("tty", [False, True])
def test_signals_while_nobody_reads_and_input_never_ends(tty: bool, command: str, box: Bundle) -> None:
    text = "trap 'exit 9' TERM; yes & cat >/dev/null & while :; do sleep 0.01; done"
    with open("/dev/zero", "rb") as zero:
        process = spawn(box, command, "sh", "-c", text, tty=tty, stdin=zero, stdout=subprocess.PIPE)
        assert process.stdout
        wait_until(lambda: _stands_still(process), "nothing goes any more")
        process.terminate()
        assert process.wait(PATIENCE) == 9
        process.stdout.close()
    gone(box, command)


@pytest.mark.parametrize("tty", [False, True])
def test_the_end_while_nobody_reads(tty: bool, bundle: MakeBundle) -> None:
    """A container that is killed is gone, and so are we; what had an end of its own is delivered whole."""
    box = bundle("yes")
    box.config["process"]["terminal"] = tty
    process = box.place.spawn("run", "--bundle", box.save(), box.id, stdout=subprocess.PIPE)
    wait_until(lambda: _stands_still(process), "it is full")
    box.kill("KILL").ok()
    assert process.wait(PATIENCE) == 137
    assert process.stdout
    process.stdout.close()
    gone(box, "run")
    box.config["process"]["args"] = ["sh", "-c", "read line; head -c 8000 /dev/zero"]
    process = box.place.spawn("run", "--bundle", box.save(), box.id, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    process.stdin.close()
    wait_until(lambda: not (box.place.root / box.id).exists() and _waiting(process) > 0, "deleted, and we wait")
    assert process.poll() is None
    with process.stdout:
        assert process.stdout.read().lstrip(b"^D\b") == bytes(8000)
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("tty", [False, True])
def test_output_while_a_poststart_hook_runs(tty: bool, bundle: MakeBundle) -> None:
    """The hook waits for the program, and the program for somebody to read what it writes."""
    box = bundle("sh", "-c", "seq 50000; touch /went-on; exit 3")
    box.config["root"]["readonly"] = False
    box.config["process"]["terminal"] = tty
    wait = f"until test -e {box.rootfs}/went-on; do sleep 0.02; done"
    box.config["hooks"] = {"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", wait], "timeout": 20}]}
    got = box.run()
    assert (got.returncode, got.stderr) == (3, "")
    assert got.stdout.replace("^D\b\b", "") == "".join(f"{number}\n" for number in range(1, 50001))


def test_output_of_one_that_exec_leaves_behind(container: MakeBundle) -> None:
    """It is waited for, as with runc; a signal ends that."""
    box = container("sleep", "1000")
    running(box)
    text = "(sleep 0.3; echo late; exec sleep 1000 >/dev/null 2>&1) & echo first; exit 3"
    process = box.place.spawn("exec", box.id, "sh", "-c", text, stdout=subprocess.PIPE)
    assert process.communicate(timeout=PATIENCE)[0] == b"first\nlate\n"
    assert process.returncode == 3
    process = box.place.spawn("exec", box.id, "sh", "-c", "sleep 1000 & echo first; exit 3", stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"first\n"
    wait_until(lambda: "Z" not in _children(process.pid), "its process has been waited for")
    threading.Event().wait(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 3
    process.stdout.close()


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_a_container_s_output_ends_with_it(bundle: MakeBundle) -> None:
    """What run's process has left behind is gone when the container is deleted, without a pid namespace too."""
    box = bundle("sh", "-c", "sleep 1000 & echo first; exit 3")
    set_namespaces(box, "mount")
    got = box.run()
    assert (got.returncode, got.stdout) == (3, "first\n")


def test_the_digest_of_a_large_file(command: str, box: Bundle, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(DATA * 8)
    with open(tmp_path / "large", "rb") as stdin:
        process = spawn(box, command, "sha256sum", stdin=stdin, stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=PATIENCE)
    assert out.split()[0].decode() == hashlib.sha256(DATA * 8).hexdigest()

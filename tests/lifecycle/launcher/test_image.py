"""The image: what starts from it, what it looks like from outside, and that nothing depends on it.

Whatever is wrong with its file, the ordinary stage two does the command. A file that was damaged is put over the real
one by a mount, in a mount namespace of the test's own.
"""

from __future__ import annotations

import concurrent.futures
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import TOP
from tests.support.workplace import MakeBundle
from tools import image as maker
from tools import training, warm

RECORD = warm.RECORD
PAGE = os.sysconf("SC_PAGESIZE")
SHORT = ("state", "none")
LONG = ("exec", "none", "true")


@pytest.fixture
def image(runtime: Path) -> Path:
    if os.geteuid() != 0 or runtime.name == "pyrunc-ordinary":
        pytest.skip("no root: an image is root's; or PYRUNC_IMAGE=off")
    for path in (runtime.with_name("image"), runtime.parent.parent / "libexec/pyrunc/image"):
        if path.exists():
            return path
    pytest.skip("no image: no static libpython here")


def call(*argv: str | Path, before: str = ":", **how: Any) -> subprocess.CompletedProcess[str]:
    """Run argv after a line of shell, in a mount namespace of its own."""
    line = ["unshare", "--mount", "--", "sh", "-c", before + ' && exec "$@"', "sh", *argv]
    return subprocess.run(
        line, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, **how
    )


def starts_from(
    image: Path, runtime: Path, place: Path, command: tuple[str, ...] = SHORT, before: str = ":"
) -> str | None:
    """ "image" or "libpython", whichever a command that fails has mapped."""
    line: list[str | Path] = ["unshare", "--mount", "--", "sh", "-c", before + ' && exec "$@"', "sh"]
    path = maker.starts_from([*line, runtime, "--root", place, *command])
    return "image" if path == str(image) else "libpython" if path and "libpython" in path else path


# ---- what starts from it ----


@pytest.mark.parametrize("command", [SHORT, LONG, ("kill", "none"), ("run", "none")], ids=" ".join)
def test_commands_start_from_it(command: tuple[str, ...], image: Path, runtime: Path, tmp_path: Path) -> None:
    assert starts_from(image, runtime, tmp_path, command) == "image"


def test_a_created_container_has_nothing_of_it_open(container: MakeBundle, image: Path) -> None:
    """Its program is a few kilobytes of sealed memory; the image is mapped privately, and no descriptor leads to it."""
    box = container("true")
    box.create().ok()
    proc = Path(f"/proc/{box.pid()}")
    assert os.readlink(proc / "exe").startswith("/memfd:pyrunc")
    assert (proc / "exe").stat().st_size < 16 << 10
    lines = [line for line in (proc / "maps").read_text().splitlines() if str(image) in line]
    assert lines and all(line.split()[1].endswith("p") for line in lines)
    assert not [line for line in (proc / "maps").read_text().splitlines() if "wx" in line.split()[1]]
    assert not [fd for fd in (proc / "fd").iterdir() if os.readlink(fd) == str(image)]


def test_only_root_may_read_it(image: Path) -> None:
    """The secret of its hashes is in it."""
    status = image.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)


def test_an_ordinary_user_starts_without(image: Path, public_runtime: Path) -> None:
    done = subprocess.run([public_runtime, "state", "x"], user=65534, capture_output=True, check=False)
    assert done.returncode == 1 and b"does not exist" in done.stderr


@pytest.mark.parametrize(
    "before",
    ["ulimit -s unlimited", "ulimit -v 300000", "ulimit -d 40000", "umask 0777", "cd /proc/self/fd"],
)
def test_it_starts_under_limits(before: str, image: Path, runtime: Path, tmp_path: Path) -> None:
    assert starts_from(image, runtime, tmp_path, SHORT, before) == "image"
    assert starts_from(image, runtime, tmp_path, LONG, before) == "image"


def test_without_randomised_addresses(image: Path, runtime: Path, tmp_path: Path) -> None:
    done = call("setarch", "-R", runtime, "--root", tmp_path, *LONG)
    assert (done.returncode, "does not exist" in done.stderr) == (255, True)


def test_two_starts_have_other_addresses(image: Path, bundle: MakeBundle) -> None:
    """The image lies where it was made; stack, vdso and what is mapped besides are the process's own."""
    found = []
    for _ in range(2):
        box = bundle("true")
        box.create().ok()
        found.append(re.search(r"(\w+)-\w+ .*\[stack\]", Path(f"/proc/{box.pid()}/maps").read_text()))
        box.delete("--force").ok()
    assert found[0] and found[1] and found[0][1] != found[1][1]


def test_the_environment_is_the_call_s(image: Path, bundle: MakeBundle) -> None:
    """What is read from it (here for socket activation) is there, also behind variables that are taken out."""
    box = bundle("env")
    line = 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@" 3</dev/null'
    argv: list[str | Path] = [box.place.runtime, "--root", box.place.root, "run", "--bundle", box.save(), box.id]
    done = subprocess.run(
        ["sh", "-c", line, "sh", *argv],
        env={"ONE": "1", "LD_LIBRARY_PATH": "/nowhere", "GLIBC_TUNABLES": "x", "TWO": "2", "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "LISTEN_FDS=1" in done.stdout.splitlines()


def test_many_at_once(image: Path, runtime: Path, tmp_path: Path) -> None:
    """Fifty processes at the same time, and not one that does not find its place free."""
    argv: list[str | Path] = [runtime, "--root", tmp_path, *SHORT]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert set(pool.map(maker.starts_from, [argv] * 50)) == {str(image)}


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
@pytest.mark.parametrize("command", [SHORT, LONG], ids=" ".join)
def test_another_cpu_than_the_makers(command: tuple[str, ...], image: Path, runtime: Path, tmp_path: Path) -> None:
    """What libc knew of the maker's CPU is believed on such a one alone; on another libc asks anew, and all works."""
    symbols = subprocess.run(["nm", image], capture_output=True, text=True, check=True).stdout
    found = re.search(r"^(\w+) \w resume_cpu$", symbols, re.MULTILINE)
    if not found:
        pytest.skip("no known libc: it starts as in any program")
    copy = damaged(image, tmp_path, "not at all")
    trace = tmp_path / "trace"
    line: list[str | Path] = ["strace", "-f", "-qq", "-e", "trace=readlink,readlinkat", "-o", trace]
    line += [runtime, "--root", tmp_path, *command]
    over = f"mount --bind {copy} {image}"

    def links() -> str:
        """Which links it reads, when it says nothing but its one line."""
        done = call(*line, before=over)
        assert done.returncode == (1 if command == SHORT else 255)
        assert done.stderr.count("\n") == 1 and "container does not exist" in done.stderr
        return trace.read_text()

    known = links()
    with open(copy, "r+b") as file:
        file.seek(warm.offset(image, int(found[1], 16)))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    # libc's whole start looks for its own place, for libraries that lie beside it.
    assert "/proc/self/exe" not in known and "/proc/self/exe" in links()
    assert starts_from(image, runtime, tmp_path, command, over) == "image"


# ---- what is wrong with it ----


def damaged(image: Path, place: Path, how: str) -> Path:
    copy = place / "damaged"
    data = bytearray(image.read_bytes()) if how not in ("empty", "fifo", "folder") else bytearray()
    if how == "cut short":
        del data[-PAGE:]
    elif how == "longer":
        data += b"\0"
    elif how == "of another layout":
        data[-RECORD] ^= 1
    if how == "folder":
        copy.mkdir()
    elif how == "fifo":
        os.mkfifo(copy)
    else:
        copy.write_bytes(data)
    os.chmod(copy, {"writable by its group": 0o620, "writable by others": 0o602, "folder": 0o700}.get(how, 0o600))
    if how == "another's":
        os.chown(copy, 65534, 0)
    return copy


@pytest.mark.parametrize(
    "how",
    ["empty", "cut short", "longer", "of another layout", "writable by its group", "writable by others", "another's"],
)
def test_a_wrong_file_is_not_used(how: str, image: Path, runtime: Path, tmp_path: Path) -> None:
    over = f"mount --bind {damaged(image, tmp_path, how)} {image}"
    for command, status in ((SHORT, 1), (LONG, 255)):
        assert starts_from(image, runtime, tmp_path, command, over) == "libpython"
        done = call(runtime, "--root", tmp_path, *command, before=over)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.count("\n") == 1 and "container does not exist" in done.stderr


def test_a_good_copy_is_used(image: Path, runtime: Path, tmp_path: Path) -> None:
    """So the tests above see what they mean to see."""
    copy = damaged(image, tmp_path, "not at all")
    done = call(runtime, "--root", tmp_path, *LONG, before=f"mount --bind {copy} {image}")
    assert done.returncode == 255 and "container does not exist" in done.stderr


@pytest.mark.parametrize("other", ["libpython", "libc", "stage2"])
def test_another_library_or_stage_two(other: str, image: Path, runtime: Path, tmp_path: Path) -> None:
    """One that was changed since: the image has what was there before linked in, with its faults."""
    maps = subprocess.run(["ldd", image.with_name("stage2")], capture_output=True, text=True, check=True).stdout
    found = re.search(rf"=> (\S*/{other}\S*)", maps)
    real = Path(found[1]) if found else image.with_name("stage2")
    assert found or other == "stage2"
    copy = tmp_path / "other"
    shutil.copyfile(real, copy)  # with a time of its own
    copy.chmod(0o755)
    assert starts_from(image, runtime, tmp_path, SHORT, f"mount --bind {copy} {os.path.realpath(real)}") == "libpython"


def test_each_bit_of_the_record_counts(image: Path, runtime: Path, tmp_path: Path) -> None:
    """A fuzz of what is believed about the file: one bit changed, and it is not used."""
    copy = damaged(image, tmp_path, "not at all")
    size = copy.stat().st_size
    chance = random.Random(11)
    over = f"mount --bind {copy} {image}"
    with open(copy, "r+b", buffering=0) as file:
        for _ in range(40):
            place, bit = size - 1 - chance.randrange(RECORD), 1 << chance.randrange(8)
            for _ in range(2):  # and back again
                byte = os.pread(file.fileno(), 1, place)[0]
                os.pwrite(file.fileno(), bytes([byte ^ bit]), place)
                done = call(runtime, "--root", tmp_path, *SHORT, before=over)
                assert done.returncode == 1 and "container does not exist" in done.stderr


@pytest.mark.parametrize("command", [SHORT, LONG], ids=" ".join)
@pytest.mark.parametrize("limit", ["ulimit -d 8000", "ulimit -v 30000"])
def test_no_room_for_it(limit: str, command: tuple[str, ...], image: Path, runtime: Path, tmp_path: Path) -> None:
    """RLIMIT_DATA and RLIMIT_AS: one line and an error, or the command is done; never a signal."""
    done = call(runtime, "--root", tmp_path, *command, before=limit)
    assert done.returncode in (1, 127, 255)
    assert done.stderr.count("\n") >= 1


def test_a_filter_is_compiled_by_a_child(container: MakeBundle, image: Path) -> None:
    """One that is in no cache: the container is as it should be, and made by what runs from the image all the same."""
    box = container("sh", "-c", "grep Seccomp: /proc/self/status; mkdir /tmp/x || echo refused")
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    }
    for name in ("compiled", "cached"):
        done = box.run().ok()
        assert "Seccomp:\t2" in done.stdout and "refused" in done.stdout, name
        assert len(os.listdir(box.place.root / "@seccomp")) == 1
    # Another again, and looked at while it waits.
    box.config["linux"]["seccomp"]["syscalls"][0]["errnoRet"] = 2
    box.create().ok()
    maps = Path(f"/proc/{box.pid()}/maps").read_text()
    assert str(image) in maps and "libpython" not in maps


@pytest.mark.parametrize("words", [(), ("--debug",)], ids=" ".join)
def test_a_filter_that_cannot_be_compiled(words: tuple[str, ...], bundle: MakeBundle, image: Path) -> None:
    """The child says nothing of it; the other program says what is wrong, as it does without an image."""
    box = bundle("true")
    syscalls = [{"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}]
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}
    box.save()
    done = box.place.call(*words, "run", "--bundle", box.path, box.id)
    assert done.returncode == 1 and "/linux/seccomp/syscalls/0/errnoRet" in done.stderr
    assert done.stderr.count("level=error") == 1
    # What the compiler thinks is told by who is asked for it.
    syscalls[0]["errnoRet"] = 3
    box.save()
    done = box.place.call(*words, "run", "--bundle", box.path, box.id)
    assert done.returncode == 0 and ("no_such_call" in done.stderr) == bool(words)


def test_what_it_does_not_hold_is_done_where_the_caller_stands(bundle: MakeBundle, image: Path) -> None:
    """Relative paths are of there, though create had entered the bundle when it asked for stage two; and a config that
    comes through a pipe, which can be read but once, has not been read.
    """
    box = bundle("true")
    syscalls = [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99}]
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls}
    folder = Path(box.save())
    line = 'exec "$1" --root "$2" --log log run --bundle "$3" --pid-file pid --config /dev/stdin "$4"'
    text = (folder / "config.json").read_bytes()
    for number in (1, 2):  # then from the cache
        done = subprocess.run(
            ["sh", "-c", line, "sh", box.place.runtime, box.place.root, folder.name, box.id],
            input=text,
            cwd=folder.parent,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (number, done.stderr)
        assert (folder.parent / "pid").exists() and (folder.parent / "log").exists()
        assert not (folder / "pid").exists() and not (folder / "log").exists()


def test_the_ticket_is_where_it_is_looked_for() -> None:
    """The sealed program has one, and nothing that looks like one."""
    program = TOP / "build/native/image/build-sealed"
    if not program.exists():
        pytest.skip("not built here")
    data = program.read_bytes()
    magic = (0x74656B636974796D).to_bytes(8, "little")
    assert [place for place in range(0, len(data), 8) if data[place : place + 8] == magic] != []
    assert data.count(magic) == 1 and data.index(magic) % 8 == 0


def test_a_signal_ends_it(image: Path, runtime: Path, container: MakeBundle) -> None:
    """As any program: libc's own state is new, handlers are as the caller left them."""
    box = container("sleep", "100")
    process = box.place.spawn("run", "--bundle", box.save(), box.id)
    deadline = time.monotonic() + 20
    while box.place.call("state", box.id).returncode and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


def test_every_kind_of_training_works_here(image: Path, runtime: Path, tmp_path: Path) -> None:
    """So an image that is made here has seen all of them; and the maker has nothing to complain of."""
    ordinary = runtime.with_name("pyrunc-ordinary")
    if not ordinary.exists():
        pytest.skip("no pyrunc-ordinary: an installation has none")
    commands = training.prepare(tmp_path, ordinary)
    assert commands is not None
    lines = commands.read_text().splitlines()
    assert len(lines) == 3 * 8 * training.ROUNDS
    bundles = {line.split("\t--bundle\t")[1].split("\t")[0] for line in lines if "--bundle" in line}
    assert {Path(bundle).name for bundle in bundles} == {
        f"{kind}-{end}" for kind in ("_spec", "_engine", "_pod") for end in ("ends", "stays")
    }


def test_it_was_seen_what_commands_write(bundle: MakeBundle, image: Path, runtime: Path) -> None:
    """A page that is made in advance is one that a command writes, and most that it writes are."""
    record = image.read_bytes()[-2 * warm.RUNS * 8 :]
    entries = list(struct.iter_unpack("<2I", record))
    short, long = (
        {page for first, count in kind for page in range(first, first + count)}
        for kind in (entries[: warm.RUNS], entries[warm.RUNS :])
    )
    assert len(short) > 20
    assert not long or len(long) > len(short)
    box = bundle("true")
    box.create().ok()
    has = warm.held_up([runtime, "--root", box.place.root, "state", box.id], image)
    box.delete("--force").ok()
    assert short <= has and len(has - short) < len(short)


#: Faults and pages made in advance, of each command and what it waits for: a fifth more than as this is written.
BUDGETS = {"create": 670, "start": 300, "state": 285, "exec": 940, "kill": 295, "delete": 350, "run": 1150}


def test_the_budget_of_pages(bundle: MakeBundle, image: Path, runtime: Path) -> None:
    """What a start from the image costs is, for the greater part, the pages that it touches and writes."""
    box = bundle("sleep", "1000")
    ends = bundle("true")
    lives: list[tuple[str, ...]] = [
        ("create", "--bundle", str(box.save()), box.id),
        ("start", box.id),
        ("state", box.id),
        ("exec", box.id, "true"),
        ("kill", box.id, "CONT"),
        ("delete", "--force", box.id),
        ("run", "--bundle", str(ends.save()), ends.id),
    ]
    found = {}
    with open("/dev/null", "r+b") as null:
        files = [(os.POSIX_SPAWN_DUP2, null.fileno(), fd) for fd in (0, 1, 2)]
        for words in lives:
            argv = [str(runtime), "--root", str(box.place.root), *words]
            _, status, usage = os.wait4(os.posix_spawn(argv[0], argv, os.environ, file_actions=files), 0)
            assert status == 0, words
            found[words[0]] = usage.ru_minflt
    assert {command: pages for command, pages in found.items() if not 100 < pages < BUDGETS[command]} == {}, found

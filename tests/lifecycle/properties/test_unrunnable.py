"""What is said of a program that cannot be executed: which file, which folder, which rule; by run, start and exec."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.elf import GLIBC, elf
from tests.support.workplace import Bundle, MakeBundle, Result


def put(data: bytes, mode: int = 0o755, name: str = "prog") -> Callable[[Bundle], None]:
    def change(box: Bundle) -> None:
        path = box.rootfs / name
        path.write_bytes(data)
        path.chmod(mode)

    return change


def link(name: str, target: str) -> Callable[[Bundle], None]:
    def change(box: Bundle) -> None:
        (box.rootfs / name).symlink_to(target)

    return change


def folder(name: str, mode: int) -> Callable[[Bundle], None]:
    def change(box: Bundle) -> None:
        place = box.rootfs / name
        place.mkdir(exist_ok=True)
        (place / "prog").write_bytes(b"#!/bin/sh\n")
        (place / "prog").chmod(0o755)
        place.chmod(mode)

    return change


class Case(NamedTuple):
    """program: args[0]. phrase: what engines look for. words: of the hint. user: uid and gid."""

    name: str
    program: str
    make: Callable[[Bundle], None]
    phrase: str
    words: tuple[str, ...]
    user: int = 0


NOT_THERE = "no such file or directory"
DENIED = "permission denied"
FORMAT = "exec format error"

CASES = (
    Case("missing", "/usr/bin/ech", lambda box: None, NOT_THERE, ("in /usr/bin there is no ech",)),
    Case("near", "/bin/ech", lambda box: None, NOT_THERE, ("in /bin there is no ech: did you mean echo?",)),
    Case(
        "loader",
        "/prog",
        put(elf(GLIBC)),
        NOT_THERE,
        (f"the program is there, its loader {GLIBC} is not: it was built for glibc",),
    ),
    Case("musl", "/prog", put(elf("/lib/ld-musl-x86_64.so.1")), NOT_THERE, ("built for musl (Alpine)",)),
    Case(
        "interpreter",
        "/prog",
        put(b"#!/usr/bin/python3 -u\nprint()\n"),
        NOT_THERE,
        ("the program is there, its interpreter /usr/bin/python3 is not",),
    ),
    Case("carriage return", "/prog", put(b"#!/bin/sh\r\n"), NOT_THERE, ("carriage return",)),
    Case("a link to nothing", "/prog", link("prog", "/else/where"), NOT_THERE, ("the link /prog", "there is no else")),
    Case(
        "other machine", "/prog", put(elf(GLIBC, machine=183)), FORMAT, ("is for aarch64 (arm64)", "machine is x86_64")
    ),
    Case("big-endian", "/prog", put(elf(GLIBC, machine=22, order=">")), FORMAT, ("is for s390x, big-endian",)),
    Case("empty", "/prog", put(b""), FORMAT, ("the file is empty",)),
    Case("no #! line", "/prog", put(b"echo hello\n"), FORMAT, ("has no #! line",)),
    Case("object file", "/prog", put(elf(GLIBC, kind=1)), FORMAT, ("an object file, not linked yet",)),
    Case("for Windows", "/prog", put(b"MZ\x90\0" + bytes(100)), FORMAT, ("a program for Windows",)),
    Case(
        "no mode", "/prog", put(b"#!/bin/sh\n", 0o644), DENIED, ("mode 0644, owner 0:0", "no x for anybody: chmod +x")
    ),
    Case("not for the user", "/prog", put(b"#!/bin/sh\n", 0o700), DENIED, ("mode 0700", "uid 1000, gid 1000"), 1000),
    Case(
        "folder",
        "/private/prog",
        folder("private", 0o700),
        DENIED,
        ("/private (mode 0700, owner 0:0) must be searchable (x) for the process (uid 1000",),
        1000,
    ),
    Case("directory", "/bin", lambda box: None, DENIED, ("/bin is a directory",)),
    Case("links", "/prog", link("prog", "prog"), "too many levels of symbolic links", ("links lead to each other",)),
    Case(
        "not in PATH", "ech", lambda box: None, "executable file not found in $PATH", ("PATH is ", "did you mean echo?")
    ),
)


def failed(box: Bundle, command: str, program: str) -> Result:
    """The call that is to execute it."""
    if command == "run":
        box.config["process"]["args"] = [program]
        return box.run("--detach")
    if command == "start":
        box.config["process"]["args"] = [program]
        created = box.create()
        return box.start() if created.returncode == 0 else created
    return box.exec(program)


@pytest.mark.parametrize("command", ["run", "start", "exec"])
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_why(case: Case, command: str, bundle: MakeBundle) -> None:
    box = bundle("sleep", "1000")
    box.config["process"]["user"] = {"uid": case.user, "gid": case.user}
    box.config["process"]["capabilities"] = {}
    case.make(box)
    if command == "exec":
        box.create().ok()
        box.start().ok()
    done = failed(box, command, case.program)
    assert done.returncode == (255 if command == "exec" else 1), done
    assert case.phrase in done.stderr and done.stderr.count("\n") == 1
    hint = done.stderr.partition(": hint: ")[2]
    assert all(words in hint for words in case.words), done.stderr
    if box.place.root.joinpath(box.id).exists():
        box.delete("--force").ok()


def hint_of(done: Result, phrase: str) -> str:
    assert done.returncode != 0 and phrase in done.stderr and done.stderr.count("\n") == 1, done
    return done.stderr.partition(": hint: ")[2]


def run(box: Bundle, *argv: str, phrase: str) -> str:
    box.config["process"]["args"] = list(argv)
    return hint_of(box.run(), phrase)


def test_a_program_beside_path(bundle: MakeBundle) -> None:
    box = bundle()
    (box.rootfs / "usr/local/bin").mkdir(parents=True)
    put(b"#!/bin/sh\n", name="usr/local/bin/tool")(box)
    box.config["process"]["env"] = ["PATH=/bin:/usr/bin"]
    hint = run(box, "tool", phrase="executable file not found in $PATH")
    assert hint.startswith("PATH is /bin:/usr/bin: it is in /usr/local/bin, which is not among them")
    box.config["process"]["env"] = []
    assert run(box, "sh", phrase="executable file not found in $PATH").startswith(
        "process.env has no PATH: it is in /bin"
    )


def test_a_mount_that_is_noexec(bundle: MakeBundle, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    box = bundle()
    mount = {"destination": "/vol", "type": "bind", "source": str(tmp_path), "options": ["rbind", "ro", "noexec"]}
    box.config["mounts"].append(mount)
    place = f"/mounts/{len(box.config['mounts']) - 1}/options/2"
    hint = run(box, "/vol/tool", phrase=DENIED)
    assert hint.startswith(f"the mount that it is on is noexec (config.json {place})")


def test_what_lies_on_a_mount(bundle: MakeBundle, tmp_path: Path) -> None:
    """When start looks they are gone: of the host's it sees the sources, of others it says nothing."""
    box = bundle()
    for name, text in {"script": "#!/vol/missing\n", "good": "#!/bin/sh\n"}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    put(b"#!/bin/else\n", name="script")(box)
    (box.rootfs / "vol").mkdir()
    put(b"", name="vol/script")(box)
    box.config["mounts"].append({"destination": "/vol", "type": "bind", "source": str(tmp_path), "options": ["rbind"]})
    assert "its interpreter /vol/missing is not" in run(box, "/vol/script", phrase=NOT_THERE)
    source = str(tmp_path / "script")
    box.config["mounts"].append({"destination": "/file", "type": "bind", "source": source, "options": ["bind"]})
    assert "its interpreter /vol/missing is not" in run(box, "/file", phrase=NOT_THERE)
    put(b"#!/tmp/x/sh\n", name="on-a-tmpfs")(box)
    box.config["mounts"].append({"destination": "/tmp/x", "type": "tmpfs", "source": "tmpfs"})
    assert run(box, "/on-a-tmpfs", phrase=NOT_THERE) == ""


def test_working_directories(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    (box.rootfs / "file").touch()
    box.create().ok()
    box.start().ok()
    said = {
        ("--cwd", "/homes"): (NOT_THERE, "in / there is no homes: did you mean home?"),
        ("--cwd", "/file"): ("not a directory", "/file is a file: process.cwd must be a directory"),
    }
    (box.rootfs / "home").mkdir(exist_ok=True)
    for flags, (phrase, words) in said.items():
        assert hint_of(box.exec(*flags, "true"), phrase).startswith(words)


def test_the_rootfs_itself(bundle: MakeBundle) -> None:
    box = bundle()
    box.rootfs.chmod(0o700)
    box.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    box.config["process"]["capabilities"] = {}
    hint = run(box, "/bin/true", phrase=DENIED)
    assert hint.startswith("the rootfs's own directory, / (mode 0700, owner 0:0) must be searchable (x)")


def test_scripts_of_scripts(bundle: MakeBundle) -> None:
    box = bundle()
    for number in range(8):
        put(f"#!/s{number + 1}\n".encode(), name=f"s{number}")(box)
    put(b"", name="s8")(box)
    assert "more than the kernel follows" in run(box, "/s0", phrase="too many levels of symbolic links")
    assert "its interpreter /s8: the file is empty" in run(box, "/s5", phrase=FORMAT)
    put(elf("/lib/loader"), name="s8")(box)
    assert "its loader /lib/loader is not" in run(box, "/s7", phrase=NOT_THERE)
    (box.rootfs / "s8").chmod(0o644)
    assert "its interpreter (/s8, mode 0644, owner 0:0) has no x for anybody" in run(box, "/s7", phrase=DENIED)


def test_a_program_that_is_written_to(bundle: MakeBundle) -> None:
    box = bundle()
    put((box.rootfs / "bin/busybox").read_bytes())(box)
    with (box.rootfs / "prog").open("ab"):
        assert "something holds it open for writing" in run(box, "/prog", phrase="text file busy")


def test_too_large(bundle: MakeBundle) -> None:
    box = bundle()
    hint = run(box, "/bin/true", "x" * 200000, phrase="argument list too long")
    assert hint.startswith("process.args[1] has 200001 bytes, the kernel takes 131072 in one")
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 20}]
    box.config["process"]["env"] += [f"V{number}=" + "x" * 100000 for number in range(4)]
    assert "the kernel takes 262144 in all, a quarter of RLIMIT_STACK" in run(
        box, "/bin/true", phrase="argument list too long"
    )


@pytest.mark.parametrize("command", ["run", "start", "exec"])
def test_in_the_log(command: str, bundle: MakeBundle, tmp_path: Path) -> None:
    box = bundle("sleep", "1000")
    put(elf(GLIBC))(box)
    call: list[str | Path]
    if command == "exec":
        box.create().ok()
        box.start().ok()
        call = ["exec", box.id, "/prog"]
    else:
        box.config["process"]["args"] = ["/prog"]
        call = ["run", "--bundle", box.save(), box.id]
        if command == "start":
            box.create().ok()
            call = ["start", box.id]
    done = box.place.call("--log", tmp_path / "log", "--log-format", "json", *call)
    assert done.returncode != 0
    entry = json.loads((tmp_path / "log").read_text())
    assert entry["hint"].startswith("the program is there, its loader") and entry["errno"] == 2
    assert entry.get("pointer") == (None if command == "exec" else "/process/args/0")
    if command != "run":
        box.delete("--force").ok()


# ---- what an image may have in wait ----


def hostile(box: Bundle, name: str) -> str:
    """Make the file that is looked at something else than a file of the rootfs; what may be said of it."""
    if name == "fifo":
        os.mkfifo(box.rootfs / "prog")
        (box.rootfs / "prog").chmod(0o755)
        return "is no ordinary file"
    if name == "loader is a fifo":
        os.mkfifo(box.rootfs / "fifo")
        (box.rootfs / "fifo").chmod(0o755)
        put(elf("/fifo"))(box)
        return "/fifo is no ordinary file"
    if name == "links of the host":
        put(elf("/up/secret/loader"))(box)
        (box.rootfs / "up").symlink_to("../../../../../../.." + str(box.path))
        return "its loader /up/secret/loader is not"
    if name == "many links":
        for number in range(60):
            (box.rootfs / f"l{number}").symlink_to("/".join([f"l{number + 1}"] * 30))
        put(elf("/l0/x"))(box)
        return "its loader /l0/x is not"
    put(b"\x7fELF\x02\x01" + b"\xff" * 250)(box)
    return "the program is for machine 65535"


@pytest.mark.parametrize("name", ["fifo", "loader is a fifo", "links of the host", "many links", "damaged"])
def test_hostile_files(name: str, bundle: MakeBundle) -> None:
    box = bundle()
    (box.path / "secret").mkdir()
    (box.path / "secret/loader").touch()
    words = hostile(box, name)
    box.config["process"]["args"] = ["/prog"]
    done = box.run()
    assert done.returncode != 0 and words in done.stderr and done.stderr.count("\n") == 1, done


# ---- filters ----


def rule(box: Bundle, name: str, action: str, **more: Any) -> Bundle:
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG"}, {"names": [name], "action": action, **more}],
    }
    return box


@pytest.mark.parametrize("no_new_privileges", [False, True])
@pytest.mark.parametrize("action", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
@pytest.mark.parametrize("name", ["capset", "read", "execve"])
def test_a_filter_in_the_way(name: str, action: str, no_new_privileges: bool, bundle: MakeBundle) -> None:
    box = rule(bundle(), name, action)
    box.config["process"]["noNewPrivileges"] = no_new_privileges
    done = box.run()
    if name == "capset" and no_new_privileges:
        done.ok()  # it is called before
        return
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "config.json /linux/seccomp/syscalls/1)" in done.stderr
    assert (
        f"hint: the filter answers {name}, which is needed to start the program, with {action}: allow it" in done.stderr
    )


def test_a_filter_in_the_way_of_exec(container: MakeBundle) -> None:
    """A container of before, whose filter is another's now: as an engine may give exec a process of its own."""
    box = container("sleep", "1000")
    box.create().ok()
    box.start().ok()
    rule(box, "execve", "SCMP_ACT_ERRNO")
    (box.place.root / box.id / "config.json").write_text(json.dumps(box.config))
    hint = hint_of(box.exec("true"), "operation not permitted")
    assert hint.startswith("the filter answers execve")


def test_a_filter_that_allows_too_little(bundle: MakeBundle) -> None:
    box = bundle()
    box.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["read", "write", "close", "capset", "prctl", "exit_group"], "action": "SCMP_ACT_ALLOW"}
        ],
    }
    done = box.run()
    assert "config.json /linux/seccomp/defaultAction): hint: the filter answers execve" in done.stderr

"""An error says what was in the way: the id, the limit, the namespace, and not the whole step that it was met in."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import running
from tests.support.namespaces import add_user_namespace
from tests.support.workplace import Bundle, MakeBundle, one_line


def with_limit(box: Bundle, words: str) -> None:
    """From now on the runtime is called below a limit, in the shell's words."""
    wrapper = box.path / "limited"
    wrapper.write_text(f'#!/bin/bash\nulimit {words}\nexec {box.place.runtime} "$@"\n')
    wrapper.chmod(0o755)
    box.place.runtime = wrapper


# ---- ids that are not mapped ----


def test_an_additional_group(bundle: MakeBundle) -> None:
    box = bundle("true")
    add_user_namespace(box)
    box.config["process"]["user"] = {"uid": 0, "gid": 0, "additionalGids": [5, 70000]}
    text = one_line(box.run(), 1, "set additional groups: unmapped gid 70000 in user namespace")
    assert "/process/user/additionalGids" in text and "become" not in text


def test_those_of_exec(container: MakeBundle) -> None:
    box = container("sleep", "1000")
    add_user_namespace(box)
    running(box)
    for flags, words in (
        (("--user", "70000:0"), "exec failed: cannot setuid to unmapped uid 70000 in user namespace"),
        (("--user", "0:70000"), "exec failed: cannot setgid to unmapped gid 70000 in user namespace"),
        (
            ("--additional-gids", "70000"),
            "exec failed: set additional groups: unmapped gid 70000 in user namespace",
        ),
    ):
        assert one_line(box.exec(*flags, "true"), 255, f"{words} (container {box.id}")
    box.exec("--user", "65535:65535", "--additional-gids", "65535", "true").ok()


# ---- limits ----


def few(box: Bundle, number: int) -> dict[str, Any]:
    process = {**box.config["process"], "args": ["sh", "-c", "ulimit -n"]}
    return {**process, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": number, "hard": number}]}


@pytest.mark.parametrize("number", [8, 9, 12, 16])
def test_few_descriptors_are_enough(container: MakeBundle, number: int) -> None:
    """The runtime needs little more than the program (runc and crun 13 with exec, 17 with create)."""
    box = container()
    box.config["process"] = few(box, number)
    assert box.run().ok().stdout == f"{number}\n"
    other = container("sleep", "1000")
    running(other)
    (other.path / "process.json").write_text(json.dumps(few(other, number)))
    assert other.exec("--process", other.path / "process.json").ok().stdout == f"{number}\n"


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_too_few_descriptors(container: MakeBundle, number: int) -> None:
    words = "arrange the descriptors of the process: too many open files"
    hint = f"RLIMIT_NOFILE allows {number}"
    box = container()
    box.config["process"] = few(box, number)
    one_line(box.run(), 1, words, hint)
    other = container("sleep", "1000")
    running(other)
    (other.path / "process.json").write_text(json.dumps(few(other, number)))
    got = other.exec("--process", other.path / "process.json")
    if number < 4:
        one_line(got, 255, words, hint)


def test_too_few_descriptors_of_the_runtime_s(bundle: MakeBundle) -> None:
    """At each step that needs one it is an error, and nothing is left."""
    box = bundle("true")
    runtime = box.place.runtime
    reached = set()
    for number in range(3, 25):
        with_limit(box, f"-n {number}")
        got = box.run()
        box.place.runtime = runtime
        if got.returncode == 0:
            break
        text = got.stderr.lower()
        assert got.returncode == 1 and text.count("\n") == 1 and "internal error" not in text, got
        assert "too many open files" in text or "rlimit_nofile" in text, got
        reached.add(text.partition("msg=")[2])
        assert not box.place.root.exists() or box.id not in os.listdir(box.place.root)
    assert len(reached) > 5


def test_files_of_the_caller_s_may_not_grow(bundle: MakeBundle) -> None:
    """RLIMIT_FSIZE, which the copy of the runtime in memory is below, too: an error, not SIGXFSZ."""
    box = bundle("true")
    runtime = box.place.runtime
    for blocks in (1, 10, 50, 200):
        with_limit(box, f"-f {blocks}")
        got = box.run()
        box.place.runtime = runtime
        assert got.returncode in (0, 1) and got.stderr.count("\n") == got.returncode, got
        if got.returncode or blocks == 1:
            assert "file too large" in got.stderr.lower() and "internal error" not in got.stderr, got
        assert not box.place.root.exists() or box.id not in os.listdir(box.place.root)


def test_a_program_that_reaches_its_file_size_gets_the_signal(bundle: MakeBundle) -> None:
    box = bundle("sh", "-c", "dd if=/dev/zero of=/tmp/x bs=1k count=30; echo $?; grep SigIgn /proc/self/status")
    box.config["root"]["readonly"] = False
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_FSIZE", "soft": 4096, "hard": 4096}]
    status, _, ignored = box.run().ok().stdout.split()
    assert int(status) == 128 + signal.SIGXFSZ and not int(ignored, 16) >> (signal.SIGXFSZ - 1) & 1


# ---- an ordinary user ----


@pytest.mark.usefixtures("public_place")
def test_an_ordinary_user_without_a_user_namespace(bundle: MakeBundle) -> None:
    box = bundle("true")
    box.config["linux"].pop("cgroupsPath")
    box.config["linux"].pop("resources", None)
    box.config["process"].pop("capabilities")
    home = box.path / "home"
    home.mkdir()
    home.chmod(0o777)
    box.save()
    for spaces in ([{"type": "mount"}, {"type": "pid"}], []):
        box.config["linux"]["namespaces"] = spaces
        for key in ("maskedPaths", "readonlyPaths"):
            box.config["linux"].pop(key, None)
        box.config.pop("hostname", None)
        box.save()
        argv: list[str | Path] = ["setpriv", "--reuid=1900", "--regid=1900", "--clear-groups", box.place.runtime]
        argv += ["--root", home / "state", "run", "--bundle", box.path, "x"]
        got = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        one_line(got, 1, "rootless container requires user namespaces", "/linux/namespaces")
        assert [name for name in os.listdir(home / "state") if not name.startswith("@")] == []

"""The short form of `make sanitize`, and what the compiler is told to put into every object."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import TOP

from .__main__ import FOLDER, build, environment, runtime


@pytest.fixture(scope="module", autouse=True)
def extensions() -> None:
    """Those that the sanitizers watch."""
    try:
        runtime()
    except FileNotFoundError as e:
        pytest.skip(str(e))
    build()


def under_sanitizers(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.sanitize.inside", *words]
    return subprocess.run(argv, cwd=TOP, env=environment(), capture_output=True, text=True, check=False)


def test_the_unit_tests_of_the_extensions() -> None:
    done = under_sanitizers(
        "unit",
        "tests/unit/native/test_linux.py",
        "tests/unit/native/test_finish.py",
        "tests/unit/test_jsontext.py",
        "-q",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "runtime error" not in done.stderr and "Sanitizer" not in done.stderr


def test_calls_at_random() -> None:
    done = under_sanitizers("fuzz", "20000")
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_misuse_is_found() -> None:
    """The sanitizers are there, and end the process: a heap overflow of libc's allocator that we make by ourselves."""
    text = "import ctypes; p = ctypes.CDLL(None).malloc; p.restype = ctypes.c_void_p; ctypes.memset(p(8), 0, 9)"
    argv = [sys.executable, "-c", text]
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode and "heap-buffer-overflow" in done.stderr
    symbols = subprocess.run(["nm", "-D", *FOLDER.glob("*.so")], capture_output=True, text=True, check=True).stdout
    assert "__asan_report_load" in symbols and "__ubsan_handle_type_mismatch" in symbols


WANTED = {
    "x86_64": ("-fstack-protector-strong", "-fstack-clash-protection", "-fcf-protection=full"),
    "aarch64": ("-fstack-protector-strong", "-fstack-clash-protection", "-mbranch-protection=standard"),
}


@pytest.mark.parametrize("name", ["linux", "finish", "json"])
def test_hardening(name: str) -> None:
    """The shipped objects, by what the compiler notes in them."""
    machine = platform.machine()
    if machine not in WANTED:
        pytest.skip("an architecture whose flags we do not know")
    target = Path(TOP, f"build/native/{name}.o")
    said = subprocess.run(["readelf", "--debug-dump=info", target], capture_output=True, text=True, check=True).stdout
    producer = re.search(r"DW_AT_producer.*", said)
    assert producer and all(flag in producer[0].split() for flag in WANTED[machine]), producer


def test_fortified() -> None:
    """Libc's checking variants are called: in the extension of memcpy, in stage two of snprintf."""
    for path in (*TOP.glob("pyrunc/_linux*.so"), TOP / "build/stage2"):
        symbols = subprocess.run(["nm", "-D", path], capture_output=True, text=True, check=True).stdout
        assert re.search(r"U __\w+_chk@", symbols), path

"""Namespaces of a test's own: what it makes in there the host never sees, and it goes when the test ends."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), what)


def setns(fd: int, kind: int) -> None:
    """setns(2) of this process, which has one thread."""
    _check(_libc.setns(fd, kind), "setns")


def unshare(kind: int) -> None:
    _check(_libc.unshare(kind), "unshare")


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This process, and what it starts, is in a new network namespace until the end; loopback is up."""
    back = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    try:
        command("ip", "link", "set", "lo", "up")
        yield
    finally:
        setns(back, CLONE_NEWNET)
        os.close(back)


@contextlib.contextmanager
def own_mounts() -> Iterator[None]:
    """This process, and what it starts, is in a new mount namespace until the end; nothing spreads from or to it."""
    back = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    here = os.getcwd()
    unshare(CLONE_NEWNS)
    try:
        command("mount", "--make-rprivate", "/")
        yield
    finally:
        setns(back, CLONE_NEWNS)
        os.chdir(here)
        os.close(back)


def command(*argv: str) -> str:
    """Run a program that must succeed; its output."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout

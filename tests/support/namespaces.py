"""Namespaces: a container's, and of a test's own, where the host sees nothing of it."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

from pyrunc._linux import CLONE_NEWNET, CLONE_NEWNS
from pyrunc.steps.namespaces import TYPES

from .processes import command
from .workplace import Bundle

#: Namespace type in config.json: file in /proc/PID/ns.
NAMESPACE_FILES = {kind: file for kind, (_, file) in TYPES.items()}


#: Of the tests' user namespaces: users and groups 0 to 65535 are these on the host.
MAPPED = 100000


def namespaces_of(pid: int | str) -> dict[str, str]:
    """Type to what the kernel calls the namespace, such as pid:[4026531836]."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{file}") for kind, file in NAMESPACE_FILES.items()}


def set_namespaces(box: Bundle, *new: str, **joined: int | str) -> None:
    """New namespaces, and some to join: by a path, or by the number of a process that is in them."""
    entries: list[dict[str, str]] = [{"type": kind} for kind in new]
    for kind, where in joined.items():
        path = where if isinstance(where, str) else f"/proc/{where}/ns/{NAMESPACE_FILES[kind]}"
        entries.append({"type": kind, "path": path})
    box.config["linux"]["namespaces"] = entries
    if "uts" not in new and "uts" not in joined:
        box.config.pop("hostname", None)


def add_user_namespace(box: Bundle) -> None:
    """A new user namespace beside what namespaces the config has."""
    linux = box.config["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": MAPPED, "size": 65536}]


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

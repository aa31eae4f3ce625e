"""linux.seccomp of config.json → the BPF program that the container runs under.

Compiling one with libseccomp takes some 20 ms, reading it back from the cache a tenth of one, and engines give the same
few profiles to all containers. So this module, which every create loads, only finds and checks a program that was
compiled before; compiler.py makes and stores one when there is none.

An entry of the cache is found by all that a program depends on: the profile, the library, the kernel, and our own
compiler. So a profile that is found has been checked when it was compiled: only what is not part of the program
(listenerPath, listenerMetadata) is judged here.
"""

from __future__ import annotations

import marshal
import posix
import sys
import time
from _blake2 import blake2b
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import ConfigError
from pyrunc.linux import files

if TYPE_CHECKING:
    from pyrunc.config.types import Seccomp

# struct sock_filter (linux/filter.h), and how many of them the kernel takes: BPF_MAXINSNS (linux/bpf_common.h).
INSTRUCTION: Final = 8
MAX_INSTRUCTIONS: Final = 4096

_MAGIC: Final = b"pyrunc seccomp\n\0"
_DIGEST: Final = 32
_HEAD: Final = len(_MAGIC) + _DIGEST + 8
_HOUR: Final = 3600

# Beside the flags for seccomp(2), which have 32 bits: what second_clone() of native/finish.c calls is allowed, a later
# setresuid(2), and the sendmsg(2) of a listener.
ALLOWS_CLONE: Final = 1 << 32
ALLOWS_SETRESUID: Final = 1 << 33
ALLOWS_SENDMSG: Final = 1 << 34


class Filter:
    """A compiled profile.

    program: struct sock_filter[] as seccomp(2) takes it. flags: SECCOMP_FILTER_FLAG_* for seccomp(2), with NEW_LISTENER
    when a rule notifies. listener_path: socket of the agent that serves notifications, when flags have NEW_LISTENER,
    else None. metadata: what the agent is told besides, "" for nothing. cached: it was not compiled now.
    """

    __slots__ = ("_allows", "cached", "flags", "listener_path", "metadata", "program")

    def __init__(self, program: bytes, flags: int, listener_path: str | None, metadata: str, cached: bool) -> None:
        self.program = program
        self.flags = flags & 0xFFFFFFFF
        self._allows = flags & ~0xFFFFFFFF
        self.listener_path = listener_path
        self.metadata = metadata
        self.cached = cached

    def allows_clone(self, user: bool = False) -> bool:
        """Whether under it a process may be cloned that leads a session and takes a controlling terminal.

        user: and may change its real user id.
        """
        wanted = ALLOWS_CLONE | (ALLOWS_SETRESUID if user else 0)
        return self._allows & wanted == wanted

    def allows_sendmsg(self) -> bool:
        """Whether under it a descriptor may be sent. Where that is notified, nobody would answer yet."""
        return bool(self._allows & ALLOWS_SENDMSG)


def find(seccomp: Seccomp, cache_dir: str | None) -> Filter | None:
    """The filter as the cache has it, or None. Raises ConfigError for what is wrong with the listener."""
    if seccomp.get("listenerMetadata") and not seccomp.get("listenerPath"):
        raise ConfigError(
            "seccomp listenerMetadata is set, but listenerPath is not", pointer="/linux/seccomp/listenerMetadata"
        )
    name = key(seccomp) if cache_dir is not None else None
    entry = read(cache_dir, name) if cache_dir is not None and name is not None else None
    return make_filter(seccomp, entry, True) if entry is not None else None


def make_filter(seccomp: Seccomp, entry: tuple[int, bytes], cached: bool) -> Filter:
    """The filter of an entry (flags and program). cached: it was not compiled now. Raises ConfigError."""
    flags, program = entry
    path = seccomp.get("listenerPath") or None
    if not flags & _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER:
        path = None
    elif path is None:
        raise ConfigError(
            "seccomp listenerPath is not set, but a rule has the action SCMP_ACT_NOTIFY",
            pointer="/linux/seccomp/listenerPath",
        )
    return Filter(program, flags, path, seccomp.get("listenerMetadata") or "", cached)


def key(seccomp: Seccomp) -> str | None:
    """Name of the cache's entry for this profile here and now; None when it cannot be said which library is here."""
    library = _library()
    if library is None:
        return None
    compiler = _compiler()
    host = posix.uname()
    # Only what the program depends on: the listener's metadata may be another for every container. marshal's second
    # format is the last without back references, which depend on how an object came about; here equal is equal.
    profile = [seccomp.get(name) for name in ("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")]
    return blake2b(
        marshal.dumps([compiler, library, host.release, host.machine, profile], 2), digest_size=20
    ).hexdigest()


def _compiler() -> str:
    """A digest of the code that compiles: what another version of it has made is another entry. Raises OSError."""
    try:
        from pyrunc.steps.seccomp._compiler import DIGEST
    except ImportError:
        # No launcher, whose build has written it down.
        from pyrunc.steps.seccomp import digest

        return digest.of(__file__.rpartition("/")[0])
    return str(DIGEST)


def _library() -> tuple[str, int, int] | None:
    """libseccomp's full name with its version, size and time of change (ns): which one it is, without loading it."""
    # Debian's folder of the architecture; then where others have it.
    triplet = getattr(sys.implementation, "_multiarch", "")
    for folder in ("/usr/lib/" + triplet, "/usr/lib64", "/usr/lib", "/lib/" + triplet, "/lib64", "/lib"):
        path = folder + "/libseccomp.so.2"
        try:
            status = posix.stat(path)
            return posix.readlink(path), status.st_size, status.st_mtime_ns
        except OSError:
            pass
    return None


def read(cache_dir: str, name: str) -> tuple[int, bytes] | None:
    """Flags and program of the cache's entry, or None when there is none that is whole and ours alone."""
    try:
        folder = open_folder(cache_dir)
    except OSError:
        return None
    try:
        # A FIFO or a terminal under the entry's name must not hold us up.
        flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY
        fd = posix.open(name, flags, dir_fd=folder)
    except OSError:
        return None
    finally:
        posix.close(folder)
    try:
        status = posix.fstat(fd)
        size = status.st_size
        if (
            not files.is_ours_alone(status, _linux.S_IFREG)
            or not _HEAD < size <= _HEAD + MAX_INSTRUCTIONS * INSTRUCTION
        ):
            return None
        data = posix.read(fd, size + 1)
        entry = unpack(name, data)
        if entry is not None:
            _mark_used(fd, status.st_mtime)
        return entry
    except OSError:
        return None
    finally:
        posix.close(fd)


def _mark_used(fd: int, changed: float) -> None:
    """When the cache is full, the entries that were not used for the longest time go. Exact to the hour."""
    if not 0 <= time.time() - changed < _HOUR:
        posix.utime(fd)


def open_folder(path: str) -> int:
    """A descriptor of the cache's folder. Raises OSError when it is not there, a link, or not ours alone."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    if not files.is_ours_alone(posix.fstat(fd), _linux.S_IFDIR):
        posix.close(fd)
        raise PermissionError(1, "not a folder of ours alone", path)
    return fd


def pack(name: str, flags: int, program: bytes) -> bytes:
    """An entry: magic, digest, flags, program. The digest takes in the name, so entries cannot change places."""
    body = flags.to_bytes(8, sys.byteorder) + program
    return _MAGIC + blake2b(name.encode() + body, digest_size=_DIGEST).digest() + body


def unpack(name: str, data: bytes) -> tuple[int, bytes] | None:
    """Flags and program of an entry's bytes; None when they are not what pack() made for that name."""
    at = len(_MAGIC)
    body = data[at + _DIGEST :]
    if data[:at] != _MAGIC or data[at : at + _DIGEST] != blake2b(name.encode() + body, digest_size=_DIGEST).digest():
        return None
    return int.from_bytes(body[:8], sys.byteorder), body[8:]

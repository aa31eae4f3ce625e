"""What pyrunc works with: systemd, D-Bus, CRIU, its own image, libraries."""

from __future__ import annotations

import posix
import sys
from typing import Final

from pyrunc import _linux
from pyrunc.doctor.finding import NOTE, OK, Finding, output, program, text
from pyrunc.errors import reason

# The record at the end of an image (native/image.h): its magic number, and where the facts of what made it are.
_MAGIC: Final = (0x33676D69756E7970).to_bytes(8, "little")
_RECORD_SIZE: Final = 4096
_FACTS: Final = {"libpython": 56, "libc": 80, "stage two": 104}


def check(version: str) -> list[Finding]:
    """version: pyrunc's."""
    return [*_systemd(), _criu(), _python(version), _image(), *_modules()]


def _systemd() -> list[Finding]:
    try:
        posix.stat("/run/systemd/system")
    except OSError:
        return [
            Finding(
                NOTE, "systemd", "does not run here: --systemd-cgroup is refused", "engines: cgroup_manager = cgroupfs"
            )
        ]
    sockets = ["/run/dbus/system_bus_socket"]
    runtime = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if posix.geteuid() != 0:
        sockets = [(runtime or "/run/user/" + str(posix.geteuid())) + "/bus"]
    found = [Finding(OK, "systemd", "runs here")]
    for path in sockets:
        problem = _connect(path)
        if problem:
            remedy = (
                "apt-get install dbus"
                if posix.geteuid() == 0
                else "apt-get install dbus-user-session, and log in again"
            )
            found.append(Finding(NOTE, "D-Bus", f"{path}: {problem}: no --systemd-cgroup", remedy))
        else:
            found.append(Finding(OK, "D-Bus", path))
    return found


def _connect(path: str) -> str:
    """Why nobody answers at a socket; "" when somebody does."""
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except OSError as error:
            return reason(error)
    return ""


def _criu() -> Finding:
    path = program("criu")
    if path is None:
        return Finding(NOTE, "CRIU", "not installed: no checkpoint and restore", "apt-get install criu")
    version = output(path, "--version")
    if not version:
        return Finding(NOTE, "CRIU", path + " does not say its version", "apt-get install --reinstall criu")
    return Finding(OK, "CRIU", f"{version.removeprefix('Version: ')}, {path}")


def _python(version: str) -> Finding:
    python = ".".join([str(number) for number in sys.version_info[:3]])
    return Finding(OK, "pyrunc", f"{version}, Python {python}")


def _modules() -> list[Finding]:
    found = []
    for name, package, what in (
        ("jsonschema", "python3-jsonschema", "why a config is refused cannot be told"),
        ("pyroute2", "python3-pyroute2", "no netDevices"),
    ):
        try:
            __import__(name)
        except ImportError:
            found.append(Finding(NOTE, "libraries", f"{name} is missing: {what}", "apt-get install " + package))
    return found or [Finding(OK, "libraries", "jsonschema, pyroute2")]


# ---- the image ----


def _image() -> Finding:
    """Whether commands start from the image: what stage one looks at (native/enter.c), told."""
    subject = "image"
    stage2 = _link("/proc/self/exe")
    if not stage2.endswith("/stage2"):
        words = "not looked for: this is " + (stage2 or "an unknown program") + ", not the launcher's"
        return Finding(NOTE, subject, words, "call doctor by the installed pyrunc")
    path = stage2.removesuffix("stage2") + "image"
    remedy = "build and install anew: make, make install"
    try:
        status = posix.stat(path, follow_symlinks=False)
    except OSError as error:
        remedy = "with Python 3.11 or 3.13 on amd64: apt-get install libpython3-dev, then make, make install"
        return Finding(NOTE, subject, f"{path}: {reason(error)}: commands start some ms slower", remedy)
    if status.st_uid != 0 or status.st_mode & 0o022 or status.st_mode & _linux.S_IFMT != _linux.S_IFREG:
        return Finding(
            NOTE, subject, path + " is not used: it must be a file of root's that nobody else can write to", remedy
        )
    if not posix.access(path, posix.R_OK):
        return Finding(OK, subject, path + " is for root; other users start without")
    problem = _misfit(path, {"libpython": _library("/libpython"), "libc": _library("/libc.so"), "stage two": stage2})
    if problem:
        return Finding(NOTE, subject, f"{path} is not used: {problem}", remedy)
    return Finding(OK, subject, path + ", of this libpython, libc and stage two")


def _misfit(path: str, made_with: dict[str, str]) -> str:
    """What of an image's record does not fit; "" for nothing."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        size = posix.fstat(fd).st_size
        tail = posix.pread(fd, _RECORD_SIZE, max(0, size - _RECORD_SIZE))
    finally:
        posix.close(fd)
    at = tail.rfind(_MAGIC)
    words = [int.from_bytes(tail[at + 8 * n : at + 8 * n + 8], "little") for n in range(16)]
    if at < 0 or words[2] != size:
        return "it is not whole"
    for name, offset in _FACTS.items():
        try:
            now = posix.stat(made_with[name])
        except OSError as error:
            return f"{name}: {reason(error)}"
        if [now.st_size, now.st_mtime_ns // 10**9, now.st_mtime_ns % 10**9] != words[offset // 8 : offset // 8 + 3]:
            return f"it was made with another {name} than {made_with[name]}"
    return ""


def _library(part: str) -> str:
    """The library of this process whose path has that part."""
    for line in (text("/proc/self/maps") or "").split("\n"):
        name = line.rpartition(" ")[2]
        if part in name:
            return name
    return ""


def _link(path: str) -> str:
    try:
        return posix.readlink(path)
    except OSError:
        return ""

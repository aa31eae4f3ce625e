"""What a check has found, and the few ways to look that all of them share."""

from __future__ import annotations

import errno
import posix
from collections.abc import Callable
from typing import Final

from pyrunc import _linux
from pyrunc.errors import reason
from pyrunc.linux import files

OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "problem"

#: Where programs are, whatever the caller's PATH is: engines call with a short one.
FOLDERS: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Finding:
    """One thing that was looked at.

    level: OK; NOTE, something is not there that some containers need; PROBLEM, pyrunc or the bundle cannot work so.
    subject: what was looked at. found: what is there, one line. remedy: what to do, "" for nothing.
    pointer: into the bundle's config.json, "" for none.
    """

    __slots__ = ("found", "level", "pointer", "remedy", "subject")

    def __init__(self, level: str, subject: str, found: str, remedy: str = "", pointer: str = "") -> None:
        self.level = level
        self.subject = subject
        self.found = found
        self.remedy = remedy
        self.pointer = pointer

    def as_json(self) -> dict[str, str | None]:
        return {name: getattr(self, name) or None for name in ("level", "subject", "found", "remedy", "pointer")}


def text(path: str, limit: int = 1 << 20) -> str | None:
    """The text of a small file without white space around it, None when it cannot be read."""
    try:
        return files.read(path, limit=limit).decode("utf-8", "replace").strip()
    except OSError:
        return None


def program(name: str) -> str | None:
    """The path of an installed program."""
    for folder in FOLDERS:
        path = f"{folder}/{name}"
        if posix.access(path, posix.X_OK):
            return path
    return None


def output(*argv: str) -> str:
    """The first line that a program writes, "" when it fails."""
    import subprocess

    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip() if done.returncode == 0 else ""


def attempt(act: Callable[[], None]) -> int:
    """Do something in a child process, which then ends. Returns 0, or the errno of what failed."""
    try:
        pid, pidfd = _linux.clone(0)
    except OSError as error:
        return error.errno or errno.EAGAIN
    if pid == 0:
        status = errno.EINVAL
        try:
            act()
            status = 0
        except OSError as error:
            status = error.errno or errno.EINVAL
        finally:
            posix._exit(min(status, 255))
    posix.close(pidfd)
    _, ended = posix.waitpid(pid, 0)
    return posix.WEXITSTATUS(ended) if posix.WIFEXITED(ended) else errno.EINTR


def words(number: int) -> str:
    """An errno as its error would be told."""
    return reason(OSError(number, ""))


def has_capability(name: str) -> bool:
    """Whether this process has a capability (effective)."""
    return bool(_linux.capget()[0] >> _linux.CAPS[name] & 1)

"""Which file execve(2) is given."""

from __future__ import annotations

import errno
import posix

from pyrunc import _linux
from pyrunc.errors import PyruncError


def find_program(name: str, env: list[str]) -> str:
    """The file that execvp(3) would execute, looked up as the user that is to run it. Raises PyruncError."""
    if "/" in name:
        problem = _not_executable(name)
        if problem:
            raise _no_program(name, problem)
        return name
    search = ""
    for entry in env:
        if entry.startswith("PATH="):
            search = entry[len("PATH=") :]
    denied = 0
    for directory in search.split(":") if search else ():
        candidate = (directory or ".") + "/" + name
        problem = _not_executable(candidate)
        if not problem:
            return candidate
        if problem == errno.EACCES:
            denied = problem
    if denied:
        raise _no_program(name, denied)
    raise PyruncError(
        f'exec: "{name}": executable file not found in $PATH', pointer="/process/args/0", errno=errno.ENOENT
    )


def _no_program(name: str, problem: int) -> PyruncError:
    text = posix.strerror(problem).lower()
    if problem == errno.ENOENT:
        text = f"stat {name}: {text}"
    elif problem == errno.EISDIR:
        # What execve(2) says of it, and what engines make exit status 126 of.
        text = posix.strerror(errno.EACCES).lower() + " (it is a directory)"
    return PyruncError(f'exec: "{name}": {text}', pointer="/process/args/0", errno=problem)


def _not_executable(path: str) -> int:
    """0 when path can be executed, else the errno that says why not."""
    try:
        mode = posix.stat(path).st_mode
    except OSError as error:
        return error.errno or errno.ENOENT
    if mode & _linux.S_IFMT == _linux.S_IFDIR:
        return errno.EISDIR
    if not posix.access(path, posix.X_OK, effective_ids=True):
        return errno.EACCES
    return 0

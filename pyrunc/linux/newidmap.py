"""Id maps written by an ordinary user: by the set-user-ID helpers newuidmap(1) and newgidmap(1)."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.linux import files

if TYPE_CHECKING:
    from pyrunc.config.types import IDMapping


_PATHS: Final = ("/usr/bin/", "/bin/", "/usr/local/bin/")


def write(pid: int, uids: list[IDMapping], gids: list[IDMapping]) -> None:
    """Write uid_map and gid_map of a process. Raises PyruncError.

    A map of nothing but the user's own id needs no helper; then setgroups(2) must be denied first
    (user_namespaces(7)).
    """
    directory = f"/proc/{pid}/"
    try:
        if _own(gids, posix.getegid()):
            files.write(directory + "setgroups", b"deny")
            files.write(directory + "gid_map", _line(gids[0]))
        else:
            _helper("newgidmap", pid, gids)
        if _own(uids, posix.geteuid()):
            files.write(directory + "uid_map", _line(uids[0]))
        else:
            _helper("newuidmap", pid, uids)
    except OSError as error:
        raise PyruncError("write id mappings: " + reason(error), errno=error.errno) from None


def _own(mappings: list[IDMapping], own: int) -> bool:
    return len(mappings) == 1 and mappings[0]["hostID"] == own and mappings[0]["size"] == 1


def _line(mapping: IDMapping) -> bytes:
    return (f"{mapping['containerID']} {mapping['hostID']} {mapping['size']}").encode("ascii")


def _helper(name: str, pid: int, mappings: list[IDMapping]) -> None:
    program = next((path + name for path in _PATHS if files.exists(path + name)), None)
    if program is None:
        raise PyruncError(name + " is not installed", hint="apt-get install uidmap")
    arguments = [name, str(pid)]
    for mapping in mappings:
        arguments += [str(mapping["containerID"]), str(mapping["hostID"]), str(mapping["size"])]
    output, write_end = posix.pipe2(posix.O_CLOEXEC)
    child, pidfd = _linux.clone(0)
    if child == 0:
        try:
            posix.dup2(write_end, 1, inheritable=True)
            posix.dup2(write_end, 2, inheritable=True)
            _linux.reset_signals()
            posix.execve(program, arguments, posix.environ)
        finally:
            posix._exit(127)
    posix.close(write_end)
    posix.close(pidfd)
    text = files.read_fd(output, 4096)
    posix.close(output)
    status = posix.waitpid(child, 0)[1]
    if status:
        words = text.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise PyruncError(
            f"{name} failed: {words}",
            pointer="/linux/" + ("uidMappings" if name == "newuidmap" else "gidMappings"),
            hint="/etc/subuid and /etc/subgid must grant the ids",
        )

"""pyrunc ps: the processes of a container: as JSON their numbers on the host, as a table what ps(1) says of them."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.errors import PyruncError, UsageError, reason

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def select(output: str, pids: set[int]) -> str:
    """The title of ps's output and the lines of these processes. Raises PyruncError when it has no column PID."""
    lines = output.split("\n")
    titles = lines[0].split()
    if "PID" not in titles:
        raise PyruncError("couldn't find PID field in ps output", hint="the options of ps must keep its PID column")
    column = titles.index("PID")
    kept = [lines[0]]
    for line in lines[1:]:
        fields = line.split()
        if len(fields) > column and fields[column].isdigit() and int(fields[column]) in pids:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _ps(arguments: list[str]) -> str:
    """What ps(1) prints, found on $PATH. Raises PyruncError when it fails. Cheaper than subprocess by its import."""
    reader, writer = posix.pipe()  # both close at exec, as every descriptor that Python makes
    try:
        try:
            actions = [(posix.POSIX_SPAWN_DUP2, writer, 1), (posix.POSIX_SPAWN_DUP2, writer, 2)]
            pid = posix.posix_spawnp("ps", ["ps", *arguments], posix.environ, file_actions=actions)
        finally:
            posix.close(writer)
        data = b""
        while True:
            chunk = posix.read(reader, 65536)
            if not chunk:
                break
            data += chunk
    except OSError as error:
        raise PyruncError("run ps: " + reason(error), errno=error.errno) from None
    finally:
        posix.close(reader)
    status = posix.waitstatus_to_exitcode(posix.waitpid(pid, 0)[1])
    text = data.decode("utf-8", "surrogateescape")
    if status != 0:
        raise PyruncError(f"ps exited with status {status}: {text.strip()}")
    return text


def run(call: Call) -> int:
    form = call.flags["format"] if "format" in call.given else "table"
    if form not in ("table", "json"):
        raise UsageError("invalid format option: " + form)
    from pyrunc.lifecycle.processes import processes
    from pyrunc.state.store import Store

    pids = processes(Store(call.root).load(call.args[0]))
    if form == "json":
        log.output("[" + ",".join([str(pid) for pid in pids]) + "]\n" if pids else "null\n")
    else:
        log.output(select(_ps(call.args[1:] or ["-ef"]), set(pids)))
    return 0

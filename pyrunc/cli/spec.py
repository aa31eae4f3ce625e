"""pyrunc spec: write a config.json to start from."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.errors import PyruncError, reason

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.config.default import default_config
    from pyrunc.jsontext import dumps

    try:
        posix.stat("/sys/fs/cgroup/cgroup.controllers")  # only the root of a cgroup v2 mount has it
        cgroup2 = True
    except OSError:
        cgroup2 = False
    rootless = (posix.geteuid(), posix.getegid()) if call.flags["rootless"] else None
    data = dumps(default_config(rootless=rootless, cgroup_namespace=cgroup2), indent="\t").encode()
    path = (call.flags["bundle"] + "/" if call.flags["bundle"] else "") + "config.json"
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise PyruncError(f"File {path} exists. Remove it first") from None
    except OSError as error:
        raise PyruncError(f"write {path}: {reason(error)}", errno=error.errno) from None
    try:
        while data:
            data = data[posix.write(fd, data) :]
    except OSError as error:
        posix.unlink(path)
        raise PyruncError(f"write {path}: {reason(error)}", errno=error.errno) from None
    finally:
        posix.close(fd)
    return 0

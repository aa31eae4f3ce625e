"""Run in a container that has CAP_SYS_PTRACE: take hold of every new process as soon as it appears, and look at it.

Prints "ready", then one JSON object a process: what it is, has and may do while it is stopped. The process that it
waits for has the next number, so that nothing but one look-up stands between its birth and its being seized.
"""

import ctypes
import json
import os
import stat
import sys
from typing import Any

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)


def ptrace(request: int, pid: int) -> bool:
    return bool(libc.ptrace(request, pid, None, None) != -1)


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError as error:
        return f"errno {error.errno}"


def descriptors(pid: int) -> dict[str, dict[str, Any]]:
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with open(f"/proc/{pid}/fdinfo/{fd}") as file:
            facts = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        status = os.stat(f"/proc/{pid}/fd/{fd}")
        found[fd] = {
            "link": link(f"/proc/{pid}/fd/{fd}"),
            "mount": int(facts["mnt_id"]),
            "device": status.st_dev,
            "is_null": stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3),
        }
    return found


def may_write(path: str) -> bool:
    """Whether it can be opened for writing and written to."""
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, b"")
        os.ftruncate(fd, os.fstat(fd).st_size - 1)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def look(pid: int, marker: str) -> dict[str, Any]:
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    with open(f"/proc/{pid}/mountinfo") as file:
        mounts = [int(line.split()[0]) for line in file]
    root = os.stat(f"/proc/{pid}/root/")
    exe = link(f"/proc/{pid}/exe")
    return {
        "exe": exe,
        "own_exe_writable": exe.startswith("/memfd:") and may_write(f"/proc/{pid}/exe"),
        "root": [root.st_dev, root.st_ino],
        "marker": os.path.exists(f"/proc/{pid}/root{marker}"),
        "cwd": link(f"/proc/{pid}/cwd"),
        "mounts": mounts,
        "mnt": link(f"/proc/{pid}/ns/mnt"),
        "fds": descriptors(pid),
        "effective": status["CapEff"].strip(),
        "permitted": status["CapPrm"].strip(),
        "inheritable": status["CapInh"].strip(),
        "bounding": status["CapBnd"].strip(),
        "user": link(f"/proc/{pid}/ns/user"),
        "uid": status["Uid"].split()[0],
    }


def last_number() -> int:
    """The number of the process that was made last in this pid namespace, if it is gone by now; else the one before."""
    with open("/proc/loadavg") as file:
        last = int(file.read().split()[-1])
    return last - 1 if os.path.exists(f"/proc/{last}") else last


def main(marker: str) -> None:
    pid = max(int(name) for name in os.listdir("/proc") if name.isdecimal()) + 1
    print("ready", flush=True)
    looks = 0
    while True:
        try:
            os.readlink(f"/proc/{pid}/exe")
        except FileNotFoundError:
            looks += 1
            if looks % 100 == 0:
                pid = max(pid, last_number() + 1)  # one came and went unseen
            continue
        except OSError:
            pass
        if ptrace(PTRACE_SEIZE, pid) and ptrace(PTRACE_INTERRUPT, pid):
            try:
                os.waitpid(pid, WALL)
                print(json.dumps(look(pid, marker)), flush=True)
            except OSError:
                pass
            ptrace(PTRACE_DETACH, pid)
        pid += 1


main(sys.argv[1])

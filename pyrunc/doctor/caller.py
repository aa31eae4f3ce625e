"""Who calls: capabilities, limits."""

from __future__ import annotations

import posix
from typing import Final

from pyrunc import _linux
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, has_capability

# What is not possible without it, as root of the machine.
_NEEDED: Final = {
    "CAP_SYS_ADMIN": "namespaces and mounts",
    "CAP_SETUID": "another user than this one",
    "CAP_SETGID": "other groups",
    "CAP_SETPCAP": "a smaller bounding set",
    "CAP_MKNOD": "devices",
    "CAP_CHOWN": "files of the container's user",
    "CAP_DAC_OVERRIDE": "files of others",
    "CAP_KILL": "signals to other users' processes",
    "CAP_SYS_CHROOT": "another root directory",
}
_WANTED: Final = {
    "CAP_SYS_RESOURCE": "rlimits above this process's own, a lower oomScoreAdj",
    "CAP_NET_ADMIN": "netDevices, and loopback in a network namespace that is joined",
    "CAP_SYS_PTRACE": "exec into containers of other users",
    "CAP_SYSLOG": "`why` cannot read the kernel's log",
}
# RLIMIT_*: number (asm-generic/resource.h), what is too low, what for.
_LIMITS: Final = {
    "RLIMIT_FSIZE": (1, 1 << 20, "bytes of a file: state.json and the filter cache"),
    "RLIMIT_NPROC": (6, 64, "processes"),
    "RLIMIT_NOFILE": (7, 256, "open files"),
    "RLIMIT_AS": (9, 256 << 20, "bytes of address space"),
}


def check() -> list[Finding]:
    return [*_capabilities(), *_limits()]


def _capabilities() -> list[Finding]:
    if posix.geteuid() != 0:
        return [Finding(OK, "caller", f"user {posix.geteuid()}, rootless")]
    found = [_lack(name, what, PROBLEM) for name, what in _NEEDED.items() if not has_capability(name)]
    found += [_lack(name, what, NOTE) for name, what in _WANTED.items() if not has_capability(name)]
    if any(one.level == PROBLEM for one in found):
        return found
    return [Finding(OK, "caller", "root, with the capabilities that are needed"), *found]


def _lack(name: str, what: str, level: str) -> Finding:
    remedy = "call it where root has not lost " + name
    verb = "" if what.startswith("`") else "no "
    return Finding(level, "capabilities", f"{name} is not there: {verb}{what}", remedy)


def _limits() -> list[Finding]:
    found = []
    for name, (number, least, what) in _LIMITS.items():
        soft = _linux.prlimit(0, number, None)[0]
        # RLIM_INFINITY is the largest number, or -1 as a signed one.
        if 0 <= soft < least:
            remedy = "ulimit or LimitXXX= of the unit: at least " + str(least)
            found.append(Finding(PROBLEM, "rlimits", f"{name} is {soft}: too few {what}", remedy))
    return found or [Finding(OK, "rlimits", "none is too low")]

"""What confines a container: the LSMs, seccomp, and the library that compiles filters."""

from __future__ import annotations

from typing import Final

from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, text
from pyrunc.errors import PyruncError
from pyrunc.steps.host import read_host

#: The kernel's names of actions (seccomp(2)).
_ACTIONS: Final = ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"]


_NO_FILTERS = "a kernel with CONFIG_SECCOMP_FILTER"


def check(version: str) -> list[Finding]:
    """version: libseccomp's, "" when it is not known."""
    return [_lsms(), *_seccomp(), _library(version)]


def _lsms() -> Finding:
    host = read_host(None)
    names = text("/sys/kernel/security/lsm")
    usable = [name for name, on in (("apparmor", host.apparmor), ("selinux", host.selinux)) if on]
    words = "active: " + names if names is not None else "/sys/kernel/security is not mounted"
    if usable:
        return Finding(OK, "LSMs", f"{words}; containers can have profiles of {', '.join(usable)}")
    return Finding(
        NOTE,
        "LSMs",
        words + "; neither AppArmor nor SELinux: process.apparmorProfile and selinuxLabel are refused",
        "for configs that have one: boot with lsm=...,apparmor (or selinux), in a kernel that has it",
    )


def _seccomp() -> list[Finding]:
    actions = text("/proc/sys/kernel/seccomp/actions_avail")
    if actions is None:
        return [Finding(NOTE, "seccomp", "no filters: a config with linux.seccomp is refused", _NO_FILTERS)]
    missing = [name for name in _ACTIONS if name not in actions.split()]
    found = Finding(OK, "seccomp", "actions: " + actions)
    if missing:
        found = Finding(NOTE, "seccomp", "the kernel lacks the actions " + ", ".join(missing), "a newer kernel")
    logged = text("/proc/sys/kernel/seccomp/actions_logged")
    if logged is not None and "kill_process" not in logged.split():
        remedy = "sysctl kernel.seccomp.actions_logged='" + (logged + " kill_process").strip() + "'"
        return [
            found,
            Finding(NOTE, "seccomp", "what a filter kills is not logged, so `why` cannot tell of it", remedy),
        ]
    return [found]


def _library(version: str) -> Finding:
    from pyrunc.steps.seccomp import compiler

    try:
        flags = compiler.flags_supported()
    except PyruncError as error:
        return Finding(
            PROBLEM,
            "libseccomp",
            error.message,
            error.hint or "apt-get install python3-seccomp, which brings libseccomp2",
        )
    return Finding(OK, "libseccomp", (version or "of an unknown version") + "; filter flags: " + ", ".join(flags))

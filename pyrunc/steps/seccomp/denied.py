"""A filter that refuses what the set-up itself needs once it is loaded: which system call, and by which rule.

finish.c has the calls. Loaded only when the process has failed with a filter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyrunc.config.types import Seccomp

# What is called under the filter, in order. By no_new_privs the first two come before it.
_CALLS: Final = ("capset", "prctl", "read", "write", "close", "execve", "exit_group")
# By the stage that the process tells of.
_OF_STAGE: Final = {
    "capset": ("capset",),
    "fifo": ("read", "close"),
    "execve": ("execve",),
    "clone": ("clone", "write", "read", "setsid", "ioctl"),
    "user": ("setresuid",),
    "listener": ("write", "read", "sendmsg"),
}
_KILLS: Final = ("SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP")
_EPERM: Final = 1


def of_stage(seccomp: Seccomp, stage: str, number: int) -> tuple[str, str]:
    """The hint and the pointer for a stage that failed with this errno; "" and "" when no rule gives that."""
    for name in _OF_STAGE.get(stage, ()):
        action, value, pointer = _rule(seccomp, name)
        if action == "SCMP_ACT_ERRNO" and value == number:
            return _words(name, action, pointer)
    return "", ""


def of_death(seccomp: Seccomp, by_signal: bool, calls: tuple[str, ...] = _CALLS) -> tuple[str, str]:
    """Likewise for a process that ended without a word: by SIGSYS, or because it could not even tell."""
    for name in calls:
        action, _, pointer = _rule(seccomp, name)
        if action in _KILLS if by_signal else action == "SCMP_ACT_ERRNO" and name in ("write", "read"):
            return _words(name, action, pointer)
    return "", ""


def _words(name: str, action: str, pointer: str) -> tuple[str, str]:
    return (
        f"the filter answers {name}, which is needed to start the program, with {action}: allow it",
        pointer,
    )


def _rule(seccomp: Seccomp, name: str) -> tuple[str, int, str]:
    """The action, its errno and its place for a call whose arguments no rule is about."""
    for index, entry in enumerate(seccomp.get("syscalls") or ()):
        if name in (entry.get("names") or ()) and not entry.get("args"):
            value = entry.get("errnoRet")
            return entry["action"], _EPERM if value is None else value, "/linux/seccomp/syscalls/" + str(index)
    value = seccomp.get("defaultErrnoRet")
    return seccomp["defaultAction"], _EPERM if value is None else value, "/linux/seccomp/defaultAction"

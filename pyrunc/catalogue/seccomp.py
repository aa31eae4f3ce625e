"""The catalogue: seccomp filters and their listener."""

from __future__ import annotations

from errno import EACCES, ECONNREFUSED, ENOENT
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CALL, CONFIG, GIVEN, HOST, STEP, Case, meant

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _nearest(case: Case) -> str:
    return meant(case.holes[0].strip("\"'"), case.holes[1].split(", ")) or "choose one of these"


_LIBRARY: Final = "a newer libseccomp may have it: leave it out here"
_KERNEL: Final = "/proc/sys/kernel/seccomp/actions_avail has what this kernel can do: choose another"
_AGENT: Final = {
    ENOENT: "start the seccomp agent that listens there, or mend listenerPath",
    ECONNREFUSED: "nobody listens there any more: start the seccomp agent",
    EACCES: "the runtime must be able to write to that socket",
    0: "the seccomp agent must listen there (AF_UNIX, stream), and read what it is sent",
}

ENTRIES: Final[dict[str, Entry]] = {
    "seccomp action {} is none of {}": ("{0}", CONFIG, _nearest),
    "seccomp architecture {} is none of {}": ("{0}", CONFIG, _nearest),
    "seccomp flag {} is none of {}": ("{0}", CONFIG, _nearest),
    "seccomp operator {} is none of {}": ("{0}", CONFIG, _nearest),
    "this kernel does not have the seccomp action {}": ("{0}", CONFIG, _KERNEL),
    "this kernel does not have the seccomp flag {}": ("{0}", CONFIG, "leave it out here"),
    "this libseccomp does not have the action {}": ("{0}", CONFIG, _LIBRARY),
    "this libseccomp does not have the architecture {}": ("{0}", CONFIG, _LIBRARY),
    "libseccomp cannot have the architecture {} in a filter for this machine{}": (
        "{0}",
        CONFIG,
        "only architectures of this machine's byte order and its kin: leave it out",
    ),
    "{} is not a number that {} can return (0 to {})": ("{0}", CONFIG, "an errno from 0 to {2}"),
    "a seccomp rule names no syscall": ("seccomp rule", CONFIG, "add names, or take the rule out"),
    "{} is not the name of a syscall": ("{0}", CONFIG, "a name of syscalls(2), such as openat"),
    "SCMP_ACT_NOTIFY cannot be used for the {} syscall": (
        "{0}",
        CONFIG,
        "the listener is handed over by it: another action for it",
    ),
    "{} is not an argument of a syscall (0 to 5)": ("{0}", CONFIG, "index counts a syscall's arguments from 0"),
    "{} is not an unsigned 64-bit number": ("{0}", CONFIG, "a number from 0 to 2^64 - 1"),
    "the seccomp profile makes {} instructions, the kernel takes at most {}": (
        "{0}",
        CONFIG,
        "fewer rules with arguments, and fewer architectures",
    ),
    "libseccomp refuses a rule for syscall {}": ("{0}", CONFIG, "an action, or a comparison, that it cannot have"),
    "libseccomp cannot make a filter: {}": ("filter", CONFIG, _LIBRARY),
    "libseccomp cannot export the filter: {}": ("filter", CONFIG, _LIBRARY),
    "libseccomp's Python bindings cannot be loaded: {}": ("libseccomp", STEP, "apt install python3-seccomp"),
    "cannot tell what a seccomp filter says on {}": ("{0}", HOST, "libseccomp can be asked on another machine"),
    "unknown system call {} on this architecture": ("{0}", CALL, "a name of syscalls(2), such as openat"),
    "fetch the seccomp listener from the container process: {}": ("seccomp listener", CONFIG, GIVEN),
    "failed to connect with seccomp agent at {}: {}": ("{0}", CONFIG, _AGENT),
    "send the seccomp listener to {}: {}": ("{0}", CONFIG, _AGENT),
}

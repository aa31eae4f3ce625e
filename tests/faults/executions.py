"""Faults of what is executed: loaders, interpreters, machines, modes, filters. test_unrunnable.py has more of them."""

from __future__ import annotations

from tests.support.elf import GLIBC, elf
from tests.support.workplace import Bundle

from .fault import Fault
from .programs import program

RUN = ("run", "--detach", "--bundle", "BUNDLE", "ID")
ARGS = {"/process/args": ["/prog"]}


def private(box: Bundle) -> None:
    program("private/prog", b"#!/bin/sh\n")(box)
    (box.rootfs / "private").chmod(0o700)


def executed(name: str, data: bytes, holds: str, hint: str, mode: int = 0o755, **config: object) -> Fault:
    return Fault(
        name,
        ("/prog", holds),
        hint,
        pointer="/process/args/0",
        config={**ARGS, **{"/" + key.replace("_", "/"): value for key, value in config.items()}},
        make=program("prog", data, mode),
        call=RUN,
    )


NOT_THERE, DENIED, FORMAT = "no such file or directory", "permission denied", "exec format error"

FAULTS = [
    executed("a loader that is missing", elf(GLIBC), NOT_THERE, f"the program is there, its loader {GLIBC} is not"),
    executed("a program built for musl", elf("/lib/ld-musl-x86_64.so.1"), NOT_THERE, "built for musl (Alpine)"),
    executed(
        "an interpreter that is missing",
        b"#!/usr/bin/python3\n",
        NOT_THERE,
        "the program is there, its interpreter /usr/bin/python3 is not",
    ),
    executed("a script with a carriage return", b"#!/bin/sh\r\n", NOT_THERE, "carriage return"),
    executed("a program for another machine", elf(GLIBC, machine=183), FORMAT, "is for aarch64 (arm64)"),
    executed("a program for a big-endian machine", elf(GLIBC, machine=22, order=">"), FORMAT, "s390x, big-endian"),
    executed("an empty program", b"", FORMAT, "the file is empty"),
    executed("a script without a #! line", b"echo hello\n", FORMAT, "no #! line"),
    executed("an object file as the program", elf(GLIBC, kind=1), FORMAT, "an object file"),
    executed("a program for Windows", b"MZ\x90\0" + bytes(100), FORMAT, "a program for Windows"),
    executed("a damaged program", b"\x7fELF\x02\x01", FORMAT, "cut short or damaged"),
    executed(
        "a program that the user may not execute",
        b"#!/bin/sh\n",
        DENIED,
        "has no x for the process (uid 1000, gid 1000)",
        0o700,
        process_user={"uid": 1000, "gid": 1000},
        process_capabilities={},
    ),
    Fault(
        "a folder that the user may not search",
        ("/private/prog", DENIED),
        "/private (mode 0700, owner 0:0) must be searchable (x)",
        pointer="/process/args/0",
        config={
            "/process/args": ["/private/prog"],
            "/process/user": {"uid": 1000, "gid": 1000},
            "/process/capabilities": {},
        },
        make=private,
    ),
    Fault(
        "a program whose name has a typo",
        ('exec: "ech": executable file not found in $PATH',),
        "did you mean echo?",
        pointer="/process/args/0",
        config={"/process/args": ["ech"]},
    ),
    Fault(
        "a program beside PATH",
        ('exec: "tool": executable file not found in $PATH',),
        "it is in /usr/local/bin, which is not among them",
        pointer="/process/args/0",
        config={"/process/args": ["tool"], "/process/env": ["PATH=/bin"]},
        make=program("usr/local/bin/tool", b"#!/bin/sh\n"),
    ),
    Fault(
        "no PATH at all",
        ('exec: "true": executable file not found in $PATH',),
        "process.env has no PATH",
        pointer="/process/args/0",
        config={"/process/args": ["true"], "/process/env": []},
    ),
    Fault(
        "an argument that is too long",
        ("exec /bin/true: argument list too long",),
        "process.args[1] has 200001 bytes",
        pointer="/process/args/0",
        config={"/process/args": ["/bin/true", "x" * 200000]},
        call=RUN,
    ),
    Fault(
        "a filter that denies execve",
        ("exec /bin/true: operation not permitted",),
        "the filter answers execve",
        pointer="/linux/seccomp/syscalls/0",
        config={
            "/process/args": ["/bin/true"],
            "/linux/seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}],
            },
        },
        call=RUN,
    ),
    Fault(
        "a filter that kills at capset",
        ("container process was killed by signal 31",),
        "the filter answers capset",
        pointer="/linux/seccomp/syscalls/0",
        config={
            "/process/noNewPrivileges": False,
            "/linux/seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["capset"], "action": "SCMP_ACT_KILL_PROCESS"}],
            },
        },
    ),
]

"""The container's seccomp filters: that there are any, and what they say of a system call.

The kernel gives out the filters that it runs (ptrace(2), PTRACE_SECCOMP_GET_FILTER) to whoever has CAP_SYS_ADMIN and
may trace; the process is stopped for that moment, as by a debugger. Else it is the filter that config.json makes.
"""

import errno
import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyrunc import _linux
from pyrunc.errors import PyruncError, UsageError
from pyrunc.inspect import bpf
from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report
from pyrunc.steps.seccomp import cache
from pyrunc.steps.seccomp.step import compile_filter

# AUDIT_ARCH_* (linux/audit.h), by the machine's name of uname(2).
ARCHITECTURES = {
    "x86_64": 0xC000003E,
    "aarch64": 0xC00000B7,
    "riscv64": 0xC00000F3,
    "ppc64le": 0xC0000015,
    "s390x": 0x80000016,
    "loongarch64": 0xC0000102,
}
_MODES = ("disabled", "strict", "filter")
# Seconds until a process that shall be looked at has stopped; a frozen one of cgroup v1 never does.
_PATIENCE = 1.0
_WALL = 0x40000000  # linux/wait.h
_ACTIONS = {
    _linux.SECCOMP_RET_KILL_PROCESS: "SCMP_ACT_KILL_PROCESS",
    _linux.SECCOMP_RET_KILL_THREAD: "SCMP_ACT_KILL_THREAD",
    _linux.SECCOMP_RET_TRAP: "SCMP_ACT_TRAP",
    _linux.SECCOMP_RET_ERRNO: "SCMP_ACT_ERRNO",
    _linux.SECCOMP_RET_USER_NOTIF: "SCMP_ACT_NOTIFY",
    _linux.SECCOMP_RET_TRACE: "SCMP_ACT_TRACE",
    _linux.SECCOMP_RET_LOG: "SCMP_ACT_LOG",
    _linux.SECCOMP_RET_ALLOW: "SCMP_ACT_ALLOW",
}


def mode(report: Report, linux: dict[str, Any], process: Process | None) -> None:
    """linux.seccomp: that it holds."""
    asked = "filter" if linux.get("seccomp") else "disabled"
    text = process.status.get("Seccomp", "") if process else ""
    row = report.add("seccomp", "mode", asked, _MODES[int(text)] if text in ("0", "1", "2") else None, "/linux/seccomp")
    number = process.status.get("Seccomp_filters", "") if process else ""
    if row.effective == "filter" and number:
        row.note = f"filters: {number}"


def verdicts(
    report: Report, names: Sequence[str], linux: dict[str, Any], process: Process | None, folder: str
) -> list[dict[str, Any]]:
    """What the filters say of system calls by name or number, on this machine's own architecture.

    folder: of the compiled filters. Raises UsageError for what is no system call, PyruncError.
    """
    architecture = ARCHITECTURES.get(os.uname().machine)
    if architecture is None:
        raise PyruncError("cannot tell what a seccomp filter says on " + os.uname().machine)
    numbers = {name: _number(name) for name in names}
    profile = linux.get("seccomp")
    own = compile_filter(profile, folder).program if profile else None
    found = _of_kernel(process) if process else None
    source = "config.json" if found is None else "kernel"
    if found is not None and process is not None:
        present = own in found if own else not found
        words = "that of config.json" if own else "none"
        effective = words if present else f"another ({len(found)})" if found else "none"
        report.add("seccomp", "filter", words, effective, "/linux/seccomp", differs=not present)
    programs = ([own] if own else []) if found is None else found
    return [
        {"name": name, "number": number, "source": source, "verdicts": _verdict(programs, number, architecture)}
        for name, number in numbers.items()
    ]


def _number(name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        import seccomp as library
    except ImportError as error:
        raise PyruncError(
            "libseccomp's Python bindings cannot be loaded: " + str(error), hint="install the package python3-seccomp"
        ) from None
    number = library.resolve_syscall(int(library.Arch()), name) if name.isascii() and "\0" not in name else -1
    if number < 0:
        raise UsageError(f"unknown system call {name!r} on this architecture", hint="its name or its number")
    return int(number)


def _verdict(programs: list[bytes], number: int, architecture: int) -> list[dict[str, Any]]:
    """All that may become of a call, by its arguments; one where they do not matter. The strongest first."""
    words = bpf.of_call(number, architecture)
    try:
        answers = [bpf.verdicts(program, words) for program in programs]
    except ValueError as error:
        raise PyruncError("the seccomp filter cannot be followed: " + str(error)) from None
    found = bpf.all_together(answers) or {_linux.SECCOMP_RET_ALLOW}
    return [named(answer) for answer in sorted(found, key=bpf.strength)]


def named(answer: int) -> dict[str, Any]:
    """SECCOMP_RET_* and its data, in the specification's words; error: the name of its errno."""
    action = _ACTIONS.get(answer & _linux.SECCOMP_RET_ACTION_FULL, "SCMP_ACT_KILL_PROCESS")
    data = answer & _linux.SECCOMP_RET_DATA
    result: dict[str, Any] = {"action": action}
    if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        result["data"] = data
    if action == "SCMP_ACT_ERRNO":
        result["error"] = errno.errorcode.get(data, str(data))
    return result


# ---- the kernel's ----


def _of_kernel(process: Process) -> list[bytes] | None:
    """The filters of a process, the oldest first; None when the kernel does not give them."""
    if process.status.get("Seccomp") == "0":
        return []
    return in_child(lambda: _traced(process))


def in_child(call: Callable[[], list[bytes]]) -> list[bytes] | None:
    """What a call gives in another process, whose end undoes what it holds; None when it fails with an OSError."""
    reader, writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            os.close(reader)
            parts = call()
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(b"".join(len(part).to_bytes(4, "little") + part for part in [*parts, b""]))
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
    finally:
        os.waitpid(helper, 0)
    parts, at = [], 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    # The empty one at the end says that all have come.
    return parts[:-1] if parts and not parts[-1] else None


def _traced(process: Process) -> list[bytes]:
    """Stop a process as a debugger does, copy its filters, and let it go. Raises OSError."""
    pid = process.pid
    _linux.ptrace(_linux.PTRACE_SEIZE, pid)
    if not process.text("status"):
        # It had ended, and the number is another's, who has not been stopped: the end of this process lets go of it.
        raise ProcessLookupError(errno.ESRCH, "it has ended")
    _linux.ptrace(_linux.PTRACE_INTERRUPT, pid)
    deadline = time.monotonic() + _PATIENCE
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | _WALL)
        if found:
            break
        if time.monotonic() > deadline:
            # The end of this process lets go of it.
            raise TimeoutError(errno.ETIMEDOUT, "it does not stop")
        time.sleep(0.001)
    if not os.WIFSTOPPED(status):
        raise ProcessLookupError(errno.ESRCH, "it has ended")
    # Stopped by a signal that came just now: it is still to be delivered. By us: an event, in the bits above.
    signal = os.WSTOPSIG(status) if status >> 16 == 0 else 0
    try:
        return _filters(pid)
    finally:
        _linux.ptrace(_linux.PTRACE_DETACH, pid, 0, signal)


def _filters(pid: int) -> list[bytes]:
    found = []
    for index in itertools.count():
        try:
            length = _linux.ptrace(_linux.PTRACE_SECCOMP_GET_FILTER, pid, index)
        except FileNotFoundError:
            break
        program = bytearray(length * cache.INSTRUCTION)
        _linux.ptrace(_linux.PTRACE_SECCOMP_GET_FILTER, pid, index, 0, program)
        found.append(bytes(program))
    return found

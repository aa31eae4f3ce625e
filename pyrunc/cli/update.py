"""pyrunc update: new resource limits, from flags or from a file in the format of linux.resources."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc.errors import PyruncError, UsageError, reason
from pyrunc.linux import files

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.config.types import Resources

# flag: (object of linux.resources, its property, least, most). Wide as runc: the kernel has the last word.
_NUMBERS = {
    "cpu-idle": ("cpu", "idle", -(2**63), 2**63 - 1),
    "cpu-burst": ("cpu", "burst", 0, 2**64 - 1),
    "cpu-period": ("cpu", "period", 0, 2**64 - 1),
    "cpu-rt-period": ("cpu", "realtimePeriod", 0, 2**64 - 1),
    "cpu-share": ("cpu", "shares", 0, 2**64 - 1),
    "cpu-quota": ("cpu", "quota", -(2**63), 2**63 - 1),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", -(2**63), 2**63 - 1),
}
_SIZES = {
    "memory": "limit",
    "memory-swap": "swap",
    "memory-reservation": "reservation",
    "kernel-memory": "kernel",
    "kernel-memory-tcp": "kernelTCP",
}


def size(text: str) -> int:
    """Bytes of "512", "64m", "1.5G", "2KiB", "10 MB": powers of 1024, as in runc. Raises ValueError."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    suffix = text[len(number) :].lower()
    number = number[:-1] if number[-1:] == " " else number
    whole, _, part = number.partition(".")
    digits = whole + part
    if not digits or not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise ValueError(text)
    power = "bkmgtp".find(suffix[:1]) if suffix else 0
    if power < 0 or suffix[1:] not in ("", "b", "ib") or (power == 0 and suffix[1:]):
        raise ValueError(text)
    # Whole numbers throughout: a float would lose bytes above 2^53.
    value: int = int(digits) * 1024**power // 10 ** len(part)
    return value


def from_flags(flags: dict[str, Any], given: set[str]) -> Resources:
    """The linux.resources object of the flags; an empty value asks for nothing. Raises UsageError."""
    groups: Any = {}

    def put(group: str, name: str, value: int | str) -> None:
        groups.setdefault(group, {})[name] = value

    for flag, (group, name, least, most) in _NUMBERS.items():
        text = flags[flag]
        if text:
            digits = text[1:] if text[0] in "+-" and least < 0 else text
            if not (digits.isascii() and digits.isdigit() and len(digits) < 21 and least <= int(text) <= most):
                raise UsageError(f'invalid value for {flag}: "{text}"', hint=f"a number from {least} to {most}")
            put(group, name, int(text))
    for flag, name in _SIZES.items():
        text = flags[flag]
        if text:
            try:
                value = -1 if text == "-1" else size(text)
            except ValueError:
                value = 2**63
            if value >= 2**63:
                raise UsageError(f"invalid value for {flag}: invalid size: '{text}'")
            put("memory", name, value)
    for flag, name in (("cpuset-cpus", "cpus"), ("cpuset-mems", "mems")):
        if flags[flag]:
            put("cpu", name, flags[flag])
    weight = flags["blkio-weight"]
    if weight:
        if not 10 <= weight <= 1000:
            raise UsageError("invalid value for blkio-weight: " + str(weight), hint="from 10 to 1000")
        put("blockIO", "weight", weight)
    if "pids-limit" in given:
        put("pids", "limit", flags["pids-limit"])
    resources: Resources = groups
    return resources


def _read(path: str) -> bytes:
    """The whole of a file, or of standard input for "-". Raises PyruncError."""
    from pyrunc.config.load import foresee, read_descriptor
    from pyrunc.jsontext import MAX_BYTES

    what = "standard input" if path == "-" else path
    fd = 0
    try:
        if path == "-":
            data = files.read_fd(fd, MAX_BYTES + 1)
            # Whoever does the command in our place, once the resources are refused (schema.py), reads them again.
            again = posix.memfd_create("resources", posix.MFD_CLOEXEC)
            posix.write(again, data)
            posix.lseek(again, 0, 0)
            posix.dup2(again, 0)
        else:
            foresee(path)
            fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC)
            data = read_descriptor(fd, path)
    except OSError as error:
        raise PyruncError(f"open {what}: {reason(error)}", errno=error.errno) from None
    finally:
        if fd:
            posix.close(fd)
    if len(data) > MAX_BYTES:
        raise PyruncError(f"resources from {what} are longer than 4 MiB")
    return data


def run(call: Call) -> int:
    schemas = ("", "")
    if call.flags["resources"]:
        from pyrunc.config.load import load_resources

        resources = load_resources(_read(call.flags["resources"]))
    else:
        resources = from_flags(call.flags, call.given)
        schemas = (call.flags["l3-cache-schema"], call.flags["mem-bw-schema"])
    from pyrunc.lifecycle.update import update
    from pyrunc.state.store import Store

    update(Store(call.root), call.args[0], resources, schemas)
    return 0

"""Device rules on cgroup v2: a BPF program of type CGROUP_DEVICE, assembled from the ordered rules.

The kernel asks it for each access: type, kinds of access (mknod, read, write as bits), major, minor. It answers 1 when
all that is asked is allowed. Rules are tried from the last to the first: each decides the kinds of access it names and
leaves the rest to those before it, exactly as devices.allowed() does. bpf(2), linux/bpf.h.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc import _linux
from pyrunc.cgroups import device_rules
from pyrunc.cgroups.files import failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.cgroups.device_rules import Rule

# Of linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, and flags.
_PROG_ATTACH: Final = 8
_TYPE_CGROUP_DEVICE: Final = 15
_ATTACH_CGROUP_DEVICE: Final = 6
_ALLOW_MULTI: Final = 2

# BPF_DEVCG_DEV_*.
_KINDS: Final = {"b": 1, "c": 2}

# Instruction codes: class, size or operation, source (linux/bpf_common.h). Comparisons of 32 bits: numbers go to 2^32.
_LOAD_WORD: Final = 0x61
_MOVE: Final = 0xB7
_MOVE32_REGISTER: Final = 0xBC
_AND32: Final = 0x54
_SHIFT_RIGHT32: Final = 0x74
_JUMP_EQUAL32: Final = 0x16
_JUMP_NOT_EQUAL32: Final = 0x56
_EXIT: Final = 0x95

_R0, _CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR = range(6)


def _instruction(code: int, target: int, source: int, offset: int, value: int) -> bytes:
    registers = target | source << 4
    return (
        bytes((code, registers))
        + offset.to_bytes(2, "little", signed=True)
        + (value & 0xFFFFFFFF).to_bytes(4, "little")
    )


def _answer(value: int) -> list[bytes]:
    return [_instruction(_MOVE, _R0, 0, 0, value), _instruction(_EXIT, 0, 0, 0, 0)]


def assemble(rules: Sequence[Rule]) -> bytes:
    """The program for rules in the order of the config, the default ones included. Pure."""
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0, 0),
        _instruction(_MOVE32_REGISTER, _ACCESS, _TYPE, 0, 0),
        _instruction(_SHIFT_RIGHT32, _ACCESS, 0, 0, 16),
        _instruction(_AND32, _TYPE, 0, 0, 0xFFFF),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4, 0),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8, 0),
        # Nothing is asked for: allowed.
        _instruction(_JUMP_NOT_EQUAL32, _ACCESS, 0, 2, 0),
        *_answer(1),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
        _, kind, major, minor, access = rule
        if kind == "a" and major == minor == device_rules.ANY and access == device_rules.ALL:
            # It decides everything: the kernel refuses code that is never reached.
            return b"".join(code)
    return b"".join(code + _answer(0))


def _rule(rule: Rule) -> list[bytes]:
    allow, kind, major, minor, access = rule
    if access == device_rules.ALL:
        body = _answer(int(allow))
    elif allow:
        # What it names is settled; when nothing is left, all is allowed.
        body = [
            _instruction(_AND32, _ACCESS, 0, 0, device_rules.ALL & ~access),
            _instruction(_JUMP_NOT_EQUAL32, _ACCESS, 0, 2, 0),
            *_answer(1),
        ]
    else:
        body = [
            _instruction(_MOVE32_REGISTER, _R0, _ACCESS, 0, 0),
            _instruction(_AND32, _R0, 0, 0, access),
            _instruction(_JUMP_EQUAL32, _R0, 0, 2, 0),
            *_answer(0),
        ]
    conditions = [
        (register, value)
        for register, value, any_ in (
            (_MINOR, minor, minor == device_rules.ANY),
            (_MAJOR, major, major == device_rules.ANY),
            (_TYPE, _KINDS.get(kind, 0), kind == "a"),
        )
        if not any_
    ]
    for register, value in conditions:
        # Past the rest of this rule when it does not match.
        body.insert(0, _instruction(_JUMP_NOT_EQUAL32, register, 0, len(body), value))
    return body


def judged(rules: Sequence[Rule]) -> list[Rule]:
    """What a container's program is made of: its rules, then those that no config can take away.

    Nothing where the last word is that all is allowed, which no program says more quickly.
    """
    if rules and rules[-1] == (True, "a", device_rules.ANY, device_rules.ANY, device_rules.ALL):
        return []
    return [*rules, *device_rules.DEFAULTS]


def attach(directory: str, rules: Sequence[Rule]) -> None:
    """Load the program for rules and attach it to a cgroup, beside others that are there. Raises PyruncError.

    It goes with the cgroup. BPF_F_ALLOW_MULTI: a service manager's program may stand beside it, and all must allow.
    """
    try:
        program = _linux.bpf_prog_load(_TYPE_CGROUP_DEVICE, assemble(rules), "pyrunc_devices")
        try:
            cgroup = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            try:
                words = (cgroup, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI, 0)
                _linux.bpf(_PROG_ATTACH, b"".join(word.to_bytes(4, "little") for word in words))
            finally:
                posix.close(cgroup)
        finally:
            posix.close(program)
    except OSError as error:
        raise failure("apply device rules to cgroup " + directory, error, "/linux/resources/devices") from None

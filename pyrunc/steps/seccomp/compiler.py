"""Compile linux.seccomp with libseccomp. Loaded when the cache has no entry.

libseccomp's Python bindings (module `seccomp`) turn the rules into BPF, which is exported, given a prologue of ours,
and loaded much later by the container process itself with seccomp(2). Decisions are runc's wherever the specification
leaves them open: a profile must mean the same under both.

The tables are also what `features` reports.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux, log
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.steps.seccomp.cache import (
    INSTRUCTION,
    MAX_INSTRUCTIONS,
)
from pyrunc.steps.seccomp.libseccomp import (
    POINTER,
    bindings,
    export,
    flag_supported,
    numbers_of,
    own_architecture,
    words_of,
)
from pyrunc.steps.seccomp.prologue import Newest, prologue
from pyrunc.steps.seccomp.verdict import allowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from pyrunc.config.types import Seccomp, Syscall

# Actions (runtime-spec, config-linux.md, Seccomp): the bindings' name, and the kernel's in actions_avail (seccomp(2)).
ACTIONS: Final[dict[str, tuple[str, str]]] = {
    "SCMP_ACT_ALLOW": ("ALLOW", "allow"),
    "SCMP_ACT_ERRNO": ("ERRNO", "errno"),
    "SCMP_ACT_KILL": ("KILL", "kill_thread"),
    "SCMP_ACT_KILL_PROCESS": ("KILL_PROCESS", "kill_process"),
    "SCMP_ACT_KILL_THREAD": ("KILL", "kill_thread"),
    "SCMP_ACT_LOG": ("LOG", "log"),
    "SCMP_ACT_NOTIFY": ("NOTIFY", "user_notif"),
    "SCMP_ACT_TRACE": ("TRACE", "trace"),
    "SCMP_ACT_TRAP": ("TRAP", "trap"),
}

# Largest number that goes with an action: libseccomp takes errnos below the kernel's MAX_ERRNO, a tracer gets 16 bits.
_NUMBERS: Final[dict[str, int]] = {"SCMP_ACT_ERRNO": 4094, "SCMP_ACT_TRACE": 0xFFFF}

# What these answer to a call that is newer than the profile is right without our prologue: the kernel's own ENOSYS, or
# the tracer's decision.
_PERMISSIVE: Final = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

# Operators and architectures: without the prefix they are names of the bindings.
OPERATORS: Final = (
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
)
ARCHITECTURES: Final = (
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
)

# Flags: names of the kernel's own constants (linux/seccomp.h).
FLAGS: Final = (
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)

# The call by which finish() (native/finish.c) says where the listener is: a notification then would wait for ever. What
# comes later (read, close, capset, prctl, execve) the agent can serve.
NEVER_NOTIFIED: Final = ("write",)

# Above so many rules a binary tree of numbers is the better program. (libseccomp 2.5.4 makes a wrong one of none.)
_TREE_ABOVE: Final = 32


class Rule:
    """One call's rule. pointer: of the syscalls[] entry it stands in. action: as the bindings number it.

    conditions: (argument, operator's name in the bindings, value, second value), all of which must hold.
    """

    __slots__ = ("action", "conditions", "name", "pointer")

    def __init__(self, pointer: str, name: str, action: int, conditions: list[tuple[int, str, int, int]]) -> None:
        self.pointer = pointer
        self.name = name
        self.action = action
        self.conditions = conditions


def compile_profile(profile: Seccomp) -> tuple[int, bytes]:
    """Flags for seccomp(2) and the program, struct sock_filter[]. Raises ConfigError, PyruncError."""
    seccomp = bindings()
    available = actions_available()
    default_name = profile.get("defaultAction")
    default = _action(
        seccomp,
        available,
        default_name,
        profile.get("defaultErrnoRet"),
        (POINTER + "/defaultAction", POINTER + "/defaultErrnoRet"),
    )
    if default_name == "SCMP_ACT_NOTIFY":
        raise ConfigError("SCMP_ACT_NOTIFY cannot be used as default action", pointer=POINTER + "/defaultAction")
    rules, names, notifies = _rules(seccomp, available, profile.get("syscalls"), default)
    flags = _flags(profile.get("flags"), notifies)
    try:
        built = seccomp.SyscallFilter(default)
    except RuntimeError as error:
        raise PyruncError("libseccomp cannot make a filter: " + str(error), pointer=POINTER) from None
    architectures = _add_architectures(seccomp, built, profile.get("architectures"))
    native = numbers_of(seccomp, own_architecture(seccomp), names)
    _add_rules(seccomp, built, [rule for rule in rules if rule.name in native])
    unknown = [name for name in names if name not in native]
    if unknown:
        log.debug("seccomp: unknown syscalls ignored: " + " ".join(unknown))
    program = export(built)
    if default_name not in _PERMISSIVE:
        program = prologue(_newest(seccomp, architectures, names, native)) + program
    length = len(program) // INSTRUCTION
    if length > MAX_INSTRUCTIONS:
        raise ConfigError(
            f"the seccomp profile makes {length} instructions, the kernel takes at most {MAX_INSTRUCTIONS}",
            pointer=POINTER + "/syscalls",
        )
    return flags | allowed(seccomp, program), program


def actions_available() -> frozenset[str]:
    """Names of the actions that the kernel has, as in seccomp(2) on actions_avail; empty when it does not say."""
    try:
        fd = posix.open("/proc/sys/kernel/seccomp/actions_avail", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return frozenset()  # no /proc/sys: all that pyrunc's oldest kernel has is all there is
    try:
        return frozenset(posix.read(fd, 4096).decode("ascii", "replace").split())
    finally:
        posix.close(fd)


def architectures_supported() -> list[str]:
    """Those of ARCHITECTURES that the library knows. Raises PyruncError when there is none."""
    known = bindings().Arch
    return [name for name in ARCHITECTURES if hasattr(known, name[len("SCMP_ARCH_") :])]


def flags_supported() -> list[str]:
    """Those of FLAGS that the kernel takes. Raises PyruncError without the library, which knows the call's number."""
    return [name for name in FLAGS if flag_supported(getattr(_linux, name))]


def _unknown(what: str, value: object, known: Sequence[str] | Mapping[str, object]) -> str:
    return f"{what} {_shown(value)} is none of {' '.join(sorted(known))}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value else repr(value)


# What the profile says


def _action(
    seccomp: ModuleType,
    available: frozenset[str],
    name: object,
    number: object,
    pointers: tuple[str, str],
) -> int:
    """The bindings' number of an action with its errno. pointers: of the action and of the errno in config.json."""
    known = ACTIONS.get(name) if isinstance(name, str) else None
    if known is None or not isinstance(name, str):
        raise ConfigError(_unknown("seccomp action", name, ACTIONS), pointer=pointers[0])
    if available and known[1] not in available:
        raise ConfigError("this kernel does not have the seccomp action " + name, pointer=pointers[0])
    action = getattr(seccomp, known[0], None)
    if action is None:
        raise ConfigError("this libseccomp does not have the action " + name, pointer=pointers[0])
    largest = _NUMBERS.get(name)
    if number is None:
        return int(action(errno.EPERM)) if largest else int(action)
    if largest is None:
        raise ConfigError(f"the seccomp action {name} returns no errno", pointer=pointers[1])
    if type(number) is not int or not 0 <= number <= largest:
        raise ConfigError(
            f"{_shown(number)} is not a number that {name} can return (0 to {largest})", pointer=pointers[1]
        )
    return int(action(number))


def _flags(names: Sequence[object] | None, notifies: bool) -> int:
    """seccomp(2)'s flags. None: not said in the config, where runc and crun choose SPEC_ALLOW."""
    if names is None:
        flags = _linux.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    else:
        flags = 0
        for at, name in enumerate(names):
            pointer = f"{POINTER}/flags/{at}"
            if not isinstance(name, str) or name not in FLAGS:
                raise ConfigError(_unknown("seccomp flag", name, FLAGS), pointer=pointer)
            flag: int = getattr(_linux, name)
            # The others are older than pyrunc's oldest kernel.
            if flag == _linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV and not flag_supported(flag):
                raise ConfigError("this kernel does not have the seccomp flag " + name, pointer=pointer)
            flags |= flag
        # Of no use to a process of one thread, as the container's is (runc leaves it out too).
        flags &= ~_linux.SECCOMP_FILTER_FLAG_TSYNC
    if notifies:
        flags |= _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER
    else:
        # It says how notified calls wait. Where no call is, the kernel would refuse it.
        flags &= ~_linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    return flags


def _rules(
    seccomp: ModuleType, available: frozenset[str], entries: Sequence[Syscall] | None, default: int
) -> tuple[list[Rule], list[str], bool]:
    """The rules that differ from the default; every name in the profile, once; whether any call is notified."""
    rules: list[Rule] = []
    names: dict[str, None] = {}
    notifies = False
    for at, entry in enumerate(entries or ()):
        pointer = f"{POINTER}/syscalls/{at}"
        action_name = entry.get("action")
        pointers = (pointer + "/action", pointer + "/errnoRet")
        action = _action(seccomp, available, action_name, entry.get("errnoRet"), pointers)
        conditions = [
            _condition(condition, f"{pointer}/args/{number}") for number, condition in enumerate(entry.get("args", []))
        ]
        if not entry.get("names"):
            raise ConfigError("a seccomp rule names no syscall", pointer=pointer + "/names")
        listed: Sequence[object] = entry["names"]
        for number, name in enumerate(listed):
            if not isinstance(name, str) or not name:
                raise ConfigError(_shown(name) + " is not the name of a syscall", pointer=f"{pointer}/names/{number}")
            if action_name == "SCMP_ACT_NOTIFY":
                notifies = True
                if name in NEVER_NOTIFIED:
                    raise ConfigError(
                        f"SCMP_ACT_NOTIFY cannot be used for the {name} syscall",
                        pointer=f"{pointer}/names/{number}",
                    )
            names[name] = None
            # libseccomp takes a rule that says what the default says for a mistake.
            if action != default:
                rules.extend(Rule(pointer, name, action, some) for some in _together(conditions))
    return rules, list(names), notifies


def _condition(condition: Mapping[str, object], pointer: str) -> tuple[int, str, int, int]:
    operator = condition.get("op")
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise ConfigError(_unknown("seccomp operator", operator, OPERATORS), pointer=pointer + "/op")
    index = condition.get("index")
    if type(index) is not int or not 0 <= index <= 5:
        raise ConfigError(_shown(index) + " is not an argument of a syscall (0 to 5)", pointer=pointer + "/index")
    values = []
    for name in ("value", "valueTwo"):
        value = condition.get(name, 0 if name == "valueTwo" else None)
        if type(value) is not int or not 0 <= value < 1 << 64:
            raise ConfigError(_shown(value) + " is not an unsigned 64-bit number", pointer=f"{pointer}/{name}")
        values.append(value)
    return index, operator[len("SCMP_CMP_") :], values[0], values[1]


def _together(conditions: list[tuple[int, str, int, int]]) -> list[list[tuple[int, str, int, int]]]:
    """The conditions of each rule: all in one, but one rule each as soon as two judge the same argument, as in runc."""
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


# The library


def _add_architectures(seccomp: ModuleType, built: Any, names: Sequence[object] | None) -> list[int]:
    """Add the profile's architectures to the filter; their tokens, the machine's own first, which is always there."""
    tokens = [own_architecture(seccomp)]
    for at, name in enumerate(names or ()):
        pointer = f"{POINTER}/architectures/{at}"
        if not isinstance(name, str) or name not in ARCHITECTURES:
            raise ConfigError(_unknown("seccomp architecture", name, ARCHITECTURES), pointer=pointer)
        token = getattr(seccomp.Arch, name[len("SCMP_ARCH_") :], None)
        if token is None:
            raise ConfigError("this libseccomp does not have the architecture " + name, pointer=pointer)
        if token in tokens:
            continue
        try:
            built.add_arch(token)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(
                f"libseccomp cannot have the architecture {name} in a filter for this machine{words_of(error)}",
                pointer=pointer,
            ) from None
        tokens.append(token)
    return tokens


def _add_rules(seccomp: ModuleType, built: Any, rules: list[Rule]) -> None:
    if len(rules) > _TREE_ABOVE:
        try:
            built.set_attr(seccomp.Attr.CTL_OPTIMIZE, 2)
        except (AttributeError, RuntimeError, ValueError) as error:
            log.debug("seccomp: no binary tree" + words_of(error))  # an older library: the same, but slower
    for rule in rules:
        conditions = [seccomp.Arg(at, getattr(seccomp, operator), *values) for at, operator, *values in rule.conditions]
        try:
            # By name: resolve_syscall() gives the multiplexer's number where there is one, this resolves without.
            built.add_rule(rule.action, rule.name, *conditions)
        except RuntimeError as error:
            raise ConfigError(
                f"libseccomp refuses a rule for syscall {rule.name}{words_of(error)}", pointer=rule.pointer
            ) from None


# The prologue


def _newest(seccomp: ModuleType, tokens: list[int], names: list[str], native: dict[str, int]) -> dict[int, Newest]:
    """By AUDIT_ARCH_* (linux/audit.h). Rules that only repeat the default count: their author knew the call."""
    known = seccomp.Arch
    found: dict[int, Newest] = {}
    for at, token in enumerate(tokens):
        numbers = native if at == 0 else numbers_of(seccomp, token, names)
        largest = max(numbers.values(), default=0)
        # libseccomp's tokens are the kernel's but for x32, which to the kernel is x86-64.
        audit = (known.X86_64 if token == known.X32 else token) & 0xFFFFFFFF
        entry = found.setdefault(audit, Newest())
        entry.has_x32 = token in (known.X86_64, known.X32)
        entry.multiplexes = token in (known.S390, known.S390X)
        if token == known.X32:
            entry.x32 = max(largest, 0)
        else:
            entry.plain = max(largest, 0)
    return found


# The cache

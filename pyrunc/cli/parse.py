"""The command line's grammar: Go's flag package as runc uses it, driven by table.py.

A flag is -name or --name, with -name=value or -name value; a switch takes a value by "=" alone. "--" ends the flags,
and so does the first argument that is no flag ("-" is none). Commands but exec and ps then take known flags after
their arguments too (urfave/cli moves them to the front). A comma never separates values.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc.errors import UsageError

if TYPE_CHECKING:
    Flags = tuple[tuple[str, str, str], ...]

_DEFAULTS = {"bool": False, "str": "", "int": 0, "size": "", "duration": 0}


class Call:
    """One invocation, ready for a command.

    program: argv[0]'s base name. command: its name in the table. root: state directory; root_given: by --root.
    flags: value of each flag of the command, by long name: bool, str, int (of a duration the nanoseconds) or list; its
    default when it was not given.
    given: long names that stood on the command line. args: what is no flag.
    """

    __slots__ = (
        "args",
        "command",
        "flags",
        "given",
        "no_cgroup",
        "program",
        "root",
        "root_given",
        "rootless",
        "systemd_cgroup",
        "trust_annotations",
    )

    def __init__(self, program: str, command: str, flags: dict[str, Any], given: set[str], args: list[str]) -> None:
        self.program = program
        self.command = command
        self.flags = flags
        self.given = given
        self.args = args
        self.root = ""
        self.root_given = False
        self.systemd_cgroup = False
        self.trust_annotations = False
        self.no_cgroup = False
        self.rootless: bool | None = None


def parse(flags: Flags, argv: list[str], reorder: bool) -> tuple[dict[str, Any], set[str], list[str]]:
    """Split argv into (values by long flag name, names given, arguments).

    flags: (long name, short name or "", kind) of each; kind: bool str int strs ints size duration.
    reorder: known flags count after the first argument too.
    Raises UsageError in the words of Go's flag package.
    """
    known, values = _known(flags)
    used: set[str] = set()
    args: list[str] = []
    i = 0
    while i < len(argv):
        word = argv[i]
        i += 1
        if len(word) < 2 or word[0] != "-":
            args.append(word)
            if not reorder:
                args += argv[i:]
                break
            continue
        if word == "--":
            args += argv[i:]
            break
        spelling = word[2:] if word[1] == "-" else word[1:]
        spelling, equals, value = spelling.partition("=")
        if spelling not in known:
            if args:
                # After the first argument only known flags count: `kill ID -1` keeps its -1.
                args.append(word)
                continue
            if not spelling or spelling[0] == "-":
                raise UsageError("bad flag syntax: " + word)
            raise UsageError("flag provided but not defined: -" + spelling)
        name, kind = known[spelling]
        if kind == "bool":
            values[name] = _bool(value, spelling) if equals else True
        else:
            if not equals:
                if i == len(argv):
                    raise UsageError("flag needs an argument: -" + spelling)
                value = argv[i]
                i += 1
            _set(values, name, kind, value, spelling)
        used.add(spelling)
    for name, short, kind in flags:
        # Two values for one thing. A flag that may be repeated just has both.
        if short in used and name in used and kind not in ("strs", "ints"):
            raise UsageError(f"Cannot use two forms of the same flag: {short} {name}")
    return values, {known[spelling][0] for spelling in used}, args


def _known(flags: Flags) -> tuple[dict[str, tuple[str, str]], dict[str, Any]]:
    """By each spelling the long name and the kind; and the values that hold when nothing is given."""
    known: dict[str, tuple[str, str]] = {}
    values: dict[str, Any] = {}
    for name, short, kind in flags:
        known[name] = (name, kind)
        if short:
            known[short] = (name, kind)
        values[name] = [] if kind in ("strs", "ints") else _DEFAULTS[kind]
    return known, values


def _set(values: dict[str, Any], name: str, kind: str, value: str, spelling: str) -> None:
    """Take the value of a flag that has one. Raises UsageError."""
    if kind == "int":
        values[name] = _int(value, spelling)
    elif kind == "duration":
        from pyrunc.cli.duration import duration

        values[name] = duration(value, spelling)
    elif kind == "strs":
        values[name].append(value)
    elif kind == "ints":
        values[name].append(_int(value, spelling, f'strconv.ParseInt: parsing "{value}": invalid syntax'))
    else:
        values[name] = value


def _bool(value: str, flag: str) -> bool:
    """Go's strconv.ParseBool."""
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise UsageError(f'invalid boolean value "{value}" for -{flag}: parse error')


def _int(value: str, flag: str, malformed: str = "parse error") -> int:
    """Go's strconv.ParseInt(value, 0, 64): decimal, 0x, 0o, 0b, or octal by a leading 0."""
    digits = value[1:] if value[:1] in ("+", "-") else value
    try:
        # int() would take spaces, a second sign and digits of other scripts; its own length limit is a ValueError too.
        if not digits.isascii() or not digits[:1].isdigit() or digits[-1:].isspace():
            raise ValueError
        number = int(digits, 8 if digits[0] == "0" and digits[1:2].isdigit() else 0)
    except ValueError:
        raise UsageError(f'invalid value "{value}" for flag -{flag}: {malformed}') from None
    if value[0] == "-":
        number = -number
    if not -(2**63) <= number < 2**63:
        raise UsageError(f'invalid value "{value}" for flag -{flag}: value out of range')
    return number


def absolute(path: str) -> str:
    """The path made absolute and clean by its letters alone, as Go's filepath.Abs (no symlink is read).

    Raises OSError when the current directory is gone and path is relative.
    """
    if path[:1] != "/":
        path = f"{posix.getcwd()}/{path}"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)

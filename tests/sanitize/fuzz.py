"""Calls of pyrunc._linux with arguments at random, which must end in a result or in an error that _linux.pyi names.

None of them reaches the kernel: a seccomp filter answers in its place, with an error or with success, so that what is
tried is the C around the calls. What each function takes is read from _linux.pyi, and given often, but not always.
Between them pyrunc._json reads texts that are nearly JSON.
"""

from __future__ import annotations

import ast
import errno
import os
import random
import signal
import sys
from collections.abc import Callable

import seccomp

from pyrunc import _json, _linux
from tests.support import TOP

#: Calls of one child; its seed and its number name them, and it is run alone by `--seed`.
BATCH = 5000

#: What the filter answers for the kernel. clone3 never succeeds: that would be the child.
ANSWERED = (
    *("open_tree", "move_mount", "fsopen", "fspick", "fsconfig", "fsmount", "mount_setattr", "mount", "umount2"),
    *("pivot_root", "openat2", "fstatfs", "setns", "unshare", "pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("prctl", "capget", "capset", "sethostname", "setdomainname", "prlimit64", "keyctl", "close_range", "madvise"),
    *("personality", "sched_setattr", "ioprio_set", "set_mempolicy", "bpf", "ioctl", "signalfd4", "rt_sigaction"),
)
#: They take only what prepare() gave, and end the process.
ENDS = ("finish", "finish_until_fifo", "finish_execve")


class Hostile(Exception):
    """What an argument of ours raises by itself."""


class Index:
    def __index__(self) -> int:
        return 7


class NoIndex:
    def __index__(self) -> int:
        raise Hostile


class NoPath:
    def __fspath__(self) -> str:
        raise Hostile


def _number(dice: random.Random) -> object:
    edge = dice.choice((0, 7, 8, 16, 31, 32, 63, 64, 65, 200))
    return dice.choice((0, 1, -1, 3, -100, 2**edge, -(2**edge), 2**edge - 1, dice.getrandbits(64), Index(), True))


def _text(dice: random.Random) -> object:
    size = dice.choice((0, 1, 7, 8, 15, 16, 17, 255, 256, 257, 4096, 70_000))
    data = dice.randbytes(size)
    return dice.choice((data, data.hex(), "name", b"name", data.replace(b"\0", b"x"), "a\0b", "\udcff", "\ud800", ""))


def _anything(dice: random.Random) -> object:
    return dice.choice(
        (None, 1.5, [], {}, (), NoIndex(), NoPath(), object(), bytearray(64), memoryview(b"12345678"), float("nan"))
    )


def _list(dice: random.Random) -> object:
    return [_text(dice) for _ in range(dice.choice((0, 1, 3, 100)))]


def _triple(dice: random.Random) -> object:
    return tuple([_number(dice) for _ in range(dice.choice((2, 3, 3, 4)))])


def _of(annotation: str, dice: random.Random) -> object:
    """An argument for a parameter that is annotated so; now and then of another type."""
    ways: list[Callable[[random.Random], object]] = [_anything, _number, _text, _list, _triple]
    if dice.random() < 0.9:
        fitting: dict[str, Callable[[random.Random], object]] = {
            "tuple": _triple,
            "list": _list,
            "int": _number,
            "bool": _number,
            "bytes": _text,
            "_Path": _text,
        }
        ways = [way for name, way in fitting.items() if name in annotation.split("[")[0]] or ways
    if "None" in annotation and dice.random() < 0.3:
        return None
    return dice.choice(ways)(dice)


Parameters = list[tuple[str, str, bool]]  # name, annotation, whether by keyword only


def signatures() -> dict[str, tuple[Parameters, str]]:
    """Each function's parameters, and the annotation of those that `*args` takes, "" without."""
    found: dict[str, tuple[Parameters, str]] = {}
    for node in ast.parse((TOP / "pyrunc/_linux.pyi").read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name not in ENDS:
            places = [(one, False) for one in (*node.args.posonlyargs, *node.args.args)]
            places += [(one, True) for one in node.args.kwonlyargs]
            rest = node.args.vararg
            parameters = [(one.arg, ast.unparse(one.annotation or ast.Name("int")), by) for one, by in places]
            found[node.name] = parameters, ast.unparse(rest.annotation) if rest and rest.annotation else ""
    return found


def _call(dice: random.Random, name: str, parameters: Parameters, rest: str) -> None:
    positional = [_of(annotation, dice) for _, annotation, by_name in parameters if not by_name]
    named = {name: _of(annotation, dice) for name, annotation, by_name in parameters if by_name}
    positional += [_of(rest, dice) for _ in range(dice.randrange(4))] if rest else []
    if dice.random() < 0.1:
        del positional[dice.randrange(len(positional) + 1) :]
    try:
        getattr(_linux, name)(*positional, **named)
    except (OSError, TypeError, ValueError, OverflowError, Hostile, BufferError):
        pass


#: What JSON texts are made of, right and wrong.
_PIECES = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b'"a":1', b"null", b"true", b"false", b"NaN", b"-Infinity"),
    *(b"0", b"-", b"1.5e", b"1e999", b"-9223372036854775808", b"18446744073709551616", b" ", b"\n", b"\0", b"\x1f"),
    *(b"\\", b"\\n", b"\\u", b"\\ud800", b"\\udc00", b"\\udcff", b"\\u0000", b"\xc3\xa9", b"\xff", b"\xed\xa0\x80"),
)


def _read(dice: random.Random) -> None:
    text = b"".join(dice.choices(_PIECES, k=dice.choice((0, 1, 2, 5, 20))))
    if dice.random() < 0.5:
        text = b'{"a":[1,2.5,"' + text + b'"],"b":' + text + b"}"
    try:
        _json.read(text, dice.choice((0, 2, 128)), dice.random() < 0.5)
    except ValueError:
        pass


def _answer(errno_of_all: int) -> None:
    """Have the filter answer instead of the kernel, from now on: an errno, or 0 for success."""
    filter = seccomp.SyscallFilter(defaction=seccomp.ALLOW)
    for name in ANSWERED:
        filter.add_rule(seccomp.ERRNO(errno_of_all), name)
    filter.add_rule(seccomp.ERRNO(errno.EPERM), "clone3")
    filter.load()


def _batch(seed: int) -> int:
    dice = random.Random(seed)
    table = sorted(signatures().items())
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    _answer(dice.choice((0, errno.EPERM, errno.ENOSYS, errno.EINTR)))
    for _ in range(BATCH):
        if dice.random() < 0.1:
            _read(dice)
        name, (parameters, rest) = dice.choice(table)
        _call(dice, name, parameters, rest)
    return 0


def run(calls: int, seed: int | None = None) -> int:
    """Make so many calls, in children. Returns 0, or 1 with the seed on standard error."""
    first = random.SystemRandom().getrandbits(48) if seed is None else seed
    for number in range(first, first + max(1, calls // BATCH)):
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                status = _batch(number)
            except BaseException as e:
                print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
            os._exit(status)
        status = os.waitpid(pid, 0)[1]
        if status:
            name = signal.strsignal(status & 127) if status & 127 else f"status {status >> 8}"
            print(f"{name}: python3 -m tests.sanitize --calls 1 --seed {number}", file=sys.stderr)
            return 1
    print(f"{calls} calls, the first seed {first}")
    return 0

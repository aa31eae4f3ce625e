"""What a seccomp filter says of a system call: classic BPF as the kernel runs it (seccomp(2), linux/filter.h). Pure.

A word of struct seccomp_data that is not known, such as an argument, is None: then both ways of a comparison are gone,
and the answer is all that the filter can say.
"""

import sys
from collections.abc import Callable, Iterable, Sequence

#: A word of 32 bits, None for one that is not known.
Word = int | None
# Where to go on, and with what: instruction, accumulator, index register, the words of the scratch memory.
_State = tuple[int, Word, Word, tuple[Word, ...]]

_INSTRUCTION = 8
_MASK = 0xFFFFFFFF
#: sizeof(struct seccomp_data), which is all that a filter sees.
SIZE = 64
_MEMORY = 16
# A filter of 4096 instructions without an argument's word has as many states; each word that is looked at adds some.
_MOST_STATES = 1 << 20

# seccomp(2) has no remainder.
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: lambda a, b: a + b,
    0x10: lambda a, b: a - b,
    0x20: lambda a, b: a * b,
    0x30: lambda a, b: a // b,
    0x40: lambda a, b: a | b,
    0x50: lambda a, b: a & b,
    0x60: lambda a, b: a << (b & 31),
    0x70: lambda a, b: a >> (b & 31),
    0xA0: lambda a, b: a ^ b,
}
_NEGATE = 0x80
_DIVISION = 0x30
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x10: lambda a, b: a == b,
    0x20: lambda a, b: a > b,
    0x30: lambda a, b: a >= b,
    0x40: lambda a, b: bool(a & b),
}
# Of linux/seccomp.h, from the strongest to the weakest: of several filters' answers the strongest holds.
_KILL_THREAD = 0
_ACTION = 0xFFFF0000


def verdicts(program: bytes, words: Sequence[Word]) -> frozenset[int]:
    """All values that a filter can return (SECCOMP_RET_*, with its data) for what is known of a call.

    program: struct sock_filter[]. words: struct seccomp_data as 16 words in this machine's order. Raises ValueError for
    what is no filter of seccomp's, or too large to look through.
    """
    found: set[int] = set()
    todo: list[_State] = [(0, 0, 0, (0,) * _MEMORY)]
    seen = set(todo)
    while todo:
        for state in _step(program, todo.pop(), words, found):
            if state not in seen:
                seen.add(state)
                todo.append(state)
        if len(seen) > _MOST_STATES:
            raise ValueError("the filter has too many ways through")
    return frozenset(found)


def _step(program: bytes, state: _State, words: Sequence[Word], found: set[int]) -> list[_State]:
    """One instruction: what comes after it, nothing after a return, whose value goes to found. Raises ValueError."""
    at, a, x, memory = state
    if not 0 <= at * _INSTRUCTION < len(program):
        raise ValueError("the filter runs out of its end")
    code = int.from_bytes(program[at * _INSTRUCTION : at * _INSTRUCTION + 2], sys.byteorder)
    true, false = program[at * _INSTRUCTION + 2], program[at * _INSTRUCTION + 3]
    k = int.from_bytes(program[at * _INSTRUCTION + 4 : at * _INSTRUCTION + 8], sys.byteorder)
    operand = x if code & 0x08 else k
    kind, operation = code & 0x07, code & 0xF0
    if kind in (0x00, 0x01):  # BPF_LD, BPF_LDX
        value = _load(code, k, words, memory)
        return [(at + 1, value, x, memory)] if kind == 0x00 else [(at + 1, a, value, memory)]
    if code in (0x02, 0x03):  # BPF_ST, BPF_STX
        stored = a if code == 0x02 else x
        return [(at + 1, a, x, (*memory[:k], stored, *memory[k + 1 :]))]
    if kind == 0x04:  # BPF_ALU
        if operation == _DIVISION and operand == 0:
            found.add(_KILL_THREAD)
            return []
        return [(at + 1, _calculate(operation, a, operand), x, memory)]
    if code == 0x05:  # BPF_JMP | BPF_JA
        return [(at + 1 + k, a, x, memory)]
    if kind == 0x05 and operation in _JUMPS:
        if a is None or operand is None:
            return [(at + 1 + true, a, x, memory), (at + 1 + false, a, x, memory)]
        return [(at + 1 + (true if _JUMPS[operation](a, operand) else false), a, x, memory)]
    if code in (0x06, 0x16):  # BPF_RET of a constant, of the accumulator
        returned = k if code == 0x06 else a
        if returned is None:
            raise ValueError("the filter returns what depends on an argument")
        found.add(returned)
        return []
    if code in (0x07, 0x87):  # BPF_MISC: BPF_TAX, BPF_TXA
        return [(at + 1, a, a, memory)] if code == 0x07 else [(at + 1, x, x, memory)]
    raise ValueError(f"the filter has an instruction that seccomp has not: {code:#x}")


def _load(code: int, k: int, words: Sequence[Word], memory: tuple[Word, ...]) -> Word:
    mode = code & 0xE0
    if code == 0x20 and k % 4 == 0 and k < SIZE:  # BPF_LD | BPF_W | BPF_ABS
        return words[k // 4]
    if mode == 0x00:  # BPF_IMM
        return k
    if mode == 0x60 and k < _MEMORY:  # BPF_MEM
        return memory[k]
    if mode == 0x80:  # BPF_LEN
        return SIZE
    raise ValueError(f"the filter has an instruction that seccomp has not: {code:#x}")


def _calculate(operation: int, a: Word, operand: Word) -> Word:
    if operation == _NEGATE:
        return None if a is None else -a & _MASK
    if operation not in _ALU:
        raise ValueError(f"the filter has an instruction that seccomp has not: {operation:#x}")
    if a is None or operand is None:
        # A known 0 makes the result of a mask known.
        return 0 if operation == 0x50 and 0 in (a, operand) else None
    return _ALU[operation](a, operand) & _MASK


def of_call(number: int, architecture: int, arguments: Sequence[int | None] = (None,) * 6) -> list[Word]:
    """struct seccomp_data of a call as words. architecture: AUDIT_ARCH_*. arguments: of 64 bits, None for unknown."""
    words: list[Word] = [number & _MASK, architecture & _MASK, None, None]
    for argument in arguments:
        halves: list[Word] = [None, None] if argument is None else [argument & _MASK, argument >> 32 & _MASK]
        words += halves if sys.byteorder == "little" else reversed(halves)
    return words


def together(answers: Iterable[int]) -> int:
    """What the kernel does of the answers of all filters, the oldest first: the strongest, of equals the newest."""
    return min(reversed(list(answers)), key=strength)


def all_together(answers: Iterable[frozenset[int]]) -> set[int]:
    """All that together() may give where of each filter several answers are possible, the oldest first.

    One filter after the other: a process may have hundreds, and their combinations are beyond counting.
    """
    found: set[int] = set()
    for newer in answers:
        if not found:
            found = set(newer)
            continue
        weakest, weakest_newer = max(map(strength, found)), max(map(strength, newer))
        found = {one for one in found if strength(one) < weakest_newer} | {
            one for one in newer if strength(one) <= weakest
        }
    return found


def strength(answer: int) -> int:
    action = answer & _ACTION
    return action - (1 << 32) if action >> 31 else action

"""inspect's BPF: the kernel runs the same programs in a child and says the same."""

import ctypes
import itertools
import os
import random
import signal
import struct
from collections.abc import Sequence

import pytest

from pyrunc import _linux
from pyrunc.inspect import bpf

#: A call that no kernel has.
NONE = 1999
ALLOW, ERRNO, KILL_THREAD = _linux.SECCOMP_RET_ALLOW, _linux.SECCOMP_RET_ERRNO, _linux.SECCOMP_RET_KILL_THREAD
ENOSYS = 38
PR_SET_SECCOMP, MODE_FILTER = 22, 2
ARGUMENTS = (
    (0, 0, 0, 0, 0, 0),
    (1, 2, 3, 4, 5, 6),
    (2**64 - 1, 2**63, 2**32, 2**32 - 1, 31, 32),
    (0x123456789ABCDEF0, 7, 0xFFFF, 0x80000000, 0x7FFFFFFF, 1 << 40),
)
LOAD, RETURN, RETURN_A = 0x20, 0x06, 0x16
ALU = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0)
JUMPS = (0x10, 0x20, 0x30, 0x40)

Code = list[tuple[int, int, int, int]]
libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def pack(code: Code) -> bytes:
    """For NONE alone: any other call is allowed."""
    head: Code = [(LOAD, 0, 0, 0), (0x15, 1, 0, NONE), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *one) for one in head + code)


def arguments_code(generator: random.Random) -> Code:
    """Any way of reckoning with the arguments' words; the answer is an errno of 11 bits."""
    code: Code = [(0x02, 0, 0, slot) for slot in range(16)]  # BPF_ST: the kernel wants each written before it is read
    for _ in range(generator.randrange(4, 40)):
        k = generator.choice((0, 1, 31, 0xFF, 0xFFFFFFFF, generator.getrandbits(32)))
        operation = generator.choice(ALU)
        shift = operation in (0x60, 0x70)
        code.append(
            generator.choice(
                (
                    (LOAD, 0, 0, 4 * generator.randrange(4, 16)),
                    (0x00, 0, 0, k),
                    (0x01, 0, 0, k),
                    (0x60, 0, 0, k % 16),
                    (0x61, 0, 0, k % 16),
                    (0x80, 0, 0, 0),
                    (0x81, 0, 0, 0),
                    (0x02, 0, 0, k % 16),
                    (0x03, 0, 0, k % 16),
                    (0x07, 0, 0, 0),
                    (0x87, 0, 0, 0),
                    (0x84, 0, 0, 0),
                    (0x04 | operation, 0, 0, k % 32 if shift else k or 1),
                    (0x0C | operation, 0, 0, 0),
                )
            )
        )
    for at in sorted((generator.randrange(16, len(code)) for _ in range(6)), reverse=True):
        # Whatever is jumped over, the program goes on to its end.
        way = (generator.randrange(min(4, len(code) - at + 1)), generator.randrange(min(4, len(code) - at + 1)))
        kind = 0x05 | generator.choice(JUMPS) | generator.choice((0, 8))
        code.insert(at, (kind, *way, generator.getrandbits(32)))
    return [*code, (0x54, 0, 0, 0x7FF), (0x44, 0, 0, ERRNO), (RETURN_A, 0, 0, 0)]


def kernel(programs: Sequence[bytes], arguments: Sequence[int]) -> int | str:
    """What the kernel makes of a call under filters, the oldest first: its errno, or "killed"."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _linux.prctl(_linux.PR_SET_NO_NEW_PRIVS, 1)
            for program in programs:
                wanted = Program(len(program) // 8, program)
                if libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(wanted)):
                    os._exit(9)
            ctypes.set_errno(0)
            libc.syscall(NONE, *(ctypes.c_ulonglong(argument) for argument in arguments))
            os.write(writer, str(ctypes.get_errno()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, 16)
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGSYS), "the kernel has refused the program"
    return int(answer) if answer else "killed"


def ours(programs: Sequence[bytes], arguments: Sequence[int]) -> int | str:
    words = bpf.of_call(NONE, 0, arguments)
    answers = []
    for program in programs:
        (answer,) = bpf.verdicts(program, words)
        answers.append(answer)
    answer = bpf.together(answers)
    if answer & _linux.SECCOMP_RET_ACTION_FULL == ERRNO:
        return answer & _linux.SECCOMP_RET_DATA
    assert answer in (ALLOW, KILL_THREAD)
    return ENOSYS if answer == ALLOW else "killed"


@pytest.mark.parametrize("seed", range(150))
def test_the_kernel_reckons_alike(seed: int) -> None:
    program = pack(arguments_code(random.Random(seed)))
    for arguments in ARGUMENTS:
        assert ours([program], arguments) == kernel([program], arguments)


def answer(value: int) -> bytes:
    return pack([(RETURN, 0, 0, value)])


@pytest.mark.parametrize("first", [ALLOW, ERRNO | 5, ERRNO | 7, KILL_THREAD])
@pytest.mark.parametrize("second", [ALLOW, ERRNO | 5, ERRNO | 7, KILL_THREAD])
def test_the_strongest_of_several_filters_holds(first: int, second: int) -> None:
    programs = [answer(first), answer(second)]
    assert ours(programs, ARGUMENTS[0]) == kernel(programs, ARGUMENTS[0])


def test_a_call_whose_arguments_are_not_known_has_all_verdicts() -> None:
    program = pack([(LOAD, 0, 0, 16), (0x15, 0, 1, 42), (RETURN, 0, 0, ERRNO | 5), (RETURN, 0, 0, ALLOW)])
    assert bpf.verdicts(program, bpf.of_call(NONE, 0)) == {ERRNO | 5, ALLOW}
    assert bpf.verdicts(program, bpf.of_call(NONE, 0, (42, 0, 0, 0, 0, 0))) == {ERRNO | 5}
    assert bpf.verdicts(program, bpf.of_call(NONE - 1, 0)) == {ALLOW}


@pytest.mark.parametrize(
    "code",
    [
        [(LOAD, 0, 0, 0)],  # no return
        [(0x05, 0, 0, 9)],  # a jump out of it
        [(0x28, 0, 0, 0)],  # a load of half a word
        [(LOAD, 0, 0, 64)],  # beyond struct seccomp_data
        [(0xFF, 0, 0, 0)],
        [(LOAD, 0, 0, 16), (RETURN_A, 0, 0, 0)],  # any verdict
    ],
)
def test_what_is_no_filter_is_refused(code: Code) -> None:
    with pytest.raises(ValueError):
        bpf.verdicts(pack(code), bpf.of_call(NONE, 0))


def test_many_filters_with_several_answers_each_are_no_more_work_than_few() -> None:
    generator = random.Random(1)
    values = (ALLOW, ERRNO | 1, ERRNO | 2, KILL_THREAD, 0x80000000, 0x30000, _linux.SECCOMP_RET_LOG)
    for _ in range(500):
        answers = [frozenset(generator.sample(values, generator.randint(1, 4))) for _ in range(generator.randint(1, 4))]
        assert bpf.all_together(answers) == {bpf.together(some) for some in itertools.product(*answers)}
    assert bpf.all_together([]) == set()
    assert bpf.all_together([frozenset((ALLOW, ERRNO | 1))] * 200) == {ALLOW, ERRNO | 1}

"""What is asked of libseccomp, by its Python bindings (module `seccomp`)."""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Any, Final

from pyrunc import _linux
from pyrunc.errors import PyruncError

if TYPE_CHECKING:
    from types import ModuleType

POINTER: Final = "/linux/seccomp"


def bindings() -> ModuleType:
    """The bindings. Raises PyruncError when they are not installed."""
    from pyrunc.steps.seccomp import extension

    return extension.load()


def flag_supported(flag: int) -> bool:
    """Ask as seccomp(2) proposes: the flags are judged before the program is read, which is NULL here."""
    import ctypes

    if flag == _linux.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
        flag |= _linux.SECCOMP_FILTER_FLAG_NEW_LISTENER  # nothing to wait for without it
    seccomp = bindings()
    number = seccomp.resolve_syscall(own_architecture(seccomp), "seccomp")
    libc = ctypes.CDLL(None, use_errno=True)
    set_mode_filter = 1
    libc.syscall(ctypes.c_long(number), ctypes.c_long(set_mode_filter), ctypes.c_long(flag), ctypes.c_void_p())
    return ctypes.get_errno() == errno.EFAULT


def own_architecture(seccomp: ModuleType) -> int:
    """The machine's own token, signed as those of Arch (system_arch() gives it without a sign)."""
    return int(seccomp.Arch())


def numbers_of(seccomp: ModuleType, token: int, names: list[str]) -> dict[str, int]:
    """The numbers that an architecture has for these names, without those it does not know.

    Negative: a call of another architecture, or one that goes through a multiplexer.
    """
    found: dict[str, int] = {}
    for name in names:
        # C would read a name up to its first NUL.
        if name.isascii() and "\0" not in name:
            number = seccomp.resolve_syscall(token, name)
            if number != -1:
                found[name] = number
    return found


def export(built: Any) -> bytes:
    # In memory, since a pipe holds 64 KiB and libseccomp may write more before it is judged too long.
    fd = posix.memfd_create("seccomp", posix.MFD_CLOEXEC)
    try:
        built.export_bpf(_File(fd))
        return posix.pread(fd, posix.fstat(fd).st_size, 0)
    except RuntimeError as error:
        raise PyruncError("libseccomp cannot export the filter" + words_of(error), pointer=POINTER) from None
    finally:
        posix.close(fd)


class _File:
    """What the bindings want of a file: its descriptor."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def words_of(error: Exception) -> str:
    """What libseccomp says: the bindings put its negative errno into a sentence."""
    text = str(error)
    number = text.rpartition("errno = -")[2].rstrip(")")
    return ": " + (posix.strerror(int(number)) if number.isdecimal() else text)

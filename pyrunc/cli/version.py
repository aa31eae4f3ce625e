"""pyrunc version, and --version: the lines that containerd and docker parse.

docker takes the first word of the line with "version" in it, and "commit:"; containerd "runc version ", "commit: " and
"spec: ". So no other line may hold the word version, and called as runc we are runc.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.config import OCI_VERSION

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call

VERSION = "0.1.0"


def commit() -> str:
    """The commit that the installed program was built from, "unknown" in a source tree."""
    try:
        module = __import__("pyrunc._commit", None, None, ("COMMIT",))  # written by the build
    except ImportError:
        return "unknown"
    return str(module.COMMIT)


def libseccomp() -> str:
    """The version of the libseccomp that filters are compiled with ("2.5.4"), "" when there is none."""
    try:
        import ctypes

        library = ctypes.CDLL("libseccomp.so.2")
        # const struct scmp_version *seccomp_version(void), three unsigned ints: seccomp_version(3).
        library.seccomp_version.restype = ctypes.POINTER(ctypes.c_uint * 3)
        return ".".join([str(number) for number in library.seccomp_version().contents])
    except (ImportError, OSError, AttributeError, ValueError):
        return ""


def text(program: str) -> str:
    import sys

    lines = [f"{program} version {VERSION}", "commit: " + commit(), "spec: " + OCI_VERSION]
    lines.append("python: " + ".".join([str(number) for number in sys.version_info[:3]]))
    seccomp = libseccomp()
    if seccomp:
        lines.append("libseccomp: " + seccomp)
    return "\n".join(lines) + "\n"


def run(call: Call) -> int:
    log.output(text(call.program))
    return 0

"""What compiles seccomp profiles, as a digest of its source: part of the name of each entry of the cache.

tools/freeze.py writes it into the launcher (module _compiler), where asking for it costs nothing; a Python program that
imports this package reads the files. Imports nothing of pyrunc's: the build runs it by itself.
"""

import posix
from _blake2 import blake2b

#: The compiler with its parts, and the module that gives the entries their bytes.
FILES = ("compiler.py", "libseccomp.py", "prologue.py", "verdict.py", "cache.py")


def of(folder: str) -> str:
    """For the files in pyrunc/steps/seccomp, wherever that is. Raises OSError."""
    digest = blake2b(digest_size=20)
    for name in FILES:
        fd = posix.open(f"{folder}/{name}", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            size = posix.fstat(fd).st_size
            data = posix.read(fd, size)
        finally:
            posix.close(fd)
        digest.update(str(size).encode("ascii") + b"\0" + data)
    return digest.hexdigest()

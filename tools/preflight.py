"""Says in one line what the build lacks, and which package brings it: before the compiler does, in its many.

    $(PYTHON) tools/preflight.py CC FILE

FILE keeps what this host was when something was built last. Exit status: 0, 1 when something is missing, 3 when
the host has changed since: then nothing that was built fits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig

OLDEST = (3, 11)
NEWEST_TRIED = (3, 14)


class Host:
    """What the build finds here. version: this interpreter's; include, library: its headers, libpython."""

    def __init__(self, cc: str) -> None:
        self.cc = cc
        self.version = sys.version_info[:2]
        self.include = sysconfig.get_path("include")
        folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
        self.library = os.path.join(folder or "", name or "")

    def facts(self) -> str:
        return "\n".join([self.cc, sys.executable, sys.version, self.include, self.library, ""])

    def has_header(self, name: str) -> bool:
        argv = [*self.cc.split(), "-E", "-include", name, "-x", "c", os.devnull]
        return subprocess.call(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def missing(host: Host) -> str | None:
    """What is missing first, and the package of Debian that brings it; None when nothing is."""
    version = ".".join(map(str, host.version))
    if host.version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return f"Python {version} is too old: apt-get install python3 of Debian 12 or later, which has {oldest}"
    if not shutil.which(host.cc.split()[0]):
        return f"no C compiler, {host.cc.split()[0]}: apt-get install gcc"
    if not host.has_header("stdio.h"):
        return "no headers of the C library: apt-get install libc6-dev"
    if not host.has_header("linux/openat2.h"):
        return "no headers of Linux 5.12 or later: apt-get install linux-libc-dev"
    if not os.path.exists(os.path.join(host.include, "Python.h")):
        return f"no headers of Python {version}, {host.include}/Python.h: apt-get install libpython{version}-dev"
    if ".so" not in os.path.basename(host.library) or not os.path.exists(host.library):
        hint = f"apt-get install libpython{version}, and PYTHON=/usr/bin/python3 if this is another"
        return f"no shared library of Python {version} ({sys.executable}), {host.library}: {hint}"
    return None


def main(arguments: list[str]) -> int:
    cc, file = arguments
    host = Host(cc)
    before = None
    if os.path.exists(file):
        with open(file) as kept:
            before = kept.read()
    if before == host.facts():
        return 0
    what = missing(host)
    if what:
        print("pyrunc cannot be built: " + what, file=sys.stderr)
        return 1
    if host.version > NEWEST_TRIED:
        newest = ".".join(map(str, NEWEST_TRIED))
        print(
            f"newer than any Python that was tried; should the build fail: apt-get install libpython{newest}-dev",
            file=sys.stderr,
        )
    if os.path.dirname(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w") as kept:
        kept.write(host.facts())
    return 0 if before is None else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""make sanitize: the unit tests, then a million calls at random, against extensions that the sanitizers watch.

    python3 -m tests.sanitize [--calls N] [--seed N] [pytest's words]

--calls N: so many, without the unit tests. The extensions are of their own (make -C native sanitize); a misuse ends the
process that runs it, with the sanitizer's report.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.support import TOP

FOLDER = TOP / "build/sanitize"


def runtime() -> Path:
    """The address sanitizer's library, which must be loaded before all others. Raises FileNotFoundError without one."""
    said = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    path = Path(said.strip())
    if not path.is_absolute():
        raise FileNotFoundError("the compiler has no libasan.so")
    return path.resolve()


def environment() -> dict[str, str]:
    """What the interpreter needs: the library, and an allocator that it sees through."""
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "PYTHONMALLOC": "malloc"}
    return {**os.environ, **options, "LD_PRELOAD": str(runtime())}


def build() -> None:
    """Build the extensions. Raises subprocess.CalledProcessError."""
    subprocess.run(["make", "-s", "-C", TOP / "native", "sanitize"], check=True)


def run(part: str, *words: str) -> int:
    """Run a part, `unit` or `fuzz`, under the sanitizers; its output goes where ours does. Gives its exit status."""
    return subprocess.call([sys.executable, "-m", "tests.sanitize.inside", part, *words], cwd=TOP, env=environment())


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sanitize", description="the C under ASan and UBSan")
    parser.add_argument("--calls", type=int, help="calls at random, alone")
    parser.add_argument("--seed", default="", help="of a run that failed")
    options, words = parser.parse_known_args()
    build()
    status = 0 if options.calls else run("unit", *(words or ["tests/unit", "-q"]))
    return status or run("fuzz", str(options.calls or 1_000_000), options.seed)


if __name__ == "__main__":
    sys.exit(main())

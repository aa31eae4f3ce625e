"""`python3 -m bench.turns CGROUP`: in a tree of another release, makes the calls that pythons.py asks for.

A line of input is a program and the number of a turn; a line of output what its calls took, as JSON, or why not.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import become_subreaper

from . import configs
from .__main__ import Contestant, cold_run, exec_and_kill, run, whole_life
from .measure import CallFailed, Meter, Sample

TREE = "/root/pyrunc"
PROGRAMS = {"as built": "build/pyrunc", "without an image": "build/pyrunc-ordinary"}
TURNS: tuple[Callable[[Contestant, Meter], dict[str, Sample]], ...] = (cold_run, run, whole_life, exec_and_kill)


def main(cgroup: str) -> int:
    """Until the input ends, or a call fails."""
    become_subreaper()
    meter = Meter(cgroup)
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-", dir="/tmp") as folder:
        place = Path(folder)
        ends, stays = (
            configs.make("engine", words, place / name, Path("unused"))
            for name, words in (("ends", configs.ENDS), ("stays", configs.STAYS))
        )
        for bundle in (ends, stays):
            configs.with_cgroup(bundle, f"{cgroup}/{bundle.name}")
        field = {
            name: Contestant(Path(path).name, Path(TREE, path), ends, stays, place) for name, path in PROGRAMS.items()
        }
        for line in sys.stdin:
            program, turn = line.rstrip("\n").split("\t")
            try:
                print(json.dumps(TURNS[int(turn)](field[program], meter)), flush=True)
            except CallFailed as error:
                print(str(error).replace("\n", " "), flush=True)
                break
    meter.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

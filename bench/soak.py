"""`make soak`: containers by the thousand, several at a time, some whose runtime is killed; then nothing may be left.

python3 -m bench.soak --seconds 600 --workers 4
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.processes import become_subreaper
from tests.support.workplace import Bundle, Workplace

from .__main__ import TOP

Life = Callable[[Bundle, random.Random], None]


def run_to_its_end(box: Bundle, chance: random.Random) -> None:
    """Status kept, container gone."""
    status = chance.choice([0, 3, 255])
    box.config["process"]["args"] = ["sh", "-c", f"exit {status}"]
    done = box.run()
    assert done.returncode == status, done


def whole_life(box: Bundle, _: random.Random) -> None:
    box.config["process"]["args"] = ["sleep", "1000"]
    box.create().ok()
    assert box.status() == "created"
    box.start().ok()
    assert box.exec("sh", "-c", "exit 5").returncode == 5
    box.call("pause", box.id).ok()
    assert box.status() == "paused"
    box.call("resume", box.id).ok()
    box.kill().ok()
    box.wait_for("stopped")
    box.delete().ok()


def never_started(box: Bundle, _: random.Random) -> None:
    box.create().ok()
    box.delete("--force").ok()


def killed_runtime(box: Bundle, chance: random.Random) -> None:
    """SIGKILL for create at any moment: what it made must go with delete --force."""
    box.config["process"]["args"] = ["sleep", "1000"]
    creating = box.place.spawn("create", "--bundle", box.save(), box.id)
    time.sleep(chance.uniform(0, 0.03))
    creating.send_signal(signal.SIGKILL)
    creating.wait()
    box.delete("--force").ok()


def refused(box: Bundle, _: random.Random) -> None:
    """A create that fails leaves nothing."""
    box.config["mounts"].append({"destination": "/mnt", "source": "/no/such/source", "options": ["bind"]})
    assert box.create().returncode == 1
    assert box.call("state", box.id).returncode == 1


LIVES: list[Life] = [run_to_its_end, whole_life, never_started, killed_runtime, refused]


def worker(box: Bundle, deadline: float, seed: int, done: Counter[str], wrong: list[str]) -> None:
    chance = random.Random(seed)
    fresh = box.save().joinpath("config.json").read_text()
    while time.monotonic() < deadline and not wrong:
        life = chance.choice(LIVES)
        box.config = json.loads(fresh)
        try:
            life(box, chance)
        except Exception as error:
            wrong.append(f"{box.id}, {life.__name__}: {error!r}")
        done[life.__name__] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("soak: skipped: not root, and containers are made by root here")
        return 0
    runtime = Path(os.environ.get("PYRUNC", TOP / "build/pyrunc")).absolute()
    print(f"soak: {runtime}, {options.workers} workers, {options.seconds:.0f} s, --seed {options.seed}")
    become_subreaper()
    place = Workplace(runtime)
    done: Counter[str] = Counter()
    wrong: list[str] = []
    try:
        boxes = [place.bundle() for _ in range(options.workers)]
        deadline = time.monotonic() + options.seconds
        workers = [
            threading.Thread(target=worker, args=(box, deadline, options.seed + number, done, wrong))
            for number, box in enumerate(boxes)
        ]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        left = place.check()
    finally:
        place.close()
    for name, count in sorted(done.items()):
        print(f"{count:6} {name}")
    for line in wrong:
        print(f"wrong: {line}")
    for line in left:
        print(f"left behind: {line}")
    print("soak: nothing wrong, nothing left" if not wrong and not left else "soak: FAILED")
    return 1 if wrong or left else 0


if __name__ == "__main__":
    sys.exit(main())

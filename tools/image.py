"""Makes an image with its maker, and has it prove itself; without proof the ordinary pair serves alone.

usage: image.py MAKER IMAGE LAUNCHER [--untrained]

LAUNCHER is the stage one that looks for IMAGE. Prints one line when there is no image in the end, and exits 0 all the
same: everything works without, slower.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from pyrunc.state import lock
from tools import arrange, training, warm

#: How often the image is started for the proof, one process after the other.
STARTS = 100
_SECONDS = 20
#: Seconds that another making may take.
_TURN = 300


class NoImageError(Exception):
    """Why there is no image."""


def make(maker: Path, image: Path, launcher: Path, trained: bool = True) -> None:
    """Make the image, and take it away again unless it does what it should. Raises NoImageError."""
    folder = os.open(image.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _take_turns(folder)
        _make(maker, image, launcher, trained)
    finally:
        os.close(folder)


def _take_turns(folder: int) -> None:
    """Two at once would write to one file. Whoever may read the folder can hold its lock: not for ever."""
    if not lock.wait_for(folder, time.monotonic() + _TURN):
        raise NoImageError(f"another process has held the lock of its folder for {_TURN} s")


def _make(maker: Path, image: Path, launcher: Path, trained: bool) -> None:
    fresh = image.with_name(image.name + ".new")
    try:
        image.unlink(missing_ok=True)
        fresh.unlink(missing_ok=True)  # the maker would keep its mode
        if os.geteuid() != 0:
            raise NoImageError("an ordinary user, and no user namespace in which it could prove itself")
        with tempfile.TemporaryDirectory(prefix="pyrunc-image-", ignore_cleanup_errors=True) as place:
            try:
                of = _Training(Path(place), launcher, trained)
                _make_twice(maker, fresh, image, launcher, of)
            finally:
                # A maker that was ended half-way has left a container.
                left: list[str | Path] = [launcher, "--root", f"{place}/state", "delete", "--force", "training"]
                subprocess.run(left, capture_output=True, timeout=_SECONDS, check=False)
        prove(image, launcher)
        for note in of.notes:
            print(note)
    except BaseException as error:
        # Whatever it was, an interrupt too: what is not proven is not left to be used.
        fresh.unlink(missing_ok=True)
        image.unlink(missing_ok=True)
        if isinstance(error, Exception):
            raise NoImageError(str(error) or type(error).__name__) from None
        raise


class _Training:
    """What a maker runs. commands: a file of them, empty where there are none; bundles: those whose programs stay.

    notes: what is to be said about an image that is there in the end.
    """

    def __init__(self, place: Path, launcher: Path, trained: bool) -> None:
        self.state = place / "state"
        self.order = place / "order"
        self.bundles: list[Path] = []
        commands = training.prepare(place, launcher) if trained else None
        if commands is not None:
            self.bundles = training.staying(commands)
        self.commands = commands or place / "nothing"
        self.commands.touch()
        self.notes: list[str] = []


def _make_twice(maker: Path, fresh: Path, image: Path, launcher: Path, of: _Training) -> None:
    """First an image that shows which blocks commands write to, then the one in which these lie side by side."""
    words = _words(maker, fresh, image, launcher, of)
    try:
        _run(maker, fresh, *words)
    except NoImageError as error:
        if not of.bundles:
            raise
        of.bundles = []
        of.commands.write_text("")
        of.notes = [f"an image without training, half a millisecond slower: {error}"]
        _run(maker, fresh, *_words(maker, fresh, image, launcher, of))
    fresh.rename(image)
    warm.tell(image, warm.observe(image, launcher, of.state, of.bundles))


def _words(maker: Path, fresh: Path, image: Path, launcher: Path, of: _Training) -> list[Path]:
    """What the second maker is called with: with an order, if the first can be made."""
    of.order.write_bytes(b"")
    try:
        apart = _run(maker, fresh, of.commands, of.order)
        fresh.rename(image)
        of.order.write_bytes(arrange.order(image, int(apart, 16), warm.observe(image, launcher, of.state, of.bundles)))
    except Exception as error:  # whatever it is: it was for speed alone
        # No room for 150 MB, for one.
        of.notes.append(f"an image in no particular order, half a millisecond slower: {error}")
        return [of.commands]
    finally:
        fresh.unlink(missing_ok=True)
        image.unlink(missing_ok=True)
    return [of.commands, of.order]


def _run(maker: Path, *words: Path) -> str:
    """Nothing of this process's surroundings may be in the image. Returns what the maker wrote."""
    done = subprocess.run(
        [maker, *words], env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
    )
    if done.returncode:
        raise NoImageError(f"the maker failed: {done.returncode} {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def prove(image: Path, launcher: Path) -> None:
    """Raises NoImageError unless commands start from the image and do what they should."""
    with tempfile.TemporaryDirectory(prefix="pyrunc-image-") as place:
        if not is_mapped(image, launcher, Path(place)):
            raise NoImageError(f"{launcher} does not start from {image}")
        for words, status, text in _EXPECTED:
            _expect([str(launcher), "--root", place, *words], {}, status, text)
        for number in range(STARTS):
            # Other sizes of environment and arguments are other addresses of all that lies on the stack.
            surroundings = {"PAD": "x" * (number * 97)}
            _expect([str(launcher), "--root", place, "state", "x" * (1 + number)], surroundings, 1, "does not exist")


_EXPECTED = [
    (["list", "--format", "json"], 0, "null"),
    (["state", "none"], 1, "container does not exist"),
    (["start", "none"], 1, "container does not exist"),
    (["kill", "none"], 1, "container does not exist"),
    (["delete", "none"], 1, "container does not exist"),
    (["exec", "none", "true"], 255, "container does not exist"),
    (["create", "--bundle", "/nowhere", "none"], 1, "/nowhere"),
    (["run", "--bundle", "/nowhere", "none"], 1, "/nowhere"),
    # What the image leaves to stage two.
    (["--version"], 0, "spec: "),
    (["spec", "--help"], 0, "config.json"),
]


def _expect(argv: list[str], environment: dict[str, str], status: int, text: str) -> None:
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode != status or text not in said or "internal error" in said:
        raise NoImageError(f"{' '.join(argv)}: exit status {done.returncode}: {said.strip()}")


def is_mapped(image: Path, launcher: Path, place: Path) -> bool:
    """Whether commands of that launcher start from the image."""
    commands: list[list[str | Path]] = [["state", "none"], ["exec", "none", "true"]]
    return all(starts_from([launcher, "--root", place, *command]) == str(image) for command in commands)


def starts_from(argv: Sequence[str | Path]) -> str | None:
    """What a command that fails is made of: the path of its image or libpython; None when neither is seen.

    It is held up by its standard error, a pipe that is full.
    """
    reader, writer = warm.full_pipe()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=writer) as process:
        os.close(writer)
        try:
            return _seen(process)
        finally:
            process.kill()
            os.close(reader)


def _seen(process: subprocess.Popen[bytes]) -> str | None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            path = line.partition("/")[1] + line.partition("/")[2]
            if path.endswith("/image") or "/libpython" in path:
                return path
        time.sleep(0.002)
    return None


def main(arguments: list[str]) -> int:
    trained = arguments[3:] != ["--untrained"]
    maker, image, launcher = [Path(word).absolute() for word in arguments[:3]]
    if os.geteuid() != 0 and subprocess.run([*_AS_ROOT, "true"], capture_output=True, check=False).returncode == 0:
        # Without cgroups of theirs there are no containers to train with.
        again: list[str | Path] = [sys.executable, __file__, maker, image, launcher, "--untrained"]
        return subprocess.run([*_AS_ROOT, *again], check=False).returncode
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # what was made so far is taken away
    try:
        make(maker, image, launcher, trained)
    except NoImageError as error:
        print(f"no image, pyrunc starts some 5 ms slower: {error}")
    return 0


#: An ordinary user's image is used where that user is root, in a user namespace, and there it proves itself.
_AS_ROOT = ["unshare", "--user", "--map-root-user"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

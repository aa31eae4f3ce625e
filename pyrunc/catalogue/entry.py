"""What an entry of the catalogue is made of.

An entry is a tuple: what the message is about, where that stands, and what to do.

- The object: "container" (its ID follows the message), "{0}" (what stands in the template's first hole), or the words
  of the template that name it.
- The place: CONFIG (the raising place gives the pointer), STEP (the step that fails gives it), or in words why no place
  in config.json can be given.
- The remedy: a text, with {0} for what stands in a hole; by errno, 0 for all others; a function of a Case; or
  nothing(...), which says why there is none.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc.nearest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyrunc.errors import PyruncError

    Remedy = str | dict[int, str] | Callable[["Case"], str]
    Entry = tuple[str, str, Remedy]

CONFIG: Final = "config.json, as the message says"
STEP: Final = "config.json, as the step says"
CALL: Final = "none: the command line is wrong, not the config"
STATE: Final = "none: it is about the container's state"
ROOT: Final = "none: it is about the state root"
FILE: Final = "none: it is about a file that the message names"
HOST: Final = "none: it is about the host"
INSIDE: Final = "none: it is about pyrunc itself"
IMAGES: Final = "none: it is about the images of a checkpoint"

# The raising place itself says what to do.
GIVEN: Final = "as the message says"

# The most names of a directory that are looked at for a similar one.
_MANY: Final = 5000
# Commands that stand in the bundle when they tell an error.
_ENTER_THE_BUNDLE: Final = ("create", "run", "restore", "trace", "plan", "validate", "doctor", "diff")


class Case:
    """One error that is told. holes: what stands in the template's holes. root: the state root, "" when not known.

    command: the command's name, "" when not known. program: what pyrunc was called as. flags: the names of each
    command's flags, "" for the global ones.
    """

    __slots__ = ("command", "error", "flags", "holes", "program", "root")

    def __init__(
        self,
        error: PyruncError,
        program: str = "pyrunc",
        command: str = "",
        root: str = "",
        flags: dict[str, list[str]] | None = None,
    ) -> None:
        self.flags = flags or {}
        self.error = error
        self.holes: list[str] = []
        self.program = program
        self.command = command
        self.root = root


def nothing(why: str) -> Callable[[Case], str]:
    """No remedy, and why there is none."""

    def none(case: Case) -> str:
        return ""

    none.__doc__ = why
    return none


def meant(word: str, names: Iterable[str]) -> str:
    """A question for the nearest name, "" for none. Pure."""
    found = nearest(word, names)
    return f"did you mean {found}?" if found else ""


def one_of(*names: str) -> Callable[[Case], str]:
    """For an unknown name in the first hole: the nearest, and all that there are."""

    def hint(case: Case) -> str:
        question = meant(case.holes[0].strip("\"'"), names)
        return (question + " " if question else "") + "known are " + ", ".join(names)

    return hint


def walked(path: str, own: str = "/") -> str:
    """Where on the way to a path it ends, as this process sees it: "" when it is all there.

    own: below which directory, "" for none, other files and what links lead to may be named: who reads the error may
    know them.
    """
    here = ""
    for name in [part for part in path.split("/") if part not in ("", ".")]:
        above, here = here or "/", f"{here}/{name}"
        try:
            posix.stat(here)
        except FileNotFoundError:
            is_known = own == "/" or (own and _is_below(above, own)) or _has_kinds(above)
            try:
                target = posix.readlink(here)
                return f"{here} is a link" + (
                    f" to {target}, and that is missing" if is_known else " to what is missing"
                )
            except OSError:
                pass
            question = meant(name, _names(above)) if is_known else ""
            return "in " + above + " there is no " + name + (": " + question if question else "")
        except NotADirectoryError:
            return above + " is no directory"
        except PermissionError:
            return f"{above} must be searchable (x) for uid {posix.geteuid()}"
        except OSError:
            return "its length and the links on the way have limits: path_resolution(7)"
    return ""


def _is_below(directory: str, own: str) -> bool:
    """Whether a directory is another one or below it, whatever links and ".." lead to it."""
    try:
        fd = posix.open(directory, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            return f"{posix.readlink(f'/proc/self/fd/{fd}')}/".startswith(own.rstrip("/") + "/")
        finally:
            posix.close(fd)
    except OSError:
        return False


def _has_kinds(directory: str) -> bool:
    """Whether it is a process's /proc/PID/ns, where the kernel's names are, the same on every host."""
    parts = directory.split("/")
    return len(parts) == 4 and parts[:2] == ["", "proc"] and parts[2].isdigit() and parts[3] == "ns"


def _names(directory: str) -> list[str]:
    try:
        return sorted(posix.listdir(directory))[:_MANY]
    except OSError:
        return []


def path(hole: int, otherwise: str) -> Callable[[Case], str]:
    """For a file of the host's that cannot be opened or made: where the way to it ends, else what may be done."""

    def hint(case: Case) -> str:
        return walked(case.holes[hole]) or otherwise

    return hint


def asked(hole: int, otherwise: str) -> Callable[[Case], str]:
    """For a file of the host's that a config names: as path(), but of what is outside of the bundle nothing is told
    that the config does not say. Who reads a container's errors may be an engine's user, who sees no file of the host.
    """

    def hint(case: Case) -> str:
        # Another command's folder is its caller's, who may be anywhere.
        bundle = posix.getcwd() if case.command in _ENTER_THE_BUNDLE else ""
        return walked(case.holes[hole], bundle) or otherwise

    return hint

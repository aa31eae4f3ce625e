"""Why a program could not be executed, or its directory not be entered: the hint of the error. Loaded only then.

The kernel gives one number for many reasons (execve(2), "ERRORS"). They are told apart by looking at the container's
files: by the container process while it can still look, as the user that it has become; else by the runtime.
"""

from __future__ import annotations

import errno
import posix
from typing import TYPE_CHECKING, Final

from pyrunc.steps.process import inside, program_kind
from pyrunc.steps.process.inside import Stopped, Unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrunc.config.types import Mount, Process
    from pyrunc.steps.process.inside import Inside, Place

# Where programs lie that a shell finds without a PATH of its own.
_USUAL: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# execve(2): interpreters of interpreters (BINPRM_MAX_RECURSION of the kernel's linux/binfmts.h).
_DEPTH: Final = 5
# execve(2): the longest single string, and how many bytes at most all of them may have, whatever the stack's limit is.
_STRING: Final = 131072
_MOST: Final = 6 << 20
_INFINITY: Final = (1 << 64) - 1
# Names that one is compared with, and letters in which they may differ: an image has as many as it likes.
_NAMES: Final = 5000
_FAR: Final = 4


class Caller:
    """Who executes it. own: it is this process itself, with the capabilities that it will have."""

    __slots__ = ("gid", "groups", "own", "uid")

    def __init__(self, process: Process, own: bool) -> None:
        user = process.get("user", {})
        self.uid = user.get("uid") or 0
        self.gid = user.get("gid") or 0
        self.groups = user.get("additionalGids", [])
        self.own = own

    def words(self) -> str:
        return f"uid {self.uid}, gid {self.gid}"


def not_found(files: Inside, name: str, process: Process) -> str:
    """A program that stands in no directory of PATH."""
    search = ""
    for entry in process.get("env", []):
        if entry.startswith("PATH="):
            search = entry[len("PATH=") :]
    words = "PATH is " + search if search else "process.env has no PATH"
    folders = list(dict.fromkeys([folder or "." for folder in search.split(":")])) if search else []
    known: list[str] = []
    for folder in folders[:64]:
        if len(known) >= _NAMES:
            break
        known += files.names(folder if folder.startswith("/") else f"{process['cwd']}/{folder}")
    elsewhere = [folder for folder in _USUAL if folder not in folders]
    cwd: str = process["cwd"]
    for folder in [*elsewhere, cwd]:
        if folder not in folders and name in files.names(folder):
            return f"{words}: it is in {folder}, which is not among them: name it by its whole path, or add that"
    question = _meant(name, known)
    if question:
        return f"{words}: {question}"
    return words + ": install it in the rootfs, or name it by its whole path"


def of_program(files: Inside, process: Process, number: int, own: bool = False) -> str:
    """A program that was found, or is named by a path, and cannot be executed."""
    name = process["args"][0]
    search = [entry[len("PATH=") :] for entry in process.get("env", []) if entry.startswith("PATH=")]
    for folder in search[-1].split(":") if search and "/" not in name else ():
        try:
            place = files.walk((folder or ".") + "/" + name, process["cwd"])
        except (Stopped, Unknown, OSError):
            continue
        is_file = place.is_file()
        place.close()
        if is_file:
            name = place.path
            break
    return refused(files, name, process, number, own)


def refused(files: Inside, path: str, process: Process, number: int, own: bool = False) -> str:
    """A program that execve(2), or the look at it before, has refused with this errno; "" when it is not known."""
    caller = Caller(process, own)
    try:
        if number == errno.E2BIG:
            return _too_big(process)
        if number == errno.ENOMEM:
            return "the memory limit (linux.resources.memory) leaves no room to load it"
        return _refused(files, path, process["cwd"], caller, number, "the program", 0)
    except (Unknown, OSError):
        return ""


def directory(files: Inside, path: str, process: Process, number: int) -> str:
    """A working directory that cannot be entered."""
    try:
        place = files.walk(path)
    except Stopped as error:
        return _stopped(files, error, Caller(process, True))
    except (Unknown, OSError):
        return ""
    try:
        if not place.is_directory():
            return path + " is a file: process.cwd must be a directory"
        if number in (errno.EACCES, errno.EPERM):
            return _closed(place.path, place, Caller(process, True))
        return ""
    finally:
        place.close()


def _refused(files: Inside, path: str, cwd: str, caller: Caller, number: int, what: str, depth: int) -> str:
    """what: "the program", or what it is to the one that was named. Raises Unknown, OSError."""
    try:
        place = files.walk(path, cwd)
    except Stopped as error:
        if depth:
            return "the program is there, " + what + " " + path.rstrip("\r") + " is not" + _missing_word(path)
        return _stopped(files, error, caller)
    try:
        words = _forbidden(files, place, caller, what if depth else "it")
        if words:
            return words
        kind = program_kind.look(place)
        if kind.problem and number in (errno.ENOEXEC, errno.ENOENT, errno.EINVAL, errno.ELIBBAD, errno.ELOOP):
            return ("" if not depth else f"{what} {path}: ") + kind.problem
        if number == errno.ETXTBSY:
            return "something holds it open for writing: `fuser -v` on the host shows who; close it first"
        if kind.interpreter and depth < _DEPTH:
            return _refused(files, kind.interpreter, cwd, caller, number, kind.its_interpreter, depth + 1)
        if depth >= _DEPTH:
            return "the interpreters of its #! line are scripts themselves, and more than the kernel follows"
        if number == errno.EACCES:
            return (
                "its mode lets it be executed: the host's AppArmor, SELinux or another LSM says no (see its audit log)"
            )
        return ""
    finally:
        place.close()


def _missing_word(path: str) -> str:
    if path.endswith("\r"):
        return ": its #! line ends with a carriage return, as on Windows: `sed -i 's/\\r$//'` takes it away"
    if "ld-musl" in path:
        return ": it was built for musl (Alpine): take an image with that library, or a program built for this one's"
    if "/ld-linux" in path or "/ld64" in path:
        return ": it was built for glibc: take an image with that library, or a program that is linked statically"
    return ": install that in the rootfs, or name another"


def _stopped(files: Inside, stop: Stopped, caller: Caller) -> str:
    """Where the way to a file ends."""
    by = f" (by the link {stop.link})" if stop.link else ""
    whole = (stop.folder if stop.folder != "/" else "") + "/" + stop.name
    if stop.number == errno.ENOENT:
        question = _meant(stop.name, files.names(stop.folder))
        return "in " + stop.folder + by + " there is no " + stop.name + (": " + question if question else "")
    if stop.number == errno.ENOTDIR:
        return f"{whole}{by} is no directory"
    if stop.number == errno.ELOOP:
        return "links lead to each other: the last that was followed is " + (stop.link or whole)
    if stop.number in (errno.EACCES, errno.EPERM):
        place = files.walk(stop.folder)
        try:
            return _closed(stop.folder, place, caller)
        finally:
            place.close()
    return ""


def _closed(path: str, place: Place, caller: Caller) -> str:
    """A directory that may not be entered."""
    name = "the rootfs's own directory, /" if path == "/" else path
    return f"{name} ({_owner(place)}) must be searchable (x) for the process ({caller.words()})"


def _owner(place: Place) -> str:
    status = place.status
    return f"mode {format(status.st_mode & 4095, '04o')}, owner {status.st_uid}:{status.st_gid}"


def _forbidden(files: Inside, place: Place, caller: Caller, what: str) -> str:
    """Why a file that is there must not be executed, "" when it may be."""
    if place.is_directory():
        return place.path + " is a directory: process.args[0] is a program in it, or elsewhere"
    if not place.is_file():
        return place.path + " is no ordinary file"
    if place.is_noexec():
        pointer = files.pointer(place.path, "noexec")
        return "the mount that " + what + " is on is noexec" + (f" (config.json {pointer})" if pointer else "")
    mode = place.status.st_mode
    if not mode & 0o111:
        return f"{what} ({place.path}, {_owner(place)}) has no x for anybody: chmod +x"
    allowed = posix.access(place.path, posix.X_OK, effective_ids=True) if caller.own else _by_mode(place, caller)
    if allowed:
        return ""
    return f"{what} ({place.path}, {_owner(place)}) has no x for the process ({caller.words()})"


def _by_mode(place: Place, caller: Caller) -> bool:
    """As inode(7) has it. A user namespace's ids are the host's in what is seen from there: nothing is said of them."""
    status = place.status
    if caller.uid == 0 or status.st_uid >= 65536:
        return True
    if status.st_uid == caller.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == caller.gid or status.st_gid in caller.groups:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def _too_big(process: Process) -> str:
    """What of the arguments and the environment is too large."""
    strings = {"process.args": process["args"], "process.env": process.get("env") or []}
    for name, entries in strings.items():
        for index, entry in enumerate(entries):
            size = len(entry.encode("utf-8", "surrogateescape")) + 1
            if size > _STRING:
                return f"{name}[{index}] has {size} bytes, the kernel takes {_STRING} in one"
    sizes = [sum(len(entry.encode("utf-8", "surrogateescape")) + 9 for entry in each) for each in strings.values()]
    stack = 8 << 20
    for limit in process.get("rlimits") or ():
        if limit["type"] == "RLIMIT_STACK":
            stack = limit["soft"]
    most = max(_STRING, min(_MOST, stack // 4))
    return (
        f"the arguments have {sizes[0]} bytes, the environment {sizes[1]}: the kernel takes {most} in all, "
        "a quarter of RLIMIT_STACK but 6 MiB at most (execve(2))"
    )


def _meant(word: str, names: Iterable[str]) -> str:
    """A question for the nearest name."""
    found, least = "", min(_FAR, max(1, len(word) // 3)) + 1
    for name in list(names)[:_NAMES]:
        if abs(len(name) - len(word)) < least:
            far = _distance(word[:64], name[:64], least)
            if 0 < far < least:
                found, least = name, far
    return f"did you mean {found}?" if found else ""


def _distance(one: str, other: str, most: int) -> int:
    """How many letters must be changed, put in or left out (Levenshtein); most when it is that or more.

    Only what can be less is calculated: rows of most letters to each side.
    """
    row = [min(number, most) for number in range(len(other) + 1)]
    for i, letter in enumerate(one):
        before, row = row, [most] * (len(other) + 1)
        row[0] = min(i + 1, most)
        for j in range(max(0, i - most), min(len(other), i + most + 1)):
            row[j + 1] = min(before[j + 1] + 1, row[j] + 1, before[j] + (letter != other[j]), most)
        if min(row) >= most:
            return most
    return row[-1]


def from_within(root: int, process: Process, number: int, cwd: str, mounts: Sequence[Mount]) -> str:
    """By the container process, who has become its user. root: O_PATH, which is closed. cwd: a directory, or ""."""
    files = inside.Inside(root)
    files.told = mounts
    try:
        name = process["args"][0]
        if cwd:
            return _plain(directory(files, cwd, process, number))
        if "/" not in name and number == errno.ENOENT:
            return _plain(not_found(files, name, process))
        return _plain(of_program(files, process, number, own=True))
    finally:
        files.close()


def from_outside(root: str, process: Process, number: int, mounts: Sequence[Mount] = (), bundle: str = "/") -> str:
    """By the runtime, of what execve(2) has refused. root: a directory of this process's. As Inside has the rest."""
    fd = posix.open(root, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    files = inside.Inside(fd, mounts, bundle, is_outside=True)
    files.told = mounts
    try:
        return _plain(of_program(files, process, number))
    finally:
        files.close()


def _plain(text: str) -> str:
    """Without what would drive a terminal: an image names its files and loaders as it likes."""
    return "".join([letter if letter.isprintable() else "?" for letter in text])

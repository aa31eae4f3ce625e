"""The processes and child cgroups inside a container's v1 cgroups: listing, freezing, killing, removing.

The container may have made the children, while we look: directories come and go, are nested beyond PATH_MAX, frozen.
"""

from __future__ import annotations

import posix
import time
from errno import EBUSY, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP
from typing import TYPE_CHECKING

from pyrunc.cgroups.files import failure, read_file, rmdir, write_file
from pyrunc.errors import PyruncError
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SIGKILL = 9
# How long remove_left() waits for processes to be gone, in seconds.
_PATIENCE = 5.0
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


def pids(directories: Iterable[str], recursive: bool = True) -> set[int]:
    """The processes in any of the directories and, recursive, beneath them. What is gone has none. Raises PyruncError.

    0 stands for a process of a pid namespace that ours does not see.
    """
    found: set[int] = set()
    for directory in directories:
        try:
            if recursive:
                _walk(directory, lambda fd: found.update(_procs(fd)))
            else:
                fd = posix.open(directory, _DIRECTORY)
                try:
                    found.update(_procs(fd))
                finally:
                    posix.close(fd)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise failure("read the processes of cgroup " + directory, error) from None
    return found


def kill(directories: list[str], freezer: str | None, signal: int, paused: bool) -> None:
    """Send signal to every process inside; what is forked meanwhile gets it too.

    directories: of all hierarchies, since a container that may write to its cgroups can make them differ.
    The freezer holds the processes still, so that the list is whole and no number is used again. SIGKILL thaws what is
    frozen, since a frozen process does not die; another signal leaves a paused container paused. Raises PyruncError.
    """
    # kill(2) takes 0 for our own process group.
    spared = {0, posix.getpid()}
    signalled: set[int] = set()
    for _ in range(20):
        if not pids(directories) - spared - signalled:
            return
        held = False
        if freezer and not paused:
            try:
                freeze(freezer, 100)
                held = True
            except PyruncError:
                # A process may be stuck in the kernel: then as they run.
                pass
        try:
            for pid in (found := pids(directories) - spared):
                try:
                    posix.kill(pid, signal)
                except ProcessLookupError:
                    pass
                except OSError as error:
                    raise failure(f"send signal {signal} to process {pid}", error) from None
            signalled |= found
        finally:
            if freezer and signal == SIGKILL:
                thaw(freezer)
                paused = False
            elif freezer and held:
                _try_thaw(freezer)
        if signal != SIGKILL:
            return
    raise PyruncError("processes keep appearing in cgroup " + directories[0])


def freeze(freezer: str, tries: int = 1000) -> None:
    """Stop every process of the cgroup and its children. On failure they run on. Raises PyruncError.

    FROZEN is reached at once, or after writing it again while processes are being forked (freezer-subsystem.rst).
    """
    done = False
    path = freezer + "/freezer.state"
    try:
        for attempt in range(tries):
            if attempt % 50 == 49:
                # New processes keep coming: let the clones under way end.
                write_file(path, "THAWED")
                time.sleep(0.01)
            write_file(path, "FROZEN")
            if attempt % 25 == 24:
                time.sleep(0.00001)
            done = read_file(path) == "FROZEN"
            if done:
                return
        raise PyruncError("unable to freeze cgroup " + freezer, hint="a process may be stuck in the kernel")
    except OSError as error:
        raise failure("freeze cgroup " + freezer, error) from None
    finally:
        if not done:
            _try_thaw(freezer)


def thaw(freezer: str) -> None:
    """Thaw the cgroup and its children, which the container may have frozen itself. What can't be thawed is left."""
    _try_thaw(freezer)
    try:
        _walk(freezer, _thaw_child)
    except OSError:
        pass


def remove(top: str) -> bool:
    """Remove all that can be removed, deepest first; whether top is gone. Raises PyruncError."""
    try:
        _walk(top, _remove_children)
        posix.rmdir(top)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (EBUSY, ENOTEMPTY):
            raise failure("remove cgroup " + top, error) from None
        return False
    return True


def _walk(top: str, visit: Callable[[int], object]) -> None:
    """Call visit(descriptor) for each directory from the deepest up to top.

    By descriptor and "..", one open at a time: a container can nest cgroups beyond PATH_MAX and the limit of
    descriptors.
    Raises OSError for top alone: FileNotFoundError when it is gone.
    """
    fd = posix.open(top, _DIRECTORY)
    try:
        waiting = [_children(fd)]
        while True:
            if waiting[-1]:
                name = waiting[-1].pop()
                try:
                    below = posix.open(name, _DIRECTORY | posix.O_NOFOLLOW, dir_fd=fd)
                except FileNotFoundError:
                    continue
                posix.close(fd)
                fd = below
                waiting.append(_children(fd))
                continue
            visit(fd)
            waiting.pop()
            if not waiting:
                return
            above = posix.open("..", _DIRECTORY, dir_fd=fd)
            posix.close(fd)
            fd = above
    finally:
        posix.close(fd)


def _children(fd: int) -> list[str]:
    # cgroupfs counts its subdirectories in the link count: mostly there are none, and the scan of all files is saved.
    if posix.fstat(fd).st_nlink == 2:
        return []
    return [entry.name for entry in posix.scandir(fd) if entry.is_dir(follow_symlinks=False)]


def _procs(fd: int) -> list[int]:
    """cgroup.procs of an open directory; [] when it is gone. Raises OSError."""
    try:
        pids = files.read("cgroup.procs", dir_fd=fd, limit=64 << 20)
    except OSError as error:
        # ENODEV: removed between open and read. EOPNOTSUPP: threaded (cgroup v2), which a container may make what is
        # below its own; its processes are listed by the head of the threaded domain, which is above.
        if error.errno in (ENOENT, ENODEV, EOPNOTSUPP):
            return []
        raise
    return [int(pid) for pid in pids.split()]


def _thaw_child(fd: int) -> None:
    try:
        file = posix.open("freezer.state", posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=fd)
    except OSError:
        return
    try:
        posix.write(file, b"THAWED")
    except OSError:
        pass
    finally:
        posix.close(file)


def _remove_children(fd: int) -> None:
    for name in _children(fd):
        try:
            posix.rmdir(name, dir_fd=fd)
        except OSError:
            pass


def _try_thaw(freezer: str) -> None:
    try:
        write_file(freezer + "/freezer.state", "THAWED")
    except OSError:
        pass


def remove_left(left: list[str], kill: Callable[[], None] | None) -> None:
    """Remove cgroups that are not empty, with all that is beneath them. kill: what ends the processes inside, if they
    may be ended. Waits at most 5 s for them. Raises PyruncError.
    """
    give_up = time.monotonic() + _PATIENCE
    pause = 0.0001
    while True:
        time.sleep(pause)
        left = [directory for directory in left if not rmdir(directory)]
        if left and kill is not None:
            kill()
        left = [directory for directory in left if not remove(directory)]
        if not left:
            return
        if time.monotonic() > give_up:
            inside = sorted(pids(left))
            what = f"remove cgroup {left[0]}: {posix.strerror(EBUSY)}"
            if inside:
                what += ": processes " + " ".join(str(pid) for pid in inside[:10])
            raise PyruncError(what, step="cgroup", errno=EBUSY)
        pause = min(pause * 2, 0.2)

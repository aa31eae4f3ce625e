"""The cgroup v1 manager of one container: a directory in each mounted hierarchy (cgroups(7), cgroup-v1/cgroups.rst).

Hot: what every create, start, state and delete needs is here; limits.py is loaded to set limits, walk.py when there are
processes or child cgroups to look at, stats.py for events.
"""

from __future__ import annotations

import posix
from errno import EINVAL
from typing import TYPE_CHECKING, Any

from pyrunc.cgroups.files import REFUSED, WRITE, failure, make, read_file, rmdir, write_file
from pyrunc.cgroups.hierarchies import HYBRID
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyrunc.config.types import Resources, Unit


class Manager:
    """One container's cgroups.

    paths: controller → absolute directory, from paths() or from state.json. Controllers mounted together share one.
    rootless: the caller may lack rights to some of it.
    optional: nobody asked for these cgroups. Where an ordinary user may not make or use one, that controller is
    dropped; a limit asked of it is an error later (as runc).
    existed: after create(), the directories that were there before.
    not_ours: check() or create() found somebody else's processes there: delete() then leaves all as it is.
    """

    __slots__ = ("existed", "lock_fd", "not_ours", "optional", "paths", "rootless")

    def __init__(self, paths: Mapping[str, str], rootless: bool = False, optional: bool = False) -> None:
        self.paths = dict(paths)
        self.rootless = rootless
        self.optional = rootless and optional
        self.existed: list[str] = []
        self.not_ours = False
        # Of take(): from create() on, until release().
        self.lock_fd = -1

    # The cgroup is made before there is a process.
    needs_process = False

    def unit(self) -> Unit | None:
        """No service manager's unit."""
        return None

    def start(self, pid: int, resources: Resources) -> None:
        """Nothing to start."""

    # --- birth

    def check(self) -> None:
        """Refuse cgroups that have processes or are frozen (as runc ≥ 1.2).

        To be called before the state directory records the paths: whoever deletes a recorded container kills what is in
        its cgroups. Raises PyruncError.
        """
        if self.optional:
            # Somebody else's, which has the container's name by chance.
            from pyrunc.cgroups import refusals

            for controller in [name for name in self.paths if not refusals.usable(self.paths[name])]:
                del self.paths[controller]
        for directory in self._directories():
            if files.exists(directory):
                self._check(directory)

    def create(self) -> None:
        """Make the directories, parents included. On failure what was made is removed again, but for parents.

        No other create takes them before release(), to be called in both processes as soon as the new one is inside.
        Raises PyruncError, also for cgroups that have processes or are frozen.
        """
        from pyrunc.cgroups.lock import take

        made: list[str] = []
        self.existed = []
        try:
            for controller, directory in list(self.paths.items()):
                if directory in made or directory in self.existed:
                    continue
                try:
                    is_new = make(directory)
                    (made if is_new else self.existed).append(directory)
                    if self.lock_fd < 0:
                        self.lock_fd = take(directory)
                        # Another create may have come between, and its process be there by now.
                        is_new = is_new and not read_file(directory + "/cgroup.procs")
                    if not is_new:
                        self._check(directory)
                except OSError as error:
                    # systemd's own hierarchies limit nothing: where one can't be used, runc does without it too.
                    if controller in ("name=systemd", HYBRID) or (self.optional and error.errno in REFUSED):
                        del self.paths[controller]
                        continue
                    from pyrunc.cgroups import refusals

                    raise refusals.not_made(directory, error) from None
            freezer = self.paths.get("freezer")
            try:
                # Under a frozen parent the container process would stop for good as it joins, before it could say so.
                if freezer and read_file(freezer + "/freezer.state") != "THAWED":
                    from pyrunc.cgroups import refusals

                    raise refusals.frozen(freezer)
            except OSError as error:
                raise failure(f"read {freezer}/freezer.state", error) from None
        except PyruncError:
            for directory in made:
                rmdir(directory)
            raise

    def release(self) -> None:
        """Let the next create look into the cgroup."""
        if self.lock_fd >= 0:
            posix.close(self.lock_fd)
            self.lock_fd = -1

    def set(self, resources: Resources, pointer: str | None = "/linux/resources") -> list[str]:
        """Apply linux.resources. To be called before the first process joins, with {} too: the default device rules and
        the cpuset, which must not be empty, are set here.

        pointer: where resources stand in config.json, or None. Returns warnings. Raises ConfigError and PyruncError.
        """
        from pyrunc.cgroups.v1.limits import Limits

        limits = Limits(self.paths, self.rootless, self.optional, self.existed, pointer)
        limits.set(resources)
        return limits.warnings

    def update(self, resources: Resources, pointer: str | None = None) -> list[str]:
        """Change limits of a container that runs; what is not named stays, devices always (as runc).

        On failure the old values are written back. Returns warnings. Raises ConfigError and PyruncError.
        """
        from pyrunc.cgroups.v1.limits import Limits

        limits = Limits(self.paths, self.rootless, self.optional, self.existed, pointer)
        limits.update(resources)
        return limits.warnings

    def check_usage(self, resources: Resources, pointer: str | None = None) -> None:
        """memory.checkBeforeUpdate: refuse a limit below what is in use. Raises PyruncError."""
        from pyrunc.cgroups.v1.limits import Limits

        Limits(self.paths, self.rootless, self.optional, self.existed, pointer).check_usage(resources)

    def with_quota(self, resources: Resources, known: Callable[[], int]) -> Resources:
        """resources with both of cpu.quota and cpu.period where one is asked for: the other as it is now.

        known: the period that a service manager knows, 0 for none; it counts where there is no quota.
        """
        from pyrunc.cgroups.v1.limits import with_quota

        return with_quota(resources, self.paths.get("cpu", ""), known)

    def give_to(self, uid: int) -> None:
        """Never on v1, where a cgroup given away could be left or its limits changed."""

    def clone_fd(self, sub: Mapping[str, str] | None = None) -> int:
        """Of the unified hierarchy of a hybrid host, where a process can be born; those of v1 it joins. -1: none."""
        if HYBRID in self.paths:
            try:
                return posix.open(self._below(sub)[-1], posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
            except OSError:
                # join_fds() says why.
                pass
        return -1

    def born(self, fds: list[int]) -> list[int]:
        """What is left to join, of join_fds(), when a process was born in clone_fd()'s; the rest is closed."""
        posix.close(fds[-1])
        return fds[:-1]

    def join_fds(self, sub: Mapping[str, str] | None = None) -> list[int]:
        """Descriptors for join(): `tasks` of each hierarchy, O_WRONLY and O_CLOEXEC; cgroup2's, the last, has none.

        sub: exec --cgroup: controller ("" for all) → a path below the container's own cgroup, which must exist.
        Raises PyruncError; ConfigError for a path that leaves the container's cgroup.
        """
        fds: list[int] = []
        directories = self._below(sub)
        for directory in directories:
            file = "/cgroup.procs" if HYBRID in self.paths and directory is directories[-1] else "/tasks"
            try:
                fds.append(posix.open(directory + file, WRITE))
            except OSError as error:
                for fd in fds:
                    posix.close(fd)
                raise failure(f"adding pid of a new process to cgroups: open {directory}{file}", error) from None
        return fds

    def nested_fds(self, pid: int) -> list[int]:
        """None: a cgroup of v1 takes processes whatever is below it."""
        return []

    def join(self, fds: Sequence[int]) -> None:
        """Move the calling process, which must have one thread, into the cgroups of join_fds(); closes the descriptors.

        "0" to tasks costs the kernel microseconds; a pid to cgroup.procs takes a lock that waits for RCU, milliseconds.
        Raises PyruncError.
        """
        for index, fd in enumerate(fds):
            try:
                posix.write(fd, b"0")
            except OSError as error:
                raise failure(
                    "adding pid of a new process to cgroups: join " + self._directories()[index], error
                ) from None
            finally:
                posix.close(fd)

    def add(self, pid: int, sub: Mapping[str, str] | None = None) -> None:
        """Move another process with all its threads. sub: as for join_fds(). Raises PyruncError."""
        from time import sleep

        for directory in self._below(sub):
            for attempt in range(6):
                try:
                    write_file(directory + "/cgroup.procs", str(pid))
                    break
                except OSError as error:
                    # A process that is just being cloned can't be moved yet.
                    if error.errno != EINVAL or attempt == 5:
                        raise failure(f"move process {pid} to cgroup {directory}", error) from None
                    sleep(0.01)

    # --- life

    def exists(self) -> bool:
        return any(files.exists(directory) for directory in self._directories())

    def complete(self) -> bool:
        """Whether all of it is there: a process that has left its cgroups lets others remove them."""
        return all(files.exists(directory) for directory in self._directories())

    def reachable(self, sub: Mapping[str, str] | None = None) -> bool:
        """Nothing is asked of what is above both cgroups: who may write to one may move there."""
        return True

    def freeze(self) -> None:
        """Stop every process, those of child cgroups too. On failure they run on. Raises PyruncError."""
        from pyrunc.cgroups.walk import freeze

        freeze(self._freezer("pause"))

    def thaw(self) -> None:
        """Let them run again, but for child cgroups that the container froze itself. Raises PyruncError."""
        freezer = self._freezer("resume")
        try:
            write_file(freezer + "/freezer.state", "THAWED")
        except OSError as error:
            raise failure("thaw cgroup " + freezer, error) from None

    def thaw_all(self) -> None:
        """Let them run again, in child cgroups too: for SIGKILL, which a frozen process does not take. Never fails."""
        freezer = self.paths.get("freezer")
        if freezer is not None:
            from pyrunc.cgroups.walk import thaw

            thaw(freezer)

    def frozen(self) -> bool:
        """Whether this cgroup itself was frozen, and not one above it. A cgroup that is gone is not."""
        freezer = self.paths.get("freezer")
        try:
            return freezer is not None and read_file(freezer + "/freezer.self_freezing") == "1"
        except OSError:
            return False

    def pids(self, recursive: bool = True) -> list[int]:
        """The processes inside, in child cgroups too, ascending; [] when the cgroup is gone. Raises PyruncError."""
        from pyrunc.cgroups.walk import pids

        for controller in ("devices", *self.paths):
            directory = self.paths.get(controller)
            if directory:
                return sorted(pids((directory,), recursive))
        return []

    def kill_all(self, signal: int = 9) -> None:
        """Send signal to every process inside, child cgroups included, and to what they fork meanwhile.

        SIGKILL thaws what is frozen; another signal leaves a paused container paused. No error when the cgroup is gone.
        Raises PyruncError when a process can't be signalled.
        """
        from pyrunc.cgroups.walk import kill

        kill(self._directories(), self.paths.get("freezer"), signal, self.frozen())

    def oom_kills(self) -> int | None:
        """How many processes the kernel has killed here for want of memory; None when that can't be known."""
        try:
            for line in read_file(self.paths["memory"] + "/memory.oom_control").split("\n"):
                if line.startswith("oom_kill "):
                    return int(line[9:])
        except (KeyError, OSError):
            pass
        return None

    def watch_oom(self) -> int:
        """A descriptor (eventfd) that becomes readable when ran_out_of_memory() has something to say.

        Raises PyruncError.
        """
        from pyrunc.cgroups.v1.stats import watch_oom

        return watch_oom(self.paths)

    def ran_out_of_memory(self, watch: int) -> bool | None:
        """Read watch_oom()'s descriptor. Whether memory ran out; None when the cgroup is no more."""
        posix.read(watch, 8)
        return True if self.exists() else None

    def stats(self) -> dict[str, Any]:
        """The data of a stats event, in runc's shape. Raises PyruncError."""
        from pyrunc.cgroups.v1.stats import read

        return read(self.paths)

    # --- end

    def delete(self, kill: bool = True) -> None:
        """Remove the container's cgroup and all that was made beneath it; its parents stay (as runc).

        Does nothing when create() or check() refused the cgroups as somebody else's.

        kill: also end the processes that are left inside. False when it is not certain that they are this container's.
        What is gone already, or goes meanwhile, is no error. Waits at most 5 s for processes to end.
        Raises PyruncError.
        """
        left = [] if self.not_ours else [directory for directory in self._directories() if not rmdir(directory)]
        if not left:
            return
        from pyrunc.cgroups.walk import remove_left

        # Mostly the last process is just about to be gone by itself.
        remove_left(left, self.kill_all if kill else None)

    # --- directories

    def _directories(self) -> list[str]:
        return list(dict.fromkeys(self.paths.values()))

    def _freezer(self, verb: str) -> str:
        freezer = self.paths.get("freezer")
        if freezer is None:
            raise PyruncError(f"cannot {verb}: the container has no freezer cgroup", step="cgroup")
        return freezer

    def _below(self, sub: Mapping[str, str] | None) -> list[str]:
        """The directories to join. Raises ConfigError."""
        if not sub:
            return self._directories()
        for controller, path in sub.items():
            if controller and controller not in self.paths:
                raise ConfigError(f"unknown controller {controller} in --cgroup")
            if ".." in path.split("/") or "\0" in path:
                raise ConfigError("bad sub cgroup path: " + path)
        found = []
        for controller, directory in self.paths.items():
            parts = sub.get(controller, sub.get("", "")).split("/")
            found.append("/".join((directory, *(part for part in parts if part not in ("", ".")))))
        return list(dict.fromkeys(found))

    def _check(self, directory: str) -> None:
        from pyrunc.cgroups.walk import pids

        inside = pids((directory,))
        if inside:
            self.not_ours = True
            from pyrunc.cgroups import refusals

            raise refusals.not_empty(len(inside), directory)
        if directory == self.paths.get("freezer") and self.frozen():
            self.not_ours = True
            from pyrunc.cgroups import refusals

            raise refusals.frozen(directory)

"""A container's cgroup on cgroup v2 (admin-guide/cgroup-v2.rst), by its files. The same methods as v1.Manager."""

from __future__ import annotations

import posix
from errno import EACCES, EPERM
from typing import TYPE_CHECKING, Any, Final

from pyrunc.cgroups.files import REFUSED, failure, read_file, write_file
from pyrunc.errors import ConfigError, PyruncError
from pyrunc.linux import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyrunc.cgroups.v2 import limits
    from pyrunc.cgroups.v2.oom import OomWatch
    from pyrunc.config.types import Resources, Unit

# The key of the one hierarchy in state.json.
UNIFIED: Final = ""
_DIRECTORY: Final = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


class Manager:
    """paths: {"": directory}, or {} when the container does without. rootless, optional, not_ours: as of v1.Manager."""

    __slots__ = (
        "_watch",
        "directory",
        "existed",
        "lock_fd",
        "mount",
        "not_ours",
        "optional",
        "paths",
        "rootless",
    )

    def __init__(
        self,
        paths: dict[str, str],
        rootless: bool = False,
        optional: bool = False,
        mount: str = "/sys/fs/cgroup",
    ) -> None:
        self.paths = paths
        self.directory = paths[UNIFIED]
        self.rootless = rootless
        self.optional = rootless and optional
        self.mount = mount
        self.existed: list[str] = []
        self.not_ours = False
        # Of take(): from create() on, until release().
        self.lock_fd = -1
        self._watch: OomWatch | None = None

    # The cgroup is made before there is a process.
    needs_process = False

    def unit(self) -> Unit | None:
        """No service manager's unit."""
        return None

    def start(self, pid: int, resources: Resources) -> None:
        """Nothing to start."""

    # --- birth

    def check(self) -> None:
        """Refuse a cgroup that has processes or is frozen (as runc ≥ 1.2). Raises PyruncError."""
        if self.optional:
            from pyrunc.cgroups import refusals

            if not refusals.usable(self.directory):
                # Somebody else's, which has the container's name by chance.
                self._do_without()
        if not self.exists():
            return
        inside = self.pids()
        if inside or self.frozen():
            self.not_ours = True
            from pyrunc.cgroups import refusals

            raise refusals.not_empty(len(inside), self.directory) if inside else refusals.frozen(self.directory)

    def create(self) -> None:
        """Make the directory and its parents, with every controller that is there passed down. Raises PyruncError.

        No other create takes it before release(), to be called in both processes as soon as the new one is inside.
        Where an ordinary user may not, and nobody asked for it, the container does without; set() then refuses to limit
        anything.
        """
        from pyrunc.cgroups.lock import take
        from pyrunc.cgroups.v2.controllers import enable, refuse_threaded

        if not self.paths:
            return
        below = [part for part in self.directory[len(self.mount) :].split("/") if part]
        current = self.mount
        made = ""
        try:
            for index, name in enumerate(below):
                enable(current)
                current += "/" + name
                try:
                    posix.mkdir(current, 0o755)
                    if index == len(below) - 1:
                        made = current
                except FileExistsError:
                    if index == len(below) - 1:
                        self.existed = [current]
            self.lock_fd = take(self.directory)
            if not made:
                self.check()
            refuse_threaded(self.directory)
            # Another create may have come between, and its process be there by now.
            if made and read_file(self.directory + "/cgroup.procs"):
                self.check()
            if read_file(self.directory + "/cgroup.freeze") == "0" and " frozen 1" in self._events():
                raise PyruncError(f"the cgroup above {self.directory} is frozen", step="cgroup")
        except OSError as error:
            if made:
                self._remove_quietly(made)
            if self.optional and error.errno in REFUSED:
                self._do_without()
                return
            from pyrunc.cgroups import refusals

            raise refusals.not_made(current, error) from None
        except PyruncError:
            if made:
                self._remove_quietly(made)
            raise

    def _do_without(self) -> None:
        self.paths.clear()
        # No path at all, so that nothing of the other is read, written or removed.
        self.directory = ""

    def release(self) -> None:
        """Let the next create look into the cgroup."""
        if self.lock_fd >= 0:
            posix.close(self.lock_fd)
            self.lock_fd = -1

    def _events(self) -> str:
        return " " + read_file(self.directory + "/cgroup.events").replace("\n", " ")

    def _remove_quietly(self, directory: str) -> None:
        try:
            posix.rmdir(directory)
        except OSError:
            return

    def enable_above(self) -> None:
        """Pass all controllers down to this cgroup, which somebody else has made, as far as that can be."""
        from pyrunc.cgroups.v2.controllers import enable

        current = self.mount
        for name in self.directory[len(self.mount) + 1 :].split("/"):
            enable(current)
            current += "/" + name

    def set(
        self,
        resources: Resources,
        pointer: str | None = "/linux/resources",
        teller: limits.Teller | None = None,
    ) -> list[str]:
        """Apply linux.resources, device rules included. Returns warnings. Raises ConfigError, PyruncError.

        teller: who is told of the settings before they are written.
        """
        from pyrunc.cgroups import device_rules
        from pyrunc.cgroups.v2 import device_program, limits

        if self._absent():
            asked = limits.settings(resources, pointer or "", self.directory)
            if asked:
                from pyrunc.cgroups import refusals

                raise refusals.no_limits(asked[0][0], (pointer or "") + asked[0][2])
            return limits.warnings(resources)
        try:
            rules = device_program.judged(device_rules.parse(resources.get("devices", [])))
            if rules:
                device_program.attach(self.directory, rules)
        except PyruncError as error:
            # Without privilege no program can be attached; without CAP_MKNOD no device can be made either.
            if not (self.rootless and error.errno in (EPERM, EACCES)):
                raise
        limits.apply(self.directory, resources, pointer, undo=False, teller=teller)
        return limits.warnings(resources)

    def update(
        self, resources: Resources, pointer: str | None = None, teller: limits.Teller | None = None
    ) -> list[str]:
        """Change limits; what is not named stays, devices always. On failure the old values are written back."""
        from pyrunc.cgroups.v2 import limits

        limits.apply(self.directory, resources, pointer, undo=True, teller=teller)
        return limits.warnings(resources)

    def _absent(self) -> bool:
        """Whether the container does without a cgroup of its own. (States of older versions have the path of none.)"""
        return not self.paths or (self.rootless and not self.exists())

    def with_quota(self, resources: Resources, known: Callable[[], int]) -> Resources:
        """As v1.Manager's, for a quota alone; settings() does it for a period."""
        from pyrunc.cgroups.v2 import limits

        return limits.with_period(resources, self.directory, known)

    def give_to(self, uid: int) -> None:
        """Let a user make cgroups below and move processes there. Raises PyruncError."""
        from pyrunc.cgroups.v2.delegation import give

        give(self.directory, uid, self.rootless)

    def clone_fd(self, sub: Mapping[str, str] | None = None) -> int:
        """A descriptor of the directory, for clone3(2) to make the process there, without waiting for any lock."""
        directory = self._below(sub)
        try:
            return posix.open(directory, _DIRECTORY)
        except OSError as error:
            if self._absent():
                return -1
            raise failure("open " + directory, error) from None

    def join_fds(self, sub: Mapping[str, str] | None = None) -> list[int]:
        """[descriptor of cgroup.procs], for join(). sub: exec --cgroup. Raises PyruncError, ConfigError."""
        directory = self._below(sub)
        try:
            return [posix.open(directory + "/cgroup.procs", posix.O_WRONLY | posix.O_CLOEXEC)]
        except OSError as error:
            if self._absent():
                return []
            raise failure(f"adding pid of a new process to cgroups: open {directory}/cgroup.procs", error) from None

    def born(self, fds: list[int]) -> list[int]:
        """As v1.Manager's: nothing is left to join."""
        for fd in fds:
            posix.close(fd)
        return []

    def nested(self, pid: int) -> str:
        """Where the container's init process is below the container's cgroup: "/some/where", or ""."""
        from pyrunc.cgroups.v2.delegation import way_below

        return way_below(self.mount, self.directory, pid)

    def nested_fds(self, pid: int) -> list[int]:
        """For join(), when the container's cgroup takes no process: that of nested()."""
        below = self.nested(pid)
        if not below:
            return []
        try:
            return [posix.open(f"{self.directory}{below}/cgroup.procs", posix.O_WRONLY | posix.O_CLOEXEC)]
        except OSError:
            return []

    def join(self, fds: Sequence[int]) -> None:
        """Move the calling process into the first cgroup that takes it; closes the descriptors. Raises PyruncError."""
        refused: OSError | None = None
        joined = False
        for fd in fds:
            try:
                if not joined:
                    posix.write(fd, b"0")
                    joined = True
            except OSError as error:
                refused = refused or error
            finally:
                posix.close(fd)
        if refused is not None and not joined:
            raise failure("adding pid of a new process to cgroups: join " + self.directory, refused) from None

    def add(self, pid: int, sub: Mapping[str, str] | None = None) -> None:
        """Move another process. Raises PyruncError."""
        directory = self._below(sub)
        try:
            write_file(directory + "/cgroup.procs", str(pid))
        except OSError as error:
            raise failure(f"move process {pid} to cgroup {directory}", error) from None

    def _below(self, sub: Mapping[str, str] | None) -> str:
        if not sub:
            return self.directory
        for controller, path in sub.items():
            if controller:
                raise ConfigError(f"--cgroup {controller}: cgroup v2 has one hierarchy for all controllers")
            if ".." in path.split("/") or "\0" in path:
                raise ConfigError("bad sub cgroup path: " + path)
        parts = [part for part in sub[UNIFIED].split("/") if part not in ("", ".")]
        return "/".join((self.directory, *parts))

    # --- life

    def exists(self) -> bool:
        return files.exists(self.directory)

    def complete(self) -> bool:
        """As v1.Manager's: what the container does without is not missing."""
        return not self.paths or self.exists()

    def reachable(self, sub: Mapping[str, str] | None = None) -> bool:
        """Whether this process may move itself there: it must be allowed to write to what is above both, too."""
        from pyrunc.cgroups.v2.delegation import is_reachable

        return is_reachable(self.mount, self._below(sub))

    def freeze(self) -> None:
        """Stop every process inside, and wait until they stand still. On failure they run on. Raises PyruncError."""
        from pyrunc.cgroups.v2.freezer import freeze

        freeze(self.directory, self.thaw_all)

    def thaw(self) -> None:
        """Let them run again, but for child cgroups that the container froze itself. Raises PyruncError."""
        try:
            write_file(self.directory + "/cgroup.freeze", "0")
        except OSError as error:
            raise failure("thaw cgroup " + self.directory, error) from None

    def thaw_all(self) -> None:
        """As thaw(), for SIGKILL. A frozen process of cgroup v2 takes its death. Never fails."""
        try:
            write_file(self.directory + "/cgroup.freeze", "0")
        except OSError:
            return

    def frozen(self) -> bool:
        try:
            return read_file(self.directory + "/cgroup.freeze") == "1"
        except OSError:
            return False

    def pids(self, recursive: bool = True) -> list[int]:
        """The processes inside, in child cgroups too, ascending; [] when the cgroup is gone. Raises PyruncError."""
        from pyrunc.cgroups.walk import pids

        return sorted(pids((self.directory,), recursive))

    def kill_all(self, signal: int = 9) -> None:
        """Send signal to every process inside, child cgroups included. No error when the cgroup is gone."""
        from pyrunc.cgroups.v2.ending import kill

        kill(self.directory, signal)

    def oom_kills(self) -> int | None:
        """How many processes the kernel has killed here for want of memory; None when that can't be known."""
        try:
            for line in read_file(self.directory + "/memory.events").split("\n"):
                if line.startswith("oom_kill "):
                    return int(line[9:])
        except OSError:
            pass
        return None

    def watch_oom(self) -> int:
        """A descriptor (of epoll) that becomes readable when ran_out_of_memory() has something to say.

        Raises PyruncError.
        """
        from pyrunc.cgroups.v2.oom import OomWatch

        self._watch = OomWatch(self.directory, self.oom_kills() or 0)
        return self._watch.fileno()

    def ran_out_of_memory(self, watch: int) -> bool | None:
        """After watch_oom()'s descriptor: whether the kernel has killed again; None when the last process is gone."""
        return self._watch.ran_out() if self._watch is not None else None

    def stats(self) -> dict[str, Any]:
        """The data of a stats event, in runc's shape. Raises PyruncError."""
        from pyrunc.cgroups.v2.stats import read

        return read(self.directory)

    # --- end

    def delete(self, kill: bool = True) -> None:
        """Remove the cgroup and all beneath it; kill: end what is left inside first. Waits at most 5 s.

        Does nothing when check() or create() refused it as somebody else's. Raises PyruncError.
        """
        if not self.not_ours:
            from pyrunc.cgroups.v2.ending import remove

            remove(self.directory, end=kill)

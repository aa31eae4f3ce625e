"""What every cgroup manager can do: of cgroup v1 (v1/), of v2 (v2/), of a scope of systemd's over either (systemd/).

For the reader and the type checker alone: nothing imports it when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrunc.config.types import Resources, Unit


class CgroupManager(Protocol):
    """One container's cgroups. Everything raises PyruncError, unless it says that it never fails.

    paths: controller to absolute directory, as hierarchies.paths() gives them; "" is cgroup v2's. state.json keeps
    them, and a manager is made again from them. rootless: the caller may lack rights to some of it.
    needs_process: the cgroup is made around the container process, by start(), and cannot be made before there is one.
    """

    paths: dict[str, str]
    rootless: bool
    needs_process: bool

    # --- birth, in this order

    def check(self) -> None:
        """Refuse cgroups that have processes or are frozen, before state.json records their paths."""

    def start(self, pid: int, resources: Resources) -> None:
        """With needs_process: have the cgroup made, with the process in it."""

    def unit(self) -> Unit | None:
        """What state.json keeps of a service manager's unit; None without one."""

    def create(self) -> None:
        """Make the directories; on failure they are removed again. No other create takes them until release()."""

    def set(self, resources: Resources, pointer: str | None = "/linux/resources") -> list[str]:
        """Apply linux.resources, the default device rules with them. Returns warnings.

        To be called before the first process joins, with {} too. pointer: where they stand in config.json, or None.
        """

    def give_to(self, uid: int) -> None:
        """Let a user make cgroups below, where the container's is its own to divide (cgroup v2)."""

    def clone_fd(self, sub: Mapping[str, str] | None = None) -> int:
        """A directory for clone3(2) to make the process in (CLONE_INTO_CGROUP); -1 where there is none."""

    def join_fds(self, sub: Mapping[str, str] | None = None) -> list[int]:
        """Descriptors for join(). sub: exec --cgroup: controller ("" for all) to a path below the container's own."""

    def nested_fds(self, pid: int) -> list[int]:
        """More of them: where the container's process is, if its cgroup itself takes none."""

    def born(self, fds: list[int]) -> list[int]:
        """What is left of join_fds() to join when the process was made in clone_fd()'s; the rest is closed."""

    def join(self, fds: Sequence[int]) -> None:
        """Move the calling process, which has one thread; closes the descriptors."""

    def release(self) -> None:
        """Let the next create look into the cgroup: in both processes as soon as the new one is inside. Never fails."""

    def add(self, pid: int, sub: Mapping[str, str] | None = None) -> None:
        """Move another process with all its threads."""

    # --- life

    def exists(self) -> bool:
        """Whether any of it is there. Never fails."""

    def complete(self) -> bool:
        """Whether all of it is there that the container has. Never fails."""

    def reachable(self, sub: Mapping[str, str] | None = None) -> bool:
        """Whether the calling process may move itself there. Never fails."""

    def update(self, resources: Resources, pointer: str | None = None) -> list[str]:
        """Other limits; what is not named stays, devices always. On failure the old ones hold. Returns warnings."""

    def freeze(self) -> None:
        """Stop every process, those of child cgroups too. On failure they run on."""

    def thaw(self) -> None:
        """Let them run again, but for child cgroups that the container froze itself."""

    def thaw_all(self) -> None:
        """Let them run again, in child cgroups too: for SIGKILL. Never fails."""

    def frozen(self) -> bool:
        """Whether this cgroup itself was frozen, and not one above it. Never fails."""

    def pids(self, recursive: bool = True) -> list[int]:
        """The processes inside, in child cgroups too, ascending; [] when the cgroup is gone."""

    def kill_all(self, signal: int = 9) -> None:
        """A signal to every process inside, child cgroups included."""

    def oom_kills(self) -> int | None:
        """How many processes the kernel has killed here for want of memory; None when that cannot be known."""

    def watch_oom(self) -> int:
        """A descriptor that becomes readable when ran_out_of_memory() has something to say."""

    def ran_out_of_memory(self, watch: int) -> bool | None:
        """After watch_oom()'s descriptor: whether memory ran out; None when the last process is gone."""

    def stats(self) -> dict[str, Any]:
        """The data of a stats event, in runc's shape."""

    # --- end

    def delete(self, kill: bool = True) -> None:
        """Remove the cgroup and all beneath it, unless check() or create() found it to be somebody else's.

        kill: end what is left inside first. False when it is not certain that these processes are the container's.
        """

"""A container's cgroup as a scope of systemd's: a transient unit that the container process is put into.

systemd makes the cgroup and knows its limits as properties, so that it does not take them back when it writes its files
again (daemon-reload). What it has no property for is written to the cgroup's files after it, by the manager of the
files (v1 or v2), which does all the rest as well. Delegate=true: below the scope everything is ours.
"""

from __future__ import annotations

import posix
from errno import EACCES, EBUSY, EPERM
from typing import TYPE_CHECKING, Any

from pyrunc import cgroups
from pyrunc.cgroups import hierarchies
from pyrunc.cgroups.files import failure, make
from pyrunc.cgroups.systemd import properties as units
from pyrunc.cgroups.systemd.bus import Told, connect
from pyrunc.cgroups.systemd.properties import annotated, device_properties, v1_properties
from pyrunc.cgroups.systemd.scope_name import ScopeName
from pyrunc.cgroups.v2 import limits
from pyrunc.cgroups.v2 import manager as v2
from pyrunc.errors import PyruncError
from pyrunc.linux.files import exists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrunc.cgroups.systemd.properties import Property
    from pyrunc.config.types import Resources, Unit


class Manager:
    """The scope and, for all that concerns its files, the manager of those (inner).

    identity: the scope's InvocationID, by which it is ours whatever has its name later; "" while it is not known, None
    when an older pyrunc has made it.
    """

    needs_process = True

    def unit(self) -> Unit | None:
        """What state.json keeps of the scope."""
        place = self.place
        return {"unit": place.unit, "slice": place.slice_, "user": place.user, "invocation": self.identity}

    def __init__(
        self,
        place: ScopeName,
        inner: cgroups.FilesManager,
        container_id: str,
        extra: list[Property],
        identity: str | None = "",
    ) -> None:
        self.place = place
        self.inner = inner
        self.paths = inner.paths
        self.container_id = container_id
        self.extra = extra
        self.rootless = inner.rootless
        self.identity = identity
        # The process that the scope was started with; 0 when this is not who started it, or was refused.
        self.first = 0
        # The properties of resources that it was started with.
        self.given: list[Property] = []

    # --- what the manager of the files does alone

    def check(self) -> None:
        self.inner.check()

    def release(self) -> None:
        self.inner.release()

    def give_to(self, uid: int) -> None:
        self.inner.give_to(uid)

    def clone_fd(self, sub: Mapping[str, str] | None = None) -> int:
        return self.inner.clone_fd(sub)

    def join_fds(self, sub: Mapping[str, str] | None = None) -> list[int]:
        return self.inner.join_fds(sub)

    def nested_fds(self, pid: int) -> list[int]:
        return self.inner.nested_fds(pid)

    def born(self, fds: list[int]) -> list[int]:
        return self.inner.born(fds)

    def join(self, fds: Sequence[int]) -> None:
        self.inner.join(fds)

    def exists(self) -> bool:
        return self.inner.exists()

    def complete(self) -> bool:
        return self.inner.complete()

    def reachable(self, sub: Mapping[str, str] | None = None) -> bool:
        return self.inner.reachable(sub)

    def freeze(self) -> None:
        self.inner.freeze()

    def thaw(self) -> None:
        self.inner.thaw()

    def thaw_all(self) -> None:
        self.inner.thaw_all()

    def frozen(self) -> bool:
        return self.inner.frozen()

    def pids(self, recursive: bool = True) -> list[int]:
        return self.inner.pids(recursive)

    def oom_kills(self) -> int | None:
        return self.inner.oom_kills()

    def watch_oom(self) -> int:
        return self.inner.watch_oom()

    def ran_out_of_memory(self, watch: int) -> bool | None:
        return self.inner.ran_out_of_memory(watch)

    def stats(self) -> dict[str, Any]:
        return self.inner.stats()

    # --- birth

    def start(self, pid: int, resources: Resources) -> None:
        """Start the scope with a process in it. Raises PyruncError."""
        bus = connect(self.place.user)
        try:
            if "" in self.paths:
                settings = limits.settings(resources, "/linux/resources", self.paths[""])
                self.given = units.properties(settings, self.paths[""], bus.version, starting=True)
            else:
                self.given = v1_properties(resources)
            # One that failed may still have the name.
            bus.forget_failure(self.place.unit)
            self.first = pid
            bus.start(self.place.unit, self._wanted(pid, resources))
            unit = bus.unit(self.place.unit)
            self.identity = bus.identity(unit) if unit is not None else ""
        except PyruncError as error:
            if getattr(error, "name", "").endswith("UnitExists"):
                # Somebody else's, who shall keep it.
                self.first = 0
                self.inner.not_ours = True
            raise
        finally:
            bus.close()

    def _wanted(self, pid: int, resources: Resources) -> list[Property]:
        unified = "" in self.paths
        wanted: list[Property] = [
            ("Description", ("s", "pyrunc container " + self.container_id)),
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),
            # Gone when it is over, failed or not: nothing is left for anybody to collect.
            ("CollectMode", ("s", "inactive-or-failed")),
        ]
        if self.place.unit.endswith(".scope"):
            wanted.insert(1, ("Slice", ("s", self.place.slice_)))
        for name in ("CPU", "Memory", "Tasks", "IO" if unified else "BlockIO"):
            wanted.append((name + "Accounting", ("b", True)))
        if not unified:
            wanted += device_properties(resources)
        return wanted + self.given + self.extra

    def create(self) -> None:
        """systemd has made the cgroup of its own hierarchies, with the process in it; the others of v1 are missing.

        From here until release() no create of the files' manager takes it. Raises PyruncError.
        """
        from pyrunc.cgroups.lock import take
        from pyrunc.cgroups.walk import pids

        directories = list(dict.fromkeys(self.paths.values()))
        try:
            for directory in directories if "" not in self.paths else ():
                make(directory)
            self.inner.lock_fd = take(directories[0])
        except OSError as error:
            raise failure("create cgroup " + directories[0], error, "/linux/cgroupsPath") from None
        others = pids(directories) - {self.first}
        if others:
            # Between systemd's mkdir and our lock; they have nothing to do with us, and shall outlive this create.
            self.inner.not_ours = True
            from pyrunc.cgroups import refusals

            raise refusals.not_empty(len(others), directories[0])
        if isinstance(self.inner, v2.Manager):
            # Of what systemd does not pass on: hugetlb, misc, rdma.
            self.inner.enable_above()

    def set(self, resources: Resources, pointer: str | None = "/linux/resources") -> list[str]:
        if isinstance(self.inner, v2.Manager):
            # Some words depend on what files there are, which was not to be seen before the start.
            with Told(self, self.given) as told:
                return self.inner.set(resources, pointer, told)
        return self.inner.set(resources, pointer)

    def add(self, pid: int, sub: Mapping[str, str] | None = None) -> None:
        """Move another process; by systemd where the caller may not: from a login session into a user's scope, say.

        Raises PyruncError.
        """
        try:
            self.inner.add(pid, sub)
        except PyruncError as error:
            if error.errno not in (EACCES, EPERM):
                raise
            self.attach(pid, sub)

    def attach(self, pid: int, sub: Mapping[str, str] | None = None, init: int = 0) -> None:
        """Have systemd move a process of ours into the scope. Raises PyruncError.

        sub: as for join_fds(). init: the container's process, which tells where to when the scope takes no process.
        """
        parts = [part for part in (sub or {}).get("", "").split("/") if part not in ("", ".", "..")]
        bus = connect(self.place.user)
        try:
            bus.attach(self.place.unit, "/" + "/".join(parts), pid)
        except PyruncError:
            below = self.inner.nested(init) if init and not sub and isinstance(self.inner, v2.Manager) else ""
            if not below:
                raise
            bus.attach(self.place.unit, below, pid)
        finally:
            bus.close()

    # --- life

    def update(self, resources: Resources, pointer: str | None = None) -> list[str]:
        """As properties, then to the files, which have the last word. Raises PyruncError; the old values hold then."""
        with Told(self) as told:
            resources = self.inner.with_quota(resources, told.period)
            if isinstance(self.inner, v2.Manager):
                return self.inner.update(resources, pointer, told)
            self.inner.check_usage(resources, pointer)
            told.set(v1_properties(resources))
            try:
                return self.inner.update(resources, pointer)
            except PyruncError:
                told.take_back()
                raise

    def kill_all(self, signal: int = 9) -> None:
        """As v1.Manager's, unless the scope's cgroup is another's by now. Raises PyruncError."""
        if self.inner.exists() and self.is_ours():
            self.inner.kill_all(signal)

    def is_ours(self) -> bool:
        """Whether the unit of the name is the one that was started for this container. Raises PyruncError."""
        if self.identity is None:
            return True
        if not self.identity:
            return self.first != 0 and self._holds(self.first)
        if not self.place.user:
            try:
                # systemd's own note for journald, which costs no connection.
                return posix.readlink("/run/systemd/units/invocation:" + self.place.unit) == self.identity
            except OSError:
                pass
        bus = connect(self.place.user)
        try:
            return bus.invocation(self.identity) is not None
        finally:
            bus.close()

    def _holds(self, pid: int) -> bool:
        from pyrunc.cgroups.walk import pids

        return pid in pids(self.paths.values())

    # --- end

    def delete(self, kill: bool = True) -> None:
        """Stop the scope, then remove what is left of its cgroups. Raises PyruncError.

        Only the invocation that was started for this container: a unit of the same name is somebody else's. Does
        nothing when check() or start() found that it is.
        """
        if self.inner.not_ours or not (self.inner.exists() or self.first or self._is_known()):
            return
        if self.identity == "" and not self.first:
            # Of a create that was killed before it knew: the scope ends with its process, by now.
            self._forget_unknown()
            return
        bus = connect(self.place.user)
        try:
            named = bus.unit(self.place.unit)
            ours = bus.invocation(self.identity) if self.identity else named if self.is_ours() else None
            if ours is None and named is not None:
                return
            if ours is not None:
                if kill:
                    self.inner.kill_all()
                elif self.inner.pids():
                    # Perhaps another container's by now, which systemd would end with the scope.
                    self.inner.delete(kill)
                    return
                bus.stop(ours, self.place.unit)
                bus.forget_failure(self.place.unit)
        finally:
            bus.close()
        self.inner.delete(kill)

    def _is_known(self) -> bool:
        """Whether systemd knows a transient unit of the name: one that has failed has no cgroup any more."""
        run = posix.environ.get(b"XDG_RUNTIME_DIR", b"") if self.place.user else b"/run"
        return exists(run.decode("utf-8", "surrogateescape") + "/systemd/transient/" + self.place.unit)

    def _forget_unknown(self) -> None:
        try:
            self.inner.delete(kill=False)
        except PyruncError as error:
            if error.errno != EBUSY:
                raise


def is_users(in_user_namespace: bool) -> bool:
    """Whether the caller's own manager is meant, not the system's.

    The root of a user namespace is a rootless engine's when systemd, whose directory tells, is another root's; in a
    machine container both are the same. Raises PyruncError without systemd.
    """
    try:
        owner = posix.stat("/run/systemd/system").st_uid
    except OSError as error:
        raise PyruncError(
            "systemd is not running on this host, the systemd cgroup driver cannot work",
            step="systemd",
            errno=error.errno,
            hint="leave --systemd-cgroup out",
        ) from None
    return posix.geteuid() != 0 or (in_user_namespace and owner != 0)


def manager(place: ScopeName, container_id: str, annotations: Mapping[str, str], *, rootless: bool) -> Manager:
    """The manager for a container that is to be made. Raises PyruncError, ConfigError."""
    host = hierarchies.detect()
    top = ""
    if place.user:
        bus = connect(True)
        try:
            top = bus.control_group()
        finally:
            bus.close()
    paths = hierarchies.paths(host, top + place.below(), container_id)
    return Manager(place, cgroups.files_manager(paths, rootless), container_id, annotated(annotations))


def reopen(saved: Mapping[str, Any], paths: dict[str, str], container_id: str, *, rootless: bool) -> Manager:
    """The manager of a container that state.json has kept."""
    place = ScopeName(saved["slice"] + ":x:x", container_id, user=saved["user"])
    place.unit = saved["unit"]
    return Manager(place, cgroups.files_manager(paths, rootless), container_id, [], saved.get("invocation"))

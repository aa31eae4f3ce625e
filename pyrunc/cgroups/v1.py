"""The cgroup v1 manager of one container: one directory in each mounted hierarchy (cgroups(7), the kernel's cgroup-v1/*.rst).

Values go out by one open and one write each. Reads are few: most of a create is mkdir(2).
"""

import posix
import time
from errno import EACCES, EBUSY, EINVAL, EPERM, EROFS

from pyrunc.errors import ConfigError, PyruncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    # (file, value, config pointer below resources)
    Setting = tuple[str, object, str]

_SIGKILL = 9
_READ = posix.O_RDONLY | posix.O_CLOEXEC
_WRITE = posix.O_WRONLY | posix.O_CLOEXEC
_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC
# How long delete() waits for killed processes to be gone, in seconds.
_PATIENCE = 5.0


class Manager:
    """One container's cgroups.

    paths: controller → absolute directory, from paths() or from state.json; controllers mounted together have the same one.
    rootless: permission errors at create() drop that controller; a limit asked of it is an error later (as runc).
    existed: after create(), the directories that were there before.
    """

    __slots__ = ("_base", "_old", "existed", "paths", "rootless")

    def __init__(self, paths: "Mapping[str, str]", rootless: bool = False) -> None:
        self.paths = dict(paths)
        self.rootless = rootless
        self.existed: "list[str]" = []
        # What each write of an update replaced: (path, old value); None while nothing has to be taken back.
        self._old: "list[tuple[str, str]] | None" = None
        # The config pointer of resources; None when they come from elsewhere.
        self._base: "str | None" = "/linux/resources"

    # --- birth

    def check(self) -> None:
        """Refuse cgroups that have processes or are frozen (as runc ≥ 1.2).

        To be called before the state directory records the paths: whoever deletes a recorded container kills what is in
        its cgroups. Raises PyruncError.
        """
        for directory in self._directories():
            if _is_directory(directory):
                self._check(directory)

    def create(self) -> None:
        """Make the directories, parents included. On failure what was made is removed again.

        Raises PyruncError, also for cgroups with processes in them and frozen ones.
        """
        made: list[str] = []
        self.existed = []
        try:
            for controller, directory in list(self.paths.items()):
                if directory in made or directory in self.existed:
                    continue
                try:
                    if _make(directory):
                        made.append(directory)
                    else:
                        self.existed.append(directory)
                        self._check(directory)
                except OSError as exc:
                    # systemd's own hierarchy limits nothing: where it can't be used, runc does without it too.
                    if controller == "name=systemd" or (self.rootless and exc.errno in (EACCES, EPERM, EROFS)):
                        del self.paths[controller]
                        continue
                    raise failure("create cgroup " + directory, exc, "/linux/cgroupsPath") from exc
            freezer = self.paths.get("freezer")
            # A process that joined it would stop for good, before it could say so.
            if freezer and _read(freezer, "freezer.state") != "THAWED":
                raise PyruncError("container's cgroup unexpectedly frozen: " + freezer, pointer="/linux/cgroupsPath")
        except PyruncError:
            for directory in made:
                _rmdir(directory)
            raise

    def set(self, resources: "Mapping[str, Any]", pointer: "str | None" = "/linux/resources") -> None:
        """Apply linux.resources; to be called before the first process joins, with {} too (cpuset must be filled).

        pointer: where resources stand in config.json; None when they do not. Raises ConfigError and PyruncError.
        """
        self._base = pointer
        self._cpuset(resources.get("cpu") or {})
        self._devices(resources.get("devices") or ())
        self._limits(resources)

    def update(self, resources: "Mapping[str, Any]", pointer: "str | None" = None) -> None:
        """Change limits of a container that runs; what is not named stays, devices always (as runc).

        On failure the old values are written back. Raises ConfigError and PyruncError.
        """
        self._base = pointer
        self._old = []
        try:
            memory = resources.get("memory") or {}
            limit = memory.get("limit") or 0
            if memory.get("checkBeforeUpdate") and limit > 0 and "memory" in self.paths:
                usage = int(self._get("memory", "memory.usage_in_bytes"))
                if limit < usage:
                    raise PyruncError(
                        f"memory limit {limit} is below the current usage {usage}", pointer=self._point("/memory/limit")
                    )
            cpu = resources.get("cpu") or {}
            for name in ("cpus", "mems"):
                if cpu.get(name):
                    self._put("cpuset", "cpuset." + name, cpu[name], "/cpu/" + name)
            self._limits(resources)
        except PyruncError as exc:
            for path, old in reversed(self._old):
                try:
                    _write(path, old)
                except OSError as undo:
                    exc.message += f"; and {path} could not be set back to {old!r}: {undo.strerror}"
            raise
        finally:
            self._old = None

    def join_fds(self, sub: "Mapping[str, str] | None" = None) -> "list[int]":
        """Descriptors for join(): `tasks` of each hierarchy, O_WRONLY and O_CLOEXEC.

        sub: exec --cgroup: controller ("" for all) → a path below the container's own cgroup, which must exist.
        Raises PyruncError; ConfigError for a path that leaves the container's cgroup.
        """
        fds: list[int] = []
        try:
            for directory in self._below(sub):
                fds.append(posix.open(directory + "/tasks", _WRITE))
        except OSError as exc:
            for fd in fds:
                posix.close(fd)
            raise failure("join cgroup " + directory, exc) from exc
        return fds

    def join(self, fds: "Sequence[int]") -> None:
        """Move the calling process, which must have one thread, into the cgroups of join_fds(); closes the descriptors.

        "0" to tasks costs the kernel microseconds; a pid to cgroup.procs takes a lock that waits for RCU, milliseconds.
        """
        try:
            for fd in fds:
                posix.write(fd, b"0")
        except OSError as exc:
            raise failure("join cgroup " + posix.readlink("/proc/self/fd/" + str(fd)), exc) from exc
        finally:
            for fd in fds:
                posix.close(fd)

    def add(self, pid: int, sub: "Mapping[str, str] | None" = None) -> None:
        """Move another process with all its threads. sub: as for join_fds(). Raises PyruncError."""
        for directory in self._below(sub):
            for attempt in range(6):
                try:
                    _write(directory + "/cgroup.procs", str(pid))
                    break
                except OSError as exc:
                    # A process that is just being cloned can't be moved yet.
                    if exc.errno != EINVAL or attempt == 5:
                        raise failure(f"move process {pid} to cgroup {directory}", exc) from exc
                    time.sleep(0.01)

    # --- life

    def exists(self) -> bool:
        return any(_is_directory(directory) for directory in self._directories())

    def freeze(self) -> None:
        """Stop every process, those of child cgroups too. On failure they run on. Raises PyruncError."""
        if "freezer" not in self.paths:
            raise PyruncError("cannot pause: the freezer cgroup is not mounted")
        self._freeze(1000)

    def thaw(self) -> None:
        """Let them run again. Raises PyruncError."""
        if "freezer" not in self.paths:
            raise PyruncError("cannot resume: the freezer cgroup is not mounted")
        self._state("THAWED")

    def frozen(self) -> bool:
        """Whether this cgroup itself was frozen, and not one above it. A cgroup that is gone is not."""
        directory = self.paths.get("freezer")
        if directory:
            try:
                return _read(directory, "freezer.self_freezing") == "1"
            except OSError:
                pass
        return False

    def pids(self, recursive: bool = True) -> "list[int]":
        """The processes inside, in child cgroups too, ascending; [] when the cgroup is gone. Raises PyruncError."""
        for controller in ("devices", "pids", "freezer", *self.paths):
            directory = self.paths.get(controller)
            if directory:
                found: set[int] = set()
                try:
                    if recursive:
                        _walk(directory, lambda fd, found=found: found.update(_procs(fd)))  # type: ignore[misc]
                    else:
                        fd = posix.open(directory, _DIRECTORY)
                        try:
                            found.update(_procs(fd))
                        finally:
                            posix.close(fd)
                except FileNotFoundError:
                    pass
                except OSError as exc:
                    raise failure("read the processes of cgroup " + directory, exc) from exc
                return sorted(found)
        return []

    def kill_all(self, signal: int = _SIGKILL) -> None:
        """Send signal to every process inside, child cgroups included; what is forked meanwhile gets it too.

        The freezer holds them still, so that the list is whole and no number is used again. SIGKILL thaws whatever is
        frozen, since a frozen process does not die; another signal leaves a paused container paused. A cgroup that is
        gone, or goes meanwhile, has no processes. Raises PyruncError when processes can't be signalled.
        """
        paused = self.frozen()
        signalled: set[int] = set()
        for _ in range(20):
            if not self._everywhere() - signalled:
                return
            held = paused or self._try_freeze()
            try:
                pids = self._everywhere()
                for pid in pids:
                    try:
                        posix.kill(pid, signal)
                    except ProcessLookupError:
                        pass
                    except OSError as exc:
                        raise failure(f"send signal {signal} to process {pid}", exc) from exc
                signalled |= pids
            finally:
                if signal == _SIGKILL:
                    self._thaw_tree()
                elif held and not paused:
                    self._try_thaw()
            if signal != _SIGKILL:
                return
        raise PyruncError("processes keep appearing in cgroup " + next(iter(self._directories()), ""))

    def oom_kills(self) -> "int | None":
        """How many processes the kernel killed for want of memory; None when that can't be known."""
        try:
            for line in _read(self.paths["memory"], "memory.oom_control").split("\n"):
                if line.startswith("oom_kill "):
                    return int(line[9:])
        except (KeyError, OSError):
            pass
        return None

    def stats(self) -> "dict[str, Any]":
        """The data of a stats event, in runc's shape. Raises PyruncError."""
        from pyrunc.cgroups.stats import read

        return read(self.paths)

    # --- end

    def delete(self, kill: bool = True) -> None:
        """Remove the container's cgroup and all that was made beneath it; its parents stay (as runc).

        kill: also end the processes that are left inside. False when it is not certain that they are this container's.
        What is gone already, or goes meanwhile, is no error. Waits at most 5 s for processes to end. Raises PyruncError.
        """
        left = [directory for directory in self._directories() if not _rmdir(directory)]
        if not left:
            return
        give_up = time.monotonic() + _PATIENCE
        pause = 0.0001
        while True:
            # The first time, the processes that hold it are most likely about to be gone by themselves.
            time.sleep(pause)
            left = [directory for directory in left if not _rmdir(directory)]
            if left and kill:
                self.kill_all(_SIGKILL)
            try:
                left = [directory for directory in left if not _remove_tree(directory)]
            except OSError as exc:
                raise failure("remove cgroup " + left[0], exc) from exc
            if not left:
                return
            if time.monotonic() > give_up or (not kill and pause > 0.1):
                pids = " ".join(str(pid) for pid in sorted(self._everywhere())[:10])
                raise PyruncError(
                    "remove cgroup " + left[0] + ": " + posix.strerror(EBUSY) + (": processes " + pids if pids else ""),
                    errno=EBUSY,
                )
            pause = min(pause * 2, 0.2)

    # --- the controllers

    def _cpuset(self, cpu: "Mapping[str, Any]") -> None:
        """cpuset.cpus and mems must not be empty before a process joins: as configured, else as the parent's."""
        directory = self.paths.get("cpuset")
        for name in ("cpus", "mems"):
            file, value = "cpuset." + name, cpu.get(name)
            if not directory:
                if value:
                    self._put("cpuset", file, value, "/cpu/" + name)
                continue
            try:
                if value:
                    try:
                        _write(directory + "/" + file, value)
                        continue
                    except OSError:
                        # Perhaps a parent is empty still.
                        _fill_cpuset(directory.rpartition("/")[0], file)
                else:
                    _fill_cpuset(directory, file, directory not in self.existed)
            except OSError as exc:
                raise failure(f"copy {file} down to {directory}", exc) from exc
            if value:
                self._put("cpuset", file, value, "/cpu/" + name)

    def _devices(self, configured: "Sequence[Mapping[str, Any]]") -> None:
        from pyrunc.cgroups import devices

        directory = self.paths.get("devices")
        pointer = "/devices"
        default, exceptions = devices.reduce(devices.parse(configured, self._point(pointer)), pointer=self._point(pointer))
        if not directory and self.rootless:
            return
        for file, value in devices.v1_writes(default, exceptions):
            try:
                self._put("devices", file, value, pointer)
            except PyruncError as exc:
                # Only root of the initial user namespace may: a rootless container has no more devices than its user.
                if self.rootless and exc.errno == EPERM:
                    return
                raise

    def _limits(self, resources: "Mapping[str, Any]") -> None:
        """All settings but cpuset and devices. 0 means "not asked" where it means so to runc, and engines rely on it."""
        if resources.get("unified"):
            raise ConfigError("unified needs cgroup v2: this host has v1", pointer=self._point("/unified"))
        if resources.get("memory"):
            self._memory(resources["memory"])
        if resources.get("cpu"):
            self._cpu(resources["cpu"])
        limit = (resources.get("pids") or {}).get("limit")
        if limit is not None:
            self._put("pids", "pids.max", limit if limit >= 0 else "max", "/pids/limit")
        if resources.get("blockIO"):
            self._block_io(resources["blockIO"])
        for index, entry in enumerate(resources.get("hugepageLimits") or ()):
            self._hugepages(entry, "/hugepageLimits/" + str(index))
        network = resources.get("network") or {}
        if network.get("classID"):
            self._put("net_cls", "net_cls.classid", network["classID"], "/network/classID")
        for index, entry in enumerate(network.get("priorities") or ()):
            value = entry["name"] + " " + str(entry["priority"])
            self._put("net_prio", "net_prio.ifpriomap", value, "/network/priorities/" + str(index))
        for device, entry in (resources.get("rdma") or {}).items():
            value = device
            for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
                if entry.get(key) is not None:
                    value += " " + name + "=" + str(entry[key])
            self._put("rdma", "rdma.max", value, "/rdma/" + device.replace("~", "~0").replace("/", "~1"))

    def _memory(self, memory: "Mapping[str, Any]") -> None:
        limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
        if limit > 0 and 0 < swap < limit:
            raise ConfigError(
                f"memory swap {swap} counts memory and swap together: it can't be below the limit {limit}",
                pointer=self._point("/memory/swap"),
            )
        # The kernel wants limit ≤ memsw at all times. Limit first, and if that is refused after memsw: right for
        # raising and for lowering, without reading what is there.
        if (limit == -1 or swap == -1) and swap in (0, -1):
            # Unlimited memory with a limit on memory and swap together makes no sense; a kernel that does not count swap
            # has nothing to lift.
            swap = -1 if self._has("memory", "memory.memsw.limit_in_bytes") else 0
        files = [("memory.limit_in_bytes", limit, "/memory/limit")] if limit else []
        try:
            if swap:
                self._ordered("memory", files, ("memory.memsw.limit_in_bytes", swap, "/memory/swap"))
            else:
                self._ordered("memory", files, None)
        except PyruncError as exc:
            if exc.errno == EBUSY:
                usage, peak = (self._get("memory", f"memory.{name}_in_bytes") for name in ("usage", "max_usage"))
                exc.message += f" (current usage: {usage}, peak usage: {peak})"
            elif exc.errno == EINVAL and limit and not swap:
                exc.hint = "the limit on memory and swap together may be lower than it: set memory.swap too"
            elif exc.errno == 2 and swap:
                exc.hint = "this kernel does not count swap (swapaccount=0): leave memory.swap out"
            raise
        if memory.get("reservation"):
            self._put("memory", "memory.soft_limit_in_bytes", memory["reservation"], "/memory/reservation")
        swappiness = memory.get("swappiness")
        # An unsigned -1 is how engines say "the host's".
        if swappiness is not None and swappiness not in (-1, 0xFFFFFFFFFFFFFFFF):
            if not 0 <= swappiness <= 100:
                raise ConfigError(
                    f"invalid memory swappiness {swappiness}: 0 to 100", pointer=self._point("/memory/swappiness")
                )
            self._put("memory", "memory.swappiness", swappiness, "/memory/swappiness")
        if memory.get("disableOOMKiller"):
            self._put("memory", "memory.oom_control", 1, "/memory/disableOOMKiller")
        elif self._old is not None and memory.get("disableOOMKiller") is False and "memory" in self.paths:
            self._put("memory", "memory.oom_control", 0, "/memory/disableOOMKiller")
        if memory.get("useHierarchy"):
            self._put("memory", "memory.use_hierarchy", 1, "/memory/useHierarchy")
        if memory.get("kernel") is not None or memory.get("kernelTCP") is not None:
            from pyrunc.log import warning

            warning("kernel memory settings are ignored: the kernel has dropped them")

    def _cpu(self, cpu: "Mapping[str, Any]") -> None:
        shares, idle = cpu.get("shares") or 0, cpu.get("idle")
        if shares and not 2 <= shares <= 262144:
            # The kernel would take another value without a word.
            bound = "minimum allowed cpu-shares is 2" if shares < 2 else "maximum allowed cpu-shares is 262144"
            raise ConfigError(f"cpu shares {shares}: the {bound}", pointer=self._point("/cpu/shares"))
        if idle:
            # SCHED_IDLE has a weight of its own: shares are refused after it and forgotten before.
            shares = 0
        files: list[Setting] = [("cpu.shares", shares, "/cpu/shares")] if shares else []
        self._ordered("cpu", files, None if idle is None else ("cpu.idle", idle, "/cpu/idle"))
        files = []
        if cpu.get("period"):
            files.append(("cpu.cfs_period_us", cpu["period"], "/cpu/period"))
        burst = cpu.get("burst")
        if burst or (burst == 0 and self._has("cpu", "cpu.cfs_burst_us")):
            files.append(("cpu.cfs_burst_us", burst, "/cpu/burst"))
        quota = cpu.get("quota")
        self._ordered("cpu", files, ("cpu.cfs_quota_us", quota, "/cpu/quota") if quota else None)
        files = [("cpu.rt_period_us", cpu["realtimePeriod"], "/cpu/realtimePeriod")] if cpu.get("realtimePeriod") else []
        runtime = cpu.get("realtimeRuntime")
        self._ordered("cpu", files, ("cpu.rt_runtime_us", runtime, "/cpu/realtimeRuntime") if runtime else None)

    def _block_io(self, block: "Mapping[str, Any]") -> None:
        prefix = ""
        if block.get("weight") or block.get("weightDevice"):
            # CFQ's files are older, BFQ's newer; a kernel has one of the two or neither.
            prefix = "blkio." if self._has("blkio", "blkio.weight") else "blkio.bfq."
        if block.get("weight"):
            self._put("blkio", prefix + "weight", block["weight"], "/blockIO/weight")
        if block.get("leafWeight"):
            self._put("blkio", "blkio.leaf_weight", block["leafWeight"], "/blockIO/leafWeight")
        for index, entry in enumerate(block.get("weightDevice") or ()):
            pointer = "/blockIO/weightDevice/" + str(index)
            for file, key in ((prefix + "weight_device", "weight"), ("blkio.leaf_weight_device", "leafWeight")):
                if entry.get(key):
                    self._put("blkio", file, f"{entry['major']}:{entry['minor']} {entry[key]}", pointer)
        for key, file in (
            ("throttleReadBpsDevice", "read_bps"),
            ("throttleWriteBpsDevice", "write_bps"),
            ("throttleReadIOPSDevice", "read_iops"),
            ("throttleWriteIOPSDevice", "write_iops"),
        ):
            for index, entry in enumerate(block.get(key) or ()):
                value = f"{entry['major']}:{entry['minor']} {entry['rate']}"
                self._put("blkio", "blkio.throttle." + file + "_device", value, "/blockIO/" + key + "/" + str(index))

    def _hugepages(self, entry: "Mapping[str, Any]", pointer: str) -> None:
        size = entry["pageSize"]
        # It becomes a part of a file's name.
        if not (size.isascii() and size.isalnum()):
            raise ConfigError(f"invalid huge page size {size!r}: such as 2MB", pointer=self._point(pointer + "/pageSize"))
        self._put("hugetlb", "hugetlb." + size + ".limit_in_bytes", entry["limit"], pointer)
        # What mmap(2) reserves is counted apart since Linux 5.7.
        if self._has("hugetlb", "hugetlb." + size + ".rsvd.limit_in_bytes"):
            self._put("hugetlb", "hugetlb." + size + ".rsvd.limit_in_bytes", entry["limit"], pointer)

    # --- one value

    def _ordered(self, controller: str, files: "Sequence[Setting]", last: "Setting | None") -> None:
        """Write files, then last. The kernel checks each against the others as they stand, so one that is refused (EINVAL)
        is tried again after last, which it may need."""
        again = []
        for setting in files:
            try:
                self._put(controller, *setting)
            except PyruncError as exc:
                if last is None or exc.errno != EINVAL:
                    raise
                again.append(setting)
        if last is not None:
            self._put(controller, *last)
        for setting in again:
            self._put(controller, *setting)

    def _put(self, controller: str, file: str, value: object, pointer: str) -> None:
        directory = self.paths.get(controller)
        if directory is None:
            why = "could not be made or joined" if self.rootless else "is not mounted"
            raise ConfigError(
                f"cannot set {file} to {str(value)!r}: the {controller} cgroup {why}", pointer=self._point(pointer)
            )
        path = directory + "/" + file
        try:
            old = _current(directory, file, str(value)) if self._old is not None else None
            _write(path, str(value))
        except OSError as exc:
            raise failure(f"write {str(value)!r} to {path}", exc, self._point(pointer)) from exc
        if self._old is not None and old is not None:
            self._old.append((path, old))

    def _get(self, controller: str, file: str) -> str:
        directory = self.paths[controller]
        try:
            return _read(directory, file)
        except OSError as exc:
            raise failure("read " + directory + "/" + file, exc) from exc

    def _has(self, controller: str, file: str) -> bool:
        directory = self.paths.get(controller)
        return directory is not None and posix.access(directory + "/" + file, posix.F_OK)

    def _point(self, pointer: str) -> "Any":
        return None if self._base is None else self._base + pointer

    # --- directories

    def _directories(self) -> "list[str]":
        return list(dict.fromkeys(self.paths.values()))

    def _below(self, sub: "Mapping[str, str] | None") -> "list[str]":
        """The directories to join. Raises ConfigError."""
        sub = sub or {}
        for controller in sub:
            if controller and controller not in self.paths:
                raise ConfigError("unknown controller " + repr(controller) + " in --cgroup")
        result = []
        for controller, directory in self.paths.items():
            path = sub.get(controller, sub.get("", ""))
            parts = [part for part in path.split("/") if part not in ("", ".")]
            if ".." in parts or "\0" in path:
                raise ConfigError("bad sub cgroup path: " + repr(path))
            directory = "/".join((directory, *parts))
            if directory not in result:
                result.append(directory)
        return result

    def _check(self, directory: str) -> None:
        pids: set[int] = set()
        try:
            _walk(directory, lambda fd: pids.update(_procs(fd)))
            frozen = directory == self.paths.get("freezer") and _read(directory, "freezer.self_freezing") == "1"
        except FileNotFoundError:
            return
        except OSError as exc:
            raise failure("look into cgroup " + directory, exc, "/linux/cgroupsPath") from exc
        if pids:
            raise PyruncError(
                f"container's cgroup is not empty: {len(pids)} process(es) found in {directory}",
                pointer="/linux/cgroupsPath",
            )
        if frozen:
            raise PyruncError("container's cgroup unexpectedly frozen: " + directory, pointer="/linux/cgroupsPath")

    def _everywhere(self) -> "set[int]":
        """The processes in any of the hierarchies: a container that may write to its cgroups can make them differ.

        Never 0, which stands for a process of another pid namespace (and would be our own group to kill(2)), nor ourselves.
        """
        pids: set[int] = set()
        for directory in self._directories():
            try:
                _walk(directory, lambda fd: pids.update(_procs(fd)))
            except FileNotFoundError:
                continue
            except OSError as exc:
                raise failure("read the processes of cgroup " + directory, exc) from exc
        return pids - {0, posix.getpid()}

    # --- freezer

    def _state(self, state: str) -> None:
        path = self.paths["freezer"] + "/freezer.state"
        try:
            _write(path, state)
        except OSError as exc:
            raise failure(f"write {state!r} to {path}", exc) from exc

    def _freeze(self, tries: int) -> None:
        """FROZEN is reached at once or, while processes are forked, after writing it again (freezer-subsystem.rst)."""
        done = False
        try:
            for attempt in range(tries):
                if attempt % 50 == 49:
                    # New processes keep coming: let the clones under way end.
                    self._state("THAWED")
                    time.sleep(0.01)
                self._state("FROZEN")
                if attempt % 25 == 24:
                    time.sleep(0.00001)
                done = self._get("freezer", "freezer.state") == "FROZEN"
                if done:
                    return
            raise PyruncError("unable to freeze cgroup " + self.paths["freezer"], hint="a process may be stuck in the kernel")
        finally:
            if not done:
                self._try_thaw()

    def _try_freeze(self) -> bool:
        try:
            self._freeze(100)
        except (KeyError, PyruncError):
            return False
        return True

    def _try_thaw(self) -> None:
        try:
            self._state("THAWED")
        except (KeyError, PyruncError):
            pass

    def _thaw_tree(self) -> None:
        """Thaw child cgroups too: the container may have frozen its own."""
        self._try_thaw()
        try:
            _walk(self.paths["freezer"], _thaw_child)
        except (KeyError, OSError):
            pass


def failure(what: str, exc: OSError, pointer: "str | None" = None) -> PyruncError:
    """exc as an error of ours that says what was tried on what."""
    return PyruncError(what + ": " + posix.strerror(exc.errno or 0), step="cgroup", pointer=pointer, errno=exc.errno)


def _read(directory: str, file: str) -> str:
    """A small file's text without the last newline. Raises OSError."""
    fd = posix.open(directory + "/" + file, _READ)
    try:
        return posix.read(fd, 65536).decode("utf-8", "surrogateescape").rstrip("\n")
    finally:
        posix.close(fd)


def _write(path: str, value: str) -> None:
    fd = posix.open(path, _WRITE)
    try:
        posix.write(fd, value.encode("utf-8", "surrogateescape"))
    finally:
        posix.close(fd)


def _current(directory: str, file: str, value: str) -> str:
    """What to write to undo the writing of value: the file's content, or its line for the same device or interface.

    Raises OSError.
    """
    text = _read(directory, file)
    if file == "memory.oom_control":
        return text.partition("\n")[0].rpartition(" ")[2]
    key, space, _ = value.partition(" ")
    if not space:
        return text.rpartition(" ")[2]
    for line in text.split("\n"):
        if line.startswith(key + " "):
            return line
    if file == "rdma.max":
        return key + " hca_handle=max hca_object=max"
    return key + (" default" if file.endswith("weight_device") else " 0")


def _is_directory(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o040000
    except OSError:
        return False


def _make(directory: str) -> bool:
    """mkdir -p; whether directory itself is new. Raises OSError."""
    for attempt in range(3):
        try:
            posix.mkdir(directory, 0o755)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            # Thrice, for somebody may remove an empty parent meanwhile.
            parent = directory.rpartition("/")[0]
            if attempt == 2 or not parent:
                raise
            _make(parent)
    return False


def _fill_cpuset(directory: str, file: str, empty: bool = False) -> str:
    """Copy cpuset.cpus or mems down to directory from the nearest cgroup above that has any; returns what it has then.

    empty: it is known to have none. Raises OSError.
    """
    if not empty:
        value = _read(directory, file)
        if value:
            return value
    parent = directory.rpartition("/")[0]
    try:
        value = _fill_cpuset(parent, file)
    except FileNotFoundError:
        # Above the mount point.
        return ""
    if value:
        _write(directory + "/" + file, value)
    return value


def _rmdir(directory: str) -> bool:
    """Whether it is gone."""
    try:
        posix.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _walk(top: str, visit: "Callable[[int], object]") -> None:
    """Call visit(descriptor) for each directory from the deepest up to top.

    By descriptor and "..", one open at a time: a container can nest cgroups beyond PATH_MAX and any limit on descriptors.
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


def _children(fd: int) -> "list[str]":
    # cgroupfs counts its subdirectories in the link count: mostly there are none, and the scan of all files is saved.
    if posix.fstat(fd).st_nlink == 2:
        return []
    return [entry.name for entry in posix.scandir(fd) if entry.is_dir(follow_symlinks=False)]


def _procs(fd: int) -> "list[int]":
    """cgroup.procs of an open directory; [] when it is gone. Raises OSError."""
    try:
        file = posix.open("cgroup.procs", _READ, dir_fd=fd)
        try:
            chunks = []
            while chunk := posix.read(file, 65536):
                chunks.append(chunk)
        finally:
            posix.close(file)
    except OSError as exc:
        # ENODEV: removed between open and read.
        if exc.errno in (2, 19):
            return []
        raise
    return [int(pid) for pid in b"".join(chunks).split()]


def _thaw_child(fd: int) -> None:
    try:
        file = posix.open("freezer.state", _WRITE, dir_fd=fd)
    except OSError:
        return
    try:
        posix.write(file, b"THAWED")
    except OSError:
        pass
    finally:
        posix.close(file)


def _remove_tree(top: str) -> bool:
    """Remove all that can be, deepest first; whether top is gone. Raises OSError."""
    try:
        _walk(top, _remove_children)
    except FileNotFoundError:
        return True
    return _rmdir(top)


def _remove_children(fd: int) -> None:
    for name in _children(fd):
        try:
            posix.rmdir(name, dir_fd=fd)
        except OSError:
            pass

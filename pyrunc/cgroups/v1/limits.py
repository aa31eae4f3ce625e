"""linux.resources on cgroup v1: what is written to which file, in the order the kernel accepts (cgroup-v1/*.rst).

0 means "not asked" where it means so to runc, since engines rely on it.
"""

from __future__ import annotations

import posix
from errno import EACCES, EBUSY, EINVAL, ENOENT, EPERM
from typing import TYPE_CHECKING, Any, Final

from pyrunc.cgroups import device_rules
from pyrunc.cgroups.files import failure, read_file, write_file
from pyrunc.cgroups.v1.cpuset import fill
from pyrunc.errors import ConfigError, PyruncError, at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pyrunc.config.types import CPU, BlockIO, DeviceRule, HugepageLimit, Memory, Resources, Throttle

    # (file, value, config pointer below resources)
    Setting = tuple[str, object, str]


# Parts of resources that few containers have, in a module of their own.
RARE = ("blockIO", "hugepageLimits", "network", "rdma")


class Limits:
    """One application of resources to one container's cgroups.

    paths, rootless, optional, existed: as of v1.Manager.
    base: the config pointer of resources; None when they do not stand in config.json.
    old: what each write of an update replaced, as (path, value); None at create, when nothing needs to be taken back.
    warnings: what the user should hear of.
    """

    __slots__ = ("base", "existed", "old", "optional", "paths", "rootless", "warnings")

    def __init__(
        self, paths: Mapping[str, str], rootless: bool, optional: bool, existed: Sequence[str], base: str | None
    ) -> None:
        self.paths = paths
        self.rootless = rootless
        self.optional = optional
        self.existed = existed
        self.base = base
        self.old: list[tuple[str, str]] | None = None
        self.warnings: list[str] = []

    def set(self, resources: Resources) -> None:
        self._cpuset(resources.get("cpu", {}))
        self._devices(resources.get("devices", []))
        self._limits(resources)

    def update(self, resources: Resources) -> None:
        """Without devices, and with the old values written back on failure."""
        self.old = []
        try:
            self.check_usage(resources)
            cpu = resources.get("cpu", {})
            for name in ("cpus", "mems"):
                if cpu.get(name):
                    self.put("cpuset", "cpuset." + name, cpu[name], "/cpu/" + name)
            self._limits(resources)
        except PyruncError as error:
            for path, old in reversed(self.old):
                try:
                    write_file(path, old)
                except OSError as undo:
                    _add(error, f"; and {path} could not be set back to {old!r}: {undo.strerror}")
            raise
        finally:
            self.old = None

    def check_usage(self, resources: Resources) -> None:
        """memory.checkBeforeUpdate. Raises PyruncError."""
        memory = resources.get("memory", {})
        limit = memory.get("limit") or 0
        if memory.get("checkBeforeUpdate") and limit > 0 and "memory" in self.paths:
            usage = int(self._get("memory", "memory.usage_in_bytes"))
            if limit <= usage:
                # The first words are runc's.
                raise PyruncError(
                    f"rejecting memory limit {limit} <= usage {usage}",
                    pointer=self.pointer("/memory/limit"),
                )

    def _cpuset(self, cpu: CPU) -> None:
        """cpuset.cpus and mems must not be empty before a process joins: as configured, else as the parent's."""
        directory = self.paths.get("cpuset")
        for name, value in (("cpus", cpu.get("cpus")), ("mems", cpu.get("mems"))):
            file = "cpuset." + name
            if not directory:
                if value:
                    self.put("cpuset", file, value, "/cpu/" + name)
                continue
            try:
                if value:
                    try:
                        write_file(f"{directory}/{file}", value)
                        continue
                    except OSError:
                        # Perhaps a parent is empty still.
                        fill(directory.rpartition("/")[0], file)
                else:
                    fill(directory, file, directory not in self.existed)
            except OSError as error:
                raise failure(f"copy {file} down to {directory}", error) from None
            if value:
                self.put("cpuset", file, value, "/cpu/" + name)

    def _devices(self, configured: Sequence[DeviceRule]) -> None:
        pointer = self.pointer("/devices")
        default, exceptions = device_rules.reduce(device_rules.parse(configured, pointer or ""), pointer=pointer or "")
        directory = self.paths.get("devices")
        if not directory:
            # paths() sees to it that only a rootless container can be without.
            return
        value = ""
        try:
            for file, values in device_rules.v1_writes(default, exceptions):
                path = f"{directory}/{file}"
                fd = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
                try:
                    # One rule a write, a dozen in all.
                    for value in values:
                        posix.write(fd, value.encode())
                finally:
                    posix.close(fd)
        except OSError as error:
            # Only root of the initial user namespace may: a rootless container has no more devices than its user.
            if not (self.rootless and error.errno in (EACCES, EPERM)):
                raise failure(f"write {value!r} to {path}", error, pointer) from None

    def _limits(self, resources: Resources) -> None:
        """All settings but cpuset and devices."""
        if resources.get("unified"):
            raise ConfigError(
                "invalid configuration: unified needs cgroup v2: this host has v1", pointer=self.pointer("/unified")
            )
        if resources.get("memory"):
            self._memory(resources["memory"])
        if resources.get("cpu"):
            self._cpu(resources["cpu"])
        limit = resources.get("pids", {}).get("limit")
        if limit is not None:
            # 0 as 1, which forbids as much (as runc).
            self.put("pids", "pids.max", max(limit, 1) if limit >= 0 else "max", "/pids/limit")
        if any(resources.get(name) for name in RARE):
            apply(self, resources)

    def _memory(self, memory: Memory) -> None:
        limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
        if limit > 0 and 0 < swap < limit:
            raise ConfigError(
                f"memory swap {swap} counts memory and swap together: it can't be below the limit {limit}",
                pointer=self.pointer("/memory/swap"),
            )
        # The kernel wants limit ≤ memsw at all times. Limit first, and if that is refused after memsw: right for
        # raising and for lowering, without reading what is there.
        if (limit == -1 or swap == -1) and swap in (0, -1):
            # Unlimited memory with a limit on memory and swap together makes no sense; a kernel that does not count
            # swap has nothing to lift.
            swap = -1 if self.has("memory", "memory.memsw.limit_in_bytes") else 0
        files = [("memory.limit_in_bytes", limit, "/memory/limit")] if limit else []
        try:
            if swap:
                self._ordered("memory", files, ("memory.memsw.limit_in_bytes", swap, "/memory/swap"))
            else:
                self._ordered("memory", files, None)
        except PyruncError as error:
            if error.errno == EBUSY:
                usage, peak = (self._get("memory", f"memory.{name}_in_bytes") for name in ("usage", "max_usage"))
                _add(error, f" (current usage: {usage}, peak usage: {peak})")
            elif error.errno == EINVAL and limit and not swap:
                error.hint = "the limit on memory and swap together may be lower than it: set memory.swap too"
            elif error.errno == ENOENT and swap:
                error.hint = "this kernel does not count swap (swapaccount=0): leave memory.swap out"
            raise
        if memory.get("reservation"):
            self.put("memory", "memory.soft_limit_in_bytes", memory["reservation"], "/memory/reservation")
        swappiness = memory.get("swappiness")
        # An unsigned -1 is how engines say "the host's".
        if swappiness is not None and swappiness not in (-1, 0xFFFFFFFFFFFFFFFF):
            if not 0 <= swappiness <= 100:
                raise ConfigError(
                    f"invalid memory swappiness {swappiness}: 0 to 100", pointer=self.pointer("/memory/swappiness")
                )
            self.put("memory", "memory.swappiness", swappiness, "/memory/swappiness")
        if memory.get("disableOOMKiller"):
            self.put("memory", "memory.oom_control", 1, "/memory/disableOOMKiller")
        elif self.old is not None and memory.get("disableOOMKiller") is False and "memory" in self.paths:
            self.put("memory", "memory.oom_control", 0, "/memory/disableOOMKiller")
        if memory.get("useHierarchy"):
            self.put("memory", "memory.use_hierarchy", 1, "/memory/useHierarchy")
        if memory.get("kernel") is not None or memory.get("kernelTCP") is not None:
            place = "/memory/kernel" if memory.get("kernel") is not None else "/memory/kernelTCP"
            self.warnings.append(
                at("Kernel memory settings are ignored and will be removed", self.pointer(place) or "")
            )

    def _cpu(self, cpu: CPU) -> None:
        shares, idle = cpu.get("shares") or 0, cpu.get("idle")
        if shares and not 2 <= shares <= 262144:
            # The kernel would take another value without a word.
            bound = "minimum allowed cpu-shares is 2" if shares < 2 else "maximum allowed cpu-shares is 262144"
            raise ConfigError(f"cpu shares {shares}: the {bound}", pointer=self.pointer("/cpu/shares"))
        if idle:
            if shares:
                text = (
                    "unable to apply both cpu.idle and cpu.shares: an idle cgroup has no weight, cpu.shares is ignored"
                )
                self.warnings.append(at(text, self.pointer("/cpu/shares") or ""))
            # SCHED_IDLE has a weight of its own: shares are refused after it and forgotten before.
            shares = 0
            if self.old is not None and "cpu" in self.paths and self._get("cpu", "cpu.idle") == "0":
                path = self.paths["cpu"] + "/cpu.shares"
                self.old.append((path, self._get("cpu", "cpu.shares")))
        files: list[Setting] = [("cpu.shares", shares, "/cpu/shares")] if shares else []
        asked = idle or (idle == 0 and self.has("cpu", "cpu.idle"))
        self._ordered("cpu", files, ("cpu.idle", idle, "/cpu/idle") if asked else None)
        files = []
        if cpu.get("period"):
            files.append(("cpu.cfs_period_us", cpu["period"], "/cpu/period"))
        burst = cpu.get("burst")
        if burst or (burst == 0 and self.has("cpu", "cpu.cfs_burst_us")):
            files.append(("cpu.cfs_burst_us", burst, "/cpu/burst"))
        quota = cpu.get("quota")
        self._ordered("cpu", files, ("cpu.cfs_quota_us", quota, "/cpu/quota") if quota else None)
        files = (
            [("cpu.rt_period_us", cpu["realtimePeriod"], "/cpu/realtimePeriod")] if cpu.get("realtimePeriod") else []
        )
        runtime = cpu.get("realtimeRuntime")
        self._ordered("cpu", files, ("cpu.rt_runtime_us", runtime, "/cpu/realtimeRuntime") if runtime else None)

    def _ordered(self, controller: str, files: Sequence[Setting], last: Setting | None) -> None:
        """Write files, then last.

        The kernel checks each against the others as they stand: what is refused (EINVAL) is tried again after last.
        """
        again = []
        for setting in files:
            try:
                self.put(controller, *setting)
            except PyruncError as error:
                if last is None or error.errno != EINVAL:
                    raise
                again.append(setting)
        if last is not None:
            self.put(controller, *last)
        for setting in again:
            self.put(controller, *setting)

    def put(self, controller: str, file: str, value: object, pointer: str) -> None:
        directory = self.paths.get(controller)
        if directory is None:
            if self.optional:
                from pyrunc.cgroups import refusals

                raise refusals.no_limits(file, self.pointer(pointer))
            raise ConfigError(
                f"cannot set {file} to {str(value)!r}: the {controller} cgroup is not mounted",
                pointer=self.pointer(pointer),
            )
        path = f"{directory}/{file}"
        try:
            old = _current(directory, file, str(value)) if self.old is not None else None
            write_file(path, str(value))
        except OSError as error:
            raise failure(f"write {str(value)!r} to {path}", error, self.pointer(pointer)) from None
        if self.old is not None and old is not None:
            self.old.append((path, old))

    def _get(self, controller: str, file: str) -> str:
        directory = self.paths[controller]
        try:
            return read_file(f"{directory}/{file}")
        except OSError as error:
            raise failure(f"read {directory}/{file}", error) from None

    def has(self, controller: str, file: str) -> bool:
        directory = self.paths.get(controller)
        return directory is not None and posix.access(f"{directory}/{file}", posix.F_OK)

    def pointer(self, pointer: str) -> Any:
        return None if self.base is None else self.base + pointer


def _add(error: PyruncError, text: str) -> None:
    error.message += text
    error.args = (error.message,)


def _current(directory: str, file: str, value: str) -> str:
    """What to write to undo the writing of value: the file's content, or its line for the same device or interface.

    Raises OSError.
    """
    text = read_file(f"{directory}/{file}")
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


def with_quota(resources: Resources, directory: str, known: Callable[[], int]) -> Resources:
    """Manager.with_quota() for a cpu cgroup."""
    cpu = resources.get("cpu", {})
    if bool(cpu.get("quota")) == bool(cpu.get("period")):
        return resources
    try:
        quota, period = (int(read_file(f"{directory}/cpu.cfs_{name}_us")) for name in ("quota", "period"))
    except (OSError, ValueError):
        return resources
    if cpu.get("period"):
        return {**resources, "cpu": {**cpu, "quota": quota}}
    return {**resources, "cpu": {**cpu, "period": (quota < 0 and known()) or period}}


def apply(limits: Limits, resources: Resources) -> None:
    """Write what is asked. Raises ConfigError and PyruncError."""
    if resources.get("blockIO"):
        _block_io(limits, resources["blockIO"])
    for index, page in enumerate(resources.get("hugepageLimits", [])):
        _hugepages(limits, page, "/hugepageLimits/" + str(index))
    network = resources.get("network", {})
    if network.get("classID"):
        limits.put("net_cls", "net_cls.classid", network["classID"], "/network/classID")
    for index, entry in enumerate(network.get("priorities", [])):
        value = f"{entry['name']} {entry['priority']}"
        limits.put("net_prio", "net_prio.ifpriomap", value, "/network/priorities/" + str(index))
    for device, most in resources.get("rdma", {}).items():
        value = device
        for name, number in (("hca_handle", most.get("hcaHandles")), ("hca_object", most.get("hcaObjects"))):
            if number is not None:
                value += f" {name}={number}"
        limits.put("rdma", "rdma.max", value, "/rdma/" + device.replace("~", "~0").replace("/", "~1"))


_THROTTLES: Final[tuple[tuple[Throttle, str], ...]] = (
    ("throttleReadBpsDevice", "read_bps"),
    ("throttleWriteBpsDevice", "write_bps"),
    ("throttleReadIOPSDevice", "read_iops"),
    ("throttleWriteIOPSDevice", "write_iops"),
)


def _block_io(limits: Limits, block: BlockIO) -> None:
    prefix = ""
    if block.get("weight") or block.get("weightDevice"):
        # CFQ's files are older, BFQ's newer; a kernel has one of the two or neither.
        prefix = "blkio." if limits.has("blkio", "blkio.weight") else "blkio.bfq."
    if block.get("weight"):
        limits.put("blkio", prefix + "weight", block["weight"], "/blockIO/weight")
    if block.get("leafWeight"):
        limits.put("blkio", "blkio.leaf_weight", block["leafWeight"], "/blockIO/leafWeight")
    for index, entry in enumerate(block.get("weightDevice", [])):
        pointer = "/blockIO/weightDevice/" + str(index)
        for file, weight in (
            (prefix + "weight_device", entry.get("weight")),
            ("blkio.leaf_weight_device", entry.get("leafWeight")),
        ):
            if weight:
                limits.put("blkio", file, f"{entry['major']}:{entry['minor']} {weight}", pointer)
    for key, file in _THROTTLES:
        for index, throttle in enumerate(block.get(key, [])):
            value = f"{throttle['major']}:{throttle['minor']} {throttle['rate']}"
            limits.put("blkio", f"blkio.throttle.{file}_device", value, f"/blockIO/{key}/{index}")


def _hugepages(limits: Limits, entry: HugepageLimit, pointer: str) -> None:
    size = entry["pageSize"]
    # It becomes a part of a file's name.
    if not (size.isascii() and size.isalnum()):
        raise ConfigError(
            f"invalid huge page size {size!r}: such as 2MB", pointer=limits.pointer(pointer + "/pageSize")
        )
    limits.put("hugetlb", f"hugetlb.{size}.limit_in_bytes", entry["limit"], pointer)
    # What mmap(2) reserves is counted apart since Linux 5.7.
    if limits.has("hugetlb", f"hugetlb.{size}.rsvd.limit_in_bytes"):
        limits.put("hugetlb", f"hugetlb.{size}.rsvd.limit_in_bytes", entry["limit"], pointer)

"""The catalogue: cgroups, their limits, systemd."""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENOENT, ENOSPC, EPERM, ERANGE
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CONFIG, GIVEN, HOST, STATE, STEP, Case

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _occupied(case: Case) -> str:
    """Which processes are in a cgroup."""
    from pyrunc.linux import files

    told = []
    try:
        pids = files.read(case.holes[1] + "/cgroup.procs", limit=65536).decode().split()[:3]
    except OSError:
        pids = []
    for pid in pids:
        try:
            name = files.read(f"/proc/{pid}/comm", limit=64).decode(errors="replace").strip()
        except OSError:
            name = "?"
        told.append(f"{pid} ({name})")
    return (f"there: {', '.join(told)}; " if told else "") + "choose another cgroupsPath, or end them"


def _write(case: Case) -> str:
    return _VALUE.get(case.error.errno or 0) or _VALUE[0]


def _parents_cpus(case: Case) -> str:
    """What a cpuset's parent has, of which a child gets a part."""
    from pyrunc.linux import files

    file = "cpuset." + case.holes[2]
    parent = case.holes[1].rpartition("/")[0]
    try:
        text = files.read(f"{parent}/{file}", limit=4096).decode().strip()
    except OSError:
        return _write(case)
    return "the cgroup above has " + (text or "none") + " in " + file


_VALUE: Final = {
    EINVAL: "the kernel does not take that value for that file, or not beside the other limits",
    EACCES: "numbers must be of what the cgroup above has; and the caller must be able to write there",
    EPERM: "the caller must be able to write there: as root, or in a cgroup that is delegated to the user",
    EBUSY: "what is in use cannot be taken away: raise the limit, or let the container use less",
    ERANGE: "that is more or less than the kernel takes",
    ENOSPC: "a CPU or node that the cgroup above does not have, or no room among realtime budgets",
    ENOENT: "this kernel does not have that file: leave the limit out",
    0: "the kernel does not take that value for that file",
}
_SYSTEMD: Final = "`systemctl status` on the host; without --systemd-cgroup it goes without systemd"
_PATH: Final = "an absolute path such as /pyrunc/ID, or SLICE:PREFIX:NAME with --systemd-cgroup"
_GVARIANT: Final = "a value such as true, 5, 'text', [1, 2] or uint64 5, as `systemctl show` has it"
_V1: Final = "a host with cgroup v1 has it; leave it out here"

ENTRIES: Final[dict[str, Entry]] = {
    # ---- which cgroup ----
    "no cgroup hierarchy is mounted": ("cgroup hierarchy", HOST, GIVEN),
    "cgroupsPath {} must name a cgroup below the hierarchy's root, without '..'": ("{0}", CONFIG, _PATH),
    "the devices cgroup is not mounted: a container could use every device of the host": (
        "devices cgroup",
        HOST,
        "mount -t cgroup -o devices devices /sys/fs/cgroup/devices, or a user namespace for the container",
    ),
    "read the cgroups of process {}": ("{0}", STATE, "that process may just have ended"),
    "the cgroup {} cannot be seen from here": ("{0}", STATE, "call it in the host's cgroup namespace"),
    "container's cgroup is not empty: {} process(es) found in {}": ("{1}", CONFIG, _occupied),
    "container's cgroup unexpectedly frozen: {}": (
        "{0}",
        CONFIG,
        "echo THAWED > {0}/freezer.state (v2: echo 0 > {0}/cgroup.freeze), or another cgroupsPath",
    ),
    "the cgroup above {} is frozen": (
        "{0}",
        STEP,
        "echo 0 > cgroup.freeze of the one that is frozen, or another cgroupsPath",
    ),
    "unable to apply cgroup configuration: make cgroup {}: {}": (
        "{0}",
        CONFIG,
        {
            EACCES: GIVEN,
            EPERM: GIVEN,
            ENOSPC: "cgroup.max.descendants or cgroup.max.depth of a cgroup above allows no more",
            EBUSY: "a cgroup above has processes of its own: cgroup v2 has them in leaves only",
            0: _PATH,
        },
    ),
    "cgroup {} is below a threaded cgroup and cannot take a container": ("{0}", CONFIG, "choose another cgroupsPath"),
    "resources cannot be limited without a cgroup": (
        "resources",
        CONFIG,
        "leave --cgroup-manager disabled out, or the limits",
    ),
    "cannot limit {}: rootless needs no limits + no cgrouppath when no permission is granted for cgroups": (
        "{0}",
        CONFIG,
        GIVEN,
    ),
    # ---- limits ----
    "invalid configuration: unified needs cgroup v2: this host has v1": (
        "unified",
        CONFIG,
        "use memory, cpu, pids ... of linux.resources, which both versions have",
    ),
    "memory swap {} counts memory and swap together: it can't be below the limit {}": (
        "{0}",
        CONFIG,
        "swap: {1} or more, -1 for no limit of it",
    ),
    "memory+swap limit must be >= memory limit": ("memory+swap limit", CONFIG, "swap counts memory and swap together"),
    "unable to set swap limit without memory limit": ("swap limit", CONFIG, "add memory.limit"),
    "rejecting {} limit {} <= usage {}": ("{1}", CONFIG, "above {2} bytes, or leave checkBeforeUpdate out"),
    "cpu shares {}: the {} allowed cpu-shares is {}": ("{0}", CONFIG, "the {1} is {2}"),
    "cannot set {} to {}: the {} cgroup is not mounted": (
        "{0}",
        CONFIG,
        "mount -t cgroup -o {2} {2} /sys/fs/cgroup/{2} on the host, or leave the limit out",
    ),
    "cgroup controller {} is not available: cannot write {}": (
        "{0}",
        CONFIG,
        "cgroup.controllers of the cgroup above must have {0}: the host's root or systemd (Delegate=) gives it; "
        "/proc/cgroups says whether the kernel has it",
    ),
    "cgroup v2 has no network classes and priorities": ("network classes", CONFIG, _V1),
    "unified resource {} must be a file name": ("{0}", CONFIG, "such as memory.high"),
    "memory.{} does not exist on cgroup v2": ("{0}", CONFIG, _V1),
    "cpu.{} does not exist on cgroup v2": ("{0}", CONFIG, _V1),
    "invalid huge page size {}: such as 2MB": ("{0}", CONFIG, "/sys/kernel/mm/hugepages has those of this kernel"),
    # ---- device rules ----
    "invalid device type {}: a, b or c": ("{0}", CONFIG, "a is all devices, b block, c character devices"),
    "device access must not be empty": ("device access", CONFIG, "r to read, w to write, m to make nodes"),
    "invalid device number {}: 0 to {}": ("{0}", CONFIG, "-1, or none, for any"),
    "invalid device access {}: of r, w and m": ("{0}", CONFIG, "r to read, w to write, m to make nodes"),
    "cgroup v1 cannot except {} from {}": (
        "{0}",
        CONFIG,
        "name the devices one by one: v1 has no exceptions in a range",
    ),
    # ---- files of a cgroup ----
    "adding pid of a new process to cgroups: open {}: {}": (
        "{0}",
        STEP,
        "--cgroup names a cgroup below the container's own, and it must be there: mkdir makes it",
    ),
    "adding pid of a new process to cgroups: join {}: {}": ("{0}", STEP, _write),
    "write {} to {}/cpuset.{}: {}": ("{1}", STEP, _parents_cpus),
    "write {} to {}: {}": ("{1}", STEP, _write),
    "copy {} down to {}: {}": ("{1}", STEP, _write),
    "remove cgroup {}: {}": ("{0}", STATE, "`cat {0}/cgroup.procs` has who is in it, in a cgroup below it too"),
    "processes keep appearing in cgroup {}": (
        "{0}",
        STATE,
        "set a pids limit, then `{program} delete --force {id}` again",
    ),
    "unable to freeze cgroup {}": ("{0}", STATE, GIVEN),
    "cannot {}: the container has no freezer cgroup": ("container", STATE, "create it where freezer is mounted"),
    "cannot watch for out-of-memory events: the container has no memory cgroup": (
        "container",
        STATE,
        "create it where the memory controller is there",
    ),
    # ---- systemd ----
    "no D-Bus session bus for the systemd cgroup driver": ("D-Bus session bus", HOST, GIVEN),
    "connect to D-Bus at {} for the systemd cgroup driver: {}": ("{0}", HOST, _SYSTEMD),
    "systemd is not running on this host, the systemd cgroup driver cannot work": ("systemd", HOST, GIVEN),
    'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got {} instead': (
        "{0}",
        CONFIG,
        "system.slice:pyrunc:ID, for one; a path goes without --systemd-cgroup",
    ),
    "invalid name of a unit: {}": ("{0}", CONFIG, "letters, digits and :-_.\\ (systemd.unit(5))"),
    "invalid slice name: {}": ("{0}", CONFIG, "such as machine.slice or user-1000.slice (systemd.slice(5))"),
    "the scope {} of the container has ended": ("{0}", STATE, "`{program} delete {id}`, then create it again"),
    "not a property's name: {}": (
        "{0}",
        CONFIG,
        "org.systemd.property.NAME, with a name of systemd.resource-control(5)",
    ),
    "the property {} is the runtime's own to set": ("{0}", CONFIG, "leave the annotation out"),
    "a time below zero, or beyond what systemd can count": ("a time", CONFIG, "seconds, as a whole number"),
    "not a GVariant value: {}: {}": ("{0}", CONFIG, _GVARIANT),
    "not a list of numbers: {}": ("{0}", CONFIG, "numbers and ranges with commas between them, such as 0-3,7"),
    "no machine has a number {} of these": ("{0}", CONFIG, "numbers of CPUs or memory nodes, from 0"),
}

"""The rest of rules.py: what few configs have, so that the others need not load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.jsontext import pointer, quote
from pyrunc.linux import cpulist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.config.types import IDMapping, Linux, Process, Resources

    Broken = Iterator[tuple[str, str]]


def linux(linux: Linux, kinds: dict[str, str], process: Process | None) -> Broken:
    """Rules of linux.*. kinds: the namespaces that are new or joined, by type, with their paths, "" when new."""
    uids, gids = linux.get("uidMappings", []), linux.get("gidMappings", [])
    if "user" not in kinds and (uids or gids):
        place = "/linux/uidMappings" if uids else "/linux/gidMappings"
        yield place, "user namespace mappings specified, but user namespace isn't enabled in the config"
    elif "user" in kinds and not kinds["user"]:
        uid, gid = 0, 0
        if process and "user" in process:
            uid, gid = process["user"].get("uid", 0), process["user"].get("gid", 0)
        if not uids and not gids:
            text = "user namespaces enabled, but no namespace path to join nor mappings to apply specified"
            yield "/linux/namespaces", text
        else:
            yield from _user_namespace("uid", uids, uid)
            yield from _user_namespace("gid", gids, gid)
    if linux.get("timeOffsets"):
        if "time" not in kinds:
            text = "time namespace offsets specified, but time namespace isn't enabled in the config"
            yield "/linux/timeOffsets", text
        elif kinds["time"]:
            text = "time namespace enabled, but both namespace path and time offsets specified"
            yield "/linux/timeOffsets", text + " -- you may only provide one"
    if linux.get("netDevices"):
        yield from _net_devices(linux, kinds)
    if "intelRdt" in linux:
        group = linux["intelRdt"].get("closID", "")
        if group in (".", "..") or ("/" in group and group != "/"):
            yield "/linux/intelRdt/closID", "invalid intelRdt.ClosID " + quote(group)
    if "memoryPolicy" in linux:
        policy = linux["memoryPolicy"]
        mode = policy["mode"]
        problem, count = _list(policy.get("nodes", ""))
        if problem:
            yield "/linux/memoryPolicy/nodes", f"invalid memory policy nodes {quote(policy['nodes'])}: {problem}"
        elif mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
            if count:
                yield "/linux/memoryPolicy/nodes", f"memory policy mode requires 0 nodes but got {count}: {mode}"
        elif mode != "MPOL_PREFERRED" and not count:
            yield "/linux/memoryPolicy", f"memory policy mode requires at least one node but got 0: {mode}"
    if "personality" in linux and linux["personality"].get("flags"):
        yield "/linux/personality/flags", "the specification has no personality flags"


def _user_namespace(kind: str, runs: list[IDMapping], user: int) -> Broken:
    place = f"/linux/{kind}Mappings"
    if not runs:
        yield "/linux", f"user namespaces enabled, but no {kind} mappings found"
        return
    yield from mappings(runs, place)
    if not _maps(runs, 0):
        yield place, f"user namespaces enabled, but no mapping found for {kind} 0"
    elif not _maps(runs, user):
        yield place, f"cannot set{kind} to unmapped {kind} {user} in user namespace"


def _maps(runs: list[IDMapping], number: int) -> bool:
    return any(run["containerID"] <= number < run["containerID"] + run["size"] for run in runs)


def mappings(runs: list[IDMapping], place: str) -> Broken:
    """Runs that overlap or go beyond 2^32-2: the kernel refuses them with an error that says nothing."""
    for side, pairs in (
        ("containerID", [(run["containerID"], run["size"]) for run in runs]),
        ("hostID", [(run["hostID"], run["size"]) for run in runs]),
    ):
        end = 0
        for start, size in sorted(pairs):
            if start < end:
                yield place, f"{side} {start} is mapped twice"
            end = max(end, start + size)
        if end > 0xFFFFFFFF:
            yield place, f"a mapping goes beyond {side} 4294967294"


def process(process: Process, place: str) -> Broken:
    """Rules of scheduler (sched_setattr(2)) and execCPUAffinity."""
    if "scheduler" in process:
        scheduler = process["scheduler"]
        policy = scheduler["policy"]
        priority = scheduler.get("priority", 0)
        if policy in ("SCHED_FIFO", "SCHED_RR"):
            if not 1 <= priority <= 99:
                yield place + "/scheduler", f"scheduler.priority of {policy} is from 1 to 99, not {priority}"
        elif priority:
            yield place + "/scheduler", "scheduler.priority can only be specified for SchedFIFO or SchedRR policy"
        if policy != "SCHED_DEADLINE" and (
            scheduler.get("runtime") or scheduler.get("deadline") or scheduler.get("period")
        ):
            text = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
            yield place + "/scheduler", text
    affinity = process.get("execCPUAffinity", {})
    for name, text in (("initial", affinity.get("initial") or ""), ("final", affinity.get("final") or "")):
        problem, count = _list(text)
        if problem or (text and not count):
            problem = problem or "no members found in set " + quote(text)
            yield f"{place}/execCPUAffinity/{name}", f"bad CPUAffinity.{name.capitalize()}: {problem}"


def _list(text: str) -> tuple[str, int]:
    """What is wrong with a list of CPUs or memory nodes such as 0-3,7, and how many members it has at most."""
    count = 0
    for part, first, last in cpulist.ranges(text):
        for number in (first, last) if part else ():
            # Bounded: a mask is made of it. The largest kernels have 8192 CPUs.
            if not (number.isdecimal() and len(number) <= 5):
                return "invalid number " + quote(number), 0
        if part and int(first) > int(last):
            return "invalid range: " + part, 0
        count += int(last) - int(first) + 1 if part else 0
    return "", count


def _net_devices(linux: Linux, kinds: dict[str, str]) -> Broken:
    if "network" not in kinds:
        yield "/linux/netDevices", "unable to move network devices without a NET namespace"
    for host, device in linux["netDevices"].items():
        for name in (host, device.get("name") or host):
            # As the kernel's dev_valid_name().
            if len(name.encode()) > 15 or name in (".", "..") or "/" in name or ":" in name or name.split() != [name]:
                yield "/linux/netDevices" + pointer(host), "invalid network device name " + quote(name)
                break


def resources(resources: Resources, place: str) -> Broken:
    """Rules of blockIO, rdma and unified."""
    block = resources.get("blockIO", {})
    for index, device in enumerate(block.get("weightDevice", [])):
        if "weight" not in device and "leafWeight" not in device:
            yield f"{place}/blockIO/weightDevice/{index}", "neither weight nor leafWeight: at least one is required"
    for name, limits in resources.get("rdma", {}).items():
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            yield f"{place}/rdma{pointer(name)}", "neither hcaHandles nor hcaObjects: at least one is required"
    for name in resources.get("unified", {}):
        if "/" in name or name in (".", ".."):
            text = f"unified resource {quote(name)} must be a file name (no slashes)"
            yield f"{place}/unified{pointer(name)}", text

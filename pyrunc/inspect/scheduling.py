"""How the kernel schedules the container's process: policy, I/O priority, CPUs, memory policy, personality."""

from typing import Any

from pyrunc import _linux
from pyrunc.inspect.proc import Process
from pyrunc.inspect.report import Report
from pyrunc.linux import cpulist

# By number, of linux/sched.h and linux/ioprio.h.
_POLICIES = (
    "SCHED_OTHER",
    "SCHED_FIFO",
    "SCHED_RR",
    "SCHED_BATCH",
    "SCHED_ISO",
    "SCHED_IDLE",
    "SCHED_DEADLINE",
    "SCHED_EXT",
)
_IO_CLASSES = ("IOPRIO_CLASS_NONE", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
_IO_CLASS_SHIFT = 13
_IO_LEVELS = 7
# The kernel's PER_MASK: the rest are flags, as of setarch(8).
_PERSONALITY = 0xFF
_PERSONALITIES = {_linux.PER_LINUX: "LINUX", _linux.PER_LINUX32: "LINUX32"}
# What stands in proc_pid_numa_maps(5) for a mode.
_MODES = {
    "MPOL_DEFAULT": "default",
    "MPOL_PREFERRED": "prefer",
    "MPOL_BIND": "bind",
    "MPOL_INTERLEAVE": "interleave",
    "MPOL_LOCAL": "local",
    "MPOL_PREFERRED_MANY": "prefer (many)",
    "MPOL_WEIGHTED_INTERLEAVE": "weighted interleave",
}
_NODE_FLAGS = {"MPOL_F_STATIC_NODES": "static", "MPOL_F_RELATIVE_NODES": "relative"}


def scheduling(
    report: Report, wanted: dict[str, Any], linux: dict[str, Any], cpus: str, process: Process | None
) -> None:
    """wanted: the process object. cpus: those that the cgroup is to have, "" for all."""
    _policy(report, wanted.get("scheduler", {}), process)
    _io_priority(report, wanted.get("ioPriority"), process)
    found = process.status.get("Cpus_allowed_list") if process else None
    differs = bool(cpus and found and set(cpulist.numbers(cpus)) != set(cpulist.numbers(found)))
    report.add("scheduling", "cpus", cpus or None, found, "/linux/resources/cpu/cpus", differs=differs)
    _memory_policy(report, linux.get("memoryPolicy"), process)
    asked = linux.get("personality", {}).get("domain")
    text = process.text("personality") if process else ""
    persona = int(text, 16) & _PERSONALITY if text else None
    word = None if persona is None else _PERSONALITIES.get(persona, hex(persona))
    report.add("scheduling", "personality", asked, word, "/linux/personality/domain")


def _policy(report: Report, asked: dict[str, Any], process: Process | None) -> None:
    found: dict[str, Any] = {}
    if process:
        try:
            policy, nice, priority, runtime, deadline, period, flags = _linux.sched_getattr(process.pid)
        except OSError:
            pass  # it has ended
        else:
            found = {"policy": _POLICIES[policy] if policy < len(_POLICIES) else str(policy)}
            found |= {"nice": nice, "priority": priority}
            if found["policy"] == "SCHED_DEADLINE":
                found |= {"runtime": runtime, "deadline": deadline, "period": period}
            names = [name for name in dir(_linux) if name.startswith("SCHED_FLAG_")]
            found["flags"] = sorted(name for name in names if flags & getattr(_linux, name))
    for name in ("policy", "nice", "priority", "runtime", "deadline", "period", "flags"):
        value = asked.get(name)
        if name == "flags" and value is not None:
            value = sorted(value)
        if value is not None or found.get(name) is not None:
            report.add("scheduling", name, value, found.get(name), "/process/scheduler/" + name)


def _io_priority(report: Report, asked: dict[str, Any] | None, process: Process | None) -> None:
    words = None
    if process:
        try:
            value = _linux.ioprio_get(_linux.IOPRIO_WHO_PROCESS, process.pid)
            words = f"{_IO_CLASSES[value >> _IO_CLASS_SHIFT & 3]} {value & _IO_LEVELS}"
        except OSError:
            pass  # it has ended
    request = asked["class"] + " " + str(asked.get("priority") or 0) if asked else None
    report.add("scheduling", "ioPriority", request, words, "/process/ioPriority")


def _memory_policy(report: Report, asked: dict[str, Any] | None, process: Process | None) -> None:
    # The first line is enough, and each costs the kernel a walk.
    fields = process.text("numa_maps", 256).partition("\n")[0].split(" ") if process else []
    # "5581c0 bind:0 file=..."; a mode may have a space in it.
    words = [word for word in fields[1:] if "=" not in word or ":" in word]
    words = words[: 2 if words[:1] in (["prefer"], ["weighted"]) else 1]
    found = " ".join(words) or None
    request = None
    if asked:
        request = _MODES.get(asked["mode"], asked["mode"])
        flags = [_NODE_FLAGS[flag] for flag in asked.get("flags", []) if flag in _NODE_FLAGS]
        request += "=" + "|".join(flags) if flags else ""
        nodes = cpulist.numbers(asked.get("nodes") or "")
        request += ":" + _ranges(nodes) if nodes else ""
    if request or found:
        report.add("scheduling", "memoryPolicy", request, found, "/linux/memoryPolicy")


def _ranges(numbers: list[int]) -> str:
    """As the kernel prints a list: 0-3,7."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)

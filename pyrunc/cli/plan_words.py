"""What `plan` says of steps beside what they say themselves: their phase, their objects one by one, their undo.

By the name of a step's class, so that no module is loaded to look at a plan that has none of its steps. A test holds
that every step with an undo has its words here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Step

#: Title and explanation of each phase, in order.
PHASES: Final = (
    (
        "Preparation",
        "The runtime alone: what can fail for the config's sake fails here, before there is a second process.",
    ),
    ("Birth", "The clone, and what makes the new process one of the container's."),
    ("Cgroup and namespaces", "The new process enters what was made for it, and makes what it alone can make."),
    ("File system", "The rootfs and its mounts, while the host's tree is still there."),
    ("Hooks", "They see the container's namespaces and mounts, but the host's root."),
    ("Inside", "The root is the container's; nothing of the host is in reach from here on."),
    ("Into the program", "The last meeting, then one call of C: identity, capabilities, filter, execve."),
)

#: What undo() takes back, by the class of the step.
UNDO: Final = {
    "StateDirectory": "remove the state directory, if it is still the one that was made, and let go of its lock",
    "MakeFifo": "remove exec.fifo, and close what was opened of it",
    "OpenNamespaces": "close the descriptors of the namespaces",
    "OpenContainer": "close the descriptors of the namespaces",
    "OpenCgroup": "close the descriptors of the cgroup",
    "OpenProcfs": "close the procfs",
    "OpenTree": "let go of the copy, which nobody else has seen",
    "OpenSources": "let go of the copies, which nobody else has seen",
    "SetTimes": "let go of the copy, which nobody else has seen",
    "Mapping": "let go of the user namespace that was made for the mapping",
    "MakeClos": "remove the groups of resctrl that were made",
    "MakeCgroup": "remove the cgroup with everything beneath it; with systemd, stop the scope",
    "MakePipes": "close the pipes",
    "TimeNamespace": "go back to the runtime's own time namespace",
    "Clone": "kill the container process and wait for its end; its namespaces and their mounts go with it",
    "MoveDevice": "move the device back, with its name, addresses and state; its routes are lost",
    "UnmountOnDelete": "unmount what was mounted on the rootfs and below it, the latest first",
    "CriuProcess": "end CRIU",
    "RestoreProcesses": "kill the restored process and wait for its end",
    # Those that have none, where more can be said than that.
    "Record": "none: state.json goes with the state directory",
    "RecordAgain": "none: state.json goes with the state directory",
    "CompileFilter": "none: the compiled filter stays in the cache, for the next container that asks for the same",
    "HooksStep": "none of its own: when a create fails, the poststop hooks run",
    "MakeCwd": "none: the directory stays in the rootfs",
    "MountStep": "the mount ends with its mount namespace, and that with the container process; what was made to mount "
    "it on stays in the rootfs",
}
_OF_RUNTIME: Final = "nothing is left of it when the container process has gone"
_OF_CONTAINER: Final = "nothing to take back: it ends with the container process"


def _sorted_paths(step: Any) -> list[str]:
    return sorted(set(step.manager.paths.values()))


#: Where describe() names several objects in one line: how to get them, and what stands between them there.
OBJECTS: Final[dict[str, tuple[Callable[[Any], list[str]], str]]] = {
    "MakeCgroup": (_sorted_paths, " "),
    "OpenNamespaces": (lambda step: [f"{kind} {path}" for kind, (path, _) in step.joined.items()], ", "),
    "OpenSources": (lambda step: [tree.path for tree in step.trees], ", "),
    "JoinNamespaces": (lambda step: list(step.kinds), ", "),
    "ReadOnlyPaths": (lambda step: list(step.paths), " "),
    "MaskedPaths": (lambda step: list(step.paths), " "),
    "ReadOnlyMounts": (lambda step: [one.destination for one in step.mounts] + ["/"] * step.root, ", "),
    "HooksStep": (lambda step: [hook["path"] for hook in step.hooks], ", "),
}


#: With which classes of steps a phase begins: its index in PHASES.
MARKS: Final = {
    "MakePipes": 1,
    "TimeNamespace": 1,
    "Clone": 1,
    "LimitPropagation": 3,
    "UnmountOnDelete": 3,
    "Rootfs": 3,
    "PivotRoot": 5,
    "ChangeRoot": 5,
}


def parts(step: Step) -> tuple[str, list[str]]:
    """What describe() says, and the objects that it names, if they are several: a heading, and one line each."""
    text = step.describe()
    for kind in type(step).__mro__:
        if kind.__name__ in OBJECTS:
            find, between = OBJECTS[kind.__name__]
            objects = find(step)
            before, found, after = text.partition(between.join(objects))
            if found and len(objects) > 1:
                return before.rstrip(" :") + after, objects
    return text, []


def undo(step: Step) -> str:
    """What is done when a later step fails, in words."""
    for kind in type(step).__mro__:
        if kind.__name__ in UNDO:
            return UNDO[kind.__name__]
    return _OF_RUNTIME if step.side == RUNTIME else _OF_CONTAINER


def phases(steps: list[Step]) -> list[int]:
    """The phase of each step, an index into PHASES. It never falls: what stands out of order is of the one before."""
    last = max(
        [number for number, step in enumerate(steps) if isinstance(step, Meet) and step.side == CONTAINER], default=-1
    )
    found: list[int] = []
    phase = 0
    for number, step in enumerate(steps):
        kind = type(step).__name__
        after = steps[number + 1] if number + 1 < len(steps) else None
        wanted = MARKS.get(kind, 0)
        if phase == 1 and step.side == CONTAINER and kind not in ("TakePipes", "TakeSources", "Meet"):
            wanted = max(wanted, 2)
        if kind == "HooksStep" or (
            isinstance(step, Meet) and step.side == CONTAINER and type(after).__name__ == "HooksStep"
        ):
            wanted = 4
        if number == last:
            wanted = 6
        phase = max(phase, wanted)
        found.append(phase)
    return found

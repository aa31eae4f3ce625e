"""The catalogue: the life of a container, its state directory, its processes and their streams."""

from __future__ import annotations

import posix
from errno import EACCES, ELOOP, EMFILE, ENOSPC, EPERM, EROFS, ESRCH
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CALL, CONFIG, GIVEN, INSIDE, ROOT, STATE, STEP, Case, meant, walked

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _ids(case: Case) -> list[str]:
    try:
        return [name for name in sorted(posix.listdir(case.root)) if name[:1] != "@"]
    except OSError:
        return []


def _unknown(case: Case) -> str:
    """Of a container that there is not: the nearest ID, and where they are looked for."""
    if not case.root:
        return "`{program} list` names the containers".replace("{program}", case.program)
    names = _ids(case)
    question = meant(case.error.container, [name for name in names if name != case.error.container])
    where = "the state root is " + case.root + (": --root names another" if not names else "")
    return (question + " " if question else "") + where + ("" if not names else ", `list` names what is in it")


def _root(hole: int) -> object:
    def hint(case: Case) -> str:
        error = case.error.errno
        if error in (EACCES, EPERM, EROFS):
            return "the state root must be writable for the caller: --root names another"
        if error == ENOSPC:
            return "the file system of the state root is full: make room, or name another by --root"
        return walked(case.holes[hole].rpartition("/")[0]) or "--root names the state root: a directory, or none yet"

    return hint


_RUNS: Final = "only a running or created container can be: `{program} state {id}` says what it is"
_GONE: Final = "it has stopped: `{program} delete {id}` removes it, then it can be created anew"
_STATE: Final = (
    "`{program} delete --force {id}` ends the process that is recorded there, if it is still that, and removes the "
    "directory; cgroups and mounts are left as they are"
)
_LEFT: Final = "`{program} ps {id}` lists its processes: one may be stuck in the kernel (state D); try again later"
_DAMAGED_CGROUP: Final = "the record names something else than a cgroup: " + _STATE

ENTRIES: Final[dict[str, Entry]] = {
    # ---- which container ----
    "invalid container ID format: {}": (
        "{0}",
        CALL,
        "letters, digits, _ + - and dots, at most 255; not . or .. alone",
    ),
    "container does not exist": ("container", STATE, _unknown),
    "container with given ID already exists": (
        "container",
        STATE,
        "choose another ID, or `{program} delete {id}` first (--force when it runs)",
    ),
    "nothing is known of a container {}": ("{0}", STATE, _unknown),
    "container was deleted while it was made": ("container", STATE, "somebody called delete --force: create it again"),
    "container {} is busy: {} has its lock": ("{0}", STATE, "try again when that is done"),
    # ---- what is allowed in which state ----
    "container not running": ("container", STATE, _RUNS),
    "container with id {} is not running": ("{0}", STATE, _RUNS),
    "container not paused": ("container", STATE, "only a paused container can be resumed: `{program} state {id}`"),
    "container init still running": ("container", STATE, _LEFT),
    "cannot start a container that is being created": ("container", STATE, "wait until create has returned"),
    "cannot start a container that has stopped": ("container", STATE, _GONE),
    "cannot start a container that has stopped: its process was killed because it reached the memory limit": (
        "container",
        CONFIG,
        "the memory limit is too low",
    ),
    "cannot start an already running container": (
        "container",
        STATE,
        "`{program} exec {id} PROGRAM` runs another program in it",
    ),
    "cannot start a container without a process": (
        "container",
        CONFIG,
        "add a process with cwd and args to config.json, delete the container and create it again",
    ),
    "cannot start a paused container": ("container", STATE, "`{program} resume {id}` first"),
    "the container's process ended before its program could be executed": (
        "container",
        STATE,
        "somebody killed it, a signal or the memory limit: dmesg may say; delete it and create it again",
    ),
    "the container process ended at once": ("container", STATE, "it was killed as it was made: dmesg may say why"),
    "cannot exec in a container that is being created": ("container", STATE, "wait until create has returned"),
    "cannot exec in a stopped container": ("container", STATE, _GONE),
    "cannot exec in a paused container (use --ignore-paused to override)": (
        "container",
        STATE,
        "`{program} resume {id}` first; with --ignore-paused the process waits until then",
    ),
    "cannot delete container {} that is not stopped: {}": (
        "{0}",
        STATE,
        "`{program} kill {id}` first, or `{program} delete --force {id}`",
    ),
    "cannot update a container that has stopped: container not running": ("container", STATE, _GONE),
    "send signal {}: {}": (
        "{0}",
        STATE,
        {ESRCH: "its process has just ended", 0: "a security module may forbid it: the host's audit log says so"},
    ),
    "the container has no mount namespace of its own": (
        "container",
        STATE,
        "its mounts are the host's: mount(8) there; else create it with a mount namespace",
    ),
    # ---- state directory ----
    "make {}: {}": ("{0}", ROOT, _root(0)),  # type: ignore[dict-item]
    "lock {}: {}": ("{0}", ROOT, "the file system of the state root must have flock(2): name another by --root"),
    "remove {}: {}": ("{0}", ROOT, "`{program} delete --force {id}` tries again once that is mended"),
    "read {}/state.json: {}": (
        "{0}",
        ROOT,
        {ELOOP: "somebody has put a link there. " + _STATE, 0: "the caller must be able to read it. " + _STATE},
    ),
    "{}/state.json has a format that this pyrunc does not know": (
        "{0}",
        ROOT,
        "a newer pyrunc has written it: use that one. " + _STATE,
    ),
    "{}/state.json is malformed: {}": ("{0}", ROOT, _STATE),
    "{}/state.json is of another container": ("{0}", ROOT, "somebody has moved that directory. " + _STATE),
    "{}/state.json is damaged, it is not what pyrunc has written: {}": ("{0}", ROOT, _STATE),
    "{} is no file of a container's state": ("{0}", ROOT, "somebody has put something else there: move it away"),
    "{} is not believed: it belongs to another user, or others may write to it": ("{0}", ROOT, GIVEN),
    "{} is no container's: there is a {} in it": (
        "{0}",
        ROOT,
        "nothing was removed: --root must name the state root; what is no container's is for rm(1)",
    ),
    "open cgroup {}: {}": ("{0}", ROOT, _STATE),
    "{} is no cgroup": ("{0}", ROOT, _DAMAGED_CGROUP),
    "make the container's notify socket: {}": (
        "notify socket",
        ROOT,
        "NOTIFY_SOCKET is set: unset it for a container that does not notify, or let --root be shorter (108 bytes)",
    ),
    # ---- the meeting of the two processes ----
    "open exec.fifo: {}": ("exec.fifo", ROOT, "somebody has changed the state directory: " + _GONE.partition(": ")[2]),
    "let the process go by exec.fifo: {}": ("exec.fifo", ROOT, "the state root must be writable for the caller"),
    "unexpected message from the container process": (
        "container process",
        STATE,
        "somebody in the pid namespace that is joined has taken hold of it: nothing of it was believed",
    ),
    "container process was killed by signal {}: container init was OOM-killed (memory limit too low?)": (
        "container process",
        CONFIG,
        GIVEN,
    ),
    "container process ended unexpectedly: container init was OOM-killed (memory limit too low?)": (
        "container process",
        CONFIG,
        GIVEN,
    ),
    "container process ended unexpectedly during its set-up": (
        "container process",
        STATE,
        "--debug shows the last step; dmesg may say what ended it",
    ),
    "container process was killed by signal {} during its set-up": (
        "container process",
        STATE,
        "signal 31 is a seccomp filter's, 9 the memory limit's or a person's; --debug shows the last step",
    ),
    "container {} was killed because it reached its memory limit": ("{0}", CONFIG, GIVEN),
    "{}: {}": ("{0}", STEP, ""),
    # ---- exec ----
    "cannot allocate tty if pyrunc will detach without setting console socket": (
        "tty",
        "config.json for create and run; exec: none, the flag --tty asks for it",
        "--console-socket PATH, where somebody listens for the terminal; or do without a terminal",
    ),
    "the container's config has no process to take defaults from": (
        "process",
        CONFIG,
        "--process FILE with a whole process object",
    ),
    "set CPU affinity {}: {}": ("{0}", STEP, "process.execCPUAffinity must name CPUs that the container may use"),
    "arrange the descriptors of the process: {}": ("descriptors", STEP, {EMFILE: GIVEN, 0: "--debug shows each step"}),
    # ---- processes ----
    "cannot tell the container's processes from others: it has neither a cgroup nor a pid namespace of its own": (
        "container",
        STATE,
        GIVEN,
    ),
    "the container's process has left its cgroup: cannot tell its processes from others": (
        "container",
        STATE,
        "give it a pid namespace of its own: its processes are then those of the namespace",
    ),
    "cannot look into the pid namespace of process {}: permission denied": (
        "{0}",
        STATE,
        "call it as the user who has created the container",
    ),
    "read /proc/{}/stat: {}": ("{0}", STATE, "the host's /proc must be mounted, and show all processes (no hidepid)"),
    # ---- streams ----
    "write to {}: {}": ("{0}", CALL, {ENOSPC: "make room where the output goes", 0: "see where the output goes"}),
    # ---- mounts add, remove ----
    "unmount {}: invalid argument: neither the config nor mounts add has made a mount there": (
        "{0}",
        CALL,
        "only these can be removed: `cat /proc/PID/mountinfo` shows all, with the PID that `state` prints",
    ),
    "unmount {}: what is mounted on a procfs or sysfs stays": ("{0}", CALL, "it hides what the container must not see"),
    "unmount {}: what is there now is not what the config or mounts add has mounted there": (
        "{0}",
        CALL,
        "the container has moved or covered it: unmount what lies over it from inside first",
    ),
    "unmount {}: {}": ("{0}", CALL, "a process that uses it keeps it busy: `fuser -m` from inside"),
    "mounts with mapped ids can only be made by create": ("mounts with mapped ids", CONFIG, "leave the mappings out"),
    # ---- the host's users ----
    "newuidmap is not installed": ("newuidmap", STEP, GIVEN),
    "newgidmap is not installed": ("newgidmap", STEP, GIVEN),
    "newuidmap failed: {}": ("newuidmap", CONFIG, GIVEN),
    "newgidmap failed: {}": ("newgidmap", CONFIG, GIVEN),
    "checkpoint: {}": ("checkpoint", INSIDE, "--debug shows each step; --work-path has CRIU's log"),
}

"""The words of the help, in runc's layout. Loaded when help is asked for, or a command line is wrong; never else.

The names, short forms and kinds of flags come from table.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.cli.table import COMMANDS, GLOBAL
from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call, Flags

_ABOUT = """Open Container Initiative runtime

{p} makes and runs containers from bundles, as the Open Container Initiative's
runtime specification describes them, and takes the same commands and flags as
runc. Engines such as containerd, podman and docker start it; a person can too.

A bundle is a directory with a file named "config.json", which describes the
container, and with the container's root filesystem.

To run a container in the foreground:

    # {p} run [ -b bundle ] <container-id>

"<container-id>" is a name of your choice that no other container of this host
has. Without "-b" the bundle is the current directory."""

_ID = """<container-id>

"<container-id>" is the name that the container was created with."""

_NEW_ID = """<container-id>

"<container-id>" is the container's name: letters, digits and the characters
"_", "+", "-" and ".". No other container below the same --root may have it."""

# command: (one line, what follows the flags in USAGE, DESCRIPTION or "")
TEXTS = {
    "create": (
        "create a container",
        _NEW_ID,
        """Creates a container from a bundle: its namespaces, mounts, cgroup and process. The
process then waits; "{p} start" lets it execute the program that process.args of
config.json names.""",
    ),
    "run": (
        "create a container, start it and wait for it",
        _NEW_ID,
        """Creates a container from a bundle and starts it. In the foreground {p} passes on
input, output and signals, waits, deletes the container and exits with the status
of its process (128 + N if signal N killed it).""",
    ),
    "start": (
        "let a created container's process run",
        _ID,
        'Lets the process of a container that "{p} create" made execute its program.',
    ),
    "exec": (
        "run another process in a container",
        """<container-id> <command> [command options]  || -p process.json <container-id>

"<container-id>" is the name of a running container and "<command>" the program
to run in it, which may be left out only with "-p".

EXAMPLE:
To see the processes of a container whose image has a ps command:

       # {p} exec <container-id> ps""",
        "",
    ),
    "kill": (
        "send a signal (default: SIGTERM) to a container's process",
        """<container-id> [signal]

"[signal]" is a name, such as KILL, SIGKILL or RTMIN+3, or a number.

EXAMPLE:
To kill the container "ubuntu01":

       # {p} kill ubuntu01 KILL""",
        "",
    ),
    "delete": (
        "remove what a container holds, once it has stopped",
        """<container-id>

EXAMPLE:
When "{p} list" shows the container "ubuntu01" as "stopped", this removes what
is left of it:

       # {p} delete ubuntu01""",
        "",
    ),
    "state": (
        "print the state of a container",
        _ID,
        "Prints the container's state, as the specification defines it, as JSON.",
    ),
    "list": (
        "list the containers below the given root",
        """

EXAMPLE 1:
The containers below the default root:
       # {p} list

EXAMPLE 2:
Those below another one:
       # {p} --root value list""",
        "",
    ),
    "ps": ("show the processes of a container", "<container-id> [ps options]", ""),
    "events": (
        "print what a container uses, and that it ran out of memory",
        _ID,
        """Prints the container's statistics every 5 seconds, and an event when its memory runs
out, as JSON, one event a line.""",
    ),
    "diff": (
        "show what the plans of two bundles differ in",
        "<bundle> <bundle>",
        """Prints the steps that only one of the two plans has, and those that differ, each with
the properties of config.json behind it. Where a bundle lies is no difference. With
--exit-code the exit status is 2 when there is one.""",
    ),
    "top": (
        "show what containers use, refreshed",
        "[container-id...]",
        """Shows for each container, or those named, over the last interval: CPU time in percent
of one CPU and the share of periods in which it was throttled, memory and processes
with their limits, bytes read from and written to block devices in a second; and the
pressure of the last ten seconds on CPU, memory and I/O (cgroup v2), and how often it
ran out of memory.

Without a terminal it is printed once, as with --once. Keys: q ends it, r reverses the
order, and c, m, p, i, s, o, t, n choose it.""",
    ),
    "inspect": (
        "show what was asked for a container beside what the kernel has",
        _ID,
        """Prints each thing that config.json, "{p} update" and "{p} mounts" ask for beside what
the kernel says now, and marks what differs, with the pointer into config.json. With
--check the exit status is 2 when something differs.

With --syscall it also says what the container's seccomp filter does of a call. For
that the container's process is stopped for a moment, as by a debugger; its program may
see a call interrupted (EINTR).""",
    ),
    "checkpoint": (
        "save a running container to images",
        _ID,
        """Saves the container's processes, their memory and what they have open, by CRIU. Then
the container is gone, unless --leave-running or --pre-dump is given; "{p} restore"
makes it anew.""",
    ),
    "restore": (
        "make a container anew from the images of a checkpoint",
        _NEW_ID,
        """Makes a container from a bundle, with the processes that "{p} checkpoint" saved. In
the foreground {p} waits as it does in "{p} run".""",
    ),
    "mounts": (
        "add mounts to a running container, or remove them",
        """add|remove <container-id> <file>

"<file>" holds a JSON array of mounts as in config.json, '-' is standard input.

EXAMPLE:
       # echo '[{"destination": "/data", "type": "bind", "source": "/srv",
                 "options": ["bind", "ro"]}]' | {p} mounts add <container-id> -""",
        """Of mounts to remove the destination is enough. Only what config.json or "{p} mounts add"
has mounted there is taken away, and nothing that lies on a procfs or sysfs.""",
    ),
    "pause": (
        "stop all processes of a container for a while",
        _ID,
        'Stops every process of the container until "{p} resume".',
    ),
    "resume": ("let the processes of a paused container go on", _ID, 'Undoes "{p} pause".'),
    "update": ("change the resource limits of a container", "<container-id>", ""),
    "spec": (
        "write a config.json to start from",
        "",
        """Writes a config.json to start from into the bundle, and never over one that exists.
It runs "sh" on a terminal in a read-only rootfs/.

EXAMPLE:
A bundle for "hello" of some image:

    mkdir hello && cd hello
    docker export $(docker create hello-world) | tar -x --one-top-level=rootfs
    {p} spec
    sed -i 's;"sh";"/hello";' config.json
    {p} run container1

With --rootless the config suits a user who is not root.""",
    ),
    "features": (
        "print what this runtime can do",
        "",
        """Prints what this runtime can do, whatever the host, as JSON in the shape that the
runtime specification's features.md defines.""",
    ),
    "plan": (
        "show every step that a bundle would cause, without doing any",
        "[bundle]",
        """Prints the steps that create and start would take, in order, each with the property
of config.json and the section of the specification that ask for it. With --html it
writes a page that needs nothing else: both processes side by side, and with each step
its lines of config.json and what undoes it.""",
    ),
    "trace": (
        "do what create, run, exec or start does, and tell how long each step took",
        """create|run|exec|start [options of that command] <arguments of that command>

EXAMPLE:
       # {p} trace --format perfetto --output trace.json run -b bundle container1

and open trace.json in https://ui.perfetto.dev or chrome://tracing.""",
        """Does it, and tells each step of both processes, {p}'s own and the container's: when
it began and how long it took. In JSON "begin" and "duration" are nanoseconds. What was
measured of a failure is told as well. Exits as the command that is traced does.""",
    ),
    "validate": (
        "check a bundle's config.json without doing anything",
        "[bundle]",
        "Prints everything that is wrong with config.json, each with a JSON pointer. Exits 1 when something is.",
    ),
    "doctor": (
        "tell what this host lacks, for a bundle or at all",
        "[bundle]",
        """Looks at the kernel, cgroups, LSMs, seccomp, namespaces and id maps, the caller's
rights and limits, the root, systemd, CRIU, libraries and engines, and changes nothing.
Each finding is "ok", a "note" (some containers need it) or a "problem", with what to
do. With a bundle, also what that needs and this host lacks. Exits 1 when there is a
problem.""",
    ),
    "completion": (
        "print a shell's completion script",
        "<bash|zsh|fish>",
        """EXAMPLE:
       # source <({p} completion bash)""",
    ),
    "why": (
        "tell what became of a container, also of one that could not be made",
        "[container-id]",
        """Tells how a container ended, and what failed of it: exit status or signal, and who
sent it where "{p} run" passed it on; memory that ran out; the step that failed,
with a hook's output; what the kernel's log says of its process. It is kept of the
last 64 containers that ended badly or could not be made, below the root, for the
user alone. Without a container, what is kept of all.""",
    ),
    "version": ("print the version", "", ""),
    "help": ("print this, or the help of one command", "[command]", ""),
}

_RESOURCES = """path to a JSON file with the resources to change, or '-' for standard input

The format is that of linux.resources in config.json; what is left out stays:

{
  "memory": {
    "limit": 0,
    "reservation": 0,
    "swap": 0,
    "checkBeforeUpdate": true
  },
  "cpu": {
    "shares": 0,
    "quota": 0,
    "burst": 0,
    "period": 0,
    "realtimeRuntime": 0,
    "realtimePeriod": 0,
    "cpus": "",
    "mems": "",
    "idle": 0
  },
  "blockIO": {
    "weight": 0
  }
}

With this flag the others are ignored."""

_PID_FILE = "write the process's number, as the host sees it, to this file"
_PRESERVE = "pass N further descriptors to the container (stdio + $LISTEN_FDS + N in all)"
_CONSOLE = "path of an AF_UNIX socket that is sent the master end of the console's pseudoterminal"
_PIDFD = "path of an AF_UNIX socket that is sent a pidfd of the process"
_BUNDLE = "the bundle's directory, by default the current one"
_CONFIG = "file to read instead of the bundle's config.json"
_FORMAT = 'select one of: table or json (default: "table")'
_DETACH = "do not wait for the process"

# flag, or command.flag where a command means its own: what it does.
FLAGS = {
    "debug": "log what is done as well as what fails",
    "log": "file to append the log to (default is '/dev/stderr')",
    "log-format": "format of the log ('text' (default), or 'json') (default: \"text\")",
    "root": 'directory of the containers\' states; it should be on a tmpfs (default: "/run/pyrunc")',
    "systemd-cgroup": 'make cgroups by systemd: cgroupsPath is "slice:prefix:name", such as "system.slice:pyrunc:ab1"',
    "cgroup-manager": "who makes cgroups: cgroupfs (pyrunc itself; the default), systemd, or disabled for no cgroup",
    "rootless": "ignore errors of permission on cgroups ('true', 'false', or 'auto') (default: \"auto\")",
    "trust-annotations": "heed crun's annotations (run.oci.*): as powerful as hooks",
    "help": "show help",
    "version": "print the version",
    "bundle": _BUNDLE,
    "config": _CONFIG,
    "console-socket": _CONSOLE,
    "pidfd-socket": _PIDFD,
    "pid-file": _PID_FILE,
    "no-pivot": "do not use pivot_root(2) to enter the rootfs: needed where it lies on a ramfs",
    "no-new-keyring": "let the container keep the session keyring of the caller",
    "preserve-fds": _PRESERVE + " (default: 0)",
    "detach": _DETACH,
    "keep": "do not delete the container when its process has ended",
    "no-subreaper": "do not become the reaper of orphaned processes",
    "cwd": "working directory in the container",
    "env": "set an environment variable, NAME=value",
    "tty": "allocate a pseudoterminal",
    "user": "UID (format: <uid>[:<gid>])",
    "additional-gids": "add a group",
    "process": "path of a process.json that describes the process",
    "process-label": "SELinux label of the process",
    "apparmor": "AppArmor profile of the process",
    "no-new-privs": "set the process's no_new_privs",
    "cap": "add a capability to the process's bounding, effective and permitted sets",
    "cgroup": "run the process in a cgroup below the container's. Format is [<controller>:]<cgroup>.",
    "ignore-paused": "allow exec in a paused container",
    "regex": "take the argument for a regular expression: every container whose name it is found in",
    "force": "kill the container with SIGKILL first if it is not stopped",
    "format": _FORMAT,
    "trace.format": 'select one of: table, json or perfetto, which is Chrome\'s trace event format (default: "table")',
    "output": "file to write the trace to, '-' for standard output (default: standard error)",
    "interval": "time between two statistics, such as 1m30s (default: 5s)",
    "stats": "print the statistics once and exit",
    "image-path": 'directory of the images (default: "checkpoint")',
    "work-path": "directory of CRIU's log and other files, by default that of the images",
    "parent-path": "directory of an earlier pre-dump, relative to --image-path: only what has changed since is saved",
    "leave-running": "let the container run on",
    "tcp-established": "allow open TCP connections",
    "tcp-skip-in-flight": "leave out TCP connections that are being made",
    "link-remap": "allow files that have been unlinked, linking them again where that can be",
    "ext-unix-sk": "allow unix sockets whose other end is outside of the container",
    "shell-job": "allow a process whose session is the caller's",
    "lazy-pages": "restore memory only when it is used, by userfaultfd(2)",
    "status-fd": "descriptor that a zero byte is written to when lazy-pages is ready (default: -1)",
    "page-server": "ADDRESS:PORT of a page server that takes the memory",
    "file-locks": "save file locks, too: safe where no other process uses the files",
    "pre-dump": "save memory only, in which the container runs on",
    "manage-cgroups-mode": "how cgroups are restored: soft|full|strict|ignore (default: soft)",
    "empty-ns": "make a namespace of this type, but leave it empty (network: always so)",
    "auto-dedup": "drop what a later image has from the earlier ones",
    "lsm-profile": "LSM profile to restore with, TYPE:NAME",
    "lsm-mount-context": "LSM context of the mounts to restore with",
    "quiet": "print the names only",
    "all": "(obsolete: kill reaches every process by itself)",
    "json": "print JSON",
    "top.interval": "time over which is counted, such as 500ms (default: 1s)",
    "sort": "order: cpu, memory, pids, io, pressure, oom, throttled or name (default: cpu)",
    "once": "print one table and exit",
    "exit-code": "exit with status 2 when they differ",
    "check": "exit with status 2 when something differs",
    "syscall": "ask the seccomp filter about this system call, by name or number; several with commas",
    "html": "write a page for a browser to this file, '-' for standard output",
    "spec.rootless": "write a config for a user who is not root",
    "resources": _RESOURCES,
    "blkio-weight": "weight of the cgroup's I/O, from 10 to 1000 (default: 0)",
    "cpu-period": "period of the CPU limit, in microseconds; 0 for the system's own",
    "cpu-quota": "CPU time that may be used in a period, in microseconds",
    "cpu-burst": "CPU time that may be saved up for a burst, in microseconds",
    "cpu-share": "weight of the CPU share against other containers",
    "cpu-rt-period": "period of the realtime CPU limit, in microseconds; 0 for the system's own",
    "cpu-rt-runtime": "realtime CPU time that may be used in a period, in microseconds",
    "cpuset-cpus": "CPUs to use, such as 0-3,7",
    "cpuset-mems": "memory nodes to use",
    "kernel-memory": "(obsolete)",
    "kernel-memory-tcp": "(obsolete)",
    "memory": "memory limit, in bytes or with a suffix such as m",
    "cpu-idle": "1 to run only when the CPU has nothing else to do (SCHED_IDLE), 0 as usual",
    "memory-reservation": "memory that is left to the container under pressure",
    "memory-swap": "limit of memory and swap together, '-1' for none",
    "pids-limit": "number of processes allowed (default: 0)",
    "l3-cache-schema": "Intel RDT/CAT L3 cache schema",
    "mem-bw-schema": "Intel RDT/MBA memory bandwidth schema",
}

# Taken, but not shown.
HIDDEN = {("create", "no-subreaper"), ("kill", "all"), ("update", "kernel-memory"), ("update", "kernel-memory-tcp")}


def describe(command: str, flag: str) -> str:
    """What a flag of a command ("" for the global ones) does."""
    return FLAGS.get(f"{command}.{flag}") or FLAGS[flag]


def application(program: str) -> str:
    """The help without a command."""
    from pyrunc.cli.version import VERSION

    width = max(len(name) for name in COMMANDS) + 2
    lines = []
    for name in [name for name in sorted(COMMANDS) if name != "help"] + ["help"]:
        lines.append("   " + ("help, h" if name == "help" else name).ljust(width) + TEXTS[name][0])
    return (
        "NAME:\n   {p} - " + _ABOUT + "\n\nUSAGE:\n   {p} [global options] command [command options] [arguments...]\n\n"
        "VERSION:\n   "
        + VERSION
        + "\n\nCOMMANDS:\n"
        + "\n".join(lines)
        + "\n\nGLOBAL OPTIONS:\n"
        + _options("", GLOBAL)
    ).replace("{p}", program)


def command(program: str, name: str) -> str:
    """The help of one command."""
    brief, usage, description = TEXTS[name]
    flags = [flag for flag in COMMANDS[name][3] if flag[0] != "help" and (name, flag[0]) not in HIDDEN]
    text = f"NAME:\n   {{p}} {name} - {brief}\n\nUSAGE:\n   {{p}} {name}"
    text += (" [command options] " if flags else " ") + (usage or "[arguments...]") + "\n"
    if description:
        text += f"\nDESCRIPTION:\n   {description}\n"
    if flags:
        text += "\nOPTIONS:\n" + _options(name, tuple(flags))
    return text.replace("{p}", program)


def _options(name: str, flags: Flags) -> str:
    spelled = []
    for long, short, kind in flags:
        value = "" if kind == "bool" else " value"
        spelled.append("--" + long + value + (f", -{short}{value}" if short else ""))
    width = max(len(one) for one in spelled) + 2
    return "".join(
        [f"   {one.ljust(width)}{describe(name, flag[0])}\n" for one, flag in zip(spelled, flags, strict=True)]
    )


def run(call: Call) -> int:
    """pyrunc help [command]."""
    if not call.args:
        log.output(application(call.program))
        return 0
    name = "help" if call.args[0] == "h" else call.args[0]
    if name not in COMMANDS:
        raise UsageError(f"No help topic for '{call.args[0]}'")
    log.output(command(call.program, name))
    return 0

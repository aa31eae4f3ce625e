"""The catalogue: namespaces, the process's settings, its program, hooks, network devices, Intel RDT."""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ELOOP, ENOENT, ENOEXEC, ENOSPC, ENOTDIR, EPERM
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CALL, CONFIG, GIVEN, STATE, STEP, Case, asked, meant

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _sysctl_value(case: Case) -> str:
    number = case.error.errno or 0
    if number == ENOENT:
        from pyrunc.catalogue.configs import SYSCTLS

        question = meant(case.holes[0], SYSCTLS.split())
        return (question + " " if question else "") + "this kernel has no /proc/sys/" + case.holes[0].replace(".", "/")
    return _SYSCTL.get(number) or _SYSCTL[0]


def _device(case: Case) -> str:
    from pyrunc.linux import files

    name = case.holes[0]
    try:
        lines = files.read("/proc/net/dev", limit=1 << 20).decode().splitlines()[2:]
    except OSError:
        return ""
    names = [line.partition(":")[0].strip() for line in lines]
    question = meant(name, names)
    return (question + " " if question else "") + "`ip link` lists the host's: " + ", ".join(names[:8])


_SYSCTL: Final = {
    EINVAL: "the value is none that it takes: sysctl(8) on another machine shows what it can be",
    EACCES: "it must be writable in the container's namespaces",
    EPERM: "it needs the namespace it belongs to, and capabilities in the user namespace that owns it",
    0: "the value is none that it takes",
}
_PROGRAM: Final = "process.args[0] is a path of the rootfs, or a name that is in one of the directories of PATH"
_EXEC: Final = {
    ENOENT: "the path must be in the rootfs; for a script the interpreter of its #! line, for a program its loader too",
    ENOEXEC: "it must be a program for this machine, or a script that begins with #!",
    EACCES: "it must be executable (chmod +x) for the process's user, and the mount it is on must not be noexec",
    ENOTDIR: "a part of that path is a file in the rootfs",
    EISDIR: "name an executable file in it",
    ELOOP: "links of the rootfs lead to each other on that path",
    0: _PROGRAM,
}
_HOOK: Final = "it is a program of the host's, called with the container's state in JSON on its standard input"
_NAMESPACE: Final = {
    EPERM: "CAP_SYS_ADMIN is needed, in its user namespace as well: join that too, or call it as root",
    EINVAL: "it cannot be joined from here: the caller's own user namespace, or one that is not above it",
    0: "`nsenter` on it fails alike",
}
_RDT: Final = "`cat /sys/fs/resctrl/info/last_cmd_status` says why; /sys/fs/resctrl/info has what this CPU can do"
_LINK: Final = "`ip link` on the host shows the device and its state"

ENTRIES: Final[dict[str, Entry]] = {
    # ---- namespaces ----
    "namespace path {}: {}": ("{0}", CONFIG, asked(0, "the process that it belongs to must still be there")),
    "namespace path {} is not a {} namespace": (
        "{0}",
        CONFIG,
        "for {1} it is a file such as /proc/PID/ns/{1} (net, mnt)",
    ),
    "join {} namespace: {}": ("{0}", CONFIG, _NAMESPACE),
    "the user namespace that is joined has other mappings": (
        "user namespace",
        CONFIG,
        "leave the mappings out of the config, or let them be those of /proc/PID/uid_map and gid_map",
    ),
    "become root of the user namespace: {}": ("user namespace", STEP, GIVEN),
    "write id mappings: {}": (
        "id mappings",
        STEP,
        {
            EPERM: "as an ordinary user only the caller's own ids can be mapped, others by newuidmap and /etc/subuid",
            EINVAL: "the kernel takes 340 runs, none of them empty, and no host id twice (user_namespaces(7))",
            0: "user_namespaces(7) has the rules for uid_map and gid_map",
        },
    ),
    "write time offsets: {}": (
        "time offsets",
        CONFIG,
        {
            EINVAL: "a clock must not become negative or go beyond 146 years (time_namespaces(7))",
            0: "time_namespaces(7)",
        },
    ),
    "rootless container requires user namespaces": ("rootless container", CONFIG, GIVEN),
    # ---- settings ----
    "join session keyring: {}": ("session keyring", STEP, "--no-new-keyring does without one"),
    "set oom_score_adj to {}: {}": ("{0}", STEP, GIVEN),
    "set rlimit {}: {}": ("{0}", CONFIG, {EPERM: GIVEN, EINVAL: "soft must not be above hard", 0: "setrlimit(2)"}),
    "set sysctl {} to {}: {}": ("{0}", CONFIG, _sysctl_value),
    "write '{}' to /proc/self/attr/{}: {}": (
        "{0}",
        STEP,
        {
            ENOENT: "AppArmor: that profile is not loaded on the host: `apparmor_parser` loads, `aa-status` lists them",
            EINVAL: "SELinux: the policy does not know that label; AppArmor: it is no profile's name",
            0: "the policy of the host does not let the runtime change to it: its audit log says so",
        },
    ),
    "{} label {} cannot be applied: {} is not enabled on this host": (
        "{1}",
        CONFIG,
        "leave it out; or boot the host with {2} (/sys/kernel/security/lsm lists what is on)",
    ),
    "selinux label '{}' is none that the policy of this host knows": (
        "{0}",
        CONFIG,
        "user:role:type:level, as `ps -Z` shows",
    ),
    "set {}: {}": (
        "{0}",
        STEP,
        {
            EPERM: "it needs CAP_SYS_NICE on the host; an I/O class IOPRIO_CLASS_RT CAP_SYS_ADMIN",
            EINVAL: "this kernel does not take these values: sched(7), ioprio_set(2), set_mempolicy(2)",
            0: "this kernel does not have it",
        },
    ),
    "memory policy: there is no memory node {}": (
        "{0}",
        CONFIG,
        "/sys/devices/system/node/possible has those that there are",
    ),
    "set uid {}: {}": ("{0}", CONFIG, "the runtime needs CAP_SETUID in the container's user namespace"),
    "set gid {}: {}": ("{0}", CONFIG, "the runtime needs CAP_SETGID in the container's user namespace"),
    "set additional groups: {}": (
        "additional groups",
        CONFIG,
        "each must be mapped by linux.gidMappings, and the runtime needs CAP_SETGID",
    ),
    # ---- cwd, program ----
    "chdir to cwd {}: {}": (
        "{0}",
        CONFIG,
        {
            ENOTDIR: "in the rootfs that is a file, or a part of it is",
            EACCES: "the process's user must be able to search it",
            ELOOP: "links of the rootfs lead to each other on that path",
            0: "make it a directory in the rootfs",
        },
    ),
    "current working directory {} is outside of the container's root": (
        "{0}",
        CONFIG,
        "name a directory of the rootfs",
    ),
    'exec: "{}": executable file not found in $PATH': ("{0}", CONFIG, _PROGRAM),
    'exec: "{}": {}': ("{0}", CONFIG, _EXEC),
    "exec {}: {}": ("{0}", CONFIG, _EXEC),
    "execute the program: {}": ("program", CONFIG, _EXEC),
    "close descriptors: {}": ("descriptors", CONFIG, "the filter must allow close_range"),
    "reset signals: {}": ("signals", CONFIG, "the filter must allow rt_sigaction and rt_sigprocmask"),
    "load the seccomp filter: {}": (
        "seccomp filter",
        CONFIG,
        {
            EINVAL: "the kernel does not take the filter or a flag of it: leave linux.seccomp.flags out",
            0: "without noNewPrivileges it takes CAP_SYS_ADMIN",
        },
    ),
    "set capabilities: {}": (
        "capabilities",
        CONFIG,
        "the filter must allow capset and prctl; a set must be within what the runtime has",
    ),
    "hand over the seccomp listener: {}": ("seccomp listener", CONFIG, GIVEN),
    "enter the joined pid namespace and clone into it: {}": (
        "pid namespace",
        CONFIG,
        "it may be ending, or its pids limit is reached; the filter must allow setns and clone",
    ),
    "set the user id: {}": ("user id", CONFIG, "the filter must allow setresuid; RLIMIT_NPROC may be reached"),
    "wait for start: {}": ("start", CONFIG, "the filter must allow read"),
    # ---- hooks ----
    "{}: hook ran past specified timeout of {}s": ("{0}", STEP, "a longer timeout, in seconds, or a quicker hook"),
    "{}: the container's process ended while the hook ran": ("{0}", STEP, "something killed it: dmesg may say what"),
    "{}: interrupted": ("{0}", STEP, "the caller was interrupted while the hook ran"),
    "{}: exit status {}": ("{0}", STEP, _HOOK),
    "{}: exit status {}, output: {}": ("{0}", STEP, _HOOK),
    "{}: killed by signal {}": ("{0}", STEP, _HOOK),
    "{}: killed by signal {}, output: {}": ("{0}", STEP, _HOOK),
    "{}: killed by signal {}: bad system call": ("{0}", STEP, "startContainer hooks run under the container's filter"),
    "{}: killed by signal {}: bad system call, output: {}": (
        "{0}",
        STEP,
        "startContainer hooks run under the container's filter",
    ),
    # ---- network devices ----
    "unable to move network devices for rootless containers": ("network devices", CONFIG, "it takes the host's root"),
    "network devices are moved by pyroute2, which is not installed": ("network devices", CONFIG, GIVEN),
    "enter the container's network namespace: {}": ("network namespace", STEP, "it takes CAP_SYS_ADMIN on the host"),
    "unable to move network devices into the runtime's own network namespace": (
        "network devices",
        CONFIG,
        "let the path of the network namespace name another one, or leave it out",
    ),
    "move network device {}: no such device": ("{0}", STEP, _device),
    "move network device {}: the container's network namespace has a device {} already": (
        "{0}",
        STEP,
        '"name" gives it another name in the container',
    ),
    "move network device {}: {}": (
        "{0}",
        STEP,
        lambda case: (
            _device(case)
            if "no such device" in case.holes[1]
            else "some devices cannot be moved (lo, bridges, those with netns-local)"
        ),
    ),
    "set up network device {} in the container: {}": ("{0}", STEP, _LINK),
    # ---- Intel RDT ----
    "intelRdt: no resctrl file system is mounted": ("intelRdt", CONFIG, GIVEN),
    "intelRdt: there is no CLOS {}, and no schema to make it with": (
        "{0}",
        CONFIG,
        "mkdir /sys/fs/resctrl/{0}, or add a schema",
    ),
    "intelRdt: CLOS {} exists with another schema than {}": (
        "{0}",
        CONFIG,
        "another closID, or the schema that it has",
    ),
    "intelRdt: make group {}: {}": ("{0}", STEP, {ENOSPC: "this CPU has no more classes: remove one", 0: _RDT}),
    "intelRdt: put the process into {}: {}": ("{0}", STEP, _RDT),
    "intelRdt: write {} to {}/schemata: {}": ("{0}", STEP, _RDT),
    "Intel RDT/CAT: l3 cache schema is not enabled": ("l3 cache schema", CALL, "leave --l3-cache-schema out"),
    "Intel RDT/MBA: memory bandwidth schema is not enabled": (
        "memory bandwidth schema",
        CALL,
        "leave --mem-bw-schema out",
    ),
    "updating a non-existent Intel RDT configuration is not supported": (
        "Intel RDT configuration",
        STATE,
        "create the container with linux.intelRdt",
    ),
}

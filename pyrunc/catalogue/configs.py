"""The catalogue: config.json and its likes, as text, by its schema and by the rules of the specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CONFIG, FILE, INSIDE, Case, meant

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry


def _namespace(kind: str) -> str:
    return f'add {{"type": "{kind}"}} to linux.namespaces'


SYSCTLS: Final = (
    "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni "
    "kernel.shm_rmid_forced fs.mqueue.queues_max fs.mqueue.msg_max fs.mqueue.msgsize_max kernel.hostname "
    "kernel.domainname net.core.somaxconn net.ipv4.ip_forward net.ipv4.ip_local_port_range "
    "net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_syncookies net.ipv4.tcp_keepalive_time "
    "net.ipv4.tcp_fin_timeout net.ipv4.conf.all.forwarding net.ipv6.conf.all.disable_ipv6 "
    "net.ipv6.conf.all.forwarding user.max_user_namespaces"
)


def _sysctl(case: Case) -> str:
    question = meant(case.holes[0].strip('"'), SYSCTLS.split())
    return (question + " " if question else "") + (
        "a container can set what its own namespaces hold: net.* (network), fs.mqueue.* and kernel.shm*, msg*, sem "
        "(ipc), user.* (user); all others are the host's: sysctl(8) there"
    )


def _json(case: Case) -> str:
    reason = case.holes[3]
    if "beyond 64 bits" in reason:
        return "a number is between -2^63 and 2^64-1; -1 is no limit"
    if "deep" in reason:
        return "objects and arrays nest at most 128 deep"
    return "it must be JSON, without comments: `python3 -m json.tool FILE` tells as well"


def _mapped(case: Case) -> str:
    kind = "uid" if "uid" in case.error.message else "gid"
    return "a run of linux." + kind + "Mappings must hold containerID " + (case.holes or ["0"])[-1]


_ENV: Final = "an entry of env is NAME=value"
_DEVICE_NUMBER: Final = "`stat -c '%t %T' FILE` prints the numbers of a device of the host's, in hex"
_SCHEDULER: Final = "sched(7): priority is for SCHED_FIFO and SCHED_RR; runtime, deadline, period for SCHED_DEADLINE"
_LIST: Final = "numbers and ranges with commas between them, such as 0-3,7"

ENTRIES: Final[dict[str, Entry]] = {
    # ---- as text ----
    "{}: larger than {} bytes": ("{0}", FILE, "a config has at most 4 MiB: leave out what no runtime reads"),
    "{}: larger than {} bytes: {} bytes": ("{0}", FILE, "a config has at most 4 MiB: leave out what no runtime reads"),
    "{}: starts with a byte-order mark: plain UTF-8 is expected": (
        "{0}",
        FILE,
        "`sed -i '1s/^\\xef\\xbb\\xbf//' FILE`",
    ),
    "{}: not UTF-8 at byte {}: {}": ("{0}", FILE, "`iconv -f LATIN1 -t UTF-8 FILE`, if that is what it is written in"),
    "{}: is empty, a JSON object is expected": ("{0}", FILE, "`{program} spec` writes one to begin with"),
    'the name "{}" stands twice in one object': ("{0}", CONFIG, "leave one of the two out"),
    "{}: line {} column {}: {}": ("{0}", FILE, _json),
    '{}: half of a surrogate pair: "{}"': ("{0}", CONFIG, "write the letter itself, or both halves of the pair"),
    "not a valid {} of the runtime specification": ("{0}", FILE, "`{program} validate` says what is wrong"),
    "not valid, and why can only be said with jsonschema": ("jsonschema", FILE, "apt install python3-jsonschema"),
    "pyrunc/config/_schema.py is missing: make build": ("pyrunc/config/_schema.py", INSIDE, "make build"),
    "contains nul byte (\\x00): {}": ("{0}", CONFIG, "a NUL ends a string for the kernel: take \\u0000 out"),
    # ---- the whole, root, process ----
    "{} is not a version in SemVer 2.0.0": ("{0}", CONFIG, "MAJOR.MINOR.PATCH, such as 1.3.0"),
    "root must be specified": ("root", "none: what is missing has no place", 'add "root": {"path": "rootfs"}'),
    "root is required": ("root", CONFIG, 'add "root": {"path": "rootfs"}'),
    "Cwd property must not be empty": ("Cwd", CONFIG, 'an absolute path of the container\'s, such as "/"'),
    "Cwd must be an absolute path: {}": ("{0}", CONFIG, "it begins with /: the directory as the container sees it"),
    "args must not be empty": ("args", CONFIG, 'the program and its arguments, such as ["sh", "-c", "echo hello"]'),
    "invalid environment variable: name cannot be empty": ("environment variable", CONFIG, _ENV),
    "invalid environment variable: missing '='": ("environment variable", CONFIG, _ENV),
    "a terminal has at most 65535 lines and columns": ("terminal", CONFIG, "height and width from 0 to 65535"),
    "{} stands twice in rlimits": ("{0}", CONFIG, "leave one of the two out"),
    "{}: soft {} is above hard {}": ("{0}", CONFIG, "lower soft to {2}, or raise hard to {1} (setrlimit(2))"),
    "scheduler.priority of {} is from 1 to 99, not {}": ("{0}", CONFIG, _SCHEDULER),
    "scheduler.priority can only be specified for SchedFIFO or SchedRR policy": ("scheduler", CONFIG, _SCHEDULER),
    "scheduler runtime/deadline/period can only be specified for SchedDeadline policy": (
        "scheduler",
        CONFIG,
        _SCHEDULER,
    ),
    "bad CPUAffinity.{}: {}": ("{0}", CONFIG, _LIST),
    # ---- namespaces ----
    'malformed spec file: duplicated ns "{}"': ("{0}", CONFIG, "leave one of the two out"),
    "{} stands where an absolute path is expected": (
        "{0}",
        CONFIG,
        "a path that begins with /, such as /proc/PID/ns/net or a bind mount of one",
    ),
    "unable to set hostname without a private UTS namespace": (
        "hostname",
        CONFIG,
        _namespace("uts") + ", or leave hostname out: it would be the host's",
    ),
    "unable to set domainname without a private UTS namespace": (
        "domainname",
        CONFIG,
        _namespace("uts") + ", or leave domainname out: it would be the host's",
    ),
    "hostname is longer than 64 bytes": ("hostname", CONFIG, "the kernel takes 64 bytes (sethostname(2))"),
    "domainname is longer than 64 bytes": ("domainname", CONFIG, "the kernel takes 64 bytes (setdomainname(2))"),
    "unable to restrict sys entries without a private MNT namespace": (
        "sys entries",
        CONFIG,
        _namespace("mount") + ", or leave maskedPaths and readonlyPaths out",
    ),
    "user namespace mappings specified, but user namespace isn't enabled in the config": (
        "user namespace mappings",
        CONFIG,
        _namespace("user") + ", or leave uidMappings and gidMappings out",
    ),
    "user namespaces enabled, but no namespace path to join nor mappings to apply specified": (
        "user namespaces",
        CONFIG,
        'add linux.uidMappings and linux.gidMappings, such as [{"containerID": 0, "hostID": 100000, "size": 65536}]',
    ),
    "user namespaces enabled, but no {} mappings found": ("{0}", CONFIG, "add linux.{0}Mappings as well"),
    "user namespaces enabled, but no mapping found for {} 0": (
        "{0}",
        CONFIG,
        "the container's root is made by it: let a run of linux.{0}Mappings begin at containerID 0",
    ),
    "cannot set{} to unmapped {} {} in user namespace": ("{2}", CONFIG, _mapped),
    "{} {} is mapped twice": ("{0}", CONFIG, "the runs must not overlap: {0} up to {0} + size - 1"),
    "a mapping goes beyond {} 4294967294": ("{0}", CONFIG, "{0} + size is at most 4294967295"),
    "time namespace offsets specified, but time namespace isn't enabled in the config": (
        "time namespace offsets",
        CONFIG,
        _namespace("time") + ", or leave timeOffsets out",
    ),
    "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one": (
        "time namespace",
        CONFIG,
        "a time namespace that is joined has its offsets already: leave path or timeOffsets out",
    ),
    # ---- mounts ----
    'mountpoint "/" is on the top of rootfs': ("mountpoint", CONFIG, "root.path is what the container's / is"),
    '"/proc" cannot be mounted because it is not of type proc': (
        "/proc",
        CONFIG,
        'let it have "type": "proc" and "source": "proc", or another destination',
    ),
    "a bind mount needs a source": ("bind mount", CONFIG, '"source": the file or directory of the host to show'),
    "a mount that is no bind mount needs a type": (
        "mount",
        CONFIG,
        'add "type", such as tmpfs, or the option bind or rbind to show a directory of the host',
    ),
    "id-mapped mounts must have both uid and gid mappings specified": (
        "id-mapped mounts",
        CONFIG,
        "add the one that is missing of uidMappings and gidMappings",
    ),
    "id-mapped mounts must have both uid and gid mappings specified where there is no user namespace": (
        "id-mapped mounts",
        CONFIG,
        "add uidMappings and gidMappings to the mount, or a user namespace whose mappings idmap then takes",
    ),
    # ---- devices, sysctls ----
    '"{}" is missing: every device but a FIFO (type p) has one': ("{0}", CONFIG, _DEVICE_NUMBER),
    "sysctl {} is not the name of a kernel parameter": (
        "{0}",
        CONFIG,
        "its path below /proc/sys with dots for slashes, such as net.core.somaxconn",
    ),
    "sysctl {} is not allowed in the hosts ipc namespace": ("{0}", CONFIG, _namespace("ipc") + ": it belongs to one"),
    "sysctl {} not allowed in host network namespace": ("{0}", CONFIG, _namespace("network") + ": it belongs to one"),
    'sysctl {} is not allowed as it conflicts with the OCI "{}" field': ("{0}", CONFIG, 'set "{1}" instead'),
    "setting ucounts without a user namespace not allowed: {}": ("{0}", CONFIG, _namespace("user")),
    "sysctl {} is not in a separate kernel namespace": ("{0}", CONFIG, _sysctl),
    # ---- seccomp ----
    "seccomp listenerMetadata is set, but listenerPath is not": (
        "listenerMetadata",
        CONFIG,
        "add listenerPath, the socket of the agent that gets it, or leave listenerMetadata out",
    ),
    "SCMP_ACT_NOTIFY cannot be used as default action": (
        "SCMP_ACT_NOTIFY",
        CONFIG,
        "name the syscalls that the agent decides on in a rule: the set-up needs the others",
    ),
    "the seccomp action {} returns no errno": ("{0}", CONFIG, "take the errno out, or use SCMP_ACT_ERRNO or _TRACE"),
    "seccomp listenerPath is not set, but a rule has the action SCMP_ACT_NOTIFY": (
        "SCMP_ACT_NOTIFY",
        CONFIG,
        "add linux.seccomp.listenerPath, the socket of the agent that decides",
    ),
    # ---- resources ----
    "invalid memory swappiness {}: 0 to 100": ("{0}", CONFIG, "0 to 100: how much rather to swap than to drop caches"),
    "cpu burst {} is larger than the quota {}": ("{0}", CONFIG, "lower burst to {1} at most, or raise quota"),
    "neither weight nor leafWeight: at least one is required": ("weight", CONFIG, "add weight, from 10 to 1000"),
    "neither hcaHandles nor hcaObjects: at least one is required": ("hcaHandles", CONFIG, "add one of the two"),
    "unified resource {} must be a file name (no slashes)": (
        "{0}",
        CONFIG,
        "the name of a file in the container's cgroup, such as memory.high",
    ),
    # ---- what few have ----
    "unable to move network devices without a NET namespace": ("network devices", CONFIG, _namespace("network")),
    "invalid network device name {}": ("{0}", CONFIG, "at most 15 letters, without spaces, / and :"),
    "invalid intelRdt.ClosID {}": ("{0}", CONFIG, "the name of one directory below /sys/fs/resctrl"),
    "invalid memory policy nodes {}: {}": ("{0}", CONFIG, _LIST),
    "memory policy mode requires 0 nodes but got {}: {}": ("{1}", CONFIG, "leave nodes out (set_mempolicy(2))"),
    "memory policy mode requires at least one node but got 0: {}": ("{0}", CONFIG, 'add "nodes", such as "0"'),
    "the specification has no personality flags": ("personality flags", CONFIG, "leave flags out"),
}

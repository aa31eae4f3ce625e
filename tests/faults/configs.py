"""Faults of config.json: its text, its schema, and the rules of the specification."""

from __future__ import annotations

from tests.support.workplace import Bundle

from .fault import DELETE, Change, Fault

FILE = "the file is no JSON object, so nothing in it has a place"
RUN = ("run", "--bundle", "BUNDLE", "ID")


def text(data: bytes) -> Change:
    def write(box: Bundle) -> None:
        (box.path / "config.json").write_bytes(data)

    return write


def folder(box: Bundle) -> None:
    """A directory where the file should be."""
    (box.path / "config.json").unlink()
    (box.path / "config.json").mkdir()


def schema(name: str, pointer: str, value: object, holds: str, hint: str, at: str | None = None) -> Fault:
    """What the schema does not allow at a pointer. at: where the line points, when not there."""
    where = pointer if at is None else at
    none = "" if where else "what is missing, or cannot be read, has no place"
    return Fault(name, (holds,), hint, pointer=where, none=none, config={pointer: value}, call=RUN)


def namespaces(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds]


MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
NONE: tuple[str, ...] = ()

FAULTS = [
    # ---- its text ----
    Fault(
        "config is missing",
        ("JSON specification file", "not found"),
        "spec",
        none=FILE,
        call=RUN,
        make=lambda box: (box.path / "config.json").unlink(),
    ),
    Fault("config is empty", ("config.json", "is empty"), "spec` writes one", none=FILE, call=RUN, make=text(b"")),
    Fault(
        "config is cut off",
        ("config.json", "line 1 column"),
        "JSON",
        none=FILE,
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0",'),
    ),
    Fault(
        "config has a comma too many",
        ("config.json", "line 1 column"),
        "json.tool",
        none=FILE,
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0",}'),
    ),
    Fault(
        "config has a comment",
        ("config.json", "line 1 column"),
        "json.tool",
        none=FILE,
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0" // x\n}'),
    ),
    Fault("config is an array", ("array",), "config is", none=FILE, call=RUN, make=text(b"[]")),
    Fault(
        "config has text after it",
        ("config.json", "line 1 column"),
        "JSON",
        none=FILE,
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0"} x'),
    ),
    Fault(
        "config is Latin-1",
        ("not UTF-8 at byte",),
        "iconv",
        none=FILE,
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0", "hostname": "\xe4"}'),
    ),
    Fault(
        "config begins with a byte-order mark",
        ("byte-order mark",),
        "sed -i",
        none=FILE,
        call=RUN,
        make=text(b'\xef\xbb\xbf{"ociVersion": "1.0.0"}'),
    ),
    Fault(
        "config has one name twice",
        ("ociVersion", "twice"),
        "leave one",
        pointer="/ociVersion",
        call=RUN,
        make=text(b'{"ociVersion": "1.0.0", "ociVersion": "1.0.1"}'),
    ),
    Fault(
        "config is too large",
        ("larger than 4194304 bytes",),
        "4 MiB",
        none=FILE,
        call=RUN,
        make=text(b'{"x": "' + b"x" * (5 << 20) + b'"}'),
    ),
    Fault(
        "config is too deep",
        ("config.json", "deep"),
        "128 deep",
        none=FILE,
        call=RUN,
        make=text(b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}"),
    ),
    Fault(
        "config is a directory",
        ("config.json",),
        "directory",
        none=FILE,
        call=RUN,
        make=folder,
    ),
    Fault(
        "config has a NUL in a string",
        ("nul byte",),
        "u0000",
        pointer="/process/args/0",
        call=RUN,
        config={"/process/args/0": "sh\0x"},
    ),
    # ---- its schema ----
    schema(
        "ociVersion is missing",
        "/ociVersion",
        DELETE,
        '"ociVersion" is missing',
        "version of the runtime specification",
        at="",
    ),
    schema("ociVersion is a number", "/ociVersion", 1, "1 stands where", "SemVer"),
    schema("ociVersion is no version", "/ociVersion", "1.x", '"1.x" stands where', "SemVer"),
    schema("root.path is empty", "/root/path", "", "not empty", "directory"),
    schema("root.readonly is a word", "/root/readonly", "yes", "true or false", "read-only"),
    schema("args is a string", "/process/args", "sh -c true", "array", "args is"),
    schema("an argument is a number", "/process/args/1", 5, "5 stands where a string", "args is"),
    schema("cwd is missing", "/process/cwd", DELETE, '"cwd" is missing', "cwd is", at="/process"),
    schema("uid is a name", "/process/user/uid", "root", '"root" stands where', "User ID"),
    schema("uid is negative", "/process/user/uid", -1, "-1 stands where", "User ID"),
    schema("env is an object", "/process/env", {"A": "1"}, "an object stands where an array", "env is"),
    schema("terminal is a number", "/process/terminal", 1, "true or false", "terminal"),
    schema(
        "an rlimit has a typo",
        "/process/rlimits",
        [{"type": "RLIMIT_NOFLIE", "soft": 1024, "hard": 1024}],
        "RLIMIT_NOFLIE",
        "did you mean RLIMIT_NOFILE?",
        at="/process/rlimits/0/type",
    ),
    schema("a namespace has a typo", "/linux/namespaces/0/type", "netwrok", "netwrok", "did you mean network?"),
    schema(
        "a mount has no destination",
        "/mounts/0/destination",
        DELETE,
        '"destination" is missing',
        "destination is",
        at="/mounts/0",
    ),
    schema("mount options are one string", "/mounts/0/options", "ro,nosuid", "array", "options is"),
    schema(
        "a hook has a relative path",
        "/hooks/prestart",
        [{"path": "bin/true"}],
        "absolute path",
        "path",
        at="/hooks/prestart/0/path",
    ),
    schema(
        "a hook has a timeout of 0",
        "/hooks/poststart",
        [{"path": "/bin/true", "timeout": 0}],
        "0 stands where",
        "timeout",
        at="/hooks/poststart/0/timeout",
    ),
    schema(
        "a seccomp action has a typo",
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALOW"},
        "SCMP_ACT_ALOW",
        "did you mean SCMP_ACT_ALLOW?",
        at="/linux/seccomp/defaultAction",
    ),
    schema(
        "a seccomp architecture has a typo",
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_46"]},
        "SCMP_ARCH_X86_46",
        "did you mean SCMP_ARCH_X86_64?",
        at="/linux/seccomp/architectures/0",
    ),
    schema(
        "a seccomp operator has a typo",
        "/linux/seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {
                    "names": ["kill"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQUAL"}],
                }
            ],
        },
        "SCMP_CMP_EQUAL",
        "did you mean SCMP_CMP_EQ",
        at="/linux/seccomp/syscalls/0/args/0/op",
    ),
    schema(
        "a seccomp flag has a typo",
        "/linux/seccomp",
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LGO"]},
        "SECCOMP_FILTER_FLAG_LGO",
        "did you mean SECCOMP_FILTER_FLAG_LOG?",
        at="/linux/seccomp/flags/0",
    ),
    schema("a memory limit is a string", "/linux/resources/memory/limit", "64m", '"64m" stands where', "limit"),
    schema("a number beyond 64 bits", "/linux/resources/memory/limit", 2**70, "64 bits", "-1 is no limit"),
    schema("cpus is no list", "/linux/resources/cpu/cpus", "a-b", "a-b", "the cgroup above has"),
    schema("rootfsPropagation has a typo", "/linux/rootfsPropagation", "privat", "privat", "did you mean private?"),
    schema(
        "a scheduler policy has a typo",
        "/process/scheduler",
        {"policy": "SCHED_FIFFO"},
        "SCHED_FIFFO",
        "did you mean SCHED_FIFO?",
        at="/process/scheduler/policy",
    ),
    schema(
        "an I/O class has a typo",
        "/process/ioPriority",
        {"class": "IOPRIO_CLASS_BEE"},
        "IOPRIO_CLASS_BEE",
        "did you mean IOPRIO_CLASS_BE?",
        at="/process/ioPriority/class",
    ),
    schema(
        "a personality has a typo",
        "/linux/personality",
        {"domain": "LINUX23"},
        "LINUX23",
        "did you mean LINUX32?",
        at="/linux/personality/domain",
    ),
    schema(
        "a device rule has a wrong letter",
        "/linux/resources/devices",
        [{"allow": True, "access": "rwx"}],
        '"rwx" stands where',
        "access",
        at="/linux/resources/devices/0/access",
    ),
    schema(
        "a device has an unknown type",
        "/linux/devices",
        [{"type": "x", "path": "/dev/x"}],
        '"x" stands where',
        "type is",
        at="/linux/devices/0/type",
    ),
    schema(
        "a masked path is relative",
        "/linux/maskedPaths",
        ["proc/kcore"],
        "absolute path",
        "maskedPaths",
        at="/linux/maskedPaths/0",
    ),
    schema(
        "an annotation is a number",
        "/annotations",
        {"a": 1},
        "1 stands where a string",
        "annotations",
        at="/annotations/a",
    ),
    schema(
        "a sysctl is a number",
        "/linux/sysctl",
        {"net.core.somaxconn": 128},
        "128 stands where a string",
        "sysctl",
        at="/linux/sysctl/net.core.somaxconn",
    ),
    schema(
        "a mapping of no ids",
        "/linux/uidMappings",
        [{"containerID": 0, "hostID": 0, "size": 0}],
        "0 stands where",
        "size",
        at="/linux/uidMappings/0/size",
    ),
    # ---- rules: process ----
    Fault(
        "cwd is relative",
        ("Cwd must be an absolute path",),
        "begins with /",
        pointer="/process/cwd",
        config={"/process/cwd": "tmp"},
        call=RUN,
    ),
    Fault(
        "args is missing",
        ("args must not be empty",),
        "the program and its arguments",
        pointer="/process",
        config={"/process/args": DELETE},
        call=RUN,
    ),
    Fault(
        "a variable without =",
        ("invalid environment variable",),
        "NAME=value",
        pointer="/process/env/0",
        config={"/process/env": ["PATH"]},
        call=RUN,
    ),
    Fault(
        "a variable without a name",
        ("invalid environment variable",),
        "NAME=value",
        pointer="/process/env/1",
        config={"/process/env": ["A=1", "=x"]},
        call=RUN,
    ),
    Fault(
        "an rlimit twice",
        ("RLIMIT_NOFILE stands twice",),
        "leave one",
        pointer="/process/rlimits/1",
        config={"/process/rlimits": [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 9}] * 2},
        call=RUN,
    ),
    Fault(
        "an rlimit with soft above hard",
        ("soft 20 is above hard 10",),
        "lower soft to 10",
        pointer="/process/rlimits/0",
        config={"/process/rlimits": [{"type": "RLIMIT_NOFILE", "soft": 20, "hard": 10}]},
        call=RUN,
    ),
    Fault(
        "a priority without its policy",
        ("scheduler.priority can only",),
        "sched(7)",
        pointer="/process/scheduler",
        config={"/process/scheduler": {"policy": "SCHED_OTHER", "priority": 5}},
        call=RUN,
    ),
    Fault(
        "a CPU list of exec's is none",
        ("bad CPUAffinity",),
        "such as 0-3,7",
        pointer="/process/execCPUAffinity/initial",
        config={"/process/execCPUAffinity": {"initial": "3-1"}},
        call=RUN,
    ),
    # ---- rules: namespaces ----
    Fault(
        "a namespace twice",
        ('duplicated ns "pid"',),
        "leave one",
        pointer="/linux/namespaces/5",
        config={"/linux/namespaces/-": {"type": "pid"}},
        call=RUN,
    ),
    Fault(
        "hostname without its namespace",
        ("unable to set hostname without a private UTS namespace",),
        'add {"type": "uts"}',
        pointer="/hostname",
        config={"/linux/namespaces": namespaces("mount")},
        call=RUN,
    ),
    Fault(
        "hostname is too long",
        ("longer than 64 bytes",),
        "64",
        pointer="/hostname",
        config={"/hostname": "h" * 65},
        call=RUN,
    ),
    Fault(
        "masked paths without a mount namespace",
        ("without a private MNT namespace",),
        'add {"type": "mount"}',
        pointer="/linux/maskedPaths",
        config={"/linux/namespaces": namespaces("uts", "pid")},
        call=RUN,
    ),
    Fault(
        "mappings without a user namespace",
        ("user namespace mappings specified",),
        'add {"type": "user"}',
        pointer="/linux/uidMappings",
        config={"/linux/uidMappings": MAP, "/linux/gidMappings": MAP},
        call=RUN,
    ),
    Fault(
        "a user namespace without mappings",
        ("user namespaces enabled, but no",),
        "uidMappings",
        pointer="/linux/namespaces",
        config={"/linux/namespaces/-": {"type": "user"}},
        call=RUN,
    ),
    Fault(
        "a user namespace without gid mappings",
        ("no gid mappings found",),
        "gidMappings",
        pointer="/linux",
        config={"/linux/namespaces/-": {"type": "user"}, "/linux/uidMappings": MAP},
        call=RUN,
    ),
    Fault(
        "no mapping for root",
        ("no mapping found for uid 0",),
        "containerID 0",
        pointer="/linux/uidMappings",
        config={
            "/linux/namespaces/-": {"type": "user"},
            "/linux/uidMappings": [{"containerID": 1, "hostID": 1, "size": 1}],
            "/linux/gidMappings": MAP,
        },
        call=RUN,
    ),
    Fault(
        "the user is not mapped",
        ("unmapped uid 70000",),
        "must hold containerID 70000",
        pointer="/linux/uidMappings",
        config={
            "/process/user/uid": 70000,
            "/linux/namespaces/-": {"type": "user"},
            "/linux/uidMappings": MAP,
            "/linux/gidMappings": MAP,
        },
        call=RUN,
    ),
    Fault(
        "mappings overlap",
        ("containerID 5 is mapped twice",),
        "overlap",
        pointer="/linux/uidMappings",
        config={
            "/linux/namespaces/-": {"type": "user"},
            "/linux/uidMappings": [
                {"containerID": 0, "hostID": 100000, "size": 10},
                {"containerID": 5, "hostID": 200000, "size": 10},
            ],
            "/linux/gidMappings": MAP,
        },
        call=RUN,
    ),
    Fault(
        "time offsets without their namespace",
        ("time namespace offsets specified",),
        'add {"type": "time"}',
        pointer="/linux/timeOffsets",
        config={"/linux/timeOffsets": {"boottime": {"secs": 5}}},
        call=RUN,
    ),
    # ---- rules: mounts ----
    Fault(
        "a mount over the root",
        ("on the top of rootfs",),
        "root.path",
        pointer="/mounts/7/destination",
        config={"/mounts/-": {"destination": "/", "type": "tmpfs", "source": "tmpfs"}},
        call=RUN,
    ),
    Fault(
        "/proc is a tmpfs",
        ('"/proc" cannot be mounted because it is not of type proc',),
        '"type": "proc"',
        pointer="/mounts/0",
        config={"/mounts/0/type": "tmpfs"},
        call=RUN,
    ),
    Fault(
        "a mount inside /proc",
        ("inside /proc",),
        "another destination",
        pointer="/mounts/7/destination",
        config={"/mounts/-": {"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"}},
        call=RUN,
    ),
    Fault(
        "a bind mount without a source",
        ("a bind mount needs a source",),
        '"source"',
        pointer="/mounts/7",
        config={"/mounts/-": {"destination": "/mnt", "options": ["bind"]}},
        call=RUN,
    ),
    Fault(
        "a mount without a type",
        ("needs a type",),
        'add "type"',
        pointer="/mounts/7",
        config={"/mounts/-": {"destination": "/mnt", "source": "/tmp"}},
        call=RUN,
    ),
    Fault(
        "one kind of mappings of a mount",
        ("both uid and gid mappings",),
        "missing",
        pointer="/mounts/7",
        config={
            "/mounts/-": {"destination": "/mnt", "source": "/tmp", "options": ["bind", "idmap"], "uidMappings": MAP}
        },
        call=RUN,
    ),
    # ---- rules: sysctls, devices, seccomp, the rest ----
    Fault(
        "a sysctl of the host",
        ("is not in a separate kernel namespace",),
        "the host's",
        pointer="/linux/sysctl/kernel.panic",
        config={"/linux/sysctl": {"kernel.panic": "1"}},
        call=RUN,
    ),
    Fault(
        "a sysctl with a typo",
        ("kernel.shmxam",),
        "did you mean kernel.shmmax?",
        pointer="/linux/sysctl/kernel.shmxam",
        config={"/linux/sysctl": {"kernel.shmxam": "1"}},
        call=RUN,
    ),
    Fault(
        "a sysctl that is no name",
        ("is not the name of a kernel parameter",),
        "/proc/sys",
        pointer="/linux/sysctl/somaxconn",
        config={"/linux/sysctl": {"somaxconn": "1"}},
        call=RUN,
    ),
    Fault(
        "a sysctl without its network namespace",
        ("not allowed in host network namespace",),
        'add {"type": "network"}',
        pointer="/linux/sysctl/net.core.somaxconn",
        config={
            "/linux/namespaces": namespaces("mount", "uts", "pid", "ipc"),
            "/linux/sysctl": {"net.core.somaxconn": "1"},
        },
        call=RUN,
    ),
    Fault(
        "a sysctl without its IPC namespace",
        ("is not allowed in the hosts ipc namespace",),
        'add {"type": "ipc"}',
        pointer="/linux/sysctl/kernel.shmmax",
        config={"/linux/namespaces": namespaces("mount", "uts", "pid"), "/linux/sysctl": {"kernel.shmmax": "1"}},
        call=RUN,
    ),
    Fault(
        "a sysctl that is hostname",
        ("conflicts with the OCI",),
        'set "hostname"',
        pointer="/linux/sysctl/kernel.hostname",
        config={"/linux/sysctl": {"kernel.hostname": "x"}},
        call=RUN,
    ),
    Fault(
        "a device without its number",
        ('"major" is missing',),
        "stat -c",
        pointer="/linux/devices/0",
        config={"/linux/devices": [{"type": "c", "path": "/dev/x", "minor": 1}]},
        call=RUN,
    ),
    Fault(
        "notify as the default action",
        ("SCMP_ACT_NOTIFY cannot be used as default",),
        "rule",
        pointer="/linux/seccomp/defaultAction",
        config={"/linux/seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}},
        call=RUN,
    ),
    Fault(
        "notify without a listener",
        ("listenerPath is not set",),
        "listenerPath",
        pointer="/linux/seccomp/syscalls/0/action",
        config={
            "/linux/seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            }
        },
        call=RUN,
    ),
    Fault(
        "an errno of an action without one",
        ("returns no errno",),
        "take the errno out",
        pointer="/linux/seccomp/defaultErrnoRet",
        config={"/linux/seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}},
        call=RUN,
    ),
    Fault(
        "an errno that is too large",
        ("70000 stands where",),
        "errnoRet is",
        pointer="/linux/seccomp/syscalls/0/errnoRet",
        config={
            "/linux/seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 70000}],
            }
        },
        call=RUN,
    ),
    Fault(
        "a seccomp agent that is not there",
        ("failed to connect with seccomp agent",),
        "start the seccomp agent",
        pointer="/linux/seccomp/listenerPath",
        config={
            "/linux/seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/proc/nowhere",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
            }
        },
        call=RUN,
    ),
    Fault(
        "network devices without their namespace",
        ("without a NET namespace",),
        'add {"type": "network"}',
        pointer="/linux/netDevices",
        config={"/linux/namespaces": namespaces("mount"), "/hostname": DELETE, "/linux/netDevices": {"eth7": {}}},
        call=RUN,
    ),
    Fault(
        "a network device with a long name",
        ("invalid network device name",),
        "15 letters",
        pointer="/linux/netDevices/a-name-of-more-than-15",
        config={"/linux/netDevices": {"a-name-of-more-than-15": {}}},
        call=RUN,
    ),
    Fault(
        "a network device that is not there",
        ("move network device eth77", "no such device"),
        "ip link",
        pointer="/linux/netDevices/eth77",
        config={"/linux/netDevices": {"eth77": {}}},
        call=RUN,
    ),
    Fault(
        "intelRdt where there is none",
        ("intelRdt: no resctrl file system is mounted",),
        "mount -t resctrl",
        pointer="/linux/intelRdt",
        config={"/linux/intelRdt": {"closID": "x"}},
        call=RUN,
    ),
    Fault(
        "a memory policy without its nodes",
        ("requires at least one node",),
        'add "nodes"',
        pointer="/linux/memoryPolicy",
        config={"/linux/memoryPolicy": {"mode": "MPOL_BIND"}},
        call=RUN,
    ),
    Fault(
        "a memory policy for a node that is not there",
        ("there is no memory node 77",),
        "possible",
        pointer="/linux/memoryPolicy/nodes",
        config={"/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "77"}},
        call=RUN,
    ),
]

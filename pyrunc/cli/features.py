"""pyrunc features: what this program can do, whatever the host, in the shape of runtime-spec's features.md.

Engines ask before anything else: containerd offers user namespaces only when "user" and mountExtensions.idmap are
there, and recursively read-only mounts only with "rro". So nothing stands here that isn't built and tested.
"""

from pyrunc import log
from pyrunc.cli.version import SPEC, VERSION, commit, libseccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.cli.parse import Call

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")

# Every mount option that is not file system data: the specification's table, and tmpcopyup.
_MOUNT_OPTIONS = (
    "async atime bind defaults dev diratime dirsync exec idmap iversion lazytime loud mand noatime nodev nodiratime "
    "noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev "
    "rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid "
    "rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared "
    "silent slave strictatime suid symfollow sync tmpcopyup unbindable"
)

# capabilities(7), by number.
_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)

_ACTIONS = "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP"
_OPERATORS = "EQ GE GT LE LT MASKED_EQ NE"
# The architectures that libseccomp 2.5's bindings know; what they lack is an error when a profile asks for it.
_ARCHITECTURES = (
    "AARCH64 ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 "
    "PPC PPC64 PPC64LE RISCV64 S390 S390X X32 X86 X86_64"
)
_FLAGS = "TSYNC SPEC_ALLOW LOG WAIT_KILLABLE_RECV"


def features() -> "dict[str, Any]":
    """The features document (runtime-spec, features.md)."""
    flags = ["SECCOMP_FILTER_FLAG_" + name for name in _FLAGS.split()]
    annotations = {
        "org.pyrunc.version": VERSION,
        "org.pyrunc.commit": commit(),
        # docker and podman look for runc's key to know whether checkpoint works.
        "org.opencontainers.runc.checkpoint.enabled": "false",
    }
    seccomp = libseccomp()
    if seccomp:
        annotations["io.github.seccomp.libseccomp.version"] = seccomp
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": SPEC,
        "hooks": list(HOOKS),
        "mountOptions": _MOUNT_OPTIONS.split(),
        "linux": {
            "namespaces": list(NAMESPACES),
            "capabilities": ["CAP_" + name for name in _CAPABILITIES.split()],
            "cgroup": {"v1": True, "v2": False, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": ["SCMP_ACT_" + name for name in _ACTIONS.split()],
                "operators": ["SCMP_CMP_" + name for name in _OPERATORS.split()],
                "archs": ["SCMP_ARCH_" + name for name in _ARCHITECTURES.split()],
                "knownFlags": flags,
                "supportedFlags": flags,
            },
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False, "schemata": False, "monitoring": False},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": False},
        },
        "annotations": annotations,
        # No annotation changes what this runtime does.
        "potentiallyUnsafeConfigAnnotations": [],
    }


def run(_call: "Call") -> int:
    from pyrunc.jsontext import dumps

    log.output(dumps(features(), indent=4) + "\n")
    return 0

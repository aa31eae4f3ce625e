"""A config.json to start from: what `pyrunc spec` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.config import OCI_VERSION

if TYPE_CHECKING:
    from pyrunc.config.types import Capabilities, Config, Linux, Mount, Namespace, Process

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

# What of procfs and sysfs tells about the host or lets it be changed, although no namespace holds it apart.
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _mount(destination: str, fstype: str, source: str, *options: str) -> Mount:
    mount: Mount = {"destination": destination, "type": fstype, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def _process() -> Process:
    capabilities: Capabilities = {
        "bounding": list(_CAPABILITIES),
        "effective": list(_CAPABILITIES),
        "permitted": list(_CAPABILITIES),
    }
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": capabilities,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(*, rootless: bool) -> list[Mount]:
    devpts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    sys = _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    if rootless:
        sys = _mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro")
    else:
        devpts.append("gid=5")
    return [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *devpts),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def _linux(rootless: tuple[int, int] | None, *, cgroup_namespace: bool) -> Linux:
    linux: Linux = {}
    namespaces: list[Namespace] = [
        {"type": "pid"},
        {"type": "network"},
        {"type": "ipc"},
        {"type": "uts"},
        {"type": "mount"},
    ]
    if cgroup_namespace:
        namespaces.append({"type": "cgroup"})
    if rootless is None:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    else:
        linux["uidMappings"] = [{"containerID": 0, "hostID": rootless[0], "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": rootless[1], "size": 1}]
        namespaces.remove({"type": "network"})
        namespaces.append({"type": "user"})
    linux["namespaces"] = namespaces
    linux["maskedPaths"] = list(_MASKED)
    linux["readonlyPaths"] = list(_READONLY)
    return linux


def default_config(*, rootless: tuple[int, int] | None = None, cgroup_namespace: bool = False) -> Any:
    """A config of runtime-spec 1.3.0 that runs sh on a terminal in a read-only rootfs/, with few privileges.

    rootless: (uid, gid) that root in a new user namespace shall be, or None for a container made by root. Such a
    container keeps the host's network and /sys, and has no cgroup settings, since its user may make none of these.
    cgroup_namespace: ask for one, as a host with cgroup v2 can. Of no type: it is for whoever changes it as they like.
    """
    config: Config = {
        "ociVersion": OCI_VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": _mounts(rootless=rootless is not None),
        "linux": _linux(rootless, cgroup_namespace=cgroup_namespace),
    }
    found: Any = config
    return found

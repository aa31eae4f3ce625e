"""What the specification demands of a config and a schema cannot say, one function a subject.

Each yields (JSON pointer, what is wrong) for a config that fits the schema. Nothing is asked of the host but in
`_same_network`. Wording that callers know from runc is kept. What few configs have is in rules_rare.py.
"""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Final

from pyrunc.config import OCI_VERSION
from pyrunc.errors import ConfigError, at
from pyrunc.jsontext import pointer, quote, strings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.config.types import Config, Mount, Process, Resources, Seccomp

    Broken = Iterator[tuple[str, str]]

_VERSION: Final = "abcdefghijklmnopqrstuvwxyz0123456789.-+"

# Of the sysctls that live in an IPC namespace, beside fs.mqueue.*.
_IPC_SYSCTLS: Final = ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")

#: What a mount may cover within /proc: the files that LXCFS serves, and two of CRIU and of FIPS mode.
PROC_FILES: Final = (
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
)

# The specification's minor version that pyrunc follows, and those before.
_NEWEST: Final = OCI_VERSION.rpartition(".")[0]
_MINORS: Final = [str(minor) for minor in range(int(_NEWEST.partition(".")[2]) + 1)]

# Options that are not data for a file system (config.md, "Linux mount options").
MOUNT_OPTIONS: Final = (
    "async atime bind copy-symlink defaults dest-nofollow dev diratime dirsync exec idmap iversion lazytime loud mand "
    "noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private "
    "ratime rbind rdev rdiratime relatime remount rexec ridmap rnoatime rnodev rnodiratime rnoexec rnorelatime "
    "rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow "
    "runbindable rw shared silent slave src-nofollow strictatime suid symfollow sync tmpcopyup unbindable"
)
_OPTIONS: Final = frozenset(MOUNT_OPTIONS.split())

# Properties that rules_rare.py is loaded for.
_RARE_OF_LINUX: Final = frozenset(
    ("timeOffsets", "netDevices", "intelRdt", "memoryPolicy", "personality", "uidMappings", "gidMappings")
)
_RARE_OF_PROCESS: Final = frozenset(("scheduler", "execCPUAffinity"))


def check_nul(value: object) -> None:
    """Refuse a NUL character, which ends a string for the kernel; annotations may have it. Raises ConfigError."""
    for place, text in strings(value):
        if "\0" in text and not place.startswith("/annotations"):
            raise ConfigError("contains nul byte (\\x00): " + quote(text), pointer=place)


def check(config: Config) -> None:
    """Raises ConfigError for the first rule that is broken."""
    _raise_first(violations(config))


def check_process(process: Process, place: str) -> None:
    """The rules of one process object, at a JSON pointer. Raises ConfigError."""
    _raise_first(_process(process, place))


def check_resources(resources: Resources, place: str) -> None:
    """The rules of one resources object, at a JSON pointer. Raises ConfigError."""
    _raise_first(_resources(resources, place))


def _raise_first(broken: Broken) -> None:
    for place, text in broken:
        raise ConfigError(text, pointer=place or None)


def violations(config: Config) -> Broken:
    """Every rule that a config breaks: (JSON pointer, what is wrong)."""
    tail = config["ociVersion"].split(".", 2)[2].lstrip("0123456789")
    if tail and (tail[0] not in "-+" or not tail[1:] or tail[1:].lower().strip(_VERSION)):
        yield "/ociVersion", quote(config["ociVersion"]) + " is not a version in SemVer 2.0.0"
    if "root" not in config:
        yield "", "root must be specified"
    linux = config.get("linux", {})
    kinds: dict[str, str] = {}
    for index, namespace in enumerate(linux.get("namespaces", [])):
        kind = namespace["type"]
        if kind in kinds:
            yield f"/linux/namespaces/{index}", f'malformed spec file: duplicated ns "{kind}"'
        else:
            kinds[kind] = namespace.get("path", "")
            if kinds[kind][:1] not in ("", "/"):
                text = quote(kinds[kind]) + " stands where an absolute path is expected"
                yield f"/linux/namespaces/{index}/path", text
    process = config.get("process")
    if process is not None:
        yield from _process(process, "/process")
    for name, text in (("hostname", config.get("hostname") or ""), ("domainname", config.get("domainname") or "")):
        if text and "uts" not in kinds:
            yield "/" + name, f"unable to set {name} without a private UTS namespace"
        if len(text.encode()) > 64:
            yield "/" + name, name + " is longer than 64 bytes"
    for index, mount in enumerate(config.get("mounts", [])):
        yield from _mount(mount, f"/mounts/{index}", kinds)
    for name, paths in (("maskedPaths", linux.get("maskedPaths")), ("readonlyPaths", linux.get("readonlyPaths"))):
        if paths and "mount" not in kinds:
            yield "/linux/" + name, "unable to restrict sys entries without a private MNT namespace"
    if "sysctl" in linux:
        yield from _sysctl(linux["sysctl"], kinds, bool(config.get("domainname")))
    for index, device in enumerate(linux.get("devices", [])):
        for name in ("major", "minor"):
            if name not in device and device["type"] != "p":
                yield f"/linux/devices/{index}", f'"{name}" is missing: every device but a FIFO (type p) has one'
    if "seccomp" in linux:
        yield from _seccomp(linux["seccomp"])
    if "resources" in linux:
        yield from _resources(linux["resources"], "/linux/resources")
    if "user" in kinds or not _RARE_OF_LINUX.isdisjoint(linux):
        from pyrunc.config import rules_rare

        yield from rules_rare.linux(linux, kinds, process)


def _process(process: Process, place: str) -> Broken:
    cwd = process["cwd"]
    if not cwd:
        yield place + "/cwd", "Cwd property must not be empty"
    elif cwd[0] != "/":
        yield place + "/cwd", "Cwd must be an absolute path: " + quote(cwd)
    if not process.get("args"):
        yield (place + "/args" if "args" in process else place), "args must not be empty"
    for index, text in enumerate(process.get("env", [])):
        # The text itself may be a secret.
        if text[:1] == "=":
            yield f"{place}/env/{index}", "invalid environment variable: name cannot be empty"
        elif "=" not in text:
            yield f"{place}/env/{index}", "invalid environment variable: missing '='"
    if process.get("terminal") and "consoleSize" in process:
        size = process["consoleSize"]
        if size["height"] > 65535 or size["width"] > 65535:
            yield place + "/consoleSize", "a terminal has at most 65535 lines and columns"
    seen = set()
    for index, rlimit in enumerate(process.get("rlimits", [])):
        if rlimit["type"] in seen:
            yield f"{place}/rlimits/{index}", rlimit["type"] + " stands twice in rlimits"
        seen.add(rlimit["type"])
        if rlimit["soft"] > rlimit["hard"]:
            yield f"{place}/rlimits/{index}", f"{rlimit['type']}: soft {rlimit['soft']} is above hard {rlimit['hard']}"
    if not _RARE_OF_PROCESS.isdisjoint(process):
        from pyrunc.config import rules_rare

        yield from rules_rare.process(process, place)


def _mount(mount: Mount, place: str, kinds: dict[str, str]) -> Broken:
    options = mount.get("options", [])
    bind = "bind" in options or "rbind" in options
    path = [name for name in mount["destination"].split("/") if name not in ("", ".")]
    if not path:
        yield place + "/destination", 'mountpoint "/" is on the top of rootfs'
    elif path == ["proc"]:
        if not bind and mount.get("type") != "proc":
            yield place, '"/proc" cannot be mounted because it is not of type proc'
    elif path[0] == "proc" and ".." not in path and "/".join(path[1:]) not in PROC_FILES:
        yield place + "/destination", quote("/" + "/".join(path)) + " cannot be mounted because it is inside /proc"
    if bind:
        if not mount.get("source"):
            yield place, "a bind mount needs a source"
    elif not mount.get("type") and "remount" not in options:
        yield place, "a mount that is no bind mount needs a type"
    uids, gids = mount.get("uidMappings"), mount.get("gidMappings")
    if bool(uids) != bool(gids):
        yield place, "id-mapped mounts must have both uid and gid mappings specified"
    elif uids and gids:
        from pyrunc.config import rules_rare

        yield from rules_rare.mappings(uids, place + "/uidMappings")
        yield from rules_rare.mappings(gids, place + "/gidMappings")
    elif "user" not in kinds and ("idmap" in options or "ridmap" in options):
        yield (
            place + "/options",
            "id-mapped mounts must have both uid and gid mappings specified where there is no user namespace",
        )


def sysctl_path(name: str) -> str:
    """The path below /proc/sys of a kernel parameter; "" for what is none.

    Either separator may be used; the other one stands for itself, as in sysctl(8): net.ipv4.conf.eno2/100.forwarding.
    """
    if "/" not in name:
        name = name.replace(".", "/")
    elif "/" not in name.partition(".")[0]:
        name = name.replace("/", "\n").replace(".", "/").replace("\n", ".")
    parts = name.split("/")
    return "" if len(parts) < 2 or "" in parts or "." in parts or ".." in parts else name


def _sysctl(sysctl: dict[str, str], kinds: dict[str, str], domain: bool) -> Broken:
    """Only parameters that belong to a namespace of the container: all others would change the host."""
    for name in sysctl:
        path = sysctl_path(name)
        top, _, rest = path.partition("/")
        shown = "sysctl " + quote(name)
        text = ""
        if not path:
            text = shown + " is not the name of a kernel parameter"
        elif path.startswith("fs/mqueue/") or (top == "kernel" and rest in _IPC_SYSCTLS):
            if "ipc" not in kinds:
                text = shown + " is not allowed in the hosts ipc namespace"
        elif top == "net":
            if "network" not in kinds or (kinds["network"] and _same_network(kinds["network"])):
                text = shown + " not allowed in host network namespace"
        elif path in ("kernel/domainname", "kernel/hostname") and "uts" in kinds:
            if rest == "hostname" or domain:
                text = f'{shown} is not allowed as it conflicts with the OCI "{rest}" field'
        elif top == "user":
            if "user" not in kinds:
                text = "setting ucounts without a user namespace not allowed: " + quote(name)[1:-1]
        else:
            text = shown + " is not in a separate kernel namespace"
        if text:
            yield "/linux/sysctl" + pointer(name), text


def _same_network(path: str) -> bool:
    """Whether a network namespace to be joined is the runtime's own."""
    try:
        return posix.stat(path)[1:3] == posix.stat("/proc/self/ns/net")[1:3]
    except (OSError, ValueError):
        return False  # Joining it will fail, and say why.


def _seccomp(seccomp: Seccomp) -> Broken:
    place = "/linux/seccomp"
    numbered = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
    listener = seccomp.get("listenerPath")
    if seccomp.get("listenerMetadata") and not listener:
        yield place + "/listenerMetadata", "seccomp listenerMetadata is set, but listenerPath is not"
    default = seccomp["defaultAction"]
    if default == "SCMP_ACT_NOTIFY":
        yield place + "/defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action"
    if "defaultErrnoRet" in seccomp and default not in numbered:
        yield place + "/defaultErrnoRet", f"the seccomp action {default} returns no errno"
    for index, rule in enumerate(seccomp.get("syscalls", [])):
        action = rule["action"]
        if "errnoRet" in rule and action not in numbered:
            yield f"{place}/syscalls/{index}/errnoRet", f"the seccomp action {action} returns no errno"
        if action == "SCMP_ACT_NOTIFY" and not listener:
            text = "seccomp listenerPath is not set, but a rule has the action SCMP_ACT_NOTIFY"
            yield f"{place}/syscalls/{index}/action", text


def _resources(resources: Resources, place: str) -> Broken:
    swappiness = resources.get("memory", {}).get("swappiness", 0)
    if 100 < swappiness < 0xFFFFFFFFFFFFFFFF:
        yield place + "/memory/swappiness", f"invalid memory swappiness {swappiness}: 0 to 100"
    cpu = resources.get("cpu", {})
    if 0 < cpu.get("quota", 0) < cpu.get("burst", 0):
        yield place + "/cpu/burst", f"cpu burst {cpu['burst']} is larger than the quota {cpu['quota']}"
    if resources.get("blockIO", {}).get("weightDevice") or resources.get("rdma") or resources.get("unified"):
        from pyrunc.config import rules_rare

        yield from rules_rare.resources(resources, place)


def warnings(config: Config) -> list[str]:
    """What is odd in a config that fits schema and rules, and yet no error."""
    found = []
    version = config["ociVersion"].split(".")
    if version[0] != "0" and (version[0] != "1" or version[1] not in _MINORS):
        text = f"ociVersion {config['ociVersion']} is newer than {_NEWEST}, which pyrunc follows"
        found.append(at(text, "/ociVersion"))
    for index, mount in enumerate(config.get("mounts", [])):
        place = "/mounts/" + str(index)
        shown = quote(mount["destination"])
        if shown[1] != "/":
            text = f"mount destination {shown} is not absolute: deprecated, taken as below /"
            found.append(at(text, place + "/destination"))
        options = mount.get("options", [])
        if "bind" in options or "rbind" in options:
            # runc refuses them; the kernel ignores them, as crun does, and the conformance suite has such mounts.
            for number, option in enumerate(options):
                if option and option not in _OPTIONS:
                    from pyrunc.nearest import question

                    text = f"bind mount {shown}: the option {quote(option)} has no effect"
                    found.append(at(text, f"{place}/options/{number}") + question(option, MOUNT_OPTIONS.split()))
        if mount.get("uidMappings") and not {"idmap", "ridmap"} & set(mount.get("options", [])):
            text = f"mount {shown} has uidMappings, but not the option idmap or ridmap"
            found.append(at(text, place + "/uidMappings"))
    linux = config.get("linux", {})
    memory = linux.get("resources", {}).get("memory", {})
    if "kernel" in memory or "kernelTCP" in memory:
        name = "kernel" if "kernel" in memory else "kernelTCP"
        text = "Kernel memory settings are ignored and will be removed"
        found.append(at(text, "/linux/resources/memory/" + name))
    l3 = linux.get("intelRdt", {}).get("l3CacheSchema")
    if l3 and not l3.startswith("L3:"):
        found.append(at("intelRdt.l3CacheSchema should start with L3:", "/linux/intelRdt/l3CacheSchema"))
    return found

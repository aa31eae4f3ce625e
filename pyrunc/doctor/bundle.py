"""What a bundle needs and this host lacks, each with its place in config.json: what create would refuse."""

from __future__ import annotations

import errno
import posix
from typing import Any, Final

from pyrunc import _linux
from pyrunc.cgroups import hierarchies
from pyrunc.doctor import control_groups, spaces, state_root
from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, has_capability, text
from pyrunc.errors import PyruncError
from pyrunc.lifecycle.create import Creation, prepare
from pyrunc.lifecycle.options import CreateOptions
from pyrunc.state.store import Store

# Property of linux.resources: the controller that it needs, of v1 and of v2.
_CONTROLLERS: Final = {
    "memory": ("memory", "memory"),
    "pids": ("pids", "pids"),
    "blockIO": ("blkio", "io"),
    "hugepageLimits": ("hugetlb", "hugetlb"),
    "rdma": ("rdma", "rdma"),
}
_LIMITS: Final = {
    name: number
    for number, name in enumerate(
        [
            "CPU",
            "FSIZE",
            "DATA",
            "STACK",
            "CORE",
            "RSS",
            "NPROC",
            "NOFILE",
            "MEMLOCK",
            "AS",
            "LOCKS",
            "SIGPENDING",
            "MSGQUEUE",
            "NICE",
            "RTPRIO",
            "RTTIME",
        ]
    )
}


def check(root: str, options: CreateOptions) -> list[Finding]:
    """options.bundle: an absolute path, and the current directory."""
    from pyrunc.config.validate import problems

    wrong, odd = problems(options.bundle, options.config)
    found = [
        Finding(PROBLEM, "config", one.message, one.section and "see " + one.section, one.pointer) for one in wrong
    ]
    found += [Finding(NOTE, "config", words) for words in odd]
    if wrong:
        return found
    try:
        creation = prepare(Store(root), "container-id", options)
    except PyruncError as error:
        return [*found, _refused("bundle", error)]
    found += [Finding(NOTE, "config", words) for words in creation.plan.warnings if words not in odd]
    found += _of_host(creation, options.bundle)
    return found or [Finding(OK, "bundle", "this host has what it needs: " + options.bundle)]


def _refused(subject: str, error: PyruncError) -> Finding:
    return Finding(PROBLEM, subject, error.message, error.hint or "", error.pointer or "")


def _of_host(creation: Creation, bundle: str) -> list[Finding]:
    config: Any = creation.context.config
    linux = config.get("linux") or {}
    process = config.get("process") or {}
    return [
        *_namespaces(linux),
        *_ids(linux),
        *_cgroup(creation),
        *_controllers(linux.get("resources") or {}),
        *_filter(linux),
        *_mounts(config.get("mounts") or [], bundle),
        *_sysctl(linux.get("sysctl") or {}),
        *_hooks(config.get("hooks") or {}),
        *_rlimits(process.get("rlimits") or []),
        *_program(process, config.get("mounts") or [], creation.context.rootfs),
    ]


def _namespaces(linux: Any) -> list[Finding]:
    found = []
    for index, entry in enumerate(linux.get("namespaces") or ()):
        place = "/linux/namespaces/" + str(index)
        if entry.get("path"):
            try:
                posix.stat(entry["path"])
            except OSError as error:
                words = entry["path"] + ": " + posix.strerror(error.errno or 0).lower()
                found.append(Finding(PROBLEM, entry["type"] + " namespace", words, "", place + "/path"))
            continue
        problem = spaces.can_make(entry["type"])
        if problem is not None:
            found.append(Finding(PROBLEM, entry["type"] + " namespace", *problem, pointer=place + "/type"))
    return found


def _ids(linux: Any) -> list[Finding]:
    """Of an ordinary user: the ids that /etc/subuid and /etc/subgid do not grant."""
    uid = posix.geteuid()
    if uid == 0:
        return []
    found = []
    for name, file, own in (("uidMappings", "/etc/subuid", uid), ("gidMappings", "/etc/subgid", posix.getegid())):
        ranges = [(own, 1), *spaces.granted(file, uid, spaces.own_names())]
        for index, mapping in enumerate(linux.get(name) or ()):
            first, last = mapping["hostID"], mapping["hostID"] + mapping["size"]
            if not any(low <= first and last <= low + count for low, count in ranges):
                words = f"{file} does not grant {mapping['size']} ids from {first}"
                kind = "--add-subuids" if name == "uidMappings" else "--add-subgids"
                remedy = f"usermod {kind} {first}-{last - 1} {(*spaces.own_names(), uid)[0]}"
                found.append(Finding(PROBLEM, "id maps", words, remedy, f"/linux/{name}/{index}"))
    return found


def _cgroup(creation: Creation) -> list[Finding]:
    manager = creation.state_step.manager
    if manager is None:
        return []
    try:
        manager.check()
    except PyruncError as error:
        error.pointer = error.pointer or "/linux/cgroupsPath"
        return [_refused("cgroup", error)]
    return []


def _controllers(resources: Any) -> list[Finding]:
    try:
        host = hierarchies.detect()
    except PyruncError:
        return []
    here = control_groups.controllers(host)
    unified = host.mode == "v2"
    wanted = [("/linux/resources/" + name, pair[unified]) for name, pair in _CONTROLLERS.items() if resources.get(name)]
    for name in resources.get("cpu") or ():
        wanted.append(("/linux/resources/cpu/" + name, "cpuset" if name in ("cpus", "mems") else "cpu"))
    for name in (resources.get("unified") or ()) if unified else ():
        controller = name.partition(".")[0]
        if controller != "cgroup":
            wanted.append(("/linux/resources/unified/" + name, controller))
    return [
        Finding(
            PROBLEM, "controllers", controller + " is not here", "a kernel that has it, mounted or delegated", place
        )
        for place, controller in wanted
        if controller not in here
    ]


def _filter(linux: Any) -> list[Finding]:
    if not linux.get("seccomp"):
        return []
    from pyrunc.steps.seccomp import compiler

    try:
        compiler.compile_profile(linux["seccomp"])
    except PyruncError as error:
        error.pointer = error.pointer or "/linux/seccomp"
        return [_refused("seccomp", error)]
    return []


def _mounts(mounts: Any, bundle: str) -> list[Finding]:
    known = {line.split()[-1] for line in (text("/proc/filesystems") or "").split("\n") if line}
    found = []
    for index, mount in enumerate(mounts):
        place = "/mounts/" + str(index)
        options = mount.get("options") or ()
        kind = mount.get("type") or ""
        if "bind" in options or "rbind" in options or kind == "bind":
            found += _bind(mount, options, bundle, place)
        elif kind and known and kind not in known and kind not in ("none", "cgroup", "cgroup2"):
            found.append(
                Finding(
                    NOTE,
                    "mounts",
                    f"the kernel has no file system {kind} loaded",
                    "modprobe " + kind,
                    place + "/type",
                )
            )
    return found


def _bind(mount: Any, options: Any, bundle: str, place: str) -> list[Finding]:
    source = mount.get("source") or ""
    path = source if source.startswith("/") else f"{bundle}/{source}"
    try:
        posix.stat(path)
    except OSError as error:
        words = path + ": " + posix.strerror(error.errno or 0).lower()
        return [Finding(PROBLEM, "mounts", words, "make it, or name another source", place + "/source")]
    if mount.get("uidMappings") or "idmap" in options or "ridmap" in options:
        one = state_root.idmapped(path)
        if one.level != OK:
            return [Finding(PROBLEM, one.subject, one.found, one.remedy, place)]
    return []


def _sysctl(wanted: Any) -> list[Finding]:
    from pyrunc.config.rules import sysctl_path

    found = []
    for name in wanted:
        path = "/proc/sys/" + sysctl_path(name)
        try:
            posix.stat(path)
        except OSError:
            pointer = "/linux/sysctl/" + name.replace("~", "~0").replace("/", "~1")
            found.append(Finding(NOTE, "sysctl", path + " is not here", "load the module that brings it", pointer))
    return found


def _hooks(hooks: Any) -> list[Finding]:
    found = []
    for kind in hooks:
        if kind in ("createContainer", "startContainer"):
            continue  # looked up in other namespaces
        for index, hook in enumerate(hooks[kind] or ()):
            if not posix.access(hook["path"], posix.X_OK):
                place = f"/hooks/{kind}/{index}/path"
                found.append(Finding(PROBLEM, "hooks", hook["path"] + " is no program", "install it", place))
    return found


def _rlimits(wanted: Any) -> list[Finding]:
    if has_capability("CAP_SYS_RESOURCE"):
        return []
    found = []
    for index, one in enumerate(wanted):
        number = _LIMITS.get(str(one["type"]).removeprefix("RLIMIT_"))
        if number is None:
            continue
        hard = _linux.prlimit(0, number, None)[1]
        if 0 <= hard < one["hard"]:
            words = f"{one['type']}: the hard limit here is {hard}, and CAP_SYS_RESOURCE is not there"
            found.append(
                Finding(PROBLEM, "rlimits", words, "raise it for the caller", f"/process/rlimits/{index}/hard")
            )
    return found


def _program(process: Any, mounts: Any, rootfs: str) -> list[Finding]:
    """A program named by its whole path that is not in the rootfs, and on no mount."""
    arguments = process.get("args") or [""]
    path = arguments[0]
    if not path.startswith("/") or any(path.startswith(mount["destination"].rstrip("/") + "/") for mount in mounts):
        return []
    top = posix.open(rootfs, posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.close(_linux.openat2(top, path, posix.O_PATH | posix.O_CLOEXEC, 0, _linux.RESOLVE_IN_ROOT))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            words = f"{path} is not in {rootfs}: {posix.strerror(error.errno).lower()}"
            return [Finding(PROBLEM, "program", words, "the path as the container sees it", "/process/args/0")]
    finally:
        posix.close(top)
    return []

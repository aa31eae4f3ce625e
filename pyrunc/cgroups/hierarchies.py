"""Where control groups are mounted, and where a container's belong (cgroups(7))."""

from __future__ import annotations

import posix

from pyrunc.errors import ConfigError, PyruncError
from pyrunc.linux import files

TOP = "/sys/fs/cgroup"
_UNIFIED = TOP + "/unified"


class Hierarchies:
    """What this machine offers. Pure data, so that a plan can be tried with another machine's.

    mode: "v1", "v2" or "none". A hybrid host (v1 controllers, and cgroup2 for processes alone) is "v1".
    mounts: controller → (mount point, the directory of the hierarchy that is mounted there: "/" but in a container
    that sees only its own part). Controllers mounted together share a mount point. Named hierarchies: "name=systemd".
    own: controller → the cgroup of this process, as /proc/self/cgroup counts it; cgroup2's is "".
    unified: of a hybrid host, where cgroup2 is mounted, in mounts' shape. A service manager tracks its units there.
    """

    __slots__ = ("mode", "mounts", "own", "unified")

    def __init__(
        self,
        mode: str,
        mounts: dict[str, tuple[str, str]],
        own: dict[str, str],
        unified: tuple[str, str] | None = None,
    ) -> None:
        self.mode = mode
        self.mounts = mounts
        self.own = own
        self.unified = unified


def detect() -> Hierarchies:
    """Look at /proc/self/cgroup and at the mounts. Raises PyruncError."""
    lines = membership(_slurp("/proc/self/cgroup"))
    own = {name: path for names, path in lines for name in names.split(",")}
    mounts = _usual_mounts(lines)
    if mounts is not None:
        return Hierarchies("v1", mounts, own, mounts.pop("", None))
    found = parse_mountinfo(_slurp("/proc/self/mountinfo"), [names for names, _ in lines if names])
    unified = found.pop("", None)
    if found and unified is not None and unified[0] != _UNIFIED:
        # Somebody's own; a service manager's is there.
        unified = None
    return Hierarchies("v1" if found else "v2" if unified is not None else "none", found, own, unified)


def paths(host: Hierarchies, cgroups_path: str | None, container_id: str) -> dict[str, str]:
    """controller → the container's directory in it. Pure.

    cgroups_path: linux.cgroupsPath. Absolute: below the mount point. Relative: below the cgroup of this process.
    Unset: as the relative path container_id (as runc; config-linux.md "Cgroups Path" leaves these to the runtime).
    Named hierarchies other than systemd's are left alone: a service manager's books, not controllers.
    Raises ConfigError for a path that leaves its place or names the place itself, PyruncError without cgroup v1.
    """
    if not host.mounts and host.mode != "v2":
        raise PyruncError("no cgroup hierarchy is mounted", hint="mount the controllers below " + TOP)
    asked = cgroups_path or container_id
    parts = [part for part in asked.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in asked or not parts:
        raise ConfigError(
            f"cgroupsPath {asked!r} must name a cgroup below the hierarchy's root, without '..'",
            pointer="/linux/cgroupsPath",
        )
    below = "/" + "/".join(parts)
    if host.mode == "v2":
        if asked[0] == "/":
            return {"": TOP + below}
        # Beside our own cgroup, not below it: one that has processes can't pass controllers on (as runc).
        own = host.own.get("", "/").rpartition("/")[0]
        return {"": TOP + ("" if own.startswith("/..") else own) + below}
    result = {}
    for name, (point, root) in host.mounts.items():
        if not name.startswith("name=") or name == "name=systemd":
            result[name] = _base(point, root, host.own.get(name, "/") if asked[0] != "/" else None) + below
    if host.unified is not None:
        # Last, since a process is born in it and joins the others.
        result[HYBRID] = _base(*host.unified, host.own.get("", "/") if asked[0] != "/" else None) + below
    if "devices" not in result:
        raise PyruncError("the devices cgroup is not mounted: a container could use every device of the host")
    return result


def _base(point: str, root: str, own: str | None) -> str:
    """A hierarchy's mount point, or with own the directory of that cgroup in it."""
    return (point if point != "/" else "") + (relative(own, root) if own is not None else "")


def own_paths(host: Hierarchies) -> dict[str, str]:
    """controller → the directory of this process's own cgroup, as paths() has them: "" is cgroup v2's. Pure."""
    if host.mode == "v2":
        own = host.own.get("", "/").rstrip("/")
        return {"": TOP + ("" if own.startswith("/..") else own)}
    return {name: _base(point, root, host.own.get(name, "/")) for name, (point, root) in host.mounts.items()}


def own_procs(host: Hierarchies) -> str | None:
    """The file by which a process goes into the cgroup of this one that counts processes; None without one."""
    if host.mode == "v2":
        return TOP + host.own.get("", "/").rstrip("/") + "/cgroup.procs"
    if "pids" not in host.mounts:
        return None
    point, root = host.mounts["pids"]
    return point + relative(host.own.get("pids", "/"), root) + "/tasks"


def parse_mountinfo(data: bytes, hierarchies: list[str]) -> dict[str, tuple[str, str]]:
    """proc_pid_mountinfo(5) → controller → (mount point, root); "" is cgroup2. Pure.

    hierarchies: the second fields of /proc/self/cgroup, such as "cpu,cpuacct" and "name=systemd".
    Of several mounts of one hierarchy, the first below /sys/fs/cgroup, else the first: the others may be containers'.
    What is mounted over another later hides it.
    """
    from pyrunc.linux import mountinfo

    known = {name for names in hierarchies for name in names.split(",")}
    found: dict[str, tuple[str, str]] = {}
    for entry in mountinfo.parse(data, b" - cgroup"):
        point = entry.point
        for name in [""] if entry.fstype == "cgroup2" else [word for word in entry.super_options if word in known]:
            before = found.get(name, ("", ""))[0]
            if before in ("", point) or (point.startswith(TOP + "/") and not before.startswith(TOP + "/")):
                found[name] = (point, entry.root)
    return found


def _usual_mounts(own: list[tuple[str, str]]) -> dict[str, tuple[str, str]] | None:
    """The mounts, when every v1 hierarchy is whole at its usual place; else None.

    A glance at each instead of mountinfo, which is long where many containers run. cgroup.sane_behavior exists in the
    root of a v1 hierarchy alone, so what is found here has the root "/". "" is cgroup2, of a hybrid host.
    """
    mounts: dict[str, tuple[str, str]] = {}
    try:
        device = posix.stat(TOP).st_dev
        for names, _ in own:
            if names:
                point = f"{TOP}/{names.removeprefix('name=')}"
                if posix.stat(point + "/cgroup.sane_behavior").st_dev == device:
                    return None
                for name in names.split(","):
                    mounts[name] = (point, "/")
    except OSError:
        return None
    if mounts and files.exists(_UNIFIED + "/cgroup.procs"):
        if files.exists(_UNIFIED + "/cgroup.type"):
            # Every cgroup of v2 has a type but the root: it is not whole.
            return None
        mounts[""] = (_UNIFIED, "/")
    return mounts or None


def membership(data: bytes) -> list[tuple[str, str]]:
    """/proc/PID/cgroup → [(controllers, path)]: cgroups(7)."""
    result = []
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        _, colon, rest = line.partition(":")
        if colon:
            names, _, path = rest.partition(":")
            result.append((names, path))
    return result


def relative(own: str, root: str) -> str:
    """The way from a mount's root to our own cgroup: "" or "/some/where". Pure.

    /proc/self/cgroup counts from the cgroup namespace's root, and in a container without such a namespace from the
    host's, where the mount begins lower. A cgroup that is not below the mount's root can't be reached there:
    the mount's own root then.
    """
    if root == "/" or own == root:
        way = own if root == "/" else ""
    elif own.startswith(root + "/"):
        way = own[len(root) :]
    else:
        way = ""
    return "" if way == "/" or way.startswith("/..") else way


def _slurp(path: str) -> bytes:
    try:
        return files.read(path, limit=64 << 20)
    except OSError as error:
        raise PyruncError(f"read {path}: {error.strerror}", errno=error.errno) from None


# The key of a hybrid host's unified hierarchy, the last of a manager's paths.
HYBRID = "unified"

"""Who the container's process is and what it may do: ids, capabilities, no_new_privs, resource limits, labels."""

from typing import Any

from pyrunc import _linux
from pyrunc.inspect.proc import Process, capabilities
from pyrunc.inspect.report import Report
from pyrunc.state.container import Container
from pyrunc.steps.host import read_host

# Set of config.json: its line in proc_pid_status(5).
_SETS = {
    "bounding": "CapBnd",
    "effective": "CapEff",
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "ambient": "CapAmb",
}
# How proc_pid_limits(5) calls them.
_LIMITS = {
    "RLIMIT_CPU": "Max cpu time",
    "RLIMIT_FSIZE": "Max file size",
    "RLIMIT_DATA": "Max data size",
    "RLIMIT_STACK": "Max stack size",
    "RLIMIT_CORE": "Max core file size",
    "RLIMIT_RSS": "Max resident set",
    "RLIMIT_NPROC": "Max processes",
    "RLIMIT_NOFILE": "Max open files",
    "RLIMIT_MEMLOCK": "Max locked memory",
    "RLIMIT_AS": "Max address space",
    "RLIMIT_LOCKS": "Max file locks",
    "RLIMIT_SIGPENDING": "Max pending signals",
    "RLIMIT_MSGQUEUE": "Max msgqueue size",
    "RLIMIT_NICE": "Max nice priority",
    "RLIMIT_RTPRIO": "Max realtime priority",
    "RLIMIT_RTTIME": "Max realtime timeout",
}


def ids(report: Report, wanted: dict[str, Any], process: Process | None, container: Container) -> None:
    """process.user, as the container counts the ids. wanted: the process object."""
    user = wanted.get("user", {})
    for name, field in (("uid", "Uid"), ("gid", "Gid")):
        found = process.ids(field) if process else []
        row = report.add("ids", name, user.get(name) or 0, _one(found), "/process/user/" + name)
        if row.differs and isinstance(row.effective, list):
            row.note = "real, effective, saved, of the file system"
    groups = sorted(set(user.get("additionalGids", [])))
    kept = container.annotations().get("run.oci.keep_original_groups") == "1" or bool(container.fields.get("rootless"))
    report.add(
        "ids",
        "additionalGids",
        groups,
        sorted(set(process.ids("Groups"))) if process else None,
        "/process/user/additionalGids",
        # An ordinary user's groups can often not be taken away: setgroups(2) is denied.
        differs=False if kept and not groups else None,
    )
    mask = process.status.get("Umask", "") if process else ""
    umask = user.get("umask")
    asked = None if umask is None else format(umask & 0o777, "04o")
    report.add("ids", "umask", asked, mask or None, "/process/user/umask")


def _one(found: list[int]) -> int | list[int] | None:
    if not found:
        return None
    return found[0] if len(set(found)) == 1 else found


def privileges(report: Report, wanted: dict[str, Any], process: Process | None) -> None:
    """process.capabilities and process.noNewPrivileges."""
    asked = {name: _known(wanted.get("capabilities", {}).get(name)) for name in _SETS}
    no_new = bool(wanted.get("noNewPrivileges"))
    if process is None or not process.status:
        found: dict[str, list[str]] = {}
    else:
        found = {name: capabilities(process.status.get(field, "0")) for name, field in _SETS.items()}
    after = _executed(asked, (wanted.get("user", {}).get("uid") or 0) == 0, no_new)
    for name in _SETS:
        row = report.add("capabilities", name, asked[name], found.get(name), "/process/capabilities/" + name)
        if row.differs:
            row.note = _difference(asked[name], row.effective)
            if row.effective == after[name]:
                row.note += "; so execve(2) leaves it for this user"
    flag = process.status.get("NoNewPrivs") if process else None
    effective = None if flag is None else flag == "1"
    report.add("capabilities", "no_new_privs", no_new, effective, "/process/noNewPrivileges")


def _known(names: list[str] | None) -> list[str]:
    """In the order of their numbers; what is no capability of this build is left out, as create does."""
    return sorted({name for name in names or () if name in _linux.CAPS}, key=lambda name: _linux.CAPS[name])


def _executed(asked: dict[str, list[str]], root: bool, no_new: bool) -> dict[str, list[str]]:
    """The sets that execve(2) leaves of those asked for (capabilities(7)), the file having none of its own."""
    permitted = set(asked["permitted"])
    inheritable = set(asked["inheritable"]) & set(asked["bounding"])
    ambient = set(asked["ambient"]) & permitted & inheritable
    after = inheritable | set(asked["bounding"]) if root else ambient
    if no_new:
        after &= permitted
    sets = {
        "bounding": set(asked["bounding"]),
        "effective": after,
        "inheritable": inheritable,
        "permitted": after,
        "ambient": ambient,
    }
    return {name: _known(list(names)) for name, names in sets.items()}


def _difference(asked: list[str], found: list[str]) -> str:
    less = [name for name in asked if name not in found]
    more = [name for name in found if name not in asked]
    words = ["without " + " ".join(less)] if less else []
    return "; ".join([*words, *(["with " + " ".join(more)] if more else [])])


def limits(report: Report, wanted: dict[str, Any], process: Process | None) -> None:
    """process.rlimits, soft/hard. Those that nobody asked for are the caller's."""
    found: dict[str, str] = {}
    for line in process.text("limits").splitlines() if process else ():
        for name, title in _LIMITS.items():
            if line.startswith(title + " "):
                found[name] = "/".join(line[len(title) :].split()[:2])
    asked: set[str] = set()
    for index, limit in enumerate(wanted.get("rlimits", [])):
        name = limit["type"]
        asked.add(name)
        text = "/".join(
            "unlimited" if limit[word] == _linux.RLIM_INFINITY else str(limit[word]) for word in ("soft", "hard")
        )
        report.add("rlimits", name, text, found.get(name), f"/process/rlimits/{index}")
    for name, text in found.items():
        if name not in asked:
            report.add("rlimits", name, None, text)


def labels(report: Report, wanted: dict[str, Any], process: Process | None, *, executed: bool) -> None:
    """process.apparmorProfile and process.selinuxLabel. executed: execve(2), which gives them, has been."""
    host = read_host()
    attribute = "current" if executed else "exec"
    for key, is_enabled, folders in (
        ("apparmorProfile", host.apparmor, ("attr/apparmor/", "attr/")),
        ("selinuxLabel", host.selinux, ("attr/",)),
    ):
        asked = wanted.get(key) or None
        texts = [process.text(folder + attribute) for folder in folders] if process and is_enabled else []
        found = next(filter(None, texts), "")
        if asked or found:
            # AppArmor says the mode, too: "docker-default (enforce)".
            plain = found.rpartition(" (")[0] or found if key == "apparmorProfile" else found
            differs = bool(process and asked and plain != asked)
            report.add("labels", key, asked, found or None, "/process/" + key, differs=differs)
    score = process.text("oom_score_adj") if process else ""
    report.add("oom", "oom_score_adj", wanted.get("oomScoreAdj"), int(score) if score else None, "/process/oomScoreAdj")

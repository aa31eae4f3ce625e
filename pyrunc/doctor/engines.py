"""The engines that are installed, and whether their configuration knows pyrunc: else the lines to add, and where."""

from __future__ import annotations

import posix
from typing import Any, Final

from pyrunc.doctor.finding import NOTE, OK, PROBLEM, Finding, program, text
from pyrunc.errors import PyruncError, reason

_DEFAULT: Final = "/usr/local/bin/pyrunc"


def check() -> list[Finding]:
    found = [_docker(), _podman("podman"), _podman("buildah"), _containerd(), _crio()]
    there = [one for one in found if one is not None]
    return there or [Finding(OK, "engines", "none is installed")]


def _here() -> str:
    return program("pyrunc") or _DEFAULT


def _runs_pyrunc(value: Any) -> bool:
    """Whether a value of a configuration names a program of ours."""
    return isinstance(value, str) and value.rpartition("/")[2] == "pyrunc"


def _verdict(engine: str, file: str, path: str) -> Finding:
    if "/" in path and not posix.access(path, posix.X_OK):
        return Finding(PROBLEM, engine, f"{file} names {path}, which is no program", "make install, or name " + _here())
    return Finding(OK, engine, f"{file} knows it: {path}")


def _unread(engine: str, file: str, why: str) -> Finding:
    return Finding(NOTE, engine, f"{file} cannot be read: {why}", "call doctor as root, or mend the file")


def _toml(path: str) -> dict[str, Any]:
    """A TOML file, {} for none. Raises ValueError, OSError."""
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}


def _docker() -> Finding | None:
    if program("dockerd") is None:
        return None
    file = "/etc/docker/daemon.json"
    data = text(file, 4 << 20)
    remedy = f'in {file}: {{"runtimes": {{"pyrunc": {{"path": "{_here()}"}}}}}}, then reload the daemon'
    config: Any = {}
    if data:
        from pyrunc.jsontext import loads

        try:
            config = loads(data.encode(), "daemon.json")
        except PyruncError as error:
            return _unread("docker", file, error.message)
    runtimes = config.get("runtimes") if isinstance(config, dict) else None
    for one in (runtimes if isinstance(runtimes, dict) else {}).values():
        if isinstance(one, dict) and _runs_pyrunc(one.get("path")):
            return _verdict("docker", file, one["path"])
    return Finding(NOTE, "docker", "does not know pyrunc", remedy)


def _podman_files() -> list[str]:
    folders = ["/usr/share/containers", "/etc/containers"]
    if posix.geteuid() != 0:
        home = posix.environ.get(b"HOME", b"").decode("utf-8", "surrogateescape")
        config = posix.environ.get(b"XDG_CONFIG_HOME", b"").decode("utf-8", "surrogateescape") or home + "/.config"
        folders.append(config + "/containers")
    found = []
    for folder in folders:
        found.append(folder + "/containers.conf")
        try:
            found += [
                f"{folder}/containers.conf.d/{name}" for name in sorted(posix.listdir(folder + "/containers.conf.d"))
            ]
        except OSError:
            continue
    return found


def _podman(engine: str) -> Finding | None:
    """podman and buildah read the same files."""
    if program(engine) is None:
        return None
    paths: list[str] = []
    where = ""
    for file in _podman_files():
        try:
            section = _toml(file).get("engine")
        except (ValueError, OSError) as error:
            return _unread(engine, file, str(error))
        runtimes = section.get("runtimes") if isinstance(section, dict) else None
        for value in (runtimes if isinstance(runtimes, dict) else {}).values():
            named = [path for path in value if _runs_pyrunc(path)] if isinstance(value, list) else []
            if named:
                paths, where = named, file
    if paths:
        # podman takes the first that is there.
        return _verdict(engine, where, next((path for path in paths if posix.access(path, posix.X_OK)), paths[0]))
    file = "/etc/containers/containers.conf" if posix.geteuid() == 0 else "~/.config/containers/containers.conf"
    remedy = f'in {file}: [engine.runtimes] pyrunc = ["{_here()}"], and for good [engine] runtime = "pyrunc"'
    return Finding(NOTE, engine, "does not know pyrunc", remedy)


def _named(value: Any, key: str) -> str:
    """The first program of ours that a property of that name has, anywhere in a configuration; "" for none."""
    if isinstance(value, dict):
        if _runs_pyrunc(value.get(key)):
            return str(value[key])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = _named(item, key)
            if found:
                return found
    return ""


def _containerd() -> Finding | None:
    if program("containerd") is None:
        return None
    file = "/etc/containerd/config.toml"
    try:
        config = _toml(file)
    except (ValueError, OSError) as error:
        return _unread(
            "containerd", file, error.strerror or reason(error) if isinstance(error, OSError) else str(error)
        )
    path = _named(config, "BinaryName")
    if path:
        return _verdict("containerd", file, path)
    section = (
        "plugins.'io.containerd.cri.v1.runtime'"
        if config.get("version") == 3
        else 'plugins."io.containerd.grpc.v1.cri"'
    ) + ".containerd.runtimes.pyrunc"
    remedy = f"for ctr: --runc-binary {_here()}; for the CRI, in {file}: [{section}"
    remedy += f'] runtime_type = "io.containerd.runc.v2", [{section}.options] BinaryName = "{_here()}"'
    return Finding(NOTE, "containerd", "does not know pyrunc", remedy)


def _crio() -> Finding | None:
    if program("crio") is None:
        return None
    folder = "/etc/crio/crio.conf.d"
    try:
        names = [f"{folder}/{name}" for name in sorted(posix.listdir(folder))]
    except OSError:
        names = []
    for file in ["/etc/crio/crio.conf", *names]:
        try:
            path = _named(_toml(file), "runtime_path")
        except (ValueError, OSError) as error:
            return _unread("CRI-O", file, str(error))
        if path:
            return _verdict("CRI-O", file, path)
    remedy = f'in {folder}/pyrunc.conf: [crio.runtime.runtimes.pyrunc] runtime_path = "{_here()}"'
    return Finding(NOTE, "CRI-O", "does not know pyrunc", remedy)

"""Where a container's scope is."""

from __future__ import annotations

from pyrunc.errors import ConfigError


class ScopeName:
    """Where a container's scope is: from linux.cgroupsPath "slice:prefix:name". Raises ConfigError.

    user: of a user's manager. slice_: its slice; unit: its name.
    """

    __slots__ = ("slice_", "unit", "user")

    def __init__(self, cgroups_path: str | None, container_id: str, *, user: bool) -> None:
        parts = (cgroups_path or ":pyrunc:" + container_id).split(":")
        if len(parts) != 3:
            raise ConfigError(
                (
                    'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got '
                    f"{cgroups_path!r} instead"
                ),
                pointer="/linux/cgroupsPath",
            )
        self.user = user
        self.slice_ = parts[0] or ("user.slice" if user else "system.slice")
        name = parts[2] or container_id
        self.unit = name if name.endswith(".slice") else (parts[1] + "-" if parts[1] else "") + name + ".scope"
        if "/" in self.unit or ".." in self.unit or "\0" in self.unit:
            raise ConfigError("invalid name of a unit: " + repr(self.unit), pointer="/linux/cgroupsPath")
        expand_slice(self.slice_)

    def below(self) -> str:
        """The scope's cgroup below the manager's."""
        return f"{expand_slice(self.slice_)}/{self.unit}"


def expand_slice(name: str) -> str:
    """ "a-b.slice" lies in "a.slice": "/a.slice/a-b.slice" (systemd.slice(5)). Raises ConfigError."""
    stem = name.removesuffix(".slice")
    if stem == name or "/" in name or not stem:
        raise ConfigError("invalid slice name: " + repr(name), pointer="/linux/cgroupsPath")
    if stem == "-":
        return ""
    path = prefix = ""
    for part in stem.split("-"):
        if not part:
            raise ConfigError("invalid slice name: " + repr(name), pointer="/linux/cgroupsPath")
        prefix += ("-" if prefix else "") + part
        path += f"/{prefix}.slice"
    return path

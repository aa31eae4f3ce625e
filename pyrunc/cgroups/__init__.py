"""Control groups. Here: which manager is a container's; protocol.py says what each can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyrunc.cgroups.protocol import CgroupManager
    from pyrunc.cgroups.v1.manager import Manager as V1Manager
    from pyrunc.cgroups.v2.manager import Manager as V2Manager
    from pyrunc.config.types import Unit

    #: Those that are directories and files alone, without a service manager.
    FilesManager = V1Manager | V2Manager


def manager(
    saved: dict[str, str], rootless: bool = False, unit: Unit | None = None, container_id: str = ""
) -> CgroupManager:
    """The manager for the paths that state.json has kept. unit: of systemd's, if it is one."""
    if unit:
        from pyrunc.cgroups.systemd.manager import reopen

        return reopen(unit, saved, container_id, rootless=rootless)
    return files_manager(saved, rootless)


def files_manager(saved: dict[str, str], rootless: bool = False, optional: bool = False) -> FilesManager:
    """The manager of the cgroups' files, for hierarchies.paths() or for those of state.json.

    optional: nobody asked for them.
    """
    if "" in saved:
        from pyrunc.cgroups.v2.manager import Manager as V2Manager

        return V2Manager(saved, rootless, optional)
    from pyrunc.cgroups.v1.manager import Manager as V1Manager

    return V1Manager(saved, rootless, optional)

"""Entries of mounts[] to the steps that make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import ConfigError
from pyrunc.steps.rootfs import mount_options
from pyrunc.steps.rootfs.bind import Bind
from pyrunc.steps.rootfs.new_mount import NewMount
from pyrunc.steps.rootfs.remount import Remount

if TYPE_CHECKING:
    from pyrunc.config.types import Mount
    from pyrunc.steps.namespaces import OpenNamespaces
    from pyrunc.steps.rootfs.mount import MountStep


def step_of(
    mount: Mount, bundle: str, pointer: str, label: str = "", rootfs: str = "", opened: OpenNamespaces | None = None
) -> MountStep:
    """The step of one entry. rootfs, label, opened: as of NewMount. Raises ConfigError."""
    options = mount_options.parse(mount.get("options", []), pointer)
    if (options.keeps_link() or options.target_link) and (options.remount or not options.bind):
        raise ConfigError("options about symbolic links are for bind mounts", pointer=pointer + "/options")
    if options.remount:
        return Remount(mount, options, bundle, pointer, rootfs)
    if options.bind:
        return Bind(mount, options, bundle, pointer, rootfs)
    if mount.get("type") in ("cgroup", "cgroup2"):
        from pyrunc.steps.rootfs.cgroup_mount import CgroupMount

        return CgroupMount(mount, options, bundle, pointer, rootfs, label, opened)
    return NewMount(mount, options, bundle, pointer, rootfs, label, opened)

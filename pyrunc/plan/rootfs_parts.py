"""The steps that fill a container's root: mounts, devices, and the sources that the runtime has to open for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.plan import meetings
from pyrunc.steps.process import labels
from pyrunc.steps.rootfs import devices, entry
from pyrunc.steps.rootfs.mount import MountStep
from pyrunc.steps.rootfs.new_mount import READ_ONLY_LATE, NewMount
from pyrunc.steps.rootfs.source import OpenTree
from pyrunc.steps.step import CONTAINER, RUNTIME, Meet, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Config, Device, Mount
    from pyrunc.steps.host import Host
    from pyrunc.steps.namespaces import Namespaces, OpenNamespaces
    from pyrunc.steps.rootfs.idmapped import Mapper


class RootfsParts:
    """mounts, devices: their steps. trees: the sources that the runtime opens; root_tree, null_tree: two of them.

    early: what is done with some of them before. mapper: what makes mappings for mounts with ids of their own, or None.
    has_userns: whether the container has a user namespace. locked: whether the mounts that it sees are locked against
    its root, whom the host's root opens the sources for.
    """

    def __init__(
        self,
        config: Config,
        bundle: str,
        rootfs: str,
        host: Host,
        spaces: Namespaces,
        opened: OpenNamespaces | None,
    ) -> None:
        """opened: what has the namespaces that are joined, if any are."""
        self.config = config
        self.linux = config.get("linux", {})
        self.bundle = bundle
        self.rootfs = rootfs
        self.host = host
        self.spaces = spaces
        self.opened = opened
        self.mapper: Mapper | None = None
        # Where the container's user is not the host's root, the runtime opens what only the host's root may reach,
        # from within the new mount namespace, whose mounts are locked against that user.
        self.has_userns = spaces.has("user")
        self.locked = self.has_userns and "mount" in spaces.new and not host.rootless
        self.trees: list[OpenTree] = []
        self.early: list[Step] = []
        self.root_tree: OpenTree | None = None
        self.null_tree: OpenTree | None = None
        self.mounts = self._mount_steps()
        self.devices = self._device_steps()

    def _tree(
        self, path: str, recursive: bool, pointer: str, attributes: int = 0, *, always: bool = False
    ) -> OpenTree | None:
        # An ordinary user has the right to copy a mount only in the user namespace: the container process does it then.
        if not always and (not self.has_userns or self.host.rootless):
            return None
        slave = (self.linux.get("rootfsPropagation") or "") not in ("shared", "rshared")
        tree = OpenTree(path, recursive, pointer, slave, attributes)
        self.trees.append(tree)
        return tree

    def _mount_steps(self) -> list[Step]:
        if self.linux.get("mountLabel"):
            labels.require_lsm("selinux", self.linux["mountLabel"], self.host, "/linux/mountLabel")
        self.root_tree = self._tree(self.rootfs, True, "/root/path")
        self.null_tree = self._tree("/dev/null", False, "/linux/maskedPaths")
        steps: list[Step] = []
        for index, mount in enumerate(self.config.get("mounts", [])):
            pointer = "/mounts/" + str(index)
            label = self.linux.get("mountLabel") or ""
            step = entry.step_of(mount, self.bundle, pointer, label, self.rootfs, self.opened)
            step.locked = self.has_userns or self.host.rootless or self.host.in_user_namespace
            # Mappings without the option that belongs to them mean the mount alone, as in runc.
            mapped = bool(step.options.idmap or mount.get("uidMappings"))
            if mapped and step.inside and self.locked:
                # Only the runtime may map the ids of a file system of the host; an earlier mount makes the source.
                step.tree = OpenTree(step.source, step.options.recursive, pointer)
                steps += self._opened_late(step.tree)
            elif step.options.bind and not step.inside:
                step.tree = self._tree(step.source, step.options.recursive, pointer, always=mapped)
            elif step.fstype == "sysfs" and "network" not in self.spaces.new:
                # Of the host's network namespace the kernel gives a user namespace no new one.
                step.tree = self._tree("/sys", True, pointer)
            if step.options.bind and step.tree is not None:
                step.tree.follow = not step.options.keeps_link()
                self._set_times(step)
            if mapped:
                self._map_ids(mount, step, pointer)
            steps.append(step)
        return steps

    def _set_times(self, step: MountStep) -> None:
        if step.tree in self.trees and step.options.times() != (0, 0) and not self.host.in_user_namespace:
            from pyrunc.steps.rootfs import access_times

            self.early.append(access_times.SetTimes(step.tree, step.options))

    def _map_ids(self, mount: Mount, step: MountStep, pointer: str) -> None:
        from pyrunc.steps.rootfs import idmapped

        if self.mapper is None:
            self.mapper = idmapped.Mapper(self.linux, self.spaces, self.opened)
        mapping = self.mapper.of(mount, step.options, pointer)
        if step.tree is not None:
            step.tree.mapping, step.tree.maps_below = mapping, step.options.idmap == "ridmap"
        else:
            step.mapping = mapping

    def _opened_late(self, tree: OpenTree) -> list[Step]:
        from pyrunc.steps.rootfs import host_sources

        return [
            Meet(CONTAINER, meetings.MOUNTED_SO_FAR),
            host_sources.OpenSources([tree]),
            Meet(RUNTIME, meetings.SOURCE_OPENED),
            host_sources.TakeSources([tree]),
        ]

    def has_own_dev(self) -> bool:
        """Whether /dev is the container's own to fill: not when the config binds one."""
        for mount in self.config.get("mounts", []):
            if mount["destination"].rstrip("/") == "/dev":
                options = mount.get("options", [])
                if "bind" in options or "rbind" in options:
                    return False
        return True

    def _device_steps(self) -> list[Step]:
        if not self.has_own_dev():
            return []
        steps: list[Step] = []
        wanted = self.linux.get("devices", [])
        paths = {device["path"] for device in wanted}
        for path, major, minor in devices.DEFAULTS:
            if path not in paths:
                device: Device = {"path": path, "type": "c", "major": major, "minor": minor}
                steps.append(devices.MakeDevice(device, "", self._device_tree(device, "")))
        for index, device in enumerate(wanted):
            if "/".join(part for part in device["path"].split("/") if part not in ("", ".")) == "dev/ptmx":
                # The host's would open the host's terminals: it stays the link to the container's own pts/ptmx.
                continue
            pointer = "/linux/devices/" + str(index)
            steps.append(devices.MakeDevice(device, pointer, self._device_tree(device, pointer)))
        steps.append(devices.DeviceLinks())
        return steps

    def _device_tree(self, device: Device, pointer: str) -> OpenTree | None:
        if device["type"] == "p":
            return None
        if not self.locked:
            return self._tree(device["path"], False, pointer, devices.BIND_ATTRIBUTES)
        from pyrunc.steps.rootfs import host_devices

        tree = host_devices.OpenDevice(device, pointer)
        self.trees.append(tree)
        return tree

    def late_read_only(self) -> list[NewMount]:
        """What tmpfs is to become read-only now that it has what the set-up puts there; cgroup v1 stands in one."""
        found: dict[str, NewMount] = {}
        for step in self.mounts:
            if isinstance(step, MountStep):
                if not (step.options.remount and step.read_only()):
                    found.pop(step.destination, None)
                if isinstance(step, NewMount) and step.fstype in READ_ONLY_LATE and step.read_only():
                    found[step.destination] = step
        return list(found.values())

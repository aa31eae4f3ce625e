"""Block I/O, huge pages, network classes and priorities, RDMA: resources of cgroup v1 that few containers ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.cgroups.v1.limits import Limits


def apply(limits: Limits, resources: Mapping[str, Any]) -> None:
    """Write what is asked. Raises ConfigError and PyruncError."""
    if resources.get("blockIO"):
        _block_io(limits, resources["blockIO"])
    for index, entry in enumerate(resources.get("hugepageLimits", [])):
        _hugepages(limits, entry, "/hugepageLimits/" + str(index))
    network = resources.get("network", {})
    if network.get("classID"):
        limits.put("net_cls", "net_cls.classid", network["classID"], "/network/classID")
    for index, entry in enumerate(network.get("priorities", [])):
        value = entry["name"] + " " + str(entry["priority"])
        limits.put("net_prio", "net_prio.ifpriomap", value, "/network/priorities/" + str(index))
    for device, entry in resources.get("rdma", {}).items():
        value = device
        for key, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if entry.get(key) is not None:
                value += " " + name + "=" + str(entry[key])
        limits.put("rdma", "rdma.max", value, "/rdma/" + device.replace("~", "~0").replace("/", "~1"))


def _block_io(limits: Limits, block: Mapping[str, Any]) -> None:
    prefix = ""
    if block.get("weight") or block.get("weightDevice"):
        # CFQ's files are older, BFQ's newer; a kernel has one of the two or neither.
        prefix = "blkio." if limits.has("blkio", "blkio.weight") else "blkio.bfq."
    if block.get("weight"):
        limits.put("blkio", prefix + "weight", block["weight"], "/blockIO/weight")
    if block.get("leafWeight"):
        limits.put("blkio", "blkio.leaf_weight", block["leafWeight"], "/blockIO/leafWeight")
    for index, entry in enumerate(block.get("weightDevice", [])):
        pointer = "/blockIO/weightDevice/" + str(index)
        for file, key in ((prefix + "weight_device", "weight"), ("blkio.leaf_weight_device", "leafWeight")):
            if entry.get(key):
                limits.put("blkio", file, f"{entry['major']}:{entry['minor']} {entry[key]}", pointer)
    for key, file in (
        ("throttleReadBpsDevice", "read_bps"),
        ("throttleWriteBpsDevice", "write_bps"),
        ("throttleReadIOPSDevice", "read_iops"),
        ("throttleWriteIOPSDevice", "write_iops"),
    ):
        for index, entry in enumerate(block.get(key) or ()):
            value = f"{entry['major']}:{entry['minor']} {entry['rate']}"
            limits.put("blkio", "blkio.throttle." + file + "_device", value, "/blockIO/" + key + "/" + str(index))


def _hugepages(limits: Limits, entry: Mapping[str, Any], pointer: str) -> None:
    size = entry["pageSize"]
    # It becomes a part of a file's name.
    if not (size.isascii() and size.isalnum()):
        raise ConfigError(
            f"invalid huge page size {size!r}: such as 2MB", pointer=limits.pointer(pointer + "/pageSize")
        )
    limits.put("hugetlb", "hugetlb." + size + ".limit_in_bytes", entry["limit"], pointer)
    # What mmap(2) reserves is counted apart since Linux 5.7.
    if limits.has("hugetlb", "hugetlb." + size + ".rsvd.limit_in_bytes"):
        limits.put("hugetlb", "hugetlb." + size + ".rsvd.limit_in_bytes", entry["limit"], pointer)

"""Faults of the rootfs, of mounts and devices, and of namespaces that are joined."""

from __future__ import annotations

from tests.support.workplace import Bundle

from .configs import RUN
from .fault import DELETE, Change, Fault


def mount(**entry: object) -> dict[str, object]:
    return {"/mounts/-": entry}


def link(name: str, target: str) -> Change:
    def make(box: Bundle) -> None:
        where = box.rootfs / name
        if where.is_dir() and not where.is_symlink():
            where.rmdir()
        where.symlink_to(target)

    return make


def relocated(box: Bundle) -> None:
    """Sources that name the bundle."""
    for entry in box.config["mounts"]:
        entry["source"] = str(entry.get("source", "")).replace("{BUNDLE}", str(box.path))
    box.save()


def similar(box: Bundle) -> None:
    """What the source was meant to be."""
    (box.path / "data").mkdir()
    relocated(box)


FAULTS = [
    # ---- the rootfs ----
    Fault(
        "root is missing",
        ("root must be specified",),
        '"root"',
        none="what is missing has no place",
        config={"/root": DELETE},
        call=RUN,
    ),
    Fault(
        "rootfs is not there",
        ("invalid rootfs", "does not exist"),
        "there is no rotfs: did you mean rootfs?",
        pointer="/root/path",
        config={"/root/path": "rotfs"},
        call=RUN,
    ),
    Fault(
        "rootfs is a file",
        ("invalid rootfs", "is not a directory"),
        "directory",
        pointer="/root/path",
        config={"/root/path": "config.json"},
        call=RUN,
    ),
    Fault(
        "rootfs is behind a link",
        ("invalid rootfs", "without symbolic links"),
        "no link leads to it",
        pointer="/root/path",
        config={"/root/path": "link"},
        make=lambda box: (box.path / "link").symlink_to("rootfs"),
        call=RUN,
    ),
    # ---- mounts ----
    Fault(
        "mount source is missing",
        ("mount source", "does not exist"),
        "there is no daat: did you mean data?",
        pointer="/mounts/7/source",
        config=mount(destination="/mnt", source="{BUNDLE}/daat/x", options=["bind"]),
        make=similar,
        call=RUN,
    ),
    Fault(
        "mount source is below a file",
        ("config.json/x",),
        "is no directory",
        pointer="/mounts/7/source",
        config=mount(destination="/mnt", source="config.json/x", options=["bind"]),
        call=RUN,
    ),
    Fault(
        "a file system with a typo",
        ("tmpsf", "no such device"),
        "did you mean tmpfs?",
        pointer="/mounts/7/type",
        config=mount(destination="/mnt", source="x", type="tmpsf"),
        call=RUN,
    ),
    Fault(
        "a file system that the kernel lacks",
        ("gfs2",),
        "modprobe",
        pointer="/mounts/7/type",
        config=mount(destination="/mnt", source="/dev/null", type="gfs2"),
        call=RUN,
    ),
    Fault(
        "a mount option with a typo",
        ("nosiud",),
        "did you mean nosuid?",
        pointer="/mounts/7/options/1",
        config=mount(destination="/mnt", source="x", type="tmpfs", options=["ro", "nosiud"]),
        call=RUN,
    ),
    Fault(
        "an option of a file system with a typo",
        ("sizee",),
        "did you mean size?",
        pointer="/mounts/7/options/0",
        config=mount(destination="/mnt", source="x", type="tmpfs", options=["sizee=1m"]),
        call=RUN,
    ),
    Fault(
        "an option with a wrong value",
        ("size",),
        "the value of size",
        pointer="/mounts/7/options/0",
        config=mount(destination="/mnt", source="x", type="tmpfs", options=["size=lots"]),
        call=RUN,
    ),
    Fault(
        "a mount point below a file",
        ("/etc/passwd/x",),
        "is a file in the rootfs",
        pointer="/mounts/7/destination",
        config=mount(destination="/etc/passwd/x", source="x", type="tmpfs"),
        call=RUN,
    ),
    Fault(
        "a mount point on a procfs",
        ("/mnt/nowhere",),
        "takes no new names",
        pointer="/mounts/8/destination",
        config={
            "/mounts/7": {"destination": "/mnt", "source": "proc", "type": "proc"},
            "/mounts/8": {"destination": "/mnt/nowhere", "source": "x", "type": "tmpfs"},
        },
        call=RUN,
    ),
    Fault(
        "a mount point behind links in a circle",
        ("/loop/x",),
        "links",
        pointer="/mounts/7/destination",
        config=mount(destination="/loop/x", source="x", type="tmpfs"),
        make=link("loop", "loop"),
        call=RUN,
    ),
    Fault(
        "a file on a directory",
        ("/mnt", "not a directory"),
        "a file can only be shown on a file",
        pointer="/mounts/7/destination",
        config=mount(destination="/mnt", source="config.json", options=["bind"]),
        make=lambda box: (box.rootfs / "mnt").mkdir(),
        call=RUN,
    ),
    Fault(
        "a directory on a file",
        ("/etc/passwd", "not a directory"),
        "a file can only be shown on a file",
        pointer="/mounts/7/destination",
        config=mount(destination="/etc/passwd", source="{BUNDLE}", options=["bind"]),
        make=relocated,
        call=RUN,
    ),
    Fault(
        "a block device that is none",
        ("ext4",),
        "block device",
        pointer="/mounts/7/source",
        config=mount(destination="/mnt", source="/dev/null", type="ext4"),
        call=RUN,
    ),
    Fault(
        "a way to /proc through a link",
        ("inside /proc",),
        "a link of the rootfs may lead there",
        pointer="/mounts/7/destination",
        config=mount(destination="/p/sys", source="x", type="tmpfs"),
        make=link("p", "proc"),
        call=RUN,
    ),
    Fault(
        "an overlay without a lower directory",
        ("overlay",),
        "mount(8)",
        pointer="/mounts/7",
        config=mount(destination="/mnt", source="overlay", type="overlay"),
        call=RUN,
    ),
    Fault(
        "an overlay whose lower directory is missing",
        ("overlay",),
        "must be there",
        pointer="/mounts/7",
        config=mount(destination="/mnt", source="overlay", type="overlay", options=["lowerdir=/proc/nowhere"]),
        call=RUN,
    ),
    Fault(
        "id mappings on a file system that has none",
        ("id-map the mount",),
        "id-mapped mounts",
        pointer="/mounts/7/source",
        config=mount(
            destination="/mnt",
            source="/proc",
            options=["bind", "idmap"],
            uidMappings=[{"containerID": 0, "hostID": 1, "size": 9}],
            gidMappings=[{"containerID": 0, "hostID": 1, "size": 9}],
        ),
        call=RUN,
    ),
    # ---- devices, /dev ----
    Fault(
        "something else at a device's path",
        ("device /etc/passwd: something else exists there",),
        "remove it",
        pointer="/linux/devices/0/path",
        config={"/linux/devices": [{"type": "c", "path": "/etc/passwd", "major": 1, "minor": 3}]},
        call=RUN,
    ),
    Fault(
        "a device below a file",
        ("device /etc/passwd/null",),
        "tmpfs",
        pointer="/linux/devices/0/path",
        config={"/linux/devices": [{"type": "c", "path": "/etc/passwd/null", "major": 1, "minor": 3}]},
        call=RUN,
    ),
    # ---- namespaces that are joined ----
    Fault(
        "a namespace path that is not there",
        ("namespace path /proc/1/ns/nte",),
        "there is no nte: did you mean net?",
        pointer="/linux/namespaces/1/path",
        config={"/linux/namespaces/1": {"type": "network", "path": "/proc/1/ns/nte"}},
        call=RUN,
    ),
    Fault(
        "a namespace path of another kind",
        ("is not a network namespace",),
        "/proc/PID/ns/",
        pointer="/linux/namespaces/1/path",
        config={"/linux/namespaces/1": {"type": "network", "path": "/proc/self/ns/ipc"}},
        call=RUN,
    ),
    Fault(
        "a namespace path of no process",
        ("namespace path /proc/999999999/ns/net",),
        "there is no 999999999",
        pointer="/linux/namespaces/1/path",
        config={"/linux/namespaces/1": {"type": "network", "path": "/proc/999999999/ns/net"}},
        call=RUN,
    ),
    Fault(
        "a time offset that is too large",
        ("write time offsets",),
        "time_namespaces(7)",
        pointer="/linux/timeOffsets",
        config={"/linux/namespaces/-": {"type": "time"}, "/linux/timeOffsets": {"boottime": {"secs": 2**62}}},
        call=RUN,
    ),
]

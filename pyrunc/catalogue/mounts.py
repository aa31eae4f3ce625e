"""The catalogue: rootfs, mounts, devices, masked and read-only paths."""

from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ELOOP, ENODEV, ENOENT, ENOSYS, ENOTBLK, ENOTDIR, EPERM, EROFS
from typing import TYPE_CHECKING, Final

from pyrunc.catalogue.entry import CONFIG, GIVEN, HOST, STEP, Case, asked, meant

if TYPE_CHECKING:
    from pyrunc.catalogue.entry import Entry

# How runc begins.
_RUNC: Final = 'unable to start container process: error during container init: error mounting "{}" to rootfs at "{}": '

_FILESYSTEMS: Final = (
    "tmpfs proc sysfs devpts mqueue cgroup cgroup2 overlay ext4 xfs btrfs nfs nfs4 fuse squashfs iso9660 vfat ramfs "
    "debugfs tracefs securityfs bpf hugetlbfs devtmpfs autofs erofs f2fs binfmt_misc configfs none bind"
)


def _known_here() -> list[str]:
    """The file systems of this kernel (filesystems(5)), as far as they are loaded."""
    from pyrunc.linux import files

    try:
        return [line.split()[-1] for line in files.read("/proc/filesystems", limit=65536).decode().splitlines()]
    except (OSError, IndexError):
        return []


def _type(case: Case) -> str:
    name = case.holes[0]
    here = _known_here()
    question = meant(name, here + _FILESYSTEMS.split())
    if question and name not in _FILESYSTEMS.split():
        return question
    return f"this kernel does not have the file system {name}: modprobe {name} on the host, if it is a module"


def _option(case: Case) -> str:
    """Of an option that the file system does not take: the nearest that there is."""
    from pyrunc.catalogue.options import OF_FILESYSTEMS, WORDS

    words = case.holes[-1]
    names = WORDS.split() + OF_FILESYSTEMS.get(case.holes[0], "").split()
    for mark in ("Unknown parameter '", "Bad value for '"):
        if mark in words:
            option = words.partition(mark)[2].partition("'")[0]
            if mark[0] == "B":
                return f"the value of {option} is none that {case.holes[0]} takes"
            question = meant(option, names)
            return (question + " " if question else "") + "mount(8) has the options of " + case.holes[0]
    return ""


def _mount(case: Case) -> str:
    number = case.error.errno or 0
    if number == ENODEV:
        return _type(case)
    return _option(case) or _MOUNT.get(number) or _MOUNT[0]


_MOUNT: Final = {
    EPERM: "a user namespace may mount proc, sysfs, tmpfs, devpts, mqueue, cgroup, overlay and binds, and take no "
    "restriction from a mount of the host's; outside of one CAP_SYS_ADMIN is needed",
    EACCES: "the source or the superblock can only be had read-only: add ro",
    EBUSY: "the file system is mounted elsewhere with other options, or is in use",
    EINVAL: "an option does not fit the file system, or another option: mount(8)",
    ENOENT: "the source, or a directory that an option names, must be there",
    ENOTBLK: "the source must be a block device, such as /dev/sdb1",
    ELOOP: "there are links on the way that lead to each other",
    EROFS: "the source can only be had read-only: add ro",
    0: "`dmesg` on the host may say more",
}
_POINT: Final = {
    ENOTDIR: "something on the way to the destination is a file in the rootfs: choose another, or mend the image",
    EROFS: "the rootfs, or an earlier mount on the way, is read-only and lacks that directory: make it in the image",
    EACCES: "the container's root must be able to write there: make the directory in the image",
    ENOENT: "it lies on an earlier mount that takes no new names, such as a procfs or a sysfs",
    ELOOP: "links of the rootfs on the way lead to each other: choose another destination",
    0: "make the directory (or the file, for a file) in the rootfs, so that nothing has to be made",
}
_DEVICE: Final = {
    EPERM: "where mknod(2) is refused the host's node is bound: it must be there, with these numbers",
    EROFS: "/dev of the container must be writable while it is made: mount a tmpfs there",
    ENOENT: "where mknod(2) is refused the host must have that node",
    0: "/dev of the container should be a tmpfs: then nothing of the image is in the way",
}
_REPLACE: Final = "the rootfs or an earlier mount has it: remove it, or let /dev be a tmpfs"
_RACE: Final = "somebody changes the rootfs while the container is made: make it when nobody does"

ENTRIES: Final[dict[str, Entry]] = {
    # ---- rootfs ----
    "invalid rootfs: {} {}": (
        "{0}",
        CONFIG,
        asked(0, "root.path must name a directory, relative to the bundle or absolute, and no link leads to it"),
    ),
    # ---- mounts[] ----
    "mount source {} does not exist": ("{0}", STEP, asked(0, "it must be there before the container is created")),
    "mount source {}: {}": ("{0}", STEP, asked(0, "the runtime must be able to open it")),
    "mount source {} was moved away meanwhile": ("{0}", STEP, "leave it in its place while the container is made"),
    "bind mount of {}: {}": (
        "{0}",
        STEP,
        asked(0, "the caller must be able to open it, and rbind is needed where mounts below it must come along"),
    ),
    _RUNC + 'make mountpoint "{}": {}': (
        "{1}",
        STEP,
        lambda case: _POINT.get(case.error.errno or 0) or _POINT[0],
    ),
    _RUNC + "mount {} to {}: {}": (
        "{1}",
        STEP,
        _mount,
    ),
    _RUNC + "mount {} to {}: not a directory: {} is one, {} is none": (
        "{1}",
        STEP,
        "a file can only be shown on a file, a directory on a directory: mend source or destination",
    ),
    'filesystem "{}" must be mounted on ordinary directory: {} is none': (
        "{1}",
        STEP,
        "remove the link of the rootfs that stands there",
    ),
    "mount {}: {} was moved away meanwhile": ("{1}", STEP, _RACE),
    "make the mount point {}: {}": ("{0}", CONFIG, lambda case: _POINT.get(case.error.errno or 0) or _POINT[0]),
    'mountpoint "{}" is outside of rootfs "{}"': ("{0}", STEP, _RACE),
    'mountpoint "{}" is on the top of rootfs': (
        "{0}",
        STEP,
        "a link leads there: root.path is what the container's / is",
    ),
    '"{}" cannot be mounted because it is not of type proc': (
        "{0}",
        STEP,
        'a link of the rootfs leads to /proc: let it have "type": "proc", or mend the link',
    ),
    "{} cannot be mounted because it is inside /proc": (
        "{0}",
        STEP,
        "only what LXCFS serves may be covered (cpuinfo, meminfo, uptime ...): choose another destination; a link of "
        "the rootfs may lead there",
    ),
    "mount on {} would cover a part of proc": ("{0}", STEP, "choose another destination, outside of what is a procfs"),
    "a mount option holds a NUL byte": ("mount option", CONFIG, "take \\u0000 out of it"),
    "copy-symlink excludes src-nofollow and dest-nofollow": ("copy-symlink", CONFIG, "leave one of them out"),
    "options about symbolic links are for bind mounts": (
        "options about symbolic links",
        CONFIG,
        "add bind, or leave copy-symlink, src-nofollow and dest-nofollow out",
    ),
    # ---- id-mapped ----
    "in a container with a user namespace only bind mounts can be id-mapped": (
        "bind mounts",
        CONFIG,
        "leave idmap out: a new file system belongs to the user namespace anyway",
    ),
    "no id mappings for this mount, and none of the container": (
        "id mappings",
        CONFIG,
        "add uidMappings and gidMappings to the mount, or a user namespace with mappings",
    ),
    "map the ids of a mount: {}": (
        "ids of a mount",
        STEP,
        {EPERM: GIVEN, 0: "its uidMappings and gidMappings must not overlap"},
    ),
    "id-map the mount of {}: {}": (
        "{0}",
        STEP,
        {
            EINVAL: "its file system must have idmapped mounts (mount_setattr(2)), and the source none yet",
            ENOSYS: "idmapped mounts need Linux 5.12",
            0: "the source must be a file system that can be id-mapped: mount_setattr(2)",
        },
    ),
    # ---- devices ----
    "device {}: something else exists there": ("{0}", STEP, _REPLACE),
    "device {}: something else was put there meanwhile": ("{0}", STEP, _RACE),
    "device {}: on the host something else stands there": (
        "{0}",
        STEP,
        "the host's node is bound where mknod(2) is refused: path, type, major and minor must be that node's",
    ),
    "device {}: {} {} is not mapped in the user namespace": (
        "{0}",
        CONFIG,
        "a run of linux.{1}Mappings must hold containerID {2}, or the device another owner",
    ),
    "device {}: {}": ("{0}", STEP, _DEVICE),
    "/dev/null of the host is not the null device (character device 1:3)": (
        "/dev/null",
        HOST,
        "mend the host: rm /dev/null; mknod -m 666 /dev/null c 1 3",
    ),
    "/dev/console of the rootfs is a symbolic link": ("/dev/console", STEP, "remove it, or let /dev be a tmpfs"),
    "/dev/pts of the container is not a devpts": (
        "/dev/pts",
        STEP,
        'process.terminal needs one: {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": '
        '["newinstance", "ptmxmode=0666"]} in mounts',
    ),
    "open a terminal from /dev/pts/ptmx: {}": (
        "/dev/pts/ptmx",
        STEP,
        {
            ENOENT: "process.terminal needs a devpts on /dev/pts, with newinstance and ptmxmode=0666",
            0: "a devpts must be on /dev/pts; the sysctl kernel.pty.max limits how many terminals there are",
        },
    ),
    # ---- paths ----
    "readonly path {}: {}": (
        "{0}",
        STEP,
        {EPERM: "a mount below it is locked: leave it out", 0: "leave it out of linux.readonlyPaths"},
    ),
    "masked path {}: {}": (
        "{0}",
        STEP,
        {EPERM: "a mount below it is locked: leave it out", 0: "leave it out of linux.maskedPaths"},
    ),
    "mkdir {}: {}": (
        "{0}",
        STEP,
        {
            ENOTDIR: "process.cwd must be a directory: in the rootfs that is a file, or a part of it is",
            EROFS: "process.cwd is missing and the rootfs is read-only: make it in the image",
            0: "process.cwd is missing and cannot be made: make it in the image",
        },
    ),
    # ---- sources that the runtime opens ----
    "open for the user namespace: {}: {}": ("{0}", STEP, asked(0, "the caller must be able to open it")),
    "take what the runtime has opened: {}": ("what the runtime has opened", STEP, "--debug shows which source it was"),
}

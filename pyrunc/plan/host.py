"""What compiling needs to know of the host: read once, so that the same config and facts give the same plan."""

import posix

from pyrunc.linux import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Inode of the first user namespace: PROC_USER_INIT_INO of the kernel's linux/proc_ns.h.
_FIRST_USER_NAMESPACE: "Final" = 0xEFFFFFFD


class Host:
    """Facts of the host.

    rootless: whether the runtime lacks the first user namespace's root. in_user_namespace: whether it runs in another
    user namespace than the first one. apparmor, selinux: whether the LSM is enabled.
    """

    __slots__ = ("apparmor", "in_user_namespace", "rootless", "selinux")

    def __init__(self, *, rootless: bool, in_user_namespace: bool, apparmor: bool, selinux: bool) -> None:
        self.rootless = rootless
        self.in_user_namespace = in_user_namespace
        self.apparmor = apparmor
        self.selinux = selinux


def read_host(rootless: "bool | None" = None) -> Host:
    """The facts of this host. rootless: what --rootless says, None to find out."""
    try:
        nested = posix.stat("/proc/self/ns/user").st_ino != _FIRST_USER_NAMESPACE
    except OSError:
        nested = False
    if rootless is None:
        rootless = posix.geteuid() != 0
    return Host(
        rootless=rootless,
        in_user_namespace=nested,
        apparmor=_says("/sys/module/apparmor/parameters/enabled", b"Y"),
        selinux=files.exists("/sys/fs/selinux/enforce"),
    )


def _says(path: str, value: bytes) -> bool:
    try:
        return files.read(path, limit=64).startswith(value)
    except OSError:
        return False

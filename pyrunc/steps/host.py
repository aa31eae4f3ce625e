"""What compiling needs to know of the host: read once, so that the same config and facts give the same plan."""

from __future__ import annotations

import posix
from typing import Final

from pyrunc import _linux
from pyrunc.linux import files

# Inode of the first user namespace: PROC_USER_INIT_INO of the kernel's linux/proc_ns.h.
_FIRST_USER_NAMESPACE: Final = 0xEFFFFFFD


class Host:
    """Facts of the host.

    rootless: whether the runtime is not root at all. in_user_namespace: whether it runs in another user namespace than
    the first one (a rootless engine starts it as the root of one). rootless_cgroups: whether a cgroup may be out of its
    reach. apparmor, selinux: whether the LSM is enabled. capabilities: those of the runtime, as a mask; -1 is all.
    """

    __slots__ = ("apparmor", "capabilities", "in_user_namespace", "rootless", "rootless_cgroups", "selinux")

    def __init__(
        self,
        *,
        rootless: bool,
        in_user_namespace: bool,
        apparmor: bool,
        selinux: bool,
        rootless_cgroups: bool | None = None,
        capabilities: int = -1,
    ) -> None:
        """rootless_cgroups: None for what follows from the others."""
        self.rootless = rootless
        self.rootless_cgroups = rootless or in_user_namespace if rootless_cgroups is None else rootless_cgroups
        self.in_user_namespace = in_user_namespace
        self.apparmor = apparmor
        self.selinux = selinux
        self.capabilities = capabilities


def read_host(rootless: bool | None = None) -> Host:
    """The facts of this host. rootless: what --rootless says of cgroups, None to find out."""
    try:
        nested = posix.stat("/proc/self/ns/user").st_ino != _FIRST_USER_NAMESPACE
    except OSError:
        nested = False
    return Host(
        rootless=posix.geteuid() != 0,
        rootless_cgroups=rootless,
        in_user_namespace=nested,
        apparmor=_says("/sys/module/apparmor/parameters/enabled", b"Y"),
        selinux=files.exists("/sys/fs/selinux/enforce"),
        capabilities=_linux.capget()[1],
    )


def _says(path: str, value: bytes) -> bool:
    try:
        return files.read(path, limit=64).startswith(value)
    except OSError:
        return False

"""process.apparmorProfile and process.selinuxLabel."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.errors import ConfigError, PyruncError, reason
from pyrunc.linux import procfs
from pyrunc.steps.procfs import open_for_writing
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.config.types import Process
    from pyrunc.steps.context import Context
    from pyrunc.steps.host import Host
    from pyrunc.steps.procfs import OpenProcfs


class LsmLabel(Step):
    """process.apparmorProfile or process.selinuxLabel: the label that execve(2) will give."""

    __slots__ = ("attribute", "procfs", "value")
    name = "LSM label"
    section = "config.md#linux-process"
    side = CONTAINER

    def __init__(self, apparmor: bool, value: str, pointer: str, opened: OpenProcfs | None) -> None:
        """opened: the runtime's procfs, None for one of the process's own."""
        Step.__init__(self, pointer)
        self.procfs = opened
        self.attribute = "apparmor/exec" if apparmor else "exec"
        self.value = "exec " + value if apparmor else value

    def describe(self) -> str:
        return f"write '{self.value}' to attr/{self.attribute}"

    def apply(self, context: Context) -> None:
        write_attribute(self.procfs, self.attribute, self.value)


def write_attribute(opened: OpenProcfs | None, attribute: str, text: str) -> None:
    """Write text to /proc/self/attr/ATTRIBUTE; where the kernel has none for AppArmor alone, to `exec`."""
    proc = open_for_writing(opened)
    try:
        own = procfs.self_name(proc) + "/attr/"
        value = text.encode("utf-8", "surrogateescape")
        try:
            try:
                procfs.write(proc, own + attribute, value)
            except FileNotFoundError:
                procfs.write(proc, own + "exec", value)
        except OSError as error:
            raise PyruncError(
                f"write '{text}' to /proc/self/attr/{attribute}: {reason(error)}",
                errno=error.errno,
            ) from None
    finally:
        posix.close(proc)


def labels(process: Process, host: Host, opened: OpenProcfs | None) -> list[Step]:
    """The steps for the labels of a process. Raises ConfigError when the host lacks the LSM."""
    steps: list[Step] = []
    for lsm, label, pointer in (
        ("apparmor", process.get("apparmorProfile"), "/process/apparmorProfile"),
        ("selinux", process.get("selinuxLabel"), "/process/selinuxLabel"),
    ):
        if label:
            require_lsm(lsm, label, host, pointer)
            steps.append(LsmLabel(lsm == "apparmor", label, pointer, opened))
    return steps


def require_lsm(lsm: str, label: str, host: Host, pointer: str) -> None:
    """Raises ConfigError when the host lacks the LSM that a label is for, or SELinux's policy does not know it."""
    if not (host.apparmor if lsm == "apparmor" else host.selinux):
        raise ConfigError(f"{lsm} label {label} cannot be applied: {lsm} is not enabled on this host", pointer=pointer)
    if lsm == "selinux":
        from pyrunc.linux import selinux

        selinux.check(label, pointer)

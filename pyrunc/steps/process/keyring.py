"""The container's session keyring."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pyrunc import _linux
from pyrunc.errors import PyruncError, reason
from pyrunc.steps.process.labels import write_attribute
from pyrunc.steps.step import CONTAINER, Step

if TYPE_CHECKING:
    from pyrunc.steps.context import Context
    from pyrunc.steps.procfs import OpenProcfs


class Keyring(Step):
    """A session keyring of its own, so that the container cannot use the caller's (session-keyring(7)).

    label: the process's SELinux label, without which its policy would not let it search the keyring.
    """

    __slots__ = ("label", "procfs")
    name = "keyring"
    side = CONTAINER

    def __init__(self, label: str, opened: OpenProcfs | None) -> None:
        """opened: the runtime's procfs, None for one of the process's own."""
        Step.__init__(self, "/process/selinuxLabel" if label else "")
        self.procfs = opened
        self.label = label

    def describe(self) -> str:
        return "join a new session keyring" + (" labelled " + self.label if self.label else "")

    def apply(self, context: Context) -> None:
        if self.label:
            # execve(2) takes it back.
            write_attribute(self.procfs, "keycreate", self.label)
        try:
            serial = _linux.keyctl_join_session_keyring("_ses." + context.id)
            # The owner may search it too, or `keyctl` in the container could not find its own keys.
            permissions = int(_linux.keyctl_describe(serial).split(";")[3], 16)
            _linux.keyctl(_linux.KEYCTL_SETPERM, serial, permissions | 0x80000)
        except OSError as error:
            # Keyrings are missing, or a quota is full: the container shares the caller's, as with runc.
            if error.errno not in (errno.ENOSYS, errno.EDQUOT, errno.EPERM, errno.EACCES):
                raise PyruncError("join session keyring: " + reason(error), errno=error.errno) from None

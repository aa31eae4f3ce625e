"""What only SELinux's labels need; loaded when a config has one."""

from __future__ import annotations

import errno
import posix
from typing import Any

from pyrunc.errors import ConfigError
from pyrunc.linux import files


def check(label: str, pointer: str) -> None:
    """Ask the kernel whether its policy knows a label, as security_check_context(3) does. Raises ConfigError."""
    try:
        files.write("/sys/fs/selinux/context", label.encode("utf-8", "surrogateescape"))
    except OSError as error:
        # Who may not ask finds out when the label is used.
        if error.errno == errno.EINVAL:
            raise ConfigError(
                f"selinux label '{label}' is none that the policy of this host knows", pointer=pointer
            ) from None


def set_label(tree: int, label: str) -> None:
    """Give the root of a mount a label. Raises OSError.

    For the message queues, whose file system is there before the mount and takes no context from it.
    """
    try:
        posix.setxattr("/proc/self/fd/" + str(tree), "security.selinux", label.encode("utf-8", "surrogateescape"))
    except OSError as error:
        # In a user namespace it keeps the label that the policy gives it, and belongs to somebody outside.
        if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
            raise


def quoted(parameters: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The parameters for mount(2), which parts them by commas: a label has some, and SELinux takes the quotes off."""
    return [(key, f'"{value}"' if key == "context" else value) for key, value in parameters]

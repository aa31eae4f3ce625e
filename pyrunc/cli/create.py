"""pyrunc create: a container, its process waiting for start."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING

from pyrunc.errors import PyruncError, UsageError, reason

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.options import CreateOptions


def options(call: Call) -> CreateOptions:
    """The options of create and run. Enters the bundle, which relative paths then refer to, as in runc."""
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.options import CreateOptions

    flags = call.flags
    if flags["preserve-fds"] < 0:
        raise UsageError(f'invalid value "{flags["preserve-fds"]}" for flag -preserve-fds: it is negative')
    # These two refer to where the caller stood; all other paths to the bundle.
    pid_file = absolute(flags["pid-file"]) if flags["pid-file"] else None
    config = absolute(flags["config"]) if flags["config"] else None
    options = CreateOptions(enter(flags["bundle"]))
    options.config = config
    options.pid_file = pid_file
    options.console_socket = flags["console-socket"] or None
    options.pidfd_socket = flags["pidfd-socket"] or None
    options.no_pivot = flags["no-pivot"]
    options.no_new_keyring = flags["no-new-keyring"]
    options.preserve_fds = flags["preserve-fds"]
    options.detach = flags.get("detach", True)
    options.keep = flags.get("keep", False)
    options.no_subreaper = flags.get("no-subreaper", False)
    options.systemd_cgroup = call.systemd_cgroup
    options.no_cgroup = call.no_cgroup
    options.rootless = call.rootless
    options.trust_annotations = call.trust_annotations
    return options


def enter(bundle: str) -> str:
    """Make a bundle ("" for the current directory) the current directory. Returns its path without symbolic links."""
    try:
        if bundle:
            posix.chdir(bundle)
        return posix.getcwd()
    except OSError as error:
        raise PyruncError(
            "bundle " + (bundle or "in the current directory") + ": " + reason(error), errno=error.errno
        ) from None


def run(call: Call) -> int:
    from pyrunc.lifecycle.create import create
    from pyrunc.state.store import Store

    create(Store(call.root), call.args[0], options(call))
    return 0

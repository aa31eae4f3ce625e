"""pyrunc restore: a container from the images of a checkpoint, by CRIU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc.cli.checkpoint import options as criu_options
    from pyrunc.cli.create import enter
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.checkpoint.restore import restore
    from pyrunc.lifecycle.options import CreateOptions
    from pyrunc.state.store import Store

    flags = call.flags
    wanted = criu_options(call)
    wanted.lsm_mount_context = flags["lsm-mount-context"]
    profile = flags["lsm-profile"]
    kind, colon, name = profile.partition(":")
    if profile and not (colon and name and kind in ("apparmor", "selinux")):
        raise UsageError(f'invalid value "{profile}" for flag -lsm-profile: want apparmor:NAME or selinux:LABEL')
    wanted.lsm_profile = profile
    pid_file = absolute(flags["pid-file"]) if flags["pid-file"] else None
    options = CreateOptions(enter(flags["bundle"]))
    options.pid_file = pid_file
    options.console_socket = flags["console-socket"] or None
    options.detach = flags["detach"]
    options.no_subreaper = flags["no-subreaper"]
    options.no_pivot = flags["no-pivot"]
    options.systemd_cgroup = call.systemd_cgroup
    options.rootless = call.rootless
    options.trust_annotations = call.trust_annotations
    return restore(Store(call.root), call.args[0], options, wanted)

"""pyrunc exec: another process inside a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.options import ExecOptions

_MAX_ID = 2**32 - 2  # (uid_t)-1 means "unchanged" to the kernel


def options(call: Call) -> ExecOptions:
    """The options of exec. Raises UsageError for a value that can't be meant; nothing was done then."""
    from pyrunc.cli.parse import absolute
    from pyrunc.lifecycle.options import ExecOptions

    flags = call.flags
    options = ExecOptions()
    options.args = call.args[1:]
    for name in ("process", "pid-file", "console-socket", "pidfd-socket"):
        if flags[name]:
            # exec works in the bundle later; these refer to where the caller stands.
            setattr(options, "process_file" if name == "process" else name.replace("-", "_"), absolute(flags[name]))
    if options.process_file is None and not options.args:
        raise UsageError("exec args cannot be empty")
    if flags["preserve-fds"] < 0:
        raise UsageError(f'invalid value "{flags["preserve-fds"]}" for flag -preserve-fds: it is negative')
    options.preserve_fds = flags["preserve-fds"]
    options.cwd = flags["cwd"] or None
    options.process_label = flags["process-label"] or None
    options.apparmor = flags["apparmor"] or None
    for setting in flags["env"]:
        if setting.find("=") < 1:
            raise UsageError(f'invalid value "{setting}" for flag -env: want NAME=value')
    options.env = flags["env"]
    if flags["user"]:
        uid, colon, gid = flags["user"].partition(":")
        options.user = (_number(uid, "bad uid", _MAX_ID), _number(gid, "bad gid", _MAX_ID) if colon else None)
    for group in flags["additional-gids"]:
        if not 0 <= group <= _MAX_ID:
            raise UsageError("additional-gids must be a positive number below 2^32 - 1, not " + str(group))
    options.additional_gids = flags["additional-gids"]
    options.caps = flags["cap"]
    options.cgroup = _cgroups(flags["cgroup"])
    options.tty = flags["tty"]
    options.detach = flags["detach"]
    options.no_new_privs = flags["no-new-privs"] if "no-new-privs" in call.given else None
    options.ignore_paused = flags["ignore-paused"]
    return options


def _number(text: str, what: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= most):
        raise UsageError(f'{what}: "{text}" is no number from 0 to {most}')
    return int(text)


def _cgroups(values: list[str]) -> dict[str, str]:
    """--cgroup: PATH, or CONTROLLER[,CONTROLLER...]:PATH once or more. Raises UsageError in runc's words."""
    paths: dict[str, str] = {}
    for value in values:
        controllers, colon, path = value.partition(":")
        if not colon:
            if len(values) != 1:
                raise UsageError(f"invalid --cgroup argument: {value} (missing <controller>: prefix)")
            return {"": value}
        for controller in controllers.split(","):
            if not controller:
                raise UsageError(f"invalid --cgroup argument: {value} (empty <controller> prefix)")
            if controller in paths:
                raise UsageError(f"invalid --cgroup argument(s): controller {controller} specified multiple times")
            paths[controller] = path
    return paths


def run(call: Call) -> int:
    options_ = options(call)
    from pyrunc.lifecycle.exec import exec_
    from pyrunc.state.store import Store

    status: int = exec_(Store(call.root), call.args[0], options_)
    return status

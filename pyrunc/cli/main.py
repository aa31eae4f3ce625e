"""From argv to an exit status: global flags, the state root, one command, and what is said when it fails.

Hot: the launcher calls main() for every command. One command's module is imported, and nothing else.
"""

from __future__ import annotations

import posix
from typing import Any

from pyrunc import log
from pyrunc.cli.parse import Call, absolute, parse
from pyrunc.errors import EXIT_EXEC_FAILURE, EXIT_FAILURE, PyruncError, UsageError

# Inode of the first user namespace: PROC_USER_INIT_INO of the kernel's linux/proc_ns.h.
_FIRST_USER_NAMESPACE = 0xEFFFFFFD


def main(argv: list[str]) -> int:
    """Run one command. argv: as the process got it, argv[0] included. Returns the exit status; raises nothing."""
    program = argv[0].rpartition("/")[2] if argv else "pyrunc"
    call: Call | int = 0
    try:
        call = _read(program, argv)
        if isinstance(call, int):
            return call
        command = call.command
        module: Any = __import__("pyrunc.cli." + command, None, None, ("run",))
        status: int = module.run(call)
        log.finish()
        return status
    except BaseException as error:  # never a traceback
        return _failed(error, program, call if isinstance(call, Call) else None)


def _failed(raised: BaseException, program: str, call: Call | None) -> int:
    """Report what main() caught, in one line. Returns the exit status.

    call: None before the command line was understood.
    """
    if isinstance(raised, BrokenPipeError):
        return 128 + 13  # whoever read our output has left: as a program that SIGPIPE killed
    if isinstance(raised, KeyboardInterrupt):
        return 128 + 2
    if isinstance(raised, SystemExit):
        return raised.code if isinstance(raised.code, int) else EXIT_FAILURE
    status = EXIT_FAILURE
    error = raised if isinstance(raised, PyruncError) else _unforeseen(raised)
    _complete(error, program, call)
    command = call.command if call is not None else ""
    if call is not None and not isinstance(error, UsageError):
        _keep(call, error)
    if command in ("create", "run", "exec"):
        error.message = (command if command == "exec" else f"{program} {command}") + " failed: " + error.message
    if command == "exec":
        status = EXIT_EXEC_FAILURE
    try:
        log.error(error)
    except OSError:
        pass  # standard error is closed: the status still says it
    return status


def _unforeseen(raised: BaseException) -> PyruncError:
    """The error for what is no error of ours: of the caller's limits, of the installation, or a defect."""
    number = getattr(raised, "errno", None)
    # ENOMEM, ENFILE and EMFILE. A defect is none of them.
    if isinstance(raised, MemoryError) or number in (12, 23, 24):
        words = posix.strerror(number or 12).lower()
        name = getattr(raised, "filename", None)
        return PyruncError("the limits of this process: " + (f"{words}: {name}" if name else words), errno=number or 12)
    if isinstance(raised, ImportError):
        return PyruncError(f"the installation is not whole: {raised}")
    place, frame = "", raised.__traceback__
    while frame is not None:  # the innermost frame is the last
        place = f"{frame.tb_frame.f_code.co_filename.rpartition('/pyrunc/')[2]}:{frame.tb_lineno}"
        frame = frame.tb_next
    return PyruncError(f"internal error: {type(raised).__name__}: {raised} at {place}", errno=number)


def _keep(call: Call, error: PyruncError) -> None:
    """What `why` will tell of the container. Raises nothing."""
    from pyrunc.lifecycle import why_record

    if call.command in why_record.COMMANDS:
        why_record.failed(call.root, call.args[0], call.command, error)


def _read(program: str, argv: list[str]) -> Call | int:
    """Parse argv and set up log and root. Returns the call, or an exit status when all is done already."""
    from pyrunc.cli.table import COMMANDS, GLOBAL

    try:
        flags, given, rest = parse(GLOBAL, argv[1:], False)
    except UsageError as error:
        return _usage(program, "", "Incorrect Usage. " + error.message, error)
    if flags["version"] and not flags["help"]:
        from pyrunc.cli.version import text

        log.output(text(program))
        return 0
    if flags["help"] or not rest:
        from pyrunc.cli import help as words

        log.output(words.application(program))
        return 0
    log.setup(flags["log"], flags["log-format"], flags["debug"])
    command = "help" if rest[0] == "h" else rest[0]
    if command not in COMMANDS:
        raise UsageError(f"No help topic for '{command}'")
    least, most, reorder, table = COMMANDS[command]
    try:
        values, names, args = parse(table, rest[1:], reorder)
    except UsageError as error:
        return _usage(program, command, "Incorrect Usage: " + error.message, error)
    if values["help"]:
        from pyrunc.cli import help as words

        log.output(words.command(program, command))
        return 0
    if len(args) < least or (most >= 0 and len(args) > most):
        want = "exactly" if least == most else "a minimum of" if len(args) < least else "a maximum of"
        number = str(least if len(args) < least else most)
        problem = f'{argv[0]}: "{command}" requires {want} {number} argument(s)'
        return _usage(program, command, "Incorrect Usage.", UsageError(problem))
    return _set_up(Call(program, command, values, names, args), flags, given)


def _set_up(call: Call, flags: dict[str, Any], given: set[str]) -> Call:
    """What the flags before the command say. Raises UsageError."""
    call.root, call.root_given = state_root(flags["root"], "root" in given)
    call.systemd_cgroup = flags["systemd-cgroup"] or flags["cgroup-manager"] == "systemd"
    if flags["cgroup-manager"]:
        call.no_cgroup = flags["cgroup-manager"] == "disabled"
        if flags["cgroup-manager"] not in ("cgroupfs", "systemd", "disabled") or (
            flags["systemd-cgroup"] and flags["cgroup-manager"] != "systemd"
        ):
            raise UsageError("invalid cgroup manager: " + flags["cgroup-manager"])
    call.trust_annotations = flags["trust-annotations"]
    if flags["rootless"].lower() not in ("", "auto"):
        from pyrunc.cli.parse import _bool

        call.rootless = _bool(flags["rootless"], "rootless")
    return call


def _usage(program: str, command: str, headline: str, error: UsageError) -> int:
    """Print what is wrong and the help, as runc does, and log the error. Returns the exit status."""
    from pyrunc.cli import help as words

    log.output(headline + "\n\n" + (words.command(program, command) if command else words.application(program)))
    _complete(error, program, None, command)
    log.error(error)
    return EXIT_FAILURE


def _complete(error: PyruncError, program: str, call: Call | None, command: str = "") -> None:
    """Give an error its container and its remedy: nothing of it is loaded before there is an error."""
    from pyrunc import catalogue
    from pyrunc.cli.table import COMMANDS, GLOBAL

    flags = {"": [row[0] for row in GLOBAL]}
    for name in COMMANDS:
        flags[name] = [row[0] for row in COMMANDS[name][3]]
    catalogue.complete(error, program, call, command, flags)


def state_root(value: str, given: bool) -> tuple[str, bool]:
    """The directory of all containers' states, and whether --root named it."""
    if given:
        root = absolute(value)
        if root == "/":
            raise UsageError("Option --root argument should not be set to /")
        return root, True
    # The environment is read from posix: importing os costs more than the rest of this module.
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if not directory or not _is_private_user():
        return "/run/pyrunc", False
    from pyrunc.cli.user_root import make

    return make(directory + "/pyrunc"), False


def _is_private_user() -> bool:
    """Whether $XDG_RUNTIME_DIR counts: not for the host's root, nor for a $USER root of a user namespace."""
    if posix.geteuid() != 0:
        return True
    if posix.environ.get(b"USER") == b"root":
        return False
    try:
        return posix.stat("/proc/self/ns/user").st_ino != _FIRST_USER_NAMESPACE
    except OSError:
        return False

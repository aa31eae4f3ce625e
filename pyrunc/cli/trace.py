"""pyrunc trace: do what another command does, and tell how long each step of it took."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.cli.output import open_output
from pyrunc.errors import PyruncError, UsageError, reason

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.lifecycle.trace import Trace

TRACED = ("create", "run", "exec", "start")
_FORMATS = ("table", "json", "perfetto")


def _command(call: Call) -> Call | None:
    """The call to be traced; None when it asked for its help, which has been given. Raises UsageError."""
    from pyrunc.cli.parse import Call, parse
    from pyrunc.cli.table import COMMANDS

    name = call.args[0]
    if name not in TRACED:
        raise UsageError("cannot trace " + name, hint="what can be traced: " + ", ".join(TRACED))
    least, most, reorder, table = COMMANDS[name]
    values, given, args = parse(table, call.args[1:], reorder)
    if values["help"]:
        from pyrunc.cli import help as words

        log.output(words.command(call.program, name))
        return None
    if len(args) < least or (most >= 0 and len(args) > most):
        want = "exactly " if least == most else "at least "
        raise UsageError(f"trace {name} requires {want}{least} argument(s)")
    inner = Call(call.program, name, values, given, args)
    for word in ("root", "root_given", "systemd_cgroup", "trust_annotations", "no_cgroup", "rootless"):
        setattr(inner, word, getattr(call, word))
    return inner


def run(call: Call) -> int:
    """Exits as the command that is traced. What could not be written of the trace is a warning."""
    if call.flags["format"] not in ("", *_FORMATS):
        raise UsageError("invalid format option: " + call.flags["format"], hint=", ".join(_FORMATS))
    inner = _command(call)
    if inner is None:
        return 0
    out = open_output(call.flags["output"]) if call.flags["output"] else 2
    from pyrunc.cli.main import _complete, _failed
    from pyrunc.lifecycle import trace

    measured = trace.Trace()
    trace.watch(measured)
    module: Any = __import__("pyrunc.cli." + inner.command, None, None, ("run",))
    failure: BaseException | None = None
    status = 0
    try:
        status = module.run(inner)
    except BaseException as error:
        failure = error
        if isinstance(error, PyruncError):
            _complete(error, inner.program, inner)  # the trace has it as the log does
    _report(measured, inner, call.flags["format"] or "table", out, status, failure)
    if failure is None:
        return status
    return _failed(failure, inner.program, inner)


def _report(trace: Trace, call: Call, form: str, out: int, status: int, failure: BaseException | None) -> None:
    from pyrunc.cli import trace_report

    text = getattr(trace_report, form)(trace_report.Report(trace, call, status, failure), posix.isatty(out))
    try:
        log.write(out, text)
    except OSError as error:
        log.warning("the trace could not be written: " + reason(error))

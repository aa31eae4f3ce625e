"""pyrunc why: what became of a container, also of one that was never made or is deleted."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.cli import paint
from pyrunc.errors import PyruncError, StateError, reason
from pyrunc.lifecycle import remains, why_record

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call

# Characters of a summary in the list.
_SUMMARY = 100
_NEAREST = 3


def run(call: Call) -> int:
    if not call.args:
        return _list(call)
    from pyrunc.state.store import check_id

    name = call.args[0]
    check_id(name)
    entry = _entries(call.root, name).get(name)
    now = _now(call.root, name)
    if entry is None and now is None:
        raise _unknown(call.root, name)
    events: list[dict[str, Any]] = entry["events"] if entry is not None else []
    for event in events:
        _look_again(event)
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        log.output(dumps({"id": name, "now": now, "events": events}, 2) + "\n")
    else:
        log.output("".join([paint.plain(line) + "\n" for line in text(name, now, events)]))
    return 0


def _list(call: Call) -> int:
    """All that is kept, the latest last."""
    entries = sorted(_entries(call.root).values(), key=lambda entry: str(entry["events"][-1]["time"]))
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        log.output(dumps([{"id": entry["id"], "events": entry["events"]} for entry in entries], 2) + "\n")
        return 0
    from pyrunc.cli.list import table

    rows: list[tuple[str, ...]] = [("ID", "TIME", "WHAT")]
    for entry in entries:
        last = entry["events"][-1]
        rows.append((entry["id"], _moment(last["time"]), paint.plain(summary(last)[:_SUMMARY])))
    log.output(table(rows))
    return 0


# ---- what is known ----


def _entries(root: str, only: str | None = None) -> dict[str, dict[str, Any]]:
    """What is kept, by container: all of it, or one's. Raises PyruncError when it cannot be read or is not believed."""
    try:
        folder = why_record.open_folder(root)
    except FileNotFoundError:
        return {}
    except OSError as error:
        why = error.strerror or reason(error)
        raise PyruncError(f"open {root}/{why_record.FOLDER}: {why.lower()}", errno=error.errno) from None
    found = {}
    try:
        for name in posix.listdir(folder) if only is None else [only]:
            entry = why_record.read(folder, name)
            if entry is not None and entry["events"]:
                found[name] = entry
    except OSError as error:
        raise PyruncError(f"read {root}/{why_record.FOLDER}: {reason(error)}", errno=error.errno) from None
    finally:
        posix.close(folder)
    return found


def _now(root: str, name: str) -> dict[str, Any] | None:
    """What can be seen of a container that is there: its status, and when it has stopped how it ended."""
    from pyrunc.state.store import Store

    try:
        container = Store(root).load(name)
        told: dict[str, Any] = {
            "status": container.status(),
            "bundle": container.fields["bundle"],
            "created": container.fields["created"],
        }
        if container.is_zombie:
            told.update(remains.exit_of(container.pid))
        started = remains.started(container)
        memory = remains.out_of_memory(container.manager(), container.fields["start"])
    except StateError:
        return None
    except PyruncError as error:
        return {"status": "unknown", "message": error.line()}
    if started:
        told["started"] = started
    if memory:
        told["oom"] = memory
    if told["status"] == "stopped":
        from pyrunc.lifecycle import kernel_log

        told["kernel"] = kernel_log.of_process(container.pid, container.fields["start"])
    return told


def _look_again(event: dict[str, Any]) -> None:
    """The kernel's log, where it was not asked at once: it may still have something of the process."""
    pid, start = event.get("pid"), event.get("start")
    if event.get("kernel") or not isinstance(pid, int) or not isinstance(start, int) or not pid:
        return
    from pyrunc.lifecycle import kernel_log

    found = kernel_log.of_process(pid, start, _seconds(event["time"]))
    if found:
        event["kernel"] = found


def _seconds(moment: str) -> float:
    """Of RFC 3339 in UTC since 1970; inf for what is none."""
    import calendar
    import math
    import time

    try:
        return calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) + 1
    except ValueError:
        return math.inf


def _unknown(root: str, name: str) -> PyruncError:
    from difflib import get_close_matches

    known = set(_entries(root))
    try:
        known.update([one for one in posix.listdir(root) if one[:1] != "@"])
    except OSError:
        pass
    near = get_close_matches(name, sorted(known), _NEAREST, 0.5) or sorted(known)[:_NEAREST]
    hint = "known are " + ", ".join(near) + ("" if len(near) == len(known) else ", ...") if near else None
    return PyruncError("nothing is known of a container " + name, hint=hint)


# ---- as text ----


def text(name: str, now: dict[str, Any] | None, events: list[dict[str, Any]]) -> list[str]:
    """Lines for a person: what it is now, then what was kept, the latest last. Pure."""
    lines = []
    if now is not None:
        end = how(now)
        lines.append(name + " is " + now["status"] + (": " + end if end else ""))
        lines += _details(now)
    else:
        lines.append(name + " is not there any more; what was kept of it:")
    for event in events:
        again = event.get("times")
        count = f" ({again} times, this is the last)" if isinstance(again, int) else ""
        lines.append(f"{_moment(event['time'])}  {summary(event)}{count}")
        lines += _details(event)
    return lines


def summary(event: dict[str, Any]) -> str:
    """One line of what an event was. Pure."""
    command = str(event.get("command", ""))
    if event.get("what") == "failed":
        message = str(event.get("message", ""))
        if event.get("step") == "hooks":
            message = message.partition(", output: ")[0]
        return f"{command} failed: {message}"
    program = f"{command} of {event['program']}: " if event.get("program") else ""
    return program + (how(event) or "ended")


def how(event: dict[str, Any]) -> str:
    """How a process ended, in words; "" when it is not known. Pure."""
    words = ""
    if isinstance(event.get("signal"), int):
        words = "killed by signal " + _signal(event["signal"])
    elif isinstance(event.get("exitStatus"), int):
        words = "exit status " + str(event["exitStatus"])
    if event.get("oom"):
        words = (words + ", " if words else "") + "out of memory"
    return words


def _signal(number: int) -> str:
    from pyrunc.cli.kill import _NAMES

    names = _NAMES.split()
    return str(number) + (f" (SIG{names[number - 1]})" if 0 < number <= len(names) else "")


def _moment(time: str) -> str:
    """RFC 3339 to the millisecond."""
    return time[:23] + "Z" if len(time) > 24 else time


def _details(event: dict[str, Any]) -> list[str]:
    rows: list[tuple[str, str]] = []
    if event.get("what") == "failed":
        rows += _of_failure(event)
    oom = event.get("oom")
    if isinstance(oom, dict):
        rows.append(("memory", _of_memory(oom)))
    sender = event.get("sender")
    if isinstance(sender, dict):
        rows.append(("sender", _of_sender(sender, event.get("signal"))))
    elif event.get("what") == "ended" and event.get("signal") and not oom:
        rows.append(("sender", _unseen(event)))
    rows += [("killed", line) for line in _killed(oom)]
    rows += [("kernel", str(line)) for line in event.get("kernel") or ()]
    rows += [("seccomp", name) for name in _denied(event)]
    rows += [(name, _moment(event[name])) for name in ("created", "started") if event.get(name)]
    if event.get("bundle"):
        rows.append(("bundle", str(event["bundle"])))
    return ["    " + (name + ":").ljust(10) + value for name, value in rows]


def _of_failure(event: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(name, str(event[name])) for name in ("step", "pointer", "hint") if event.get(name)]
    output = str(event.get("message", "")).partition(", output: ")[2]
    if event.get("step") == "hooks" and output:
        rows += [("output", line) for line in output.split("; ")]
    return rows


def _of_memory(oom: dict[str, Any]) -> str:
    words = str(oom.get("kills")) + " killed by the kernel for want of memory"
    for name in ("limit", "peak"):
        if isinstance(oom.get(name), int):
            words += f", {name} {oom[name]} bytes"
    return words + " (config.json /linux/resources/memory/limit)"


def _killed(oom: Any) -> list[str]:
    """Whom the kernel has killed for want of memory."""
    victims = oom.get("killed") if isinstance(oom, dict) else None
    return [
        f"{one.get('name')}, process {one.get('pid')} of user {one.get('uid')}"
        for one in (victims if isinstance(victims, list) else ())
        if isinstance(one, dict)
    ]


def _of_sender(sender: dict[str, Any], signal: Any) -> str:
    number = sender.get("signal")
    what = "" if number == signal else f"signal {_signal(number)} before, " if isinstance(number, int) else ""
    who = str(sender.get("name") or "a process that is gone")
    if isinstance(sender.get("pid"), int):
        who += f", process {sender['pid']} of user {sender.get('uid')}"
    return f"{what}by {who}, passed on by run"


def _unseen(event: dict[str, Any]) -> str:
    if event["signal"] in (4, 5, 6, 7, 8, 11, 31):
        return "the program's own doing, or the kernel for it"
    return "not known: none that came by `run`" if event.get("command") == "run" else "not known"


def _denied(event: dict[str, Any]) -> list[str]:
    """The system calls that audit's records of seccomp (type 1326) name."""
    found = []
    for line in event.get("kernel") or ():
        if "type=1326" in str(line):
            number = str(line).partition(" syscall=")[2].partition(" ")[0]
            if number.isdigit():
                found.append(f"the filter has refused {_call_name(int(number))} (config.json /linux/seccomp)")
    return list(dict.fromkeys(found))


def _call_name(number: int) -> str:
    try:
        import seccomp

        return str(seccomp.resolve_syscall(seccomp.Arch(), number).decode())
    except (ImportError, OSError, ValueError, RuntimeError, AttributeError):
        return "system call " + str(number)

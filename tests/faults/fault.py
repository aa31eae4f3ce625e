"""What a fault is: data, so that the tests, docs/errors.md and the recording of the peers' lines read one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.workplace import Bundle

#: In a change of a config: takes the property away.
DELETE = object()

Change = Callable[[Bundle], Any]


@dataclass(frozen=True)
class Fault:
    """One fault, by which command it is met, and what is said.

    name: unique, a few words. call: the command line after the global flags; ID, BUNDLE, HERE (the workplace) stand for
    what they are. config: JSON pointer to new value, DELETE for none; a last part "-" is appended to an array.
    make: what else is changed of the bundle, the rootfs or the state root, before the call. before: the container is
    there already, and is created, running, paused or stopped. holds: words of the line. pointer: where in config.json
    the line must point; none: why it cannot. file: what the pointer is into. hint: words of the remedy.
    status: the exit status. flags: global flags. how: environment, standard input and the like of the call.
    theirs: whether runc and crun meet it too. needs: why it cannot be made here, "" when it can. log: whether
    it is made with a log, too.
    """

    name: str
    holds: tuple[str, ...]
    hint: str
    pointer: str = ""
    none: str = ""
    call: tuple[str, ...] = ("create", "--bundle", "BUNDLE", "ID")
    config: dict[str, Any] = field(default_factory=dict)
    make: Change | None = None
    after: Change | None = None
    before: str = ""
    status: int = 1
    flags: tuple[str, ...] = ()
    how: dict[str, Any] = field(default_factory=dict)
    theirs: bool = True
    file: str = "config.json"
    needs: Callable[[], str] | None = None
    log: bool = True


def changed(config: Any, pointer: str, value: Any) -> None:
    """Change one value of a config, at a JSON pointer; what is missing on the way is made."""
    *above, last = pointer.split("/")[1:]
    place = config
    for index, name in enumerate(above):
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(place, list):
            place = place[int(name)]
        else:
            following = above[index + 1] if index + 1 < len(above) else last
            place = place.setdefault(name, [] if following == "-" or following.isdigit() else {})
    last = last.replace("~1", "/").replace("~0", "~")
    if isinstance(place, list):
        if last == "-" or int(last) == len(place):
            place.append(value)
        elif value is DELETE:
            del place[int(last)]
        else:
            place[int(last)] = value
    elif value is DELETE:
        place.pop(last, None)
    else:
        place[last] = value


def words(fault: Fault, box: Bundle) -> list[str]:
    """The command line after the global flags."""
    return [filled(word, box) for word in fault.call]


def flags(fault: Fault, box: Bundle) -> tuple[str, ...]:
    """The global flags."""
    return tuple(filled(word, box) for word in fault.flags)


def filled(word: str, box: Bundle) -> str:
    """A word, or a part of a message, with what it stands for. No path outside of the workplace may be made."""
    for name, value in {"ID": box.id, "BUNDLE": str(box.path), "HERE": str(box.place.path)}.items():
        word = value if word == name else word.replace("{" + name + "}", value)
    return word


def prepare(fault: Fault, box: Bundle) -> None:
    """Make the fault of a good bundle: nothing is called yet but what has to be there before."""
    if fault.before:
        box.config["process"]["args"] = ["sleep", "1000"]
        box.create().ok()
        if fault.before in ("running", "paused", "stopped"):
            box.start().ok()
        if fault.before == "paused":
            box.call("pause", box.id).ok()
        if fault.before == "stopped":
            box.kill().ok()
            box.wait_for("stopped")
    for pointer, value in fault.config.items():
        changed(box.config, pointer, value)
    box.save()
    if fault.make is not None:
        fault.make(box)


def clear(fault: Fault, box: Bundle) -> None:
    """Take away what the fault needed."""
    if fault.after is not None:
        fault.after(box)
    if fault.before:
        if fault.before == "paused":
            box.call("resume", box.id)
        box.delete("--force")

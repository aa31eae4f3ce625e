"""Faults of the order of calls, and of what stands in the state root."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.workplace import Bundle

from .fault import Change, Fault

STATE = "about the container's state, not its config"


def unknown(command: str, *args: str, status: int = 1) -> Fault:
    return Fault(
        f"{command} of a container that is not there",
        ("does not exist",),
        "the state root is",
        none=STATE,
        call=(command, "ID", *args),
        status=status,
    )


def state(change: Callable[[Path], object]) -> Change:
    """A created container whose state.json is then another."""

    def make(box: Bundle) -> None:
        path = box.place.root / box.id / "state.json"
        (box.path / "kept.json").write_bytes(path.read_bytes())
        change(path)

    return make


def restore(box: Bundle) -> None:
    path = box.place.root / box.id / "state.json"
    path.unlink(missing_ok=True)
    path.write_bytes((box.path / "kept.json").read_bytes())
    path.chmod(0o600)
    os.chown(path, 0, 0)


def patched(**values: object) -> Change:
    def change(path: Path) -> None:
        fields = json.loads(path.read_text())
        fields.update(values)
        path.write_text(json.dumps(fields))

    return state(change)


def linked(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def album(box: Bundle) -> None:
    """A directory of the caller's below the state root."""
    folder = box.place.root / box.id
    folder.mkdir(parents=True)
    (folder / "photo.jpg").touch()


def damaged(name: str, make, *holds: str, hint: str = "delete --force") -> Fault:  # type: ignore[no-untyped-def]
    return Fault(
        f"a state that {name}",
        ("state.json", *holds),
        hint,
        none=STATE,
        before="created",
        call=("state", "ID"),
        make=make,
        after=restore,
        theirs=False,
    )


FAULTS = [
    *[unknown(command) for command in ("state", "start", "kill", "delete", "pause", "resume", "ps", "events")],
    unknown("exec", "true", status=255),
    unknown("update", "--memory", "64m"),
    Fault(
        "a container that is nearly called so",
        ("does not exist", "c00"),
        "did you mean c0?",
        none=STATE,
        before="created",
        call=("state", "c00"),
    ),
    Fault(
        "create of a container that is there",
        ("container with given ID already exists",),
        "delete",
        none=STATE,
        before="created",
    ),
    Fault(
        "start of a running container",
        ("cannot start an already running container",),
        "exec",
        none=STATE,
        before="running",
        call=("start", "ID"),
    ),
    Fault(
        "start of a stopped container",
        ("cannot start a container that has stopped",),
        "delete",
        none=STATE,
        before="stopped",
        call=("start", "ID"),
    ),
    Fault(
        "exec in a stopped container",
        ("cannot exec in a stopped container",),
        "it has stopped",
        none=STATE,
        before="stopped",
        call=("exec", "ID", "true"),
        status=255,
    ),
    Fault(
        "exec in a paused container",
        ("cannot exec in a paused container",),
        "resume",
        none=STATE,
        before="paused",
        call=("exec", "ID", "true"),
        status=255,
    ),
    Fault(
        "kill of a stopped container",
        ("container not running",),
        "state",
        none=STATE,
        before="stopped",
        call=("kill", "ID"),
    ),
    Fault(
        "pause of a stopped container",
        ("container not running",),
        "state",
        none=STATE,
        before="stopped",
        call=("pause", "ID"),
    ),
    Fault(
        "resume of a running container",
        ("container not paused",),
        "only a paused container",
        none=STATE,
        before="running",
        call=("resume", "ID"),
    ),
    Fault(
        "update of a stopped container",
        ("cannot update a container that has stopped",),
        "it has stopped",
        none=STATE,
        before="stopped",
        call=("update", "--memory", "64m", "ID"),
    ),
    Fault(
        "delete of a running container",
        ("cannot delete container", "that is not stopped: running"),
        "--force",
        none=STATE,
        before="running",
        call=("delete", "ID"),
    ),
    Fault(
        "delete of a paused container",
        ("cannot delete container", "that is not stopped: paused"),
        "--force",
        none=STATE,
        before="paused",
        call=("delete", "ID"),
    ),
    Fault(
        "events of a stopped container",
        ("is not running",),
        "state",
        none=STATE,
        before="stopped",
        call=("events", "ID"),
    ),
    # ---- state.json ----
    damaged("is no JSON", state(lambda path: path.write_text("{")), "line 1"),
    damaged("is empty", state(lambda path: path.write_text("")), "empty"),
    damaged("lacks a field", patched(pid="x"), "malformed: pid"),
    damaged("is of a newer pyrunc", patched(format=99), "format", hint="newer pyrunc"),
    damaged("is another container's", patched(id="other"), "another container", hint="moved"),
    damaged(
        "others may write to", state(lambda path: path.chmod(0o666)), "not believed", hint="user who has created it"
    ),
    damaged(
        "belongs to another user",
        state(lambda path: os.chown(path, 1000, 1000)),
        "not believed",
        hint="user who has created it",
    ),
    damaged("is a link", state(linked), "links", hint="a link"),
    Fault(
        "a state whose cgroup is none",
        ("/etc is no cgroup",),
        "delete --force",
        none=STATE,
        before="created",
        call=("ps", "ID"),
        make=patched(cgroup={"memory": "/etc"}),
        after=restore,
        theirs=False,
    ),
    Fault(
        "a directory that is no container's",
        ("is no container's", "there is a photo.jpg in it"),
        "rm(1)",
        none=STATE,
        call=("delete", "ID"),
        make=album,
        after=lambda box: shutil.rmtree(box.place.root / box.id),
        theirs=False,
    ),
]

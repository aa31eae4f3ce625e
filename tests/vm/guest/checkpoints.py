"""Containers that are saved and go on, by CRIU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until
from tests.support.workplace import Bundle, MakeBundle, Result, one_line

# CRIU is started four times, and every page is written by an emulated processor.
LONG = 240.0

NULL = Path("/dev/null")


def counting(bundle: MakeBundle) -> Bundle:
    """A container that counts in a variable of its shell and tells where it is; what it says at first is in `began`."""
    script = "cat /proc/sys/kernel/random/uuid >/tmp/began; i=0; while :; do i=$((i+1)); echo $i >/tmp/new; "
    box = bundle("sh", "-c", script + "mv /tmp/new /tmp/count; sleep 0.2; done")
    box.config["root"]["readonly"] = False
    return box


def count(box: Bundle) -> int:
    try:
        return int((box.rootfs / "tmp/count").read_text())
    except FileNotFoundError:
        return 0


def reach(box: Bundle, number: int) -> None:
    wait_until(lambda: count(box) >= number, f"it counts to {number}", timeout=60)


def start(box: Bundle) -> None:
    box.run("--detach", stdout=NULL, stderr=NULL).ok()
    reach(box, 5)


def images(box: Bundle) -> Path:
    return box.path / "images"


def checkpoint(box: Bundle, *flags: str | Path, **how: Any) -> Result:
    flags = flags if "--image-path" in flags else ("--image-path", images(box), *flags)
    return box.call("checkpoint", *flags, box.id, timeout=LONG, **how)


def restore(box: Bundle, *flags: str | Path, **how: Any) -> Result:
    """In the background."""
    flags = flags if "--image-path" in flags else ("--image-path", images(box), *flags)
    how = {"stdout": NULL, "stderr": box.path / "restore-errors"} | how
    return box.call("restore", "--detach", "--bundle", box.save(), *flags, box.id, timeout=LONG, **how)


def said(box: Bundle, result: Result) -> Result:
    """The result with CRIU's log, for whoever has to see why."""
    if result.returncode:
        for name in ("dump.log", "restore.log"):
            log = images(box) / name
            if log.exists():
                result.stderr += f"{name}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    return result


def gone(box: Bundle) -> None:
    one_line(box.call("state", box.id), 1, "container does not exist")

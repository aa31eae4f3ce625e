"""What the attacks have in common: a container that an attacker could have, and what is looked at from outside."""

import json
import os
from pathlib import Path
from typing import Any

from ..workplace import Bundle

ATTACKERS = Path(__file__).with_name("attackers")


def with_python(box: Bundle, attacker: str, *args: str) -> None:
    """The container runs one of attackers/ with the host's Python, which it has a read-only copy of."""
    for name in ("lib", "lib64"):
        (box.rootfs / name).symlink_to(f"usr/{name}")
    (box.rootfs / attacker).write_bytes((ATTACKERS / attacker).read_bytes())
    bind(box, "/usr", "/usr", "rbind", "ro")
    box.config["process"]["args"] = ["/usr/bin/python3", "-I", "-S", "/" + attacker, *args]


def bind(box: Bundle, source: str | Path, destination: str, *options: str) -> None:
    """A bind mount at the end of the config's mounts."""
    if "bind" not in options and "rbind" not in options:
        options = ("bind", *options)
    box.config["mounts"].append(
        {"destination": destination, "type": "bind", "source": str(source), "options": list(options)}
    )


def may(box: Bundle, *capabilities: str) -> None:
    """The program has these capabilities and may gain others: no no_new_privs."""
    box.config["process"]["capabilities"] = {
        kind: list(capabilities) for kind in ("bounding", "effective", "permitted")
    }
    box.config["process"]["noNewPrivileges"] = False


def records(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an output, one a line; what is cut off or none is left out."""
    found = []
    for line in text.splitlines():
        if line.startswith("{") and line.endswith("}"):
            found.append(json.loads(line))
    return found


def mount_numbers(pid: int) -> set[int]:
    """The mounts of a process's mount namespace (proc(5), mountinfo)."""
    return {int(line.split()[0]) for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()}


def tree(path: Path) -> dict[str, tuple[int, int, int, str]]:
    """Every name below path: mode, owner, size and a link's target. To be compared with what it was before."""
    found = {}
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            where = os.path.join(folder, name)
            status = os.lstat(where)
            target = os.readlink(where) if os.path.islink(where) else ""
            found[where] = (status.st_mode, status.st_uid, 0 if os.path.isdir(where) else status.st_size, target)
    return found

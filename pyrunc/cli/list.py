"""pyrunc list: the containers below a root, as a table, as JSON, or names alone."""

from __future__ import annotations

import posix
from typing import TYPE_CHECKING, Any

from pyrunc import _linux, log
from pyrunc.errors import PyruncError, StateError, UsageError, reason

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def owner(uid: int, passwd: str = "/etc/passwd") -> str:
    """The name of a user of this host, "#uid" when it has none. Never by NSS, which loads libraries."""
    from pyrunc.linux import files

    want = str(uid).encode()
    try:
        for line in files.read(passwd, limit=1 << 20).split(b"\n"):
            fields = line.split(b":")
            if len(fields) > 2 and fields[2] == want:
                return fields[0].decode("utf-8", "surrogateescape")
    except OSError:
        pass
    return "#" + str(uid)


def containers(root: str, root_given: bool) -> list[dict[str, Any]]:
    """The state of each container below root, by name. What can't be read is told on standard error and left out.

    Raises PyruncError when root can't be listed: a default root that does not exist is an empty one.
    """
    from pyrunc.state.store import Store

    try:
        names = sorted(posix.listdir(root))
    except FileNotFoundError:
        if not root_given:
            return []
        raise PyruncError(f"open {root}: no such file or directory", errno=2) from None
    except OSError as error:
        raise PyruncError(f"open {root}: {reason(error)}", errno=error.errno) from None
    store = Store(root)
    found = []
    for name in names:
        if name[:1] == "@":
            continue  # ours, such as @seccomp: no container can have such a name
        try:
            status = posix.stat(f"{root}/{name}")
            if status.st_mode & _linux.S_IFMT != _linux.S_IFDIR:
                continue
            state = dict(store.load(name).state_json())
        except (FileNotFoundError, StateError):
            continue  # deleted since, or a create is about to write its first state.json
        except (PyruncError, OSError) as error:
            if _exists(f"{root}/{name}"):
                log.write(
                    2,
                    "load container "
                    + name
                    + ": "
                    + (error.line() if isinstance(error, PyruncError) else str(error))
                    + "\n",
                )
            continue
        state["owner"] = owner(status.st_uid)
        found.append(state)
    return found


def _exists(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of at least 12 characters, 3 of them space, the last as long as it is (as runc prints its list)."""
    widths = [max(12, *(len(row[i]) + 3 for row in rows)) for i in range(len(rows[0]) - 1)]
    lines = ["".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)]) + row[-1] for row in rows]
    return "\n".join(lines) + "\n"


def run(call: Call) -> int:
    form = call.flags["format"] if "format" in call.given else "table"
    if form not in ("table", "json"):
        raise UsageError("invalid format option: " + form)
    states = containers(call.root, call.root_given)
    if call.flags["quiet"]:
        log.output("".join([state["id"] + "\n" for state in states]))
    elif form == "json":
        from pyrunc.jsontext import dumps

        log.output((dumps(states) if states else "null") + "\n")
    else:
        rows: list[tuple[str, ...]] = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        for state in states:
            rows.append(
                (state["id"], str(state["pid"]), state["status"], state["bundle"], state["created"], state["owner"])
            )
        log.output(table(rows))
    return 0

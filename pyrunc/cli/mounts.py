"""pyrunc mounts add|remove: change the mounts of a container that runs, as crun does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc.config import OCI_VERSION
from pyrunc.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call
    from pyrunc.config.types import Config


def load(data: bytes, add: bool) -> list[Any]:
    """A JSON array of mounts, each checked as in a config.json; to remove one, its destination is enough.

    Raises ConfigError.
    """
    from pyrunc.config import rules, schema
    from pyrunc.jsontext import loads

    value: Any = loads(data, "mounts")
    if not isinstance(value, list):
        raise ConfigError("mounts must be an array")
    wanted: list[Any] = value
    if not add:
        # Whatever else stands there: it need not say what is mounted.
        wanted = [{**mount, "type": "none", "options": []} if isinstance(mount, dict) else mount for mount in wanted]
    config: Config = {"ociVersion": OCI_VERSION, "root": {"path": "/"}, "mounts": wanted}
    config["linux"] = {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/"}]}
    checked: Any = config
    schema.check(checked)
    rules.check_nul(config)
    rules.check(config)
    return wanted


def run(call: Call) -> int:
    verb, container_id, path = call.args
    if verb not in ("add", "remove"):
        raise UsageError("unknown command " + verb, hint="mounts add or mounts remove")
    from pyrunc.cli.update import _read as read
    from pyrunc.lifecycle.mounts import change
    from pyrunc.state.store import Store

    change(Store(call.root), container_id, load(read(path), verb == "add"), verb == "add")
    return 0

"""Configs to try: the least that is one, with what a test is about; and one with everything."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from pyrunc.config import explain, rules
from pyrunc.config.default import default_config
from tests.support import TOP

DATA = TOP / "tests/data"
SPEC = TOP / "spec"
#: tests/data/configs/everything.json: every property there is.
EVERYTHING: dict[str, Any] = json.loads((DATA / "configs/everything.json").read_text())
#: What would be a program in a page that took it for more than text.
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "\"'><svg/onload=alert(1)>",
    "<!--<script>alert(1)//",
    "</pre></details></main><iframe src=javascript:alert(1)>",
    "]]>&lt;script&gt;&#x3c;b&#62;",
    "\u202egnp\u2066.exe\u0007",
]

Json = dict[str, Any]


def write_bundle(bundle: Path, config: object, indent: int | None = 2) -> Path:
    """A bundle of this config, with an empty rootfs."""
    (bundle / "rootfs").mkdir(parents=True, exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config, indent=indent))
    return bundle


def minimal(**properties: Any) -> Json:
    return {"ociVersion": "1.0.2", "root": {"path": "rootfs"}, **properties}


def started(**properties: Any) -> Json:
    """A minimal config with a process that has these properties."""
    return minimal(process={"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}, **properties})


def linux(*namespaces: str, **properties: Any) -> Json:
    listed = [{"type": name.partition(":")[0], **_path(name)} for name in namespaces]
    return minimal(linux={"namespaces": listed, **properties})


def _path(name: str) -> Json:
    path = name.partition(":")[2]
    return {"path": path} if path else {}


def mount(destination: str, *options: str, **properties: Any) -> Json:
    return minimal(mounts=[{"destination": destination, "options": list(options), **properties}])


def seccomp(action: str = "SCMP_ACT_ALLOW", **properties: Any) -> Json:
    return minimal(linux={"seccomp": {"defaultAction": action, **properties}})


def resources(**properties: Any) -> Json:
    return minimal(linux={"resources": properties})


def everything_without(*names: str) -> Json:
    """The config with everything but these properties, a/b/c each."""
    config: Json = copy.deepcopy(EVERYTHING)
    for name in names:
        owner: Any = config
        *path, last = name.split("/")
        for part in path:
            owner = owner[part]
        del owner[last]
    return config


def problems(config: Json) -> list[tuple[str, str]]:
    """What the schema or the rules have against it: pointer and message."""
    found = [(one.pointer, one.message) for one in explain.explain(config)]
    return found or list(rules.violations(config))  # type: ignore[arg-type]


def hostile_config() -> Any:
    """A config that has these names wherever a config may have any."""
    config: Any = default_config()
    config["process"]["args"] = list(HOSTILE)
    config["process"]["env"] += ["A=" + one for one in HOSTILE]
    config["annotations"] = {one: one for one in HOSTILE}
    config["mounts"] += [{"destination": "/" + one, "type": "tmpfs", "source": one} for one in HOSTILE]
    config["hooks"] = {"createRuntime": [{"path": "/" + one, "args": [one]} for one in HOSTILE]}
    config["linux"]["maskedPaths"] += ["/" + one for one in HOSTILE]
    config["process"]["user"]["username"] = HOSTILE[0]
    return config

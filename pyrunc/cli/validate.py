"""pyrunc validate: everything that is wrong with a bundle's config.json, each with a pointer and a section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyrunc import log
from pyrunc.errors import ConfigError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call


def run(call: Call) -> int:
    from pyrunc import catalogue
    from pyrunc.cli.create import enter
    from pyrunc.cli.parse import absolute
    from pyrunc.cli.plan import bundle_of
    from pyrunc.config.validate import problems

    config = absolute(call.flags["config"]) if call.flags["config"] else None
    bundle = enter(bundle_of(call))
    found, odd = problems(bundle, config)
    path = config or bundle + "/config.json"
    for one in found:
        if not one.hint:
            error = ConfigError(one.message, pointer=one.pointer or None)
            catalogue.complete(error, call.program)
            one.hint = error.hint or ""
    if call.flags["json"]:
        from pyrunc.jsontext import dumps

        listed: list[dict[str, Any]] = [
            {name: getattr(one, name) or None for name in ("pointer", "message", "found", "allowed", "section", "hint")}
            for one in found
        ]
        log.output(dumps({"file": path, "valid": not found, "problems": listed, "warnings": odd}, 2) + "\n")
    elif not found:
        log.output(path + ": valid\n")
    else:
        for one in found:
            place = one.pointer + ": " if one.pointer else ""
            hint = ": hint: " + one.hint if one.hint else ""
            log.output(place + one.message + hint + (f"  [{one.section}]" if one.section else "") + "\n")
    if not call.flags["json"]:
        for text in odd:
            log.warning(text)
    if found:
        raise ConfigError(f"{path} is not valid; problems: {len(found)}")
    return 0

"""The schemas in spec/: each property described, and the check that is made of them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pyrunc.config import explain, schema
from pyrunc.errors import PyruncError
from tests.support.configs import EVERYTHING, SPEC, Json, minimal

# --- the schemas and what is made of them ----------------------------------------------------------------------------


def objects(value: Any, place: str) -> list[tuple[str, Json]]:
    """Every schema within a schema, with where it stands."""
    found = [(place, value)]
    for keyword in ("properties", "definitions"):
        for name, item in value.get(keyword, {}).items():
            found += objects(item, f"{place}/{keyword}/{name}")
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if isinstance(value.get(keyword), dict):
            found += objects(value[keyword], f"{place}/{keyword}")
    return found


SCHEMAS = [item for path in sorted(SPEC.glob("*.json")) for item in objects(json.loads(path.read_text()), path.name)]


def test_every_property_is_described() -> None:
    bare = [place for place, value in SCHEMAS if "/properties/" in place and not value.get("description")]
    bare += [place for place, value in SCHEMAS if "/definitions/" in place and not value.get("description")]
    assert [
        place for place in bare if place.rsplit("/", 1)[1] not in ("items", "additionalProperties", "propertyNames")
    ] == []
    assert all("description" in value and "title" in value for place, value in SCHEMAS if "/" not in place)


def test_every_property_leads_to_the_specification() -> None:
    for place in walk(EVERYTHING):
        assert explain.section(place).partition("#")[0] in ("config.md", "config-linux.md")


def walk(value: Any, place: str = "") -> list[str]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place] + [found for name, item in pairs for found in walk(item, f"{place}/{name}")]


def test_everything_json_has_every_property() -> None:
    """So that what is tried on it is tried on every property."""
    have = {part for place in walk(EVERYTHING) for part in [place.rsplit("/", 1)[-1]]}
    hot = [item for item in SCHEMAS if not item[0].startswith(("features.json", "state.json"))]
    want = {name for _, value in hot for name in value.get("properties", {})}
    assert want - have == set()


def test_without_the_check_the_verdict_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrunc.config._check", None)
    import pyrunc.config

    monkeypatch.delattr(pyrunc.config, "_check", raising=False)
    assert schema.accepts(EVERYTHING)
    assert not schema.accepts(minimal(ociVersion="x"))


def test_without_jsonschema_there_is_an_error_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    monkeypatch.setattr(explain, "_VALIDATORS", {})
    with pytest.raises(PyruncError, match="can only be said with jsonschema"):
        schema.check(minimal(ociVersion="x"))
    schema.check(minimal())

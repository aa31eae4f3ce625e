"""Where in config.json a property stands."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.config.lines import Lines, spans
from pyrunc.jsontext import pointer
from tests.support.configs import DATA

ENGINES = sorted((DATA / "engine-configs").glob("*.json"))


# ---- lines ----


def places(value: Any, place: str = "") -> dict[str, Any]:
    """Every value in a JSON value, by its pointer."""
    found = {place: value}
    for name, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found |= places(item, place + pointer(name))
    return found


@pytest.mark.parametrize("indent", [None, 0, 1, 4, "\t"])
@pytest.mark.parametrize("file", [DATA / "configs/everything.json", *ENGINES], ids=lambda file: file.name)
def test_every_property_is_found_where_it_stands(file: Path, indent: Any) -> None:
    value = json.loads(file.read_text())
    value["annotations"] = {'a/b~c"d\\': '{[,:\\"', "": "empty", "ä\u2028": "\n"}
    for ascii_only in (True, False):
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        found = spans(text)
        assert set(found) == set(places(value))
        for place, wanted in places(value).items():
            piece = text[found[place].begin : found[place].end]
            if place and isinstance(wanted, (dict, list, str, int)) and not place.rpartition("/")[2].isdigit():
                name = json.loads("{" + piece + "}")
                assert list(name.values()) == [wanted], place
            else:
                assert json.loads(piece) == wanted, place


def test_the_lines_of_a_property() -> None:
    lines = Lines('{\n  "a": 1,\n  "b": [\n    {"c": 2},\n    3\n  ]\n}\n')
    assert lines.at("/a") == [(2, '  "a": 1,')]
    assert lines.at("/b") == [(3, '  "b": ['), (4, '    {"c": 2},'), (5, "    3"), (6, "  ]")]
    assert lines.at("/b/0") == [(4, '    {"c": 2},')]
    # A part of a line, where the line holds more.
    assert lines.at("/b/0/c") == [(4, '"c": 2')]
    assert lines.at("/none") == [] and lines.at("/A") == [(2, '  "a": 1,')]

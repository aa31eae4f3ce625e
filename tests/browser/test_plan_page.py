"""The page of plan --html in a real browser: how it looks is looked at by people, that it works by these."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc import log
from pyrunc.cli.main import main
from pyrunc.config.default import default_config
from tests.support.configs import HOSTILE, hostile_config, write_bundle

from .chromium import PROGRAM, Tab, browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no chromium")

#: For each element that has text of its own and is seen: the text, and its contrast to what is behind it (WCAG 2.1).
CONTRASTS = """
(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const shine = ([r, g, b]) => [r, g, b].map((part) => part / 255)
    .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches("script")) { continue; }
    let back = element, colour = [0, 0, 0, 0];
    while (back && colour[3] === 0) {
      colour = parse(getComputedStyle(back).backgroundColor);
      colour[3] = colour.length < 4 ? 1 : colour[3];
      back = back.parentElement;
    }
    const two = [shine(parse(getComputedStyle(element).color)), shine(colour)].sort((a, b) => a - b);
    found.push([element.textContent.slice(0, 40), (two[1] + 0.05) / (two[0] + 0.05)]);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as made:
        yield made


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a config with everything that such a page has."""
    config: Any = default_config()
    config["hooks"] = {kind: [{"path": "/bin/true"}] for kind in ("createRuntime", "createContainer")}
    yield made(tmp_path, monkeypatch, config)
    log.setup(None)


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any) -> Path:
    monkeypatch.chdir(tmp_path)  # the command enters the bundle
    file = tmp_path / "page.html"
    assert main(["pyrunc", "plan", "--html", str(file), str(write_bundle(tmp_path / "b", config))]) == 0
    return file


def focused(tab: Tab) -> str:
    """What has the focus: its id, or the number of the step whose summary it is."""
    return str(tab.ask("document.activeElement.id || document.activeElement.closest('li')?.id || ''"))


def shown(tab: Tab) -> list[str]:
    """The steps that are seen."""
    found = tab.ask(
        "JSON.stringify([...document.querySelectorAll('.lane > li')].filter(x=>x.checkVisibility()).map(x=>x.id))"
    )
    return list(json.loads(found))


def opened(tab: Tab) -> int:
    return int(tab.ask("document.querySelectorAll('details[open]').length"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_to_complain_of_and_every_word_can_be_read(tab: Tab, page: Path, dark: bool) -> None:
    tab.open(page, dark=dark)
    assert tab.complaints() == []
    tab.ask("document.getElementById('open').click()")
    found = tab.ask(CONTRASTS)
    assert len(found) > 200
    assert [one for one in found if one[1] < 4.5] == []
    back = tab.ask("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, back.removeprefix("rgb(").removesuffix(")").split(", ")))
    assert (brightness < 3 * 64) == dark and (brightness > 3 * 192) == (not dark)


@pytest.mark.parametrize("width", [320, 700, 1280, 2400])
def test_it_fits_every_width(tab: Tab, page: Path, width: int) -> None:
    tab.open(page, width=width)
    tab.ask("document.getElementById('open').click()")
    assert tab.ask("document.documentElement.scrollWidth") <= width
    place = "document.querySelector('#phase-7').closest('section').querySelector('.lane.%s').getBoundingClientRect()"
    runtime, container = (tab.ask(f"JSON.stringify({place % side})") for side in ("runtime", "container"))
    beside = json.loads(container)["left"] > json.loads(runtime)["right"]
    assert beside == (width > 800)  # below one another where there is no room


def test_without_scripts(tab: Tab, page: Path) -> None:
    """All is there and opens; what needs the script is not shown."""
    tab.open(page, scripts=False)
    assert tab.complaints() == []
    assert not tab.ask("document.querySelector('.finder').checkVisibility()")
    steps = shown(tab)
    assert len(steps) > 30
    tab.press("Tab", "Enter", "Tab", "Enter")  # the link that leads past all else to the steps
    assert focused(tab) == steps[0] and opened(tab) == 1
    tab.press(" ")
    assert opened(tab) == 0


def test_finding(tab: Tab, page: Path) -> None:
    tab.open(page)
    everything = shown(tab)
    assert tab.ask("document.getElementById('count').textContent") == f"{len(everything)} steps"
    tab.press("/")
    assert focused(tab) == "find"
    tab.press(*"MOUNT /dev/pts")
    found = shown(tab)
    assert found and len(found) < 6
    assert tab.ask("document.getElementById('count').textContent") == f"{len(found)} of {len(everything)} steps"
    # What is in a step that is not open is found, too: its lines of config.json and its undo.
    tab.ask("document.getElementById('find').value = 'noexec /mounts/5'")
    tab.ask("document.getElementById('find').dispatchEvent(new Event('input'))")
    assert len(shown(tab)) == 1
    tab.press("Escape")
    assert shown(tab) == everything


def test_by_keyboard_alone(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.press("j", "j", "j", "k")
    assert focused(tab) == "step-2"
    tab.press("Enter")
    assert tab.ask("document.querySelector('#step-2 details').open")
    # Whatever can be used is reached by Tab, once each, and seen to be.
    reached: list[str] = []
    tab.open(page)
    for _ in range(13):
        tab.press("Tab")
        reached.append(focused(tab) or tab.ask("document.activeElement.hash || document.activeElement.className"))
        assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    phases = [f"#phase-{number}" for number in range(1, 8)]
    assert reached == ["#plan", *phases, "find", "open", "close", "step-1", "step-2"]
    tab.press("/")
    tab.press(*"pivot_root", "Enter")
    assert focused(tab) == shown(tab)[0]


def test_a_link_to_a_step_opens_it(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.ask("location.hash = '#step-12'")
    tab.ask("new Promise(done => setTimeout(done))")
    assert tab.ask("document.querySelector('#step-12 details').open") and opened(tab) == 1


def test_a_hostile_config_is_inert(tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path, monkeypatch, hostile_config())
    tab.open(file)
    tab.ask("document.getElementById('open').click()")
    assert tab.complaints() == []
    assert tab.ask("document.querySelectorAll('img, svg, iframe, object, embed, link, form').length") == 0
    assert tab.ask("document.scripts.length") == 1
    assert not [event for event in tab.events if event["method"] == "Page.javascriptDialogOpening"]
    text = tab.ask("document.body.innerText")
    assert all(one in text for one in HOSTILE[:-1])
    # Were it not escaped, the page's own policy would stand in the way.
    tab.ask("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.pwned = 1\">')")
    tab.ask("new Promise(done => setTimeout(done, 50))")
    assert tab.ask("window.pwned") is None
    log.setup(None)


def test_what_a_screen_reader_is_told(tab: Tab, page: Path) -> None:
    tab.open(page)
    nodes = [node for node in tab.command("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
    roles = [node["role"]["value"] for node in nodes]
    for landmark in ("banner", "main", "search", "navigation", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    names = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    assert ("searchbox", "Find a step") in names
    assert ("heading", "How this container would be born") in names and ("heading", "Preparation") in names
    assert ("list", "The runtime") in names and ("list", "The container process") in names
    summaries = [node for node in nodes if node["role"]["value"] == "DisclosureTriangle"]
    assert len(summaries) == len(shown(tab))
    assert all(node["name"]["value"].strip() for node in summaries)
    assert {"expanded"} <= {one["name"] for node in summaries for one in node["properties"]}

"""plan --html: the page as text. What a browser makes of it: tests/browser."""

import base64
import hashlib
import json
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyrunc._linux")

from pyrunc.cli import plan_style
from pyrunc.cli.main import main
from pyrunc.config.default import default_config
from tests.support.configs import HOSTILE, hostile_config, write_bundle

#: Tags that have no end (HTML, 13.1.2).
_VOID = {"meta", "input"}


class Page(HTMLParser):
    """A page taken apart. Fails for what is not closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        #: The text in each element of a kind, in order.
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in _VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(bundle: Path) -> str:
    out = bundle.parent / "page.html"
    assert main(["pyrunc", "plan", "--html", str(out), str(bundle)]) == 0
    return out.read_text(encoding="utf-8")


def test_every_step_is_there_with_its_lines_its_section_and_its_undo(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path / "b", default_config())
    assert main(["pyrunc", "plan", "--json", str(bundle)]) == 0
    steps = [step for step in json.loads(capfd.readouterr().out) if step["step"] != "meet"]
    page = page_of(bundle)
    written = (bundle / "config.json").read_text().splitlines()
    parts = re.split(r'<li id="step-\d+">', page)[1:]
    assert len(parts) == len(steps)
    for part, step in zip(parts, steps, strict=True):
        inner = Page("<div>" + part.partition("</details></li>")[0] + "</details></div>")
        text = inner.texts["div"][0]
        for one in step["objects"] or [step["does"]]:
            assert one in text
        assert step["undo"] in text
        if step["specification"]:
            (link,) = inner.all("a")
            assert link["href"] == (
                "https://github.com/opencontainers/runtime-spec/blob/v1.3.0/" + step["specification"]
            )
        if step["pointer"]:
            assert step["pointer"] in text
        for number, line in re.findall(r'<span class="no">(\d+)</span><span>(.*?)</span></span>', part):
            assert Page(f"<p>{line}</p>").texts["p"][0].strip() in written[int(number) - 1]
    rlimits = next(part for part in parts if "/process/rlimits" in part)
    assert (
        "RLIMIT_NOFILE"
        in Page("<p>" + rlimits.partition("<pre")[2].partition(">")[2].partition("</pre>")[0] + "</p>").texts["p"][0]
    )


def test_the_page_is_whole_and_needs_nothing(tmp_path: Path) -> None:
    page = Page(page_of(write_bundle(tmp_path / "b", default_config())))
    assert page.all("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src")], (tag, attributes)
        assert tag not in ("link", "img", "iframe", "object", "base", "form")
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert attributes.get(name) is None or attributes[name] in ids
    links = [str(attributes["href"]) for attributes in page.all("a")]
    assert all(link[1:] in ids or link.startswith("https://github.com/opencontainers/") for link in links)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1 and set(levels[1:]) == {2}
    assert [page.all(tag) != [] for tag in ("header", "main", "footer")] == [True] * 3


def test_nothing_but_the_pages_own_script_and_style_may_act(tmp_path: Path) -> None:
    page = Page(page_of(write_bundle(tmp_path / "b", default_config())))
    (policy,) = [str(one["content"]) for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for kind, text in (("style", plan_style.STYLE), ("script", plan_style.SCRIPT)):
        assert page.texts[kind] == [text]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_a_hostile_config_is_text_and_nothing_else(tmp_path: Path) -> None:
    plainly = Page(page_of(write_bundle(tmp_path / "plain", default_config())))
    bundle = write_bundle(tmp_path / "b<img src=x onerror=alert(2)>", hostile_config())
    text = page_of(bundle)
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plainly.tags}
    assert {name for _, attributes in page.tags for name in attributes} == {
        name for _, attributes in plainly.tags for name in attributes
    }
    assert page.texts["script"] == plainly.texts["script"]
    for one in HOSTILE[:-1]:
        assert one in page.texts["body"][0]
    assert "b<img src=x onerror=alert(2)>" in page.texts["title"][0]
    assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_a_config_on_one_line(tmp_path: Path) -> None:
    """As engines write it: not all of it with each step, but the property's own text."""
    config = default_config()
    text = page_of(write_bundle(tmp_path / "b", config, None))
    page = Page(text)
    assert len(text) < 100_000
    assert any('"hostname": "pyrunc"' in pre and len(pre) < 100 for pre in page.texts["pre"])


def test_a_bundle_that_is_not_utf_8(tmp_path: Path) -> None:
    where = os.fsencode(tmp_path) + b"/\xff\xfe"
    bundle = write_bundle(Path(os.fsdecode(where)), default_config())
    assert "\\udcff\\udcfe" in Page(page_of(bundle)).texts["title"][0]


def test_properties_in_another_case(tmp_path: Path) -> None:
    """They are read as the specification's; the lines are those of the file."""
    config: Any = default_config()
    config["HostName"] = config.pop("hostname")
    assert any('"HostName"' in pre for pre in Page(page_of(write_bundle(tmp_path / "b", config))).texts["pre"])


# ---- contrast ----


def palettes() -> list[dict[str, str]]:
    light, dark = re.findall(r":root \{(.*?)\}", plan_style.STYLE, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w{6});", text)) for text in (light, dark)]


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, "contrast ratio"."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dim, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dim + 0.05)


@pytest.mark.parametrize("palette", palettes(), ids=["light", "dark"])
def test_contrast(palette: dict[str, str]) -> None:
    pairs = [("ink", back) for back in ("paper", "card", "code", "runtime-back", "container-back")]
    pairs += [("soft", back) for back in ("paper", "card", "code", "runtime-back", "container-back")]
    pairs += [(side, back) for side in ("runtime", "container") for back in ("paper", "card", side + "-back")]
    pairs += [("link", "card"), ("link", "paper"), ("warn", "warn-back")]
    for front, back in pairs:
        assert contrast(palette[front], palette[back]) >= 4.5, (front, back)


def test_both_palettes_have_every_colour() -> None:
    light, dark = palettes()
    assert set(light) == set(dark)
    used = set(re.findall(r"var\(--([\w-]+)\)", plan_style.STYLE)) - {"who"}
    assert used == set(light)


# ---- the file ----


def test_where_it_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The path is of where the caller stands. A link is not followed; a config that is wrong leaves the file alone."""
    bundle = write_bundle(tmp_path / "b", default_config())
    os.chdir(tmp_path)
    assert main(["pyrunc", "plan", "--html", "page.html", str(bundle)]) == 0
    os.chdir(tmp_path)
    page = tmp_path / "page.html"
    assert stat.S_IMODE(page.stat().st_mode) & 0o133 == 0
    assert capfd.readouterr() == ("", "")
    assert main(["pyrunc", "plan", "--html", "-", str(bundle)]) == 0
    assert capfd.readouterr().out == page.read_text()
    os.chdir(tmp_path)
    (tmp_path / "link").symlink_to(page)
    page.write_text("as it was")
    assert main(["pyrunc", "plan", "--html", "link", str(bundle)]) == 1
    error = capfd.readouterr().err
    assert "link is not followed" in error and error.count("\n") == 1
    os.chdir(tmp_path)
    bad: Any = default_config()
    bad["mounts"] = 1
    assert main(["pyrunc", "plan", "--html", "page.html", str(write_bundle(tmp_path / "bad", bad))]) == 1
    assert page.read_text() == "as it was"
    os.chdir(tmp_path)
    assert main(["pyrunc", "plan", "--html", "page.html", "--json", str(bundle)]) == 1
    capfd.readouterr()
    assert main(["pyrunc", "plan", "--html", "/dev/full", str(bundle)]) == 1
    assert "/dev/full: no space left on device" in capfd.readouterr().err

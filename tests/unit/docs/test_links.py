"""What the documents name exists."""

import re
from pathlib import Path

import pytest

from pyrunc.cli.version import VERSION
from tests.support import TOP

PAGES = sorted({*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("[a-z]*/README.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_and_tests_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    for file, name in re.findall(r"(tests/[\w/]+\.py)(?:::(\w+))?", text):
        assert (TOP / file).exists(), file
        assert not name or f"def {name}(" in (TOP / file).read_text(), f"{file}::{name}"


def test_the_index_has_every_document() -> None:
    index = (TOP / "docs/README.md").read_text()
    for page in PAGES:
        assert page.name == "README.md" or f"{page.name}](" in index, page


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/development.md"])
def test_the_files_of_the_recipes_exist(page: str) -> None:
    """`pyrunc/...`, `tests/...` and the like, with a name to be found there; upper case stands for one to fill in."""
    places = re.findall(
        r"`((?:pyrunc|spec|native|tests|tools|docs|bench)/[\w./*-]*)`(?:,? `(\w+)`)?", (TOP / page).read_text()
    )
    for name, word in places:
        found = next(TOP.glob(name.rstrip("/")), None)
        assert found or re.search("[A-Z]{3}", name), name
        assert not word or (found and found.is_file() and word in found.read_text()), f"{name}: {word}"
    assert places


def test_the_version_stands_in_one_place() -> None:
    """pyrunc/cli/version.py: the change log's newest entry is about it, the package metadata read it."""
    assert (TOP / "CHANGELOG.md").read_text().partition("\n## ")[2].startswith(VERSION)
    assert "version = attr: pyrunc.cli.version.VERSION" in (TOP / "setup.cfg").read_text()

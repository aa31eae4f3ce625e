"""What an entry of the catalogue may ask: where a path ends."""

from pathlib import Path

import pytest

from pyrunc import catalogue
from pyrunc.catalogue import entry
from pyrunc.errors import PyruncError


def test_where_a_path_ends(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    assert entry.walked(str(tmp_path)) == ""
    assert f"in {tmp_path} there is no dtaa: did you mean data?" == entry.walked(f"{tmp_path}/dtaa/x")
    assert entry.walked(f"{tmp_path}/file/x") == f"{tmp_path}/file is no directory"
    assert "link to nowhere" in entry.walked(f"{tmp_path}/link")


def test_what_is_not_told_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a path of a config: no neighbour outside of the bundle, and nothing of where a link leads."""
    outside, bundle = tmp_path / "outside", tmp_path / "bundle"
    for folder in (outside / "secret", bundle / "data"):
        folder.mkdir(parents=True)
    (outside / "link").symlink_to("/etc/secret")
    (bundle / "way").symlink_to(outside)
    monkeypatch.chdir(bundle)
    # As in the program: the library, which another test may have imported, knows of no command.
    monkeypatch.setattr(PyruncError, "advise", None)

    def hint(path: str, command: str = "create") -> str:
        error = PyruncError(f"mount source {path} does not exist")
        catalogue.complete(error, command=command)
        return str(error.hint)

    assert hint(f"{outside}/secre/x") == f"in {outside} there is no secre"
    assert hint(f"{outside}/link") == f"{outside}/link is a link to what is missing"
    for way in (f"{bundle}/way", f"{bundle}/../outside"):
        assert hint(f"{way}/secre") == f"in {way} there is no secre"
    assert hint(f"{bundle}/dtaa") == f"in {bundle} there is no dtaa: did you mean data?"
    # Who adds a mount stands anywhere.
    assert hint(f"{bundle}/dtaa", "mounts") == f"in {bundle} there is no dtaa"
    # What the caller has typed.
    assert entry.walked(f"{outside}/secre").endswith("did you mean secret?")

"""What an entry of the catalogue may ask: where a path ends."""

from pathlib import Path

from pyrunc.catalogue import entry


def test_where_a_path_ends(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    assert entry.walked(str(tmp_path)) == ""
    assert f"in {tmp_path} there is no dtaa: did you mean data?" == entry.walked(f"{tmp_path}/dtaa/x")
    assert entry.walked(f"{tmp_path}/file/x") == f"{tmp_path}/file is no directory"
    assert "link to nowhere" in entry.walked(f"{tmp_path}/link")

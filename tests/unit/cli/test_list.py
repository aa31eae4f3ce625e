"""list: its table, and whose a container is."""

from __future__ import annotations

from pathlib import Path

from pyrunc.cli.list import owner, table


def test_list_table_and_owner(tmp_path: Path) -> None:
    assert table([("ID", "PID", "STATUS")]) == "ID          PID         STATUS\n"
    assert table([("ID", "PID"), ("a" * 12, "1")]) == f"ID             PID\n{'a' * 12}   1\n"
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0::/root:/bin/sh\nbroken\n#c\nme:x:1000:1000::/:/bin/sh\n")
    assert [owner(uid, str(passwd)) for uid in (0, 1000, 5)] == ["root", "me", "#5"]
    assert owner(0, "/nonexistent") == "#0"

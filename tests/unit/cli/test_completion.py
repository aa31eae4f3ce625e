"""What bash, zsh and fish complete."""

from __future__ import annotations

import shutil
import subprocess

from pyrunc.cli import completion
from pyrunc.cli import help as words
from pyrunc.cli.table import COMMANDS


def complete(script: str, line: str) -> set[str]:
    program = (
        f'{script}\nCOMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _pyrunc; echo "${{COMPREPLY[@]}}"'
    )
    got = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True)
    return set(got.stdout.split())


def test_bash_completion() -> None:
    script = completion.bash("pyrunc")
    assert complete(script, "pyrunc cr") == {"create"}
    assert "--root" in complete(script, "pyrunc --")
    assert complete(script, "pyrunc --log-format ''") == {"text", "json"}
    assert complete(script, "pyrunc --root /x --log y exec --add") == {"--additional-gids"}
    assert complete(script, "pyrunc completion ''") == {"bash", "zsh", "fish"}
    assert complete(script, "pyrunc list --format ''") == {"table", "json"}
    assert complete(script, "pyrunc trace --format ''") == {"table", "json", "perfetto"}
    assert complete(script, "pyrunc trace ''") == {"create", "run", "exec", "start"}
    assert complete(script, "pyrunc trace --format json exec --add") == {"--additional-gids"}
    for command, row in COMMANDS.items():
        shown = {"--" + flag[0] for flag in row[3] if (command, flag[0]) not in words.HIDDEN}
        assert complete(script, f"pyrunc {command} --") == shown


def test_zsh_completion_names_every_command_and_flag() -> None:
    script = completion.zsh("pyrunc")
    for command, row in COMMANDS.items():
        assert f"        {command}) _arguments " in script
        for flag in row[3]:
            assert (command, flag[0]) in words.HIDDEN or "--" + flag[0] in script


def test_fish_completion_names_every_command_and_flag() -> None:
    script = completion.fish("pyrunc")
    for command, row in COMMANDS.items():
        assert f" -a {command} -d " in script
        for long, short, _ in row[3]:
            if (command, long) not in words.HIDDEN:
                line = f"from {command}' -l {long}" + (f" -s {short}" if short else "")
                assert line in script
    assert "complete -c pyrunc -n '__fish_seen_subcommand_from kill' -a '(pyrunc list -q 2>/dev/null)'" in script
    if shutil.which("fish"):
        subprocess.run(["fish", "--no-execute"], input=script, text=True, check=True)

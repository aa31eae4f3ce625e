"""pyrunc completion: scripts for bash, zsh and fish, made from the table, so that they never lack a flag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.cli.help import HIDDEN, TEXTS, describe
from pyrunc.cli.table import COMMANDS, GLOBAL
from pyrunc.errors import UsageError

if TYPE_CHECKING:
    from pyrunc.cli.parse import Call, Flags

# What follows a flag, where the shell can offer it; anything else is left to the user.
_DIRECTORIES = ("bundle", "root", "cwd", "image-path", "work-path", "parent-path")
_FILES = ("log", "config", "console-socket", "pidfd-socket", "pid-file", "process", "resources", "output", "html")
_WORDS = {
    "log-format": "text json",
    "rootless": "true false auto",
    "format": "table json",
    "trace.format": "table json perfetto",
    "sort": "cpu memory pids io pressure oom throttled name",
    "cgroup-manager": "cgroupfs systemd disabled",
    "manage-cgroups-mode": "soft full strict ignore",
}
_SIGNALS = "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH"
# What `trace` traces: its command line goes on as that of the command.
_TRACED = "create run exec start"
# Commands whose argument is no container.
_NO_CONTAINER = (
    "create",
    "run",
    "restore",
    "list",
    "spec",
    "features",
    "plan",
    "diff",
    "trace",
    "validate",
    "doctor",
    "completion",
    "version",
    "help",
)


def _words(command: str, flag: str) -> str:
    """The values of a flag that a shell can offer, "" for none."""
    return _WORDS.get(f"{command}.{flag}") or _WORDS.get(flag, "")


def _shown(command: str, flags: Flags) -> list[tuple[str, str, str]]:
    return [flag for flag in flags if (command, flag[0]) not in HIDDEN]


def _spellings(flags: list[tuple[str, str, str]]) -> str:
    return " ".join(["--" + long + (" -" + short if short else "") for long, short, _ in flags])


def _valued() -> list[str]:
    """The spellings of all flags that take a value."""
    return sorted(
        {
            word
            for _, _, _, flags in [("", "", "", GLOBAL), *COMMANDS.values()]
            for long, short, kind in flags
            if kind != "bool"
            for word in (["--" + long] + (["-" + short] if short else []))
        }
    )


def bash(program: str) -> str:
    """A script that bash sources."""
    name = program.replace("-", "_").replace(".", "_")
    takes = _valued()
    cases = "".join(
        [f'        {command}) flags="{_spellings(_shown(command, row[3]))}" ;;\n' for command, row in COMMANDS.items()]
    )
    values = "".join(
        [
            f'        {command or "*"}:--{flag}) COMPREPLY=($(compgen -W "{words}" -- "$cur")); return ;;\n'
            for (command, _, flag), words in sorted(
                [(name.rpartition("."), words) for name, words in _WORDS.items()], reverse=True
            )
        ]
    )
    return f"""# bash completion of {program}; made by: {program} completion bash
_{name}() {{
    local cur prev command flags words i root=()
    cur=${{COMP_WORDS[COMP_CWORD]}}
    prev=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
        --root) root=(--root "${{COMP_WORDS[i+1]}}"); ((i++)) ;;
        --root=*) root=("${{COMP_WORDS[i]}}") ;;
        {"|".join(takes)}) ((i++)) ;;
        -*) ;;
        trace) command=trace ;;
        *) command=${{COMP_WORDS[i]}}; break ;;
        esac
    done
    case $prev in
        {"|".join("--" + flag for flag in _DIRECTORIES)}) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        {"|".join("--" + flag for flag in _FILES)}) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    case $command:$prev in
{values}    esac
    if [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "{" ".join(COMMANDS)} {_spellings(list(GLOBAL))}" -- "$cur"))
        return
    fi
    case $command in
{cases}    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$cur"))
        return
    fi
    case $command in
        help) COMPREPLY=($(compgen -W "{" ".join(COMMANDS)}" -- "$cur")) ;;
        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
        plan|diff|validate|doctor) COMPREPLY=($(compgen -d -- "$cur")) ;;
        trace) COMPREPLY=($(compgen -W "{_TRACED}" -- "$cur")) ;;
        create|run|restore|list|spec|features|version) ;;
        *)
            words=$("${{COMP_WORDS[0]}}" "${{root[@]}}" list -q 2>/dev/null)
            [[ $command == kill ]] && words="$words {_SIGNALS}"
            [[ $command == mounts ]] && words="add remove $words"
            COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;
    esac
}}
complete -F _{name} {program}
"""


def _zsh_flag(command: str, flag: tuple[str, str, str]) -> str:
    long, short, kind = flag
    about = (
        describe(command, long)
        .split("\n")[0]
        .replace("'", "'\\''")
        .replace("[", "\\[")
        .replace("]", "\\]")
        .replace(":", "\\:")
    )
    value = ""
    if kind != "bool":
        what = "_files -/" if long in _DIRECTORIES else "_files" if long in _FILES else f"({_words(command, long)})"
        value = ":" + long + ":" + (what if what != "()" else "")
    many = "*" if kind in ("strs", "ints") else ""
    equals = "=" if kind != "bool" else ""
    if short:
        head = f"{{-{short},--{long}{equals}}}"
        return f"'{many}'{head}'[{about}]{value}'"
    return f"'{many}--{long}{equals}[{about}]{value}'"


def zsh(program: str) -> str:
    """A script that zsh autoloads or sources."""
    name = program.replace("-", "_").replace(".", "_")
    commands = "".join(
        ["        '" + command + ":" + TEXTS[command][0].replace("'", "'\\''") + "'\n" for command in COMMANDS]
    )
    cases = ""
    for command, row in COMMANDS.items():
        flags = " ".join([_zsh_flag(command, flag) for flag in _shown(command, row[3])])
        if command in _NO_CONTAINER:
            rest = {"completion": "'1:shell:(bash zsh fish)'", "help": f"'1:command:({' '.join(COMMANDS)})'"}.get(
                command, ""
            )
            if command in ("plan", "diff", "validate", "doctor"):
                rest = "'1:bundle:_files -/'" + (" '2:bundle:_files -/'" if command == "diff" else "")
            elif command == "trace":
                rest = f"'1:command:({_TRACED})'"
        else:
            rest = f"'1:container:_{name}_containers'" + (f" '2:signal:({_SIGNALS})'" if command == "kill" else "")
            if command == "mounts":
                rest = f"'1:verb:(add remove)' '2:container:_{name}_containers' '3:file:_files'"
        cases += f"        {command}) _arguments {flags} {rest} ;;\n"
    return f"""#compdef {program}
# zsh completion of {program}; made by: {program} completion zsh
_{name}_containers() {{
    local -a found
    found=(${{(f)"$({program} ${{opt_args[--root]:+--root=${{opt_args[--root]}}}} list -q 2>/dev/null)"}})
    compadd -a found
}}
_{name}() {{
    local context state state_descr line
    typeset -A opt_args
    _arguments -C {" ".join([_zsh_flag("", flag) for flag in GLOBAL])} '1:command:->command' '*::argument:->argument'
    case $state in
    command)
        local -a commands
        commands=(
{commands}        )
        _describe command commands ;;
    argument)
        case $line[1] in
{cases}        esac ;;
    esac
}}
if [[ $funcstack[1] = _{name} ]]; then _{name} "$@"; else compdef _{name} {program}; fi
"""


def _fish_word(text: str) -> str:
    return "'" + text.split("\n")[0].replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_flag(program: str, when: str, command: str, flag: tuple[str, str, str]) -> str:
    long, short, kind = flag
    line = f"complete -c {program} -n {when} -l {long}" + (f" -s {short}" if short else "")
    if kind != "bool":
        words = _words(command, long)
        what = "'(__fish_complete_directories)'" if long in _DIRECTORIES else f"'{words}'" if words else ""
        line += f" -xa {what}" if what else " -rF" if long in _FILES else " -x"
    return line + f" -d {_fish_word(describe(command, long))}\n"


def fish(program: str) -> str:
    """A script that fish loads or sources."""
    first = f"'not __fish_seen_subcommand_from {' '.join(COMMANDS)}'"
    text = f"# fish completion of {program}; made by: {program} completion fish\ncomplete -c {program} -f\n"
    text += "".join([_fish_flag(program, first, "", flag) for flag in GLOBAL])
    for command, row in COMMANDS.items():
        text += f"complete -c {program} -n {first} -a {command} -d {_fish_word(TEXTS[command][0])}\n"
        when = f"'__fish_seen_subcommand_from {command}'"
        text += "".join([_fish_flag(program, when, command, flag) for flag in _shown(command, row[3])])
        words = {
            "completion": "'bash zsh fish'",
            "help": f"'{' '.join(COMMANDS)}'",
            "plan": "'(__fish_complete_directories)'",
            "trace": f"'{_TRACED}'",
            "diff": "'(__fish_complete_directories)'",
            "validate": "'(__fish_complete_directories)'",
            "doctor": "'(__fish_complete_directories)'",
        }.get(command, "" if command in _NO_CONTAINER else f"'({program} list -q 2>/dev/null)'")
        if words:
            text += f"complete -c {program} -n {when} -a {words}\n"
        if command == "kill":
            text += f"complete -c {program} -n {when} -a '{_SIGNALS}'\n"
        if command == "mounts":
            text += f"complete -c {program} -n {when} -a 'add remove'\n"
    return text


def run(call: Call) -> int:
    shell = call.args[0]
    scripts = {"bash": bash, "zsh": zsh, "fish": fish}
    if shell not in scripts:
        raise UsageError("no completion for the shell " + shell)
    log.output(scripts[shell](call.program))
    return 0

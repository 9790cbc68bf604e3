# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent completion`: a script for a shell, written from the parsers."""

from __future__ import annotations

import argparse
import typing as t

from . import help
from .command import JSON, OK, TEXT, Command, Terminal

SHELLS: t.Final = ("bash", "zsh", "fish")


def command(others: t.Callable[[], t.Sequence[Command]]) -> Command:
    """`others`: every command of the program, this one among them."""

    def arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("shell", metavar="shell", choices=SHELLS, help="bash, zsh or fish")

    def run(chosen: argparse.Namespace, terminal: Terminal) -> int:
        terminal.out.write(_WRITERS[chosen.shell](others()))
        return OK

    return Command("completion", "write the completion script for a shell: bash, zsh or fish", run, arguments, _ABOUT)


def _flags(one: Command) -> list[argparse.Action]:
    return [action for action in help.of_command(one).actions() if action.option_strings]


def _names(one: Command) -> str:
    return " ".join(name for action in _flags(one) for name in action.option_strings)


def _bash(commands: t.Sequence[Command]) -> str:
    cases = "".join(f"        {one.name}) words='{_words(one)} {_names(one)}' ;;\n" for one in commands)
    return f"""\
# bash completion for {help.PROGRAM}, written by `{help.PROGRAM} completion bash`
_{help.PROGRAM}() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command='' words n
    case $before in
        --output) COMPREPLY=($(compgen -W '{TEXT} {JSON}' -- "$word")); return ;;
        --loglevel) COMPREPLY=($(compgen -W 'debug info warn error' -- "$word")); return ;;
        {"|".join(_FILES)}) COMPREPLY=($(compgen -f -- "$word")); return ;;
    esac
    for ((n = 1; n < COMP_CWORD; n++)); do
        case ${{COMP_WORDS[n]}} in
            --config|--loglevel) ((n++)) ;;
            -*) ;;
            *) command=${{COMP_WORDS[n]}}; break ;;
        esac
    done
    case $command in
        '') words='{" ".join(one.name for one in commands)} --help --config --loglevel' ;;
{cases}        *) return ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _{help.PROGRAM} {help.PROGRAM}
"""


def _zsh(commands: t.Sequence[Command]) -> str:
    told = "\n".join(f"    '{one.name}:{_plain(one.help)}'" for one in commands)
    cases = "\n".join(f"        {one.name}) compadd -- {_words(one)} {_names(one)} ;;" for one in commands)
    return f"""\
#compdef {help.PROGRAM}
# zsh completion, written by `{help.PROGRAM} completion zsh`
_{help.PROGRAM}() {{
    local -a commands
    commands=(
{told}
    )
    case $words[CURRENT-1] in
        --output) compadd -- {TEXT} {JSON}; return ;;
        --loglevel) compadd -- debug info warn error; return ;;
        {"|".join(_FILES)}) _files; return ;;
    esac
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    case $words[2] in
{cases}
    esac
}}
compdef _{help.PROGRAM} {help.PROGRAM}
"""


def _fish(commands: t.Sequence[Command]) -> str:
    first = f"complete -c {help.PROGRAM} -n __fish_use_subcommand -f"
    lines = [f"# fish completion for {help.PROGRAM}, written by `{help.PROGRAM} completion fish`"]
    for one in commands:
        lines.append(f"{first} -a {one.name} -d '{_plain(one.help)}'")
        for action in _flags(one):
            long = action.option_strings[-1].lstrip("-")
            value = "" if action.nargs == 0 else " -r"
            choices = f" -f -a '{TEXT} {JSON}'" if long == "output" else ""
            told = _plain(action.help or "")
            when = f"complete -c {help.PROGRAM} -n '__fish_seen_subcommand_from {one.name}'"
            lines.append(f"{when} -l {long}{value}{choices} -d '{told}'")
    return "\n".join(lines) + "\n"


def _words(one: Command) -> str:
    """What may stand without a flag."""
    return " ".join(SHELLS) if one.name == "completion" else ""


def _plain(text: str) -> str:
    """Within single quotes of a shell."""
    return text.replace("'", "").replace(":", " -")


_FILES: t.Final = ("--config", "--check", "--socket", "--QYAccessFilePath", "--statedir", "--rundir", "--profile")
_WRITERS: t.Final[t.Mapping[str, t.Callable[[t.Sequence[Command]], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
_ABOUT: t.Final = (
    "Prints a script that completes commands and flags. For bash, in ~/.bashrc: source <(qingagent completion bash). "
    "For zsh, in a directory of fpath as _qingagent. For fish, as ~/.config/fish/completions/qingagent.fish."
)

"""completion: a script that completes commands, options and names of patches in bash, zsh and fish.

It is written from the command line's own declaration, and asks the command only for the names of patches.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ascend_patches.commands.command_line import parser

_NAMES = "ascend-patches list --names 2>/dev/null"
_WITH_PATCHES = ("explain", "diff", "verify")

_BASH = """\
# Completion of ascend-patches for bash; zsh reads it as well.
if [ -n "${{ZSH_VERSION-}}" ]; then
    autoload -U +X bashcompinit && bashcompinit
fi
_ascend_patches() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" command="" word
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$word" in
            --) return 0 ;;
            -*) ;;
            *) command="$word"; break ;;
        esac
    done
    case "$command" in
        "") COMPREPLY=($(compgen -W "{commands} --help --version" -- "$current")) ;;
{cases}
    esac
}}
complete -o default -F _ascend_patches ascend-patches
"""


def completion(arguments: argparse.Namespace) -> int:
    print("\n".join(_fish()) if arguments.shell == "fish" else _bash(), end="\n" if arguments.shell == "fish" else "")
    return 0


def _bash() -> str:
    cases = "\n".join(
        f'        {name}) COMPREPLY=($(compgen -W "{" ".join(_words(name, each))}" -- "$current")) ;;'
        for name, each in _commands().items()
    )
    return _BASH.format(commands=" ".join(_commands()), cases=cases)


def _words(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    for action in command._actions:
        yield from action.option_strings
        if action.choices and not action.option_strings:
            yield from map(str, action.choices)
    if name in _WITH_PATCHES:
        yield f"$({_NAMES})"


def _fish() -> Iterator[str]:
    yield "# Completion of ascend-patches for fish."
    known = " ".join(_commands())
    for name, command in _commands().items():
        first = f"not __fish_seen_subcommand_from {known}"
        yield f"complete -c ascend-patches -f -n {_quoted(first)} -a {name} -d {_quoted(command.description or '')}"
        after = _quoted(f"__fish_seen_subcommand_from {name}")
        for action in command._actions:
            for option in (each for each in action.option_strings if each.startswith("--")):
                value = " -r" if action.nargs is None else ""
                about = _quoted(action.help or "")
                yield f"complete -c ascend-patches -n {after} -l {option[2:]}{value} -d {about}"
            if action.choices and not action.option_strings:
                yield f"complete -c ascend-patches -f -n {after} -a {_quoted(' '.join(map(str, action.choices)))}"
        if name in _WITH_PATCHES:
            yield f"complete -c ascend-patches -f -n {after} -a {_quoted(f'({_NAMES})')}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _commands() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(commands.choices)

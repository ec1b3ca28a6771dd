"""Completion of the command in a shell, made from its parsers.

shtab and argcomplete, which do this for others, expect a command or a file in the first place; here either can stand there.
"""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

# Where nothing of ours fits, `-o default` has the shell offer file names. Both shells run the same function.
_SCRIPT = Template("""\
${head}_${name}() {
  local word="$${COMP_WORDS[COMP_CWORD]}" before="$${COMP_WORDS[COMP_CWORD-1]}" words=""
  case "$${COMP_WORDS[1]}" in
${cases}
  esac
  COMPREPLY=($$(compgen -W "$$words" -- "$$word"))
  if [ "$$COMP_CWORD" = 1 ] && [ "$${word#-}" = "$$word" ]; then
    COMPREPLY=($$(compgen -W "${commands}" -- "$$word"))
    local IFS=$$'\\n'
    COMPREPLY+=($$(compgen -f -- "$$word"))
    compopt -o filenames 2> /dev/null
  fi
}
complete -o default -F _${name} ${prog}
""")
_HEADS = {"bash": "", "zsh": "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n"}


def script(shell: str, parser: argparse.ArgumentParser, within: Sequence[argparse.ArgumentParser]) -> str:
    """What a shell reads to complete the command: its options, their choices, the commands within it, and files.

    Args:
        shell: `bash` or `zsh`.
        parser: Of the command.
        within: Of the commands within it, named after it and a word of their own.
    """
    named = {one.prog.split()[-1]: one for one in within}
    cases = [_case(name, one) for name, one in (*named.items(), ("*", parser))]
    return _SCRIPT.substitute(
        head=_HEADS[shell], name=parser.prog.replace("-", "_"), prog=parser.prog, commands=" ".join(named),
        cases="\n".join(cases),
    )  # fmt: skip


def _case(name: str, parser: argparse.ArgumentParser) -> str:
    """What fits where this command stands: choices behind an option that has them, else options where one begins."""
    options = [option for action in parser._actions for option in action.option_strings]
    valued = [action for action in parser._actions if action.option_strings and action.nargs != 0]
    chosen = "".join(
        f'        {"|".join(action.option_strings)}) words="{" ".join(map(str, action.choices))}" ;;\n'
        for action in valued
        if action.choices
    )
    return (
        f'    {name}) case "$before" in\n{chosen}'
        f"        {'|'.join(option for action in valued if not action.choices for option in action.option_strings)}) ;;\n"
        f'        *) [ "${{word#-}}" = "$word" ] || words="{" ".join(options)}" ;;\n      esac ;;'
    )

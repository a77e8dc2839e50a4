"""``skydive completion SHELL`` and ``skydive bash-completion``: words for the shell's Tab key.

The script asks this program for the words, by the variable `COMPLETION`: it is always up to date.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined] # not marked so

from skydiver.base.errors import ConfigError
from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, GlobalOptions, takes
from skydiver.cli.root import COMPLETION

PROGRAM = "skydive"
FILE = "skydive-bash-completion.sh"

app = single()
bash_app = single()


class Shell(StrEnum):
    """Shells whose words can be completed."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


@app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def completion(
    options: GlobalOptions,
    shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)],
) -> None:
    """Print what a shell needs to complete commands and options."""
    print(script(shell))


@bash_app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def bash_completion(options: GlobalOptions) -> None:
    """Write what bash needs to skydive-bash-completion.sh in this folder."""
    try:
        Path(FILE).write_text(f"{script(Shell.BASH)}\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{FILE}: {(error.strerror or str(error)).lower()}") from error


def script(shell: Shell) -> str:
    """The code that the shell is to run."""
    return get_completion_script(prog_name=PROGRAM, complete_var=COMPLETION, shell=shell.value)

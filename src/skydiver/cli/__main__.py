"""The command ``skydive``: finds the sub-command, and turns what goes wrong into one line.

Exit status: 0, 1 for any error (also a wrong option, as in the original), 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from skydiver.cli.early import fork_broker_for

if TYPE_CHECKING:
    import typer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    fork_broker_for(words)
    try:
        return _run(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`, a pager) has seen enough. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    import typer

    from skydiver.base.errors import SkydiverError
    from skydiver.cli.root import COMPLETION, app

    # typer raises its UsageError for a wrong line, and exports this subclass of it only.
    if COMPLETION in os.environ:
        from typer import completion

        completion.completion_init()  # type: ignore[attr-defined]
    usage_error = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
    try:
        status = typer.main.get_command(app).main(words, prog_name="skydive", standalone_mode=False)
        sys.stdout.flush()
    except SkydiverError as error:
        for line in str(error).splitlines():
            print(f"skydive: {line}", file=sys.stderr)
        return 1
    except usage_error as error:
        print(f"skydive: {_wrong_line(error)}", file=sys.stderr)
        return 1
    except typer.Abort:
        return 130
    return status if isinstance(status, int) else 0


def _wrong_line(error: typer.BadParameter) -> str:
    said = " ".join(error.format_message().rstrip(".").split())
    path = error.ctx.command_path if error.ctx else "skydive"
    end = "" if said.endswith("?") else ";"
    return f"{said[:1].lower()}{said[1:]}{end} see '{path} --help'"


if __name__ == "__main__":
    sys.exit(main())

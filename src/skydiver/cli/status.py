"""``skydive client status``."""

from __future__ import annotations

from typing import Annotated

import typer

from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import FORMAT_HELP, Format, console, print_json, wants_table
from skydiver.client.rest import Client

app = single()


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def status(
    options: ClientOptions,
    format_: Annotated[Format | None, typer.Option("--format", help=FORMAT_HELP)] = None,
) -> None:
    """Show who is connected, what runs, and what was lost."""
    with Client(options.access()) as client:
        value = client.status()
    if wants_table(format_):
        from skydiver.cli.tables import show_status

        show_status(value, console())
    else:
        print_json(value)

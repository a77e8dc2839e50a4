"""``skydive client query``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from skydiver.base.errors import QueryError
from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import (
    FORMAT_HELP,
    QueryFormat,
    clean,
    console,
    print_json,
    wants_table,
    write,
    write_binary,
)
from skydiver.client.rest import DOT, PCAP, PCAPNG, Client

app = single()


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def query(
    options: ClientOptions,
    gremlin: Annotated[
        str, typer.Argument(metavar="GREMLIN", help="Like \"G.V().Has('Type','netns')\".")
    ],
    format_: Annotated[QueryFormat | None, typer.Option("--format", help=FORMAT_HELP)] = None,
    delete: Annotated[bool, typer.Option("--delete", hidden=True)] = False,
) -> None:
    """Run a Gremlin query."""
    run_query(options, gremlin, format_)


def run_query(options: ClientOptions, gremlin: str, format_: QueryFormat | None) -> None:
    """Run a query and show its result; shared with the older form of the command."""
    if not gremlin.strip():
        raise QueryError("the query is empty; expected one like G.V()")
    with Client(options.access()) as client:
        match format_:
            case QueryFormat.DOT:
                write(client.query(gremlin, accept=DOT))
            case QueryFormat.PCAP:
                write_binary(client.query(gremlin, accept=PCAP), "pcap")
            case QueryFormat.PCAPNG:
                write_binary(client.query(gremlin, accept=PCAPNG), "pcapng")
            case _ if wants_table(format_):
                from skydiver.cli.places import Places
                from skydiver.cli.tables import show

                show(client.lookup(gremlin), console(), Places(client))
            case _:
                print_json(client.lookup(gremlin), tabs=True)
        if client.missing:
            hosts = ", ".join(map(clean, sorted(client.missing)))
            print(f"skydive: flows of {hosts} are missing from this answer", file=sys.stderr)
        if client.left_out:
            print(
                f"skydive: {client.left_out} packets of another link type are left out; "
                "--format pcapng has room for all",
                file=sys.stderr,
            )

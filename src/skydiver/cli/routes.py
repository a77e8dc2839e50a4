"""``skydive client routes``: the routing tables of a node, as its agent knows them now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import typer

from skydiver.base.errors import ProtocolError, QueryError
from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import FORMAT_HELP, Format, console, print_json, wants_table
from skydiver.client.rest import Client

app = single()

PAGE = 1000
"""Routes asked for at once."""


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def routes(
    options: ClientOptions,
    node: Annotated[
        str,
        typer.Argument(
            metavar="NODE", help="ID, TID or a query that finds one: host, namespace, interface."
        ),
    ],
    table: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="Only of this table.")
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="NETWORK", help="Only to this network or a part of it.")
    ] = "",
    lookup: Annotated[
        str, typer.Option(metavar="IP", help="Only those that packets to this address take.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="How many; 0 = all.")] = 100,
    offset: Annotated[int, typer.Option(min=0, help="How many to leave out before.")] = 0,
    format_: Annotated[Format | None, typer.Option("--format", help=FORMAT_HELP)] = None,
) -> None:
    """Show the routes of a host or namespace, or through an interface."""
    asked = {"table": table, "prefix": prefix or None, "lookup": lookup or None}
    query = {name: value for name, value in asked.items() if value is not None}
    with Client(options.access()) as client:
        path = f"/api/routes/{quote(_node_id(client, node), safe='')}"
        total, found = _pages(client, path, query, limit, offset)
    if wants_table(format_):
        from skydiver.cli.tables import show_routes

        show_routes(found, console(), total)
    else:
        print_json(found)


def _pages(
    client: Client, path: str, query: Mapping[str, Any], limit: int, offset: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many routes there are, and those that were asked for, in as many requests as needed."""
    found: list[dict[str, Any]] = []
    while True:
        most = min(PAGE, limit - len(found)) if limit else PAGE
        page = {**query, "limit": most, "offset": offset + len(found)}
        answer = orjson.loads(client.request("GET", f"{path}?{urlencode(page)}", "routes"))
        if not isinstance(answer, dict) or not isinstance(answer.get("Routes"), list):
            raise ProtocolError("routes: expected an object with Total and Routes")
        found += answer["Routes"]
        if len(answer["Routes"]) < most or len(found) == limit:
            return int(answer.get("Total", 0)), found


def _node_id(client: Client, text: str) -> str:
    """Of the node that is meant; what begins like a query is one."""
    if not text.lower().startswith("g."):
        return text
    found = client.lookup(text)
    ids = {item.get("ID") for item in found or [] if isinstance(item, Mapping)}
    if len(ids) != 1 or not isinstance(node := ids.pop(), str):
        raise QueryError(f"{text} finds {len(found or [])} nodes, expected one")
    return node

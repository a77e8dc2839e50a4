"""``skydive client topology``: the graph as a file, and the older form of ``query``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from skydiver.base.errors import ConfigError
from skydiver.cli.lazy import several
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import FORMAT_HELP, QueryFormat, print_json
from skydiver.cli.places import quotable, within
from skydiver.cli.query import run_query
from skydiver.client.rest import Client

app = several("The graph as a file.", ClientOptions)

CHUNK = 500
"""Elements asked for at once."""


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def export(options: ClientOptions) -> None:
    """Print the whole graph as JSON, for `import`."""
    with Client(options.access()) as client:
        print_json(client.lookup("G"), tabs=True)


@app.command("import", context_settings=CONTEXT)
@takes(ClientOptions)
def import_(
    options: ClientOptions,
    file: Annotated[Path, typer.Option(metavar="FILE", help="What `export` printed.")] = Path(
        "graph.json"
    ),
    endpoint: Annotated[
        str, typer.Option(metavar="PATH", help="WebSocket endpoint to publish to.")
    ] = "/ws/publisher",
) -> None:
    """Add the nodes and edges of a file to the graph."""
    nodes, edges = read_graph(file)
    if not endpoint.startswith("/"):
        raise ConfigError(f"--endpoint {endpoint!r}: expected a path like /ws/publisher")
    from skydiver.client.publisher import Publisher

    access = options.access()
    with Publisher(access, endpoint=endpoint) as publisher:
        publisher.add(nodes, edges)
    # The protocol does not answer: what fails the server's validation is dropped there.
    with Client(access) as client:
        taken = [_present(client, "V", nodes), _present(client, "E", edges)]
    if taken != [len(nodes), len(edges)]:
        raise ConfigError(
            f"{file}: {access.authority} took {taken[0]} of {len(nodes)} nodes and "
            f"{taken[1]} of {len(edges)} edges; its log says why"
        )


def _present(client: Client, step: str, elements: Sequence[Mapping[str, Any]]) -> int:
    """How many of the elements are in the graph of the server."""
    found = 0
    ids = [element["ID"] for element in elements]
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        asked = [id_ for id_ in chunk if quotable(id_)]
        found += len(chunk) - len(asked)  # cannot be asked for, so not counted as missing
        if asked:
            found += int(client.lookup(f"G.{step}().Has('@ID',{within(asked)}).Count()"))
    return found


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def query(
    options: ClientOptions,
    gremlin: Annotated[str, typer.Option(metavar="GREMLIN", help="The query.")] = "G",
    format_: Annotated[QueryFormat | None, typer.Option("--format", help=FORMAT_HELP)] = None,
) -> None:
    """Run a Gremlin query (older form of `skydive client query`)."""
    run_query(options, gremlin, format_)


def read_graph(file: Path) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The nodes and edges of an exported graph, in the form of a query or of the plain graph."""
    try:
        value = orjson.loads(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: {(error.strerror or str(error)).lower()}") from error
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{file} is not JSON: {error}") from error
    graph = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(graph, Mapping) or not {"Nodes", "Edges"} & set(graph):
        raise ConfigError(f'{file} is not an exported graph: expected [{{"Nodes": …, "Edges": …}}]')
    lists = []
    for kind in ("Nodes", "Edges"):
        elements = graph.get(kind) or []
        if not isinstance(elements, list):
            raise ConfigError(f"{file}: {kind}: expected a list")
        for number, element in enumerate(elements):
            if not isinstance(element, Mapping) or not isinstance(element.get("ID"), str):
                raise ConfigError(f"{file}: {kind}[{number}]: expected an object with an ID")
        lists.append(elements)
    return lists[0], lists[1]

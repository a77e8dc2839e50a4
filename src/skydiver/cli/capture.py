"""``skydive client capture``: where packets are turned into flows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer import Option

from skydiver.base.errors import ConfigError, SkydiverError
from skydiver.cli.lazy import several
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import FORMAT_HELP, Format, console, print_json, wants_table
from skydiver.cli.places import quoted
from skydiver.client.rest import Client

app = several("Where packets are turned into flows.", ClientOptions)

EXTRA_LAYERS = {
    "VRRP": 1,
    "DNS": 2,
    "DHCPV4": 4,
    "DHCPV6": 8,
    "TLS": 16,
    "HTTP": 32,
    "QUIC": 64,
    "NTP": 128,
}


class LayerKeyMode(StrEnum):
    """What identifies a flow."""

    L2 = "L2"
    L3 = "L3"


ShowFormat = Annotated[Format | None, typer.Option("--format", help=FORMAT_HELP)]


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def create(
    options: ClientOptions,
    gremlin: Annotated[str, Option(metavar="GREMLIN", help="Capture on what this finds.")] = "",
    node: Annotated[str, Option(metavar="TID", help="Capture on this node.")] = "",
    bpf: Annotated[str, Option(metavar="FILTER", help="Only these, like 'tcp port 80'.")] = "",
    name: Annotated[str, Option(help="A name for people.")] = "",
    description: Annotated[str, Option(help="What it is for.")] = "",
    type_: Annotated[str, Option("--type", help="Kind of capture: afpacket or pcap.")] = "",
    port: Annotated[int, Option(min=0, max=65535, help="Port of a collector.")] = 0,
    samplingrate: Annotated[
        int, Option(min=0, max=2**32 - 1, help="Flow sampling rate; 0 = none.")
    ] = 1,
    pollinginterval: Annotated[
        int, Option(min=0, max=2**32 - 1, help="Counter polling, seconds; 0 = none.")
    ] = 10,
    header_size: Annotated[int, Option(help="Octets of each packet to keep; 0 = default.")] = 0,
    rawpacket_limit: Annotated[int, Option(help="Packets to keep of each flow, up to 10.")] = 0,
    extra_tcp_metric: Annotated[
        bool, Option("--extra-tcp-metric", help="Times of SYN, FIN and RST.")
    ] = False,
    ip_defrag: Annotated[
        bool, Option("--ip-defrag", help="Put datagrams in fragments together.")
    ] = False,
    reassemble_tcp: Annotated[
        bool,
        Option("--reassamble-tcp", "--reassemble-tcp", help="Segments out of order, and missing."),
    ] = False,
    layer_key_mode: Annotated[
        LayerKeyMode, Option(help="L3 tracks a flow across routers.")
    ] = LayerKeyMode.L2,
    extra_layer: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="Look into VRRP, DNS, DHCPv4, DHCPv6, TLS, HTTP, QUIC or NTP; repeatable.",
        ),
    ] = None,
    target: Annotated[str, Option(metavar="HOST:PORT", help="Not available yet.")] = "",
    target_type: Annotated[str, Option(help="Not available yet, but local.")] = "",
    ttl: Annotated[
        int, Option(metavar="MS", min=0, help="End by itself after this time; 0 = never.")
    ] = 0,
    format_: ShowFormat = None,
) -> None:
    """Capture on the nodes that a query finds, now and later."""
    body = {
        "GremlinQuery": _query(gremlin, node),
        "BPFFilter": bpf,
        "Name": name,
        "Description": description,
        "Type": type_,
        "Port": port,
        "SamplingRate": samplingrate,
        "PollingInterval": pollinginterval,
        "HeaderSize": header_size,
        "RawPacketLimit": rawpacket_limit,
        "ExtraTCPMetric": extra_tcp_metric,
        "IPDefrag": ip_defrag,
        "ReassembleTCP": reassemble_tcp,
        "LayerKeyMode": layer_key_mode.value,
        "ExtraLayers": _layers(extra_layer or []),
        "Target": target,
        "TargetType": target_type,
    }
    with Client(options.access()) as client:
        is_early = bool(node) and _finds_nothing(client, str(body["GremlinQuery"]))
        made = client.create("capture", {k: v for k, v in body.items() if v != ""}, ttl_ms=ttl)
    if is_early:
        typer.echo(
            "skydive: no node has this TID now; the capture starts when one appears", err=True
        )
    _show(made, format_)


@app.command("list", context_settings=CONTEXT)
@takes(ClientOptions)
def list_(options: ClientOptions, format_: ShowFormat = None) -> None:
    """Show the captures and what they did so far."""
    with Client(options.access()) as client:
        captures = client.list("capture")
        if wants_table(format_):
            from skydiver.cli.tables import show_captures

            show_captures(list(captures.values()), console(), _running(client))
        else:
            print_json(captures)


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def get(
    options: ClientOptions,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    format_: ShowFormat = None,
) -> None:
    """Show one capture."""
    with Client(options.access()) as client:
        _show(client.get("capture", id_), format_)


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def delete(
    options: ClientOptions, ids: Annotated[list[str], typer.Argument(metavar="ID...")]
) -> None:
    """End captures."""
    failures = []
    with Client(options.access()) as client:
        for id_ in ids:
            try:
                client.delete("capture", id_)
            except ConfigError as error:
                failures.append(error)  # the others can still be ended
    if failures:
        raise ConfigError("; ".join(str(error) for error in failures))


def _query(gremlin: str, node: str) -> str:
    if bool(gremlin) == bool(node):
        raise ConfigError("expected either --gremlin or --node")
    return gremlin or f"G.V().Has('TID',{quoted(node)})"


def _finds_nothing(client: Client, query: str) -> bool:
    """False also when the server refuses to say."""
    try:
        return not client.lookup(query)
    except SkydiverError:
        return False


def _layers(names: list[str]) -> int:
    bits = 0
    for name in names:
        if name.upper() not in EXTRA_LAYERS:
            raise ConfigError(
                f"--extra-layer {name}: expected VRRP, DNS, DHCPv4, DHCPv6, TLS, HTTP, QUIC or NTP"
            )
        bits |= EXTRA_LAYERS[name.upper()]
    return bits


def _show(capture: Mapping[str, Any], format_: Format | None) -> None:
    if wants_table(format_):
        from skydiver.cli.tables import show_object

        show_object(capture, console())
    else:
        print_json(capture)


def _running(client: Client) -> list[Mapping[str, Any]]:
    """The entries of ``Captures`` of all nodes; none when the server refuses to say."""
    try:
        lists = client.lookup("G.V().HasKey('Captures').Values('Captures')") or []
    except SkydiverError:
        return []
    return [entry for entries in lists if isinstance(entries, list) for entry in entries
            if isinstance(entry, Mapping)]  # fmt: skip

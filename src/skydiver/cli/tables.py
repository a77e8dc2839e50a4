"""Readable tables, one shape for each kind of result."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table
from rich.text import Text

from skydiver.cli.output import clean
from skydiver.cli.places import Places

Item: TypeAlias = Mapping[str, Any]
Row: TypeAlias = dict[str, str | Text]

STATE_STYLE = {"UP": "green", "DOWN": "red", "active": "green", "error": "red", "running": "green"}
TYPE_STYLE = {"host": "bold magenta", "netns": "bold cyan", "bridge": "yellow", "container": "blue"}

WHOLE = {"TID", "ID", "UUID", "TrackingID, L3TrackingID", "A, B"}
"""What one wants to copy: never broken over lines."""
FIGURES = {"A to B, B to A", "RTT", "Packets", "Dropped", "Lost", "Active"}
MOST_ROWS = 1000
"""More than anybody reads, and what takes half a second to lay out."""


def show(value: Any, console: Console, places: Places) -> None:
    """Print the decoded result of a query in the shape that fits it."""
    shape = _shape(value)
    if not isinstance(value, list):
        shape(value, console, places)
        return
    shape(value[:MOST_ROWS], console, places)
    if len(value) > MOST_ROWS:
        console.print(f"and {len(value) - MOST_ROWS} more: --format json shows all")


def _shape(value: Any) -> Callable[[Any, Console, Places], None]:
    if not isinstance(value, list):
        return _show_value
    if not value:
        return _show_nothing
    if len(value) == 1 and isinstance(value[0], Mapping) and {"Nodes", "Edges"} >= set(value[0]):
        return _show_graph
    if _all(value, lambda item: isinstance(item, list) and bool(item) and _all(item, is_node)):
        return _show_paths
    for test, shape in ((is_edge, show_edges), (is_node, show_nodes), (is_flow, show_flows)):
        if _all(value, test):
            return shape
    return _show_value


def is_edge(item: Any) -> bool:
    """An edge of the graph."""
    return isinstance(item, Mapping) and {"ID", "Parent", "Child", "Metadata"} <= set(item)


def is_node(item: Any) -> bool:
    """A node of the graph."""
    return isinstance(item, Mapping) and {"ID", "Metadata"} <= set(item) and not is_edge(item)


def is_flow(item: Any) -> bool:
    """A flow."""
    return isinstance(item, Mapping) and {"Start", "Last", "RawPacketsCaptured"} <= set(item)


def show_nodes(nodes: Sequence[Item], console: Console, places: Places) -> None:
    """Who they are, where, and how they are addressed."""
    # A query over flows answers a node for each flow; once is enough to read.
    distinct = {node["ID"] if isinstance(node["ID"], str) else "": node for node in nodes}
    owners = places.owners(distinct)
    rows: list[Row] = []
    for node in distinct.values():
        metadata = _mapping(node.get("Metadata"))
        addresses = [*_list(metadata.get("IPV4")), *_list(metadata.get("IPV6"))]
        rows.append({
            "Name": Text(clean(metadata.get("Name", "")), "bold"),
            "Type": _styled(metadata.get("Type", ""), TYPE_STYLE),
            "In": clean(owners.get(str(node["ID"]), "")),
            "State": _styled(metadata.get("State", ""), STATE_STYLE),
            "Addresses": "\n".join(clean(address) for address in addresses),
            "Captures": _captures(metadata),
            "System": _system(metadata),
            "Host": clean(node.get("Host", "")),
            "TID": clean(metadata.get("TID", "")),
        })  # fmt: skip
    _print(console, rows, "node")
    if len(nodes) > len(distinct):
        console.print(Text(f"({len(nodes)} with repetitions)", "dim"))


def show_edges(edges: Sequence[Item], console: Console, places: Places) -> None:
    """What joins what."""
    names = places.names(edge[end] for edge in edges for end in ("Parent", "Child"))
    rows: list[Row] = []
    for edge in edges:
        metadata = _mapping(edge.get("Metadata"))
        rest = {key: value for key, value in metadata.items() if key != "RelationType"}
        rows.append({
            "Relation": clean(metadata.get("RelationType", "")),
            "Parent": clean(names.get(edge["Parent"], edge["Parent"])),
            "Child": clean(names.get(edge["Child"], edge["Child"])),
            "Metadata": clean(rest) if rest else "",
            "Host": clean(edge.get("Host", "")),
            "ID": clean(edge["ID"]),
        })  # fmt: skip
    _print(console, rows, "edge")


def show_flows(flows: Sequence[Item], console: Console, places: Places) -> None:
    """Who talks with whom, over what, how much, and where it was seen; two lines for a flow."""
    points = places.capture_points(str(flow.get("NodeTID", "")) for flow in flows)
    rows: list[Row] = []
    for flow in flows:
        metric = _mapping(flow.get("Metric"))
        tid = str(flow.get("NodeTID", ""))
        ids = [clean(flow.get(key, "")) for key in ("TrackingID", "L3TrackingID")]
        rows.append({
            "Application": Text(clean(flow.get("Application", "")), "bold"),
            "A, B": f"{_end(flow, 'A')}\n{_end(flow, 'B')}",
            "A to B, B to A": f"{_amount(metric, 'AB')}\n{_amount(metric, 'BA')}",
            "RTT": _duration_ns(metric.get("RTT", 0)),
            "Where": clean(points.get(tid, tid)),
            "Last": _moment(flow.get("Last")),
            "TrackingID, L3TrackingID": "\n".join(ids),
        })  # fmt: skip
    _print(console, rows, "flow")


def show_captures(captures: Sequence[Item], console: Console, running: Sequence[Item]) -> None:
    """What is captured; `running` are the entries of ``Captures`` on all nodes.

    Of the errors the first stands for all: they tend to be the same everywhere.
    """
    rows: list[Row] = []
    for capture in captures:
        mine = [entry for entry in running if entry.get("ID") == capture.get("UUID")]
        dropped = sum(_number(entry.get("PacketsDropped")) for entry in mine)
        errors = [clean(entry["Error"]) for entry in mine if entry.get("Error")]
        failed = sum(entry.get("State") == "error" for entry in mine)
        rows.append({
            "UUID": clean(capture.get("UUID", "")),
            "Query": clean(capture.get("GremlinQuery", "")),
            "Name": clean(capture.get("Name", "")),
            "Type": clean(capture.get("Type", "")),
            "BPF": clean(capture.get("BPFFilter", "")),
            "Key": clean(capture.get("LayerKeyMode", "")),
            "Active": str(sum(entry.get("State") == "active" for entry in mine)),
            "Packets": str(sum(_number(entry.get("PacketsReceived")) for entry in mine)),
            "Dropped": Text(str(dropped), "bold red" if dropped else ""),
            "Errors": Text(str(failed) if failed else "", "red"),
            "Error": Text(errors[0] if errors else "", "red"),
        })  # fmt: skip
    _print(console, rows, "capture", keep={"Active", "Packets", "Dropped"})


PROTOCOLS = {
    **{2: "kernel", 3: "boot", 4: "static", 9: "ra", 16: "dhcp", 186: "bgp", 187: "isis"},
    **{188: "ospf", 189: "rip"},
}
"""Who makes routes, as `ip` names them; others are numbers."""
TABLES = {253: "default", 254: "main", 255: "local"}


def show_routes(routes: Sequence[Item], console: Console, total: int) -> None:
    """Where packets go, one line for each hop."""
    rows: list[Row] = []
    for route in routes:
        table, protocol = _number(route.get("Table")), _number(route.get("Protocol"))
        hops = _list(route.get("NextHops"))
        rows.append({
            "Table": TABLES.get(table, str(table)),
            "Prefix": Text(clean(route.get("Prefix", "")), "bold"),
            "Type": clean(route.get("Type", "")),
            "Via": "\n".join(clean(_mapping(hop).get("IP", "")) for hop in hops),
            "Interface": "\n".join(clean(_mapping(hop).get("IfIndex", "")) for hop in hops),
            "Metric": "\n".join(clean(_mapping(hop).get("Priority", "")) for hop in hops)
            or clean(route.get("Priority", "")),
            "Source": clean(route.get("Src", "")),
            "Protocol": PROTOCOLS.get(protocol, str(protocol)),
        })  # fmt: skip
    _print(console, rows, "route")
    if total > len(routes):
        console.print(Text(f"of {total} in all: --limit 0 shows them", "dim"))


def show_status(status: Item, console: Console, *, within: str = "") -> None:
    """Who is connected, what runs, what was lost; any other member as it is."""
    for key, value in status.items():
        title = f"{within}{key}"
        members = list(value.values()) if isinstance(value, Mapping) else []
        if members and _all(members, lambda one: isinstance(one, Mapping) and "IsConnected" in one):
            _print_peers(console, title, value)
        elif key == "Hosts":
            for host, health in _mapping(value).items():
                _print_clock(console, host, _mapping(health))
                rest = {k: v for k, v in _mapping(health).items() if not k.startswith("Clock")}
                show_status(rest, console, within=f"{host}: ")
        elif key == "Losses":
            _print_losses(console, title, _mapping(value))
        elif key == "Missing" and value:
            for words in _list(value):
                console.print(Text.assemble((f"{title}: ", "bold"), (clean(words), "yellow")))
        elif _all(members, lambda one: isinstance(one, Mapping) and not _nested(one)) and any(
            members
        ):
            named = {name: one for name, one in value.items() if one}
            rows: list[Row] = [{"Name": clean(name), **_cells(one)} for name, one in named.items()]
            _print(console, rows, "entry", title=title)
        elif members and _all(members, lambda one: isinstance(one, Mapping)):
            show_status(value, console, within=f"{title} ")
        else:
            console.print(Text.assemble((f"{clean(title)}: ", "bold"), _line(value)))


def show_object(value: Item, console: Console) -> None:
    """One resource, a line for each member."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, member in value.items():
        table.add_row(Text(clean(key)), Text(clean(member)))
    console.print(table)


def _show_graph(value: Sequence[Item], console: Console, places: Places) -> None:
    for key, noun in (("Nodes", "node"), ("Edges", "edge")):
        if elements := _list(value[0].get(key)):
            show(elements, console, places)
        else:
            _print_count(console, 0, noun)


def _show_paths(paths: Sequence[Sequence[Item]], console: Console, places: Places) -> None:
    owners = places.owners(node["ID"] for path in paths for node in path)
    for path in paths:
        line = Text()
        for number, node in enumerate(path):
            metadata = _mapping(node.get("Metadata"))
            owner = owners.get(node["ID"])
            line.append(" → " if number else "", "dim")
            line.append(f"{clean(owner)}/" if owner else "", "dim")
            line.append(clean(metadata.get("Name") or node["ID"]), "bold")
        console.print(line)
    _print_count(console, len(paths), "path")


def _show_nothing(_value: Any, console: Console, _places: Places) -> None:
    console.print(Text("nothing found", "dim"))


def _show_value(value: Any, console: Console, places: Places) -> None:
    """Anything else: numbers, lists of values, and maps from an id to a list."""
    match value:
        case [Mapping() as only] if only and _all(
            list(only.values()), lambda v: isinstance(v, list)
        ):
            for key, items in only.items():
                console.print(Text(clean(key), "bold"))
                show(items, console, places)
        case list() if _all(value, lambda item: isinstance(item, Mapping)):
            _print(console, [_cells(_readable(item)) for item in value], "entry")
        case list():
            for item in value:
                console.print(Text(clean(item)))
        case Mapping():
            show_object(_readable(value), console)
        case None:
            _show_nothing(value, console, places)
        case _:
            console.print(Text(clean(value)))


def _print(
    console: Console,
    rows: Sequence[Row],
    noun: str,
    *,
    title: str = "",
    keep: Iterable[str] = (),
) -> None:
    """A table of the columns in which anything is said."""
    columns = dict.fromkeys(key for row in rows for key in row)
    used = [key for key in columns if key in keep or any(str(row.get(key, "")) for row in rows)]
    if title:
        console.print(Text(clean(title), "bold"))
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
        for key in used:
            table.add_column(
                Text(clean(key)),
                overflow="fold",
                no_wrap=key in WHOLE or key in FIGURES,
                min_width=_width(rows, key) if key in WHOLE else None,
                justify="right" if key in FIGURES else "left",
            )
        for row in rows:
            table.add_row(*(_text(row.get(key, "")) for key in used))
        console.print(table)
    _print_count(console, len(rows), noun)


def _text(cell: str | Text) -> Text:
    """Plain text: as a string, brackets in it would be read as markup."""
    return cell if isinstance(cell, Text) else Text(cell)


def _width(rows: Sequence[Row], key: str) -> int:
    return max(len(line) for row in rows for line in str(row.get(key, "")).split("\n"))


def _print_count(console: Console, count: int, noun: str) -> None:
    plural = {"entry": "entries", "loss": "losses"}.get(noun, f"{noun}s")
    console.print(Text(f"{count} {noun if count == 1 else plural}", "dim"))


def _nested(item: Item) -> bool:
    return any(isinstance(member, Mapping) for member in item.values())


def _line(value: Any) -> Text:
    """A member of a status in one line."""
    if isinstance(value, Mapping):
        parts = [f"{clean(key)} {clean(member)}" for key, member in value.items()]
        return Text(", ".join(parts)) if parts else Text("none", "dim")
    if value == []:
        return Text("none", "dim")
    return _styled(value, STATE_STYLE)


def _print_peers(console: Console, title: str, peers: Mapping[str, Item]) -> None:
    rows: list[Row] = []
    for host, peer in peers.items():
        connected = bool(peer.get("IsConnected"))
        known = ("IsConnected", "Addr", "Port", "ServiceType", "ClientProtocol", "ConnectTime")
        rest = {key: value for key, value in peer.items() if key not in known}
        rows.append({
            "Host": Text(clean(host), "bold"),
            "State": Text("connected" if connected else "away", "green" if connected else "red"),
            "Kind": clean(peer.get("ServiceType", "")),
            "Address": f"{clean(peer.get('Addr', ''))}:{clean(peer.get('Port', ''))}",
            "Protocol": clean(peer.get("ClientProtocol", "")),
            "Since": clean(str(peer.get("ConnectTime", ""))[:19].replace("T", " ")),
            **_cells(rest),
        })  # fmt: skip
    _print(console, rows, "connection", title=title)


def _print_losses(console: Console, title: str, losses: Item) -> None:
    rows: list[Row] = [
        {
            "Part": clean(part),
            "Reason": clean(reason),
            "Lost": Text(clean(count), "bold red" if count else ""),
        }
        for part, reasons in losses.items()
        for reason, count in _mapping(reasons).items()
    ]
    if rows:
        _print(console, rows, "loss", title=title)
    else:
        console.print(Text.assemble((f"{clean(title)}: ", "bold"), ("none", "green")))


def _cells(item: Item) -> Row:
    return {clean(key): _styled(value, STATE_STYLE) for key, value in item.items()}


def _readable(item: Item) -> Item:
    """A metric with its times as people tell them; anything else as it is."""
    if not (item.keys() & {"Start", "Last"} and _all(list(item.values()), _is_whole)):
        return item
    units = {"Start": _moment, "Last": _moment, "RTT": _duration_ns}
    return {
        key: (units[key](value) or value or "") if key in units else value
        for key, value in item.items()
    }


def _captures(metadata: Item) -> Text:
    """The state of each capture on a node, and what it dropped."""
    text = Text()
    for entry in _list(metadata.get("Captures")):
        entry = _mapping(entry)
        text.append("\n" if text else "")
        text.append_text(_styled(entry.get("State", ""), STATE_STYLE))
        if dropped := _number(entry.get("PacketsDropped")):
            text.append(f" {dropped} dropped", "bold red")
        if entry.get("Error"):
            text.append(f" {clean(entry['Error'])}", "red")
    return text


def _system(metadata: Item) -> Text:
    """What a host runs and runs on, and that its clock is wrong."""
    words = [
        " ".join(clean(metadata[key]) for key in keys if metadata.get(key))
        for keys in (
            ("Platform", "PlatformVersion"),
            ("OS", "KernelVersion"),
            ("VirtualizationSystem", "VirtualizationRole"),
        )
    ]
    text = Text("\n".join(line for line in words if line) if metadata.get("Platform") else "")
    clock = _mapping(metadata.get("Clock"))
    if clock.get("Flagged") is True:
        text.append("\n" if text else "")
        text.append(f"clock {_ahead(clock.get('OffsetMs'))}", "bold red")
    return text


def _print_clock(console: Console, host: str, health: Item) -> None:
    if "ClockOffsetMs" in health:
        error = _time_ms(health.get("ClockErrorMs"))
        words = f"{_ahead(health['ClockOffsetMs'])}, ± {error}"
        style = "bold red" if health.get("ClockFlagged") is True else ""
        console.print(Text.assemble((f"{clean(host)}: Clock: ", "bold"), (words, style)))


def _ahead(offset_ms: Any) -> str:
    behind = isinstance(offset_ms, int | float) and offset_ms < 0
    return f"{_time_ms(offset_ms)} {'behind' if behind else 'ahead'}"


def _time_ms(value: Any) -> str:
    """The size of a time in milliseconds."""
    ms = abs(value) if isinstance(value, int | float) else 0
    return f"{ms / 1000:.3f} s" if ms >= 1000 else f"{ms:.3f} ms"


def _end(flow: Item, end: str) -> str:
    """One end of a flow: address and port, or the hardware address where there is no network."""
    network, transport = _mapping(flow.get("Network")), _mapping(flow.get("Transport"))
    address = clean(network.get(end, "") or _mapping(flow.get("Link")).get(end, ""))
    if end not in transport:
        return address
    return (
        f"[{address}]:{clean(transport[end])}"
        if ":" in address
        else f"{address}:{clean(transport[end])}"
    )


def _amount(metric: Item, direction: str) -> str:
    packets, count = (_number(metric.get(f"{direction}{what}")) for what in ("Packets", "Bytes"))
    return f"{packets} p {_bytes(count)}" if packets or count else "-"


def _bytes(count: int) -> str:
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def _duration_ns(value: Any) -> str:
    ns = _number(value)
    if ns <= 0:
        return ""
    return f"{ns / 1e6:.2f} ms" if ns >= 1_000_000 else f"{ns / 1e3:.0f} µs"


def _moment(value: Any) -> str:
    """Local time of day of a time in milliseconds since the epoch."""
    ms = _number(value)
    if not 0 < ms < 1 << 47:
        return ""
    return datetime.datetime.fromtimestamp(ms / 1000).strftime("%H:%M:%S")


def _styled(value: Any, styles: Mapping[str, str]) -> Text:
    text = clean(value)
    return Text(text, styles.get(text, ""))


def _all(items: Sequence[Any], test: Callable[[Any], bool]) -> bool:
    return all(test(item) for item in items)


def _mapping(value: Any) -> Item:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0

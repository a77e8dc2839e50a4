"""Routes, rules and nexthop objects of the graph against what `ip` prints; see `differential`.

The numbers of tables and the routes that lead nowhere are on the node of the namespace, so the
host's are left out, as are its routes through interfaces that are not ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.probes.netlink.differential import HOST, Comparison

_TYPES = dict(enumerate(("", "unicast", "local", "broadcast", "anycast", "multicast"))) | {
    **{6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
}
_NOWHERE = {"blackhole", "unreachable", "prohibit", "throw"}
_METRICS = {"mtu": "MTU", "advmss": "AdvMSS", "initcwnd": "InitCwnd", "congestion": "Congestion"}
_PROTOCOL_TCP = 6


def routes(comparison: Comparison) -> Iterator[str]:
    """Every hop of every route of every table, and the number of routes by table."""
    for space in comparison.spaces:
        indexes = {link["ifname"]: link["ifindex"] for link in comparison.kernel_links(space)}
        wanted: Counter[tuple[Any, ...]] = Counter()
        count: Counter[str] = Counter()
        for family in ("-4", "-6"):
            command = ("ip", family, "-N", "-d", "-j", "route", "show", "table", "all")
            for route in comparison.show(space, *command):
                if route:
                    count[route["table"]] += 1
                    wanted.update(_kernel_hops(family, route, indexes))
        said: Counter[tuple[Any, ...]] = Counter()
        for metadata in comparison.graph_links[space].values():
            said.update(_graph_hops(metadata, metadata["IfIndex"]))
        where = space or "host"
        if space != HOST:
            root = comparison.running.named(space)
            said.update(_graph_hops(root, 0))
            if root.get("Routes", {}) != count:
                yield f"{where}: Routes is {root.get('Routes')}, not {dict(count)}"
        yield from (f"{where}: missing {hop}" for hop in wanted - said)
        yield from (f"{where}: only in the graph {hop}" for hop in said - wanted)


def _kernel_hops(
    family: str, route: Mapping[str, Any], indexes: Mapping[str, int]
) -> Iterator[tuple[Any, ...]]:
    kind = _TYPES[int(route.get("type", "1"))]
    prefix = route["dst"]
    if prefix == "default":
        prefix = "0.0.0.0/0" if family == "-4" else "::/0"
    elif "/" not in prefix:
        prefix += "/32" if family == "-4" else "/128"
    metrics = {
        _METRICS[name]: value
        for one in route.get("metrics", ())
        for name, value in one.items()
        if name in _METRICS
    }
    common = (
        int(route["table"]),
        kind,
        prefix,
        int(route["protocol"]),
        int(route.get("tos", "0"), 16),
        route.get("prefsrc"),
        route.get("from"),
        route.get("nhid"),
        tuple(sorted(metrics.items())),
        route.get("metric", 0),
    )
    if kind in _NOWHERE:
        yield (*common, None, 0, 1)
        return
    for hop in route.get("nexthops", [route]):
        index = indexes.get(hop.get("dev", ""), 0)
        gateway = hop.get("gateway") or hop.get("via", {}).get("host")
        if index:
            yield (*common, gateway, index, hop.get("weight", 1))


def _graph_hops(metadata: Mapping[str, Any], index: int) -> Iterator[tuple[Any, ...]]:
    for table in metadata.get("RoutingTables", ()):
        for route in table["Routes"]:
            metrics = {
                name: value
                for name, value in route.get("Metrics", {}).items()
                if name in _METRICS.values()
            }
            common = (
                table["ID"],
                route.get("Type", "unicast"),
                route["Prefix"],
                route["Protocol"],
                route.get("TOS", 0),
                route.get("Src"),
                route.get("From"),
                route.get("NextHopID"),
                tuple(sorted(metrics.items())),
            )
            for hop in route["NextHops"]:
                assert hop["IfIndex"] == index
                told = (hop["Priority"], hop.get("IP"), index, hop.get("Weight", 1))
                yield (*common, *told)
            if not route["NextHops"]:
                yield (*common, route.get("Priority", 0), None, 0, 1)


def nexthops(comparison: Comparison) -> Iterator[str]:
    """Nexthop objects with their members."""
    for space in comparison.spaces:
        if space == HOST:
            continue
        indexes = {link["ifname"]: link["ifindex"] for link in comparison.kernel_links(space)}
        wanted = [
            {
                "ID": one["id"],
                "Protocol": int(one.get("protocol", "0")),
                "IP": one.get("gateway"),
                "IfIndex": indexes.get(one.get("dev", ""), 0),
                "Group": [(m["id"], m.get("weight", 1)) for m in one.get("group", ())],
                "Blackhole": "blackhole" in one,
            }
            for one in comparison.show(space, "ip", "-N", "-d", "-j", "nexthop")
            if one
        ]
        said = [
            {
                "ID": one["ID"],
                "Protocol": one["Protocol"],
                "IP": one.get("IP"),
                "IfIndex": one.get("IfIndex", 0),
                "Group": [(m["ID"], m["Weight"]) for m in one.get("Group", ())],
                "Blackhole": one.get("Blackhole", False),
            }
            for one in comparison.running.named(space).get("Nexthops", ())
        ]
        if said != wanted:
            yield f"{space}: nexthop objects are {said}, not {wanted}"


def rules(comparison: Comparison) -> Iterator[str]:
    """Rules of both families, in their order."""
    for space in comparison.spaces:
        if space == HOST:
            continue
        wanted = [
            _rule(family, rule)
            for option, family in (("-4", "inet"), ("-6", "inet6"))
            for rule in comparison.show(space, "ip", option, "-N", "-d", "-j", "rule")
            if rule
        ]
        wanted.sort(key=lambda rule: (rule["Priority"], rule["Family"]))
        said = list(comparison.running.named(space).get("RoutingRules", ()))
        if said != wanted:
            yield f"{space}: rules are {said}, not {wanted}"


_ACTIONS = {"6": "blackhole", "7": "unreachable", "8": "prohibit", "3": "nop"}


def _rule(family: str, shown: Mapping[str, Any]) -> dict[str, Any]:
    action = "goto" if "goto" in shown else _ACTIONS.get(str(shown.get("action")), "table")
    bits = 32 if family == "inet" else 128

    def network(name: str) -> str | None:
        address = shown.get(name, "all")
        return None if address == "all" else f"{address}/{shown.get(f'{name}len', bits)}"

    def both(name: str, first: str, last: str) -> str | None:
        if name in shown:
            return str(shown[name])
        return f"{shown[first]}-{shown[last]}" if first in shown else None

    protocol = str(shown.get("ipproto", "")).removeprefix("ipproto-")
    rule = {
        "Priority": shown["priority"],
        "Family": family,
        "Action": action,
        "Table": int(shown["table"]) if "table" in shown else None,
        "TOS": int(shown["tos"], 16) if "tos" in shown else None,
        "Not": "not" in shown or None,
        "To": network("dst"),
        "From": network("src"),
        "IIF": shown.get("iif"),
        "OIF": shown.get("oif"),
        "Goto": shown.get("goto"),
        "FwMark": int(shown["fwmark"], 16) if "fwmark" in shown else None,
        "FwMask": int(shown["fwmask"], 16) if "fwmask" in shown else None,
        "SuppressPrefixLength": shown.get("suppress_prefixlen"),
        "L3MDev": "l3mdev" in shown or None,
        "UIDRange": both("uid", "uid_start", "uid_end"),
        "Protocol": int(shown.get("protocol", "0")) or None,
        "IPProto": {"": None, "tcp": _PROTOCOL_TCP}.get(protocol) or (int(protocol or 0) or None),
        "SPort": both("sport", "sport_start", "sport_end"),
        "DPort": both("dport", "dport_start", "dport_end"),
    }
    return {name: value for name, value in rule.items() if value is not None}


ASPECTS = {"routes": routes, "nexthops": nexthops, "rules": rules}

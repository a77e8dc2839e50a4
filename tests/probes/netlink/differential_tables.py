"""Further aspects of the comparison in `differential`: neighbours and what bridges know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.probes.netlink.differential import Aspect, Comparison

# Some changes between these states are not announced; FAILED comes after INCOMPLETE.
_REACHED = frozenset({"NUD_REACHABLE", "NUD_STALE", "NUD_DELAY", "NUD_PROBE"})
_TRYING = frozenset({"INCOMPLETE", "FAILED"})
_LABELS = {"permanent": "NUD_PERMANENT", "static": "NUD_NOARP"}
"""The first that holds."""


def neighbours(comparison: Comparison) -> Iterator[str]:
    """``ip neigh`` and ``ip neigh show proxy``, but those that nobody answers for."""
    for space, shown in _links(comparison):
        wanted: dict[str, set[Any]] = {}
        for entry in comparison.show(space, "ip", "-j", "neigh"):
            state = set(entry["state"])
            if not state & _TRYING:
                known = (entry["dst"], entry.get("lladdr"), _state({f"NUD_{s}" for s in state}))
                wanted.setdefault(entry["dev"], set()).add((*known, "router" in entry, False))
        for entry in comparison.show(space, "ip", "-j", "neigh", "show", "proxy"):
            wanted.setdefault(entry["dev"], set()).add((entry["dst"], None, "", False, True))
        for name, metadata in shown.items():
            said = set()
            for entry in metadata.get("Neighbors", ()):
                flags = entry.get("Flags", ())
                proxy = "NTF_PROXY" in flags
                state = set(entry.get("State", ()))
                if proxy or not state & {"NUD_INCOMPLETE", "NUD_FAILED"}:
                    known = (entry["IP"], entry.get("MAC"), "" if proxy else _state(state))
                    said.add((*known, "NTF_ROUTER" in flags, proxy))
            yield from _unequal(space, name, said, wanted.get(name, set()))


def forwarding(comparison: Comparison) -> Iterator[str]:
    """``bridge fdb``."""
    for space, shown in _links(comparison):
        wanted: dict[str, set[Any]] = {}
        for entry in comparison.show(space, "bridge", "-j", "fdb"):
            # What a bridge learned and what is permanent; the age of the former is not announced.
            state = _LABELS.get(entry["state"], "reached")
            known = (entry["mac"], entry.get("vlan"), entry.get("dst"), entry.get("vni"), state)
            wanted.setdefault(entry["ifname"], set()).add((*known, "self" in entry["flags"]))
        for name, metadata in shown.items():
            said = {
                (
                    *(entry.get(key) for key in ("MAC", "Vlan", "IP", "VNI")),
                    next((s for s in _LABELS.values() if s in entry.get("State", ())), "reached"),
                    "NTF_SELF" in entry.get("Flags", ()),
                )
                for entry in metadata.get("FDB", ())
            }
            yield from _unequal(space, name, said, wanted.get(name, set()))


def vlans(comparison: Comparison) -> Iterator[str]:
    """``bridge vlan``, one by one."""
    for space, shown in _links(comparison):
        wanted = {
            port["ifname"]: {(v["vlan"], *sorted(v.get("flags", ()))) for v in port["vlans"]}
            for port in comparison.show(space, "bridge", "-j", "vlan")
        }
        for name, metadata in shown.items():
            said = {
                (number, *_vlan_flags(some))
                for some in metadata.get("BridgeVlans", ())
                for number in range(some["ID"], some.get("End", some["ID"]) + 1)
            }
            yield from _unequal(space, name, said, wanted.get(name, set()))


def _vlan_flags(some: Mapping[str, Any]) -> list[str]:
    words = {"Untagged": "Egress Untagged", "PVID": "PVID"}
    return sorted(word for key, word in words.items() if some.get(key))


def _links(comparison: Comparison) -> Iterator[tuple[str, dict[str, Mapping[str, Any]]]]:
    for space in comparison.spaces:
        found: dict[str, Mapping[str, Any]] = {
            link["ifname"]: {} for link in comparison.kernel_links(space)
        }
        links = comparison.graph_links[space].values()
        yield space, found | {str(metadata["Name"]): metadata for metadata in links}


def _state(words: set[str]) -> str:
    return "reached" if words & _REACHED else "+".join(sorted(words))


def _unequal(space: str, name: str, said: set[Any], wanted: set[Any]) -> Iterator[str]:
    for entry in sorted(said - wanted, key=repr):
        yield f"{space or 'host'}/{name}: only in the graph: {entry}"
    for entry in sorted(wanted - said, key=repr):
        yield f"{space or 'host'}/{name}: not in the graph: {entry}"


TABLES: dict[str, Aspect] = {"neighbours": neighbours, "forwarding": forwarding, "vlans": vlans}

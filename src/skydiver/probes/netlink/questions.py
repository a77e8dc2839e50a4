"""Questions of analyzers about routes: whole tables are too large for the graph."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.routes import RoutePart

MOST_AT_ONCE = 1000
"""Routes in one answer."""
_LARGEST = 2**32 - 1


def answer(links: LinkTable, routes: RoutePart, question: Any) -> dict[str, Any]:
    """Routes of a namespace or through an interface, named by the identifier of its node.

    ``{"NodeID": …, "Table": …, "Prefix": …, "Lookup": …, "Offset": …, "Limit": …}``, all but the
    first may be left out; answered by ``{"Total": …, "Routes": […]}``.
    """
    if not isinstance(question, Mapping):
        raise ProtocolError("expected an object")
    node_id = question.get("NodeID")
    found = links.key_of(node_id) if isinstance(node_id, str) else None
    if found is None:
        raise Unavailable(
            f"node {node_id!r:.80} has no routes: it is no interface, namespace, host"
        )
    nsid, index = found
    told, total = routes.page(
        nsid,
        through=index or None,
        table=_number(question, "Table"),
        within=_parsed(question, "Prefix", lambda text: ip_network(text, strict=False)),
        lookup=_parsed(question, "Lookup", ip_address),
        skip=_number(question, "Offset") or 0,
        most=min(_number(question, "Limit") or MOST_AT_ONCE, MOST_AT_ONCE),
    )
    return {"Total": total, "Routes": told}


def _number(question: Mapping[str, Any], name: str) -> int | None:
    value = question.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise ProtocolError(f"{name}: {value!r:.40} is no number from 0 to {_LARGEST}")
    return value


def _parsed(question: Mapping[str, Any], name: str, parse: Any) -> Any:
    value = question.get(name)
    if value is None:
        return None
    try:
        return parse(str(value))
    except ValueError as error:
        raise ProtocolError(f"{name}: {error}") from error

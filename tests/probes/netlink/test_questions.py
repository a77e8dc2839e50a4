from __future__ import annotations

import pytest
from tests.probes.conftest import Running, ip
from tests.probes.netlink.test_follower import probes

from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.base.ids import NodeID, Origin
from skydiver.broker.client import Broker
from skydiver.graph import Graph
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.netlink.links import LinkTable
from skydiver.probes.netlink.questions import answer
from skydiver.probes.netlink.routes import RoutePart


@pytest.mark.parametrize(
    ("question", "error", "words"),
    [
        (None, ProtocolError, "expected an object"),
        ({}, Unavailable, "has no routes"),
        ({"NodeID": "other"}, Unavailable, "'other' has no routes"),
        ({"NodeID": "root", "Table": "main"}, ProtocolError, "Table: 'main'"),
        ({"NodeID": "root", "Limit": -1}, ProtocolError, "Limit: -1"),
        ({"NodeID": "root", "Lookup": "x"}, ProtocolError, "Lookup: 'x'"),
        ({"NodeID": "root", "Prefix": "10.0.0.0/33"}, ProtocolError, "Prefix: "),
    ],
)
def test_what_is_no_question_is_refused(
    question: object, error: type[Exception], words: str
) -> None:
    """It comes from the network."""
    writer = Graph(host="h1", origin=Origin("agent.h1")).owned_by("netlink")
    links = LinkTable(writer, host_id="h1", own_nsid=None)
    links.add_space(5, inode=9, root=NodeID("root"), name="n")
    with pytest.raises(error, match=words):
        answer(links, RoutePart(links, lambda _: None), question)


@pytest.mark.root
async def test_all_routes_can_be_asked_for(broker: Broker, prefix: str) -> None:
    """Also those that are too many for the graph."""
    netns = f"{prefix}n"
    ip(f"netns add {netns}", f"-n {netns} link set lo up")
    ip(*(f"-n {netns} route add 10.0.{n}.0/24 dev lo table 9" for n in range(5)))
    ip(f"-n {netns} route add 10.0.0.0/16 dev lo table 8")
    chosen = probes()
    (netlink,) = [probe for probe in chosen if isinstance(probe, NetlinkProbe)]
    with pytest.raises(Unavailable, match="does not run"):
        netlink.routes({"NodeID": "n"})
    running = Running(broker, chosen)
    async with running.at_work():
        await running.until(lambda: running.named(netns).get("Routes", {}).get("9") == 5)
        (root,) = running.nodes(netns)
        asked = {"NodeID": root.id, "Table": 9}
        page = netlink.routes({**asked, "Offset": 1, "Limit": 2})
        assert page["Total"] == 5
        assert [one["Prefix"] for one in page["Routes"]] == ["10.0.1.0/24", "10.0.2.0/24"]
        found = netlink.routes({"NodeID": root.id, "Lookup": "10.0.3.7"})
        prefixes = [(one["Table"], one["Prefix"]) for one in found["Routes"]]
        assert prefixes == [(8, "10.0.0.0/16"), (9, "10.0.3.0/24")]
        (loopback,) = [edge.child for edge in running.graph.edges() if edge.parent == root.id]
        assert netlink.routes({"NodeID": loopback, "Prefix": "10.0.2.0/23"})["Total"] == 2

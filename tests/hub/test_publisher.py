"""What publishers may say, what comes of it, and what it leaves behind."""

from typing import Any

import pytest
from tests.hub.conftest import Connect, Peer, Server, Start, edge, eventually, node

from skydiver.base.ids import EdgeID, NodeID, Origin
from skydiver.base.losses import LossReason
from skydiver.graph import Node
from skydiver.hub.messages import event

ENDPOINT = "/ws/publisher"


async def publish(peer: Peer, *messages: tuple[str, Any]) -> None:
    """Send graph messages and wait until they are all applied."""
    for type_, obj in messages:
        await peer.send(event("Graph", type_, obj))
    await peer.send(event("Graph", "SyncRequest", {}))
    while (await peer.receive()).type != "SyncReply":
        pass


def stored(server: Server, node_id: str) -> Node:
    found = server.graph.node(NodeID(node_id))
    assert found is not None
    return found


async def test_valid_elements_appear_under_the_origin_of_the_connection(
    start: Start, connect: Connect
) -> None:
    """Whatever origin they claim: deletions by origin must hit only one's own (WS2)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT, "p1", "python")
    await publish(
        peer,
        ("NodeAdded", node("a", Origin="agent.h1")),
        ("NodeAdded", node("b")),
        ("EdgeAdded", edge("a", "b")),
    )
    assert stored(server, "a").origin == "python.p1"
    added = server.graph.edge(EdgeID("a-b"))
    assert added is not None
    assert added.origin == "python.p1"
    assert server.hub.status()["Publishers"]["p1"]["ServiceType"] == "python"


@pytest.mark.parametrize(
    ("type_", "obj"),
    [
        ("NodeAdded", {"ID": "x", "Metadata": {"Name": "x"}}),
        ("NodeAdded", {"ID": "x", "Metadata": {"Name": "x", "Type": "netns"}}),
        ("NodeAdded", {"ID": "x", "Metadata": {"Name": "x", "Type": "ovsport"}}),
        ("NodeAdded", {"ID": "x"}),
        ("NodeAdded", {"Metadata": {"Name": "x", "Type": "device"}}),
        ("NodeAdded", {"ID": 7, "Metadata": {"Name": "x", "Type": "device"}}),
        ("NodeAdded", {**node("x"), "CreatedAt": "yesterday"}),
        ("NodeAdded", None),
        ("NodeAdded", []),
        ("NodeAdded", "x"),
        ("EdgeAdded", {**edge("a", "b"), "Parent": ""}),
        ("EdgeAdded", {**edge("a", "b"), "Child": ""}),
        ("EdgeAdded", {**edge("a", "b"), "Metadata": {}}),
        ("EdgeAdded", edge("a", "nobody")),
        ("NodeUpdated", node("nobody", Revision=2)),
        ("NodeDeleted", node("nobody")),
        ("EdgeUpdated", edge("a", "b", Revision=2)),
        ("NodePartiallyUpdated", {"ID": "nobody", "Revision": 2, "UpdatedAt": 1, "Ops": None}),
        ("NodePartiallyUpdated", {"ID": "a", "Revision": 2, "UpdatedAt": 1, "Ops": [{"Type": 3}]}),
        (
            "NodePartiallyUpdated",
            {"ID": "a", "Revision": 2, "Ops": [{"Type": 1, "Key": "x." * 99 + "x", "Value": 1}]},
        ),
        ("NodePartiallyUpdated", {"ID": "a", "Revision": 2, "Ops": [{"Type": 1, "Key": "x"}]}),
        ("NodePartiallyUpdated", {"ID": "a", "Revision": "2", "Ops": []}),
        ("Sync", None),
        ("Sync", {"Nodes": {}}),
    ],
)
async def test_what_is_wrong_is_dropped_and_counted_and_the_connection_survives(
    start: Start, connect: Connect, type_: str, obj: Any
) -> None:
    """A publisher with one bad element goes on with the others (WS2)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    await publish(peer, ("NodeAdded", node("a")), ("NodeAdded", node("b")))
    before = list(server.graph.view().nodes())
    await publish(peer, (type_, obj))
    assert list(server.graph.view().nodes()) == before
    assert server.graph.view().edge_count() == 0
    assert server.losses.counts() == {("hub.publisher", LossReason.INVALID): 1}
    await publish(peer, ("EdgeAdded", edge("a", "b")))
    assert server.graph.view().edge_count() == 1


async def test_what_is_known_already_is_ignored_without_a_word(
    start: Start, connect: Connect
) -> None:
    """Dragonflow sends everything again every ten seconds (DF2)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    for name in ("first", "second"):
        await publish(
            peer,
            ("NodeAdded", node("a", metadata={"Name": name})),
            ("NodeAdded", node("b")),
            ("EdgeAdded", edge("a", "b", metadata={"Name": name})),
        )
    assert stored(server, "a").metadata["Name"] == "first"
    assert stored(server, "a").revision == 1
    assert server.losses.counts() == {}
    assert len(server.events) == 3


async def test_an_update_is_taken_only_with_a_greater_revision(
    start: Start, connect: Connect
) -> None:
    """The Python client sends none at all, which protects against its stale objects (§8.2)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    await publish(peer, ("NodeAdded", node("a", Revision=3)))
    await publish(peer, ("NodeUpdated", node("a", metadata={"MTU": 1})))
    await publish(peer, ("NodeUpdated", node("a", Revision=3, metadata={"MTU": 1})))
    assert "MTU" not in stored(server, "a").metadata
    await publish(peer, ("NodeUpdated", node("a", Revision=4, metadata={"MTU": 1})))
    assert stored(server, "a").metadata["MTU"] == 1
    assert stored(server, "a").revision == 4
    assert server.losses.counts() == {}


async def test_a_partial_update_is_one_revision_and_may_have_no_operations(
    start: Start, connect: Connect
) -> None:
    """Original agents very often send `"Ops": null` (§0.9): revision and time only."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    ops = [
        {"Type": 1, "Key": "Ovs.Options.peer", "Value": "x"},
        {"Type": 1, "Key": "MTU", "Value": 9000.0},
        {"Type": 2, "Key": "Name", "Value": None},
    ]
    update = {"ID": "a", "UpdatedAt": 2_000, "Revision": 4}
    await publish(
        peer,
        ("NodeAdded", node("a", Revision=3)),
        ("NodePartiallyUpdated", {**update, "Ops": ops}),
        ("NodePartiallyUpdated", {**update, "Ops": [{"Type": 2, "Key": "MTU", "Value": None}]}),
        ("NodePartiallyUpdated", {**update, "Revision": 5, "UpdatedAt": 3_000, "Ops": None}),
    )
    found = stored(server, "a")
    assert found.metadata == {"Type": "device", "Ovs": {"Options": {"peer": "x"}}, "MTU": 9000}
    assert type(found.metadata["MTU"]) is int
    assert (found.revision, found.updated_at_ms) == (5, 3_000)
    assert server.losses.counts() == {}


async def test_a_stale_object_is_enough_to_delete(start: Start, connect: Connect) -> None:
    """Dragonflow deletes what it finds by REST, without revision or time of deletion (DF4)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    await publish(
        peer,
        ("NodeAdded", node("a", Revision=9)),
        ("NodeAdded", node("b")),
        ("EdgeAdded", edge("a", "b")),
        ("NodeDeleted", node("a")),
        ("EdgeDeleted", edge("a", "b")),
    )
    assert [n.id for n in server.graph.view().nodes()] == ["b"]
    assert server.graph.view().edge_count() == 0
    deleted = server.events[-1].after
    assert deleted.deleted_at_ms is not None
    assert server.losses.counts() == {}


async def test_edges_without_a_relation_are_accepted_when_a_default_is_set(
    start: Start, connect: Connect
) -> None:
    """Dragonflow's have none; refusing them is the rule, and this the way around it (DF3)."""
    server = await start(Server(default_relation="association"))
    peer = await connect(server.address, ENDPOINT)
    bare = {**edge("a", "b"), "Metadata": {"source": "dragonflow"}}
    await publish(peer, ("NodeAdded", node("a")), ("NodeAdded", node("b")), ("EdgeAdded", bare))
    added = server.graph.edge(EdgeID("a-b"))
    assert added is not None
    assert added.metadata == {"source": "dragonflow", "RelationType": "association"}


async def test_elements_go_with_a_publisher_that_wants_it_and_stay_otherwise(
    start: Start, connect: Connect
) -> None:
    """Only those under its own origin (WS5, WS6)."""
    server = await start(Server())
    leaving = {"X-Persistence-Policy": "DeleteOnDisconnect"}
    persistent = await connect(server.address, ENDPOINT, "stays")
    await publish(persistent, ("NodeAdded", node("a")))
    peer = await connect(server.address, ENDPOINT, "goes", headers=leaving)
    await publish(peer, ("NodeAdded", node("b")), ("EdgeAdded", edge("a", "b")))
    for one in (peer, persistent):
        await one.socket.close()
    await eventually(lambda: not server.hub.status()["Publishers"])
    assert [n.id for n in server.graph.view().nodes()] == ["a"]
    assert server.graph.view().edge_count() == 0


async def test_a_publisher_that_said_nothing_removes_nothing(
    start: Start, connect: Connect
) -> None:
    """Its elements are of an earlier session, which may have wanted them to stay (WS5)."""
    server = await start(Server())
    for headers in ({}, {"X-Persistence-Policy": "DeleteOnDisconnect"}):
        peer = await connect(server.address, ENDPOINT, "p", headers=headers)
        if not headers:
            await publish(peer, ("NodeAdded", node("a")))
        await peer.socket.close()
        await eventually(lambda: not server.hub.status()["Publishers"])
    assert server.graph.node(NodeID("a"))


async def test_a_sync_request_gives_the_whole_graph(start: Start, connect: Connect) -> None:
    """Filter and time are ignored on this endpoint; lists are never null (§1.5)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    request = event("Graph", "SyncRequest", {"Time": 1, "GremlinFilter": "nonsense"})
    await peer.send(request)
    reply = await peer.receive()
    assert (reply.type, reply.uuid, reply.status) == ("SyncReply", request.uuid, 200)
    assert reply.obj == {"Nodes": [], "Edges": []}
    await publish(peer, *(("NodeAdded", node(f"n{i}")) for i in range(500)))
    await peer.send(request)
    assert [n["ID"] for n in (await peer.receive()).obj["Nodes"]] == [f"n{i}" for i in range(500)]


async def test_a_sync_of_a_publisher_replaces_its_own_elements_only(
    start: Start, connect: Connect
) -> None:
    """Validated and re-origined element by element, unlike the original (§10, 25)."""
    server = await start(Server())
    other = await connect(server.address, ENDPOINT, "other")
    await publish(other, ("NodeAdded", node("foreign")))
    peer = await connect(server.address, ENDPOINT, "p")
    await publish(peer, ("NodeAdded", node("old")), ("NodeAdded", node("kept")))
    nodes = [node("kept"), node("new", Origin="test.other"), {"ID": "bad"}, node("foreign")]
    await publish(peer, ("Sync", {"Nodes": nodes, "Edges": [edge("kept", "new")]}))
    origins = {n.id: n.origin for n in server.graph.view().nodes()}
    own = Origin("test.p")
    assert origins == {"foreign": "test.other", "kept": own, "new": own}
    assert server.graph.edge(EdgeID("kept-new"))
    assert server.losses.counts() == {("hub.publisher", LossReason.INVALID): 1}


async def test_messages_of_other_namespaces_and_types_are_ignored(
    start: Start, connect: Connect
) -> None:
    """Newer programs may know more than we do (§2.4)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT)
    for namespace, type_ in (("Flow", "TableQuery"), ("Graph", "HostGraphDeleted"), ("", "")):
        await peer.send(event(namespace, type_, {"anything": 1}))
    await publish(peer, ("NodeAdded", node("a")))
    assert server.losses.counts() == {}

"""Following the graph: whole or partial updates, filters, and asking for the state."""

from typing import Any

import pytest
from tests.hub.conftest import Connect, Peer, Server, Start, eventually

from skydiver.base.ids import NodeID, Origin
from skydiver.base.losses import LossReason
from skydiver.graph import Edge, EdgeSpec, Node, NodeSpec, Op, OpKind, Writer
from skydiver.hub.messages import Message, Protocol, event

ENDPOINT = "/ws/subscriber"
PARTIAL = {"X-Update-Policy": "partial"}


def writer(server: Server) -> Writer:
    return server.graph.owned_by("test")


def spec(node_id: str, type_: str = "device", **metadata: Any) -> NodeSpec:
    return NodeSpec(NodeID(node_id), {"Type": type_, "Name": node_id, **metadata})


def link(parent: str, child: str) -> EdgeSpec:
    return EdgeSpec(NodeID(parent), NodeID(child), {"RelationType": "layer2"})


def ids(reply: Message) -> list[str]:
    return sorted(n["ID"] for n in reply.obj["Nodes"])


async def ask(peer: Peer, **request: Any) -> Message:
    """Send a `SyncRequest` and give the reply, which must be the next message."""
    message = event("Graph", "SyncRequest", request)
    await peer.send(message)
    reply = await peer.receive()
    assert (reply.namespace, reply.type, reply.uuid) == ("Graph", "SyncReply", message.uuid)
    return reply


async def subscribe(connect: Connect, server: Server, host_id: str = "s", **options: Any) -> Peer:
    peer = await connect(server.address, ENDPOINT, host_id, "webui", **options)
    await eventually(lambda: host_id in server.hub.status()["Subscribers"])
    return peer


@pytest.mark.parametrize("protocol", Protocol)
async def test_every_change_is_forwarded_in_order(
    start: Start, connect: Connect, protocol: Protocol
) -> None:
    """Nothing is sent before something happens; then everything, edges before their nodes go."""
    server = await start(Server())
    writer(server).upsert(spec("a"))
    peer = await subscribe(connect, server, protocol=protocol)
    assert await peer.silent()
    writer(server).upsert(spec("b"))
    writer(server).link(link("a", "b"))
    writer(server).upsert(spec("a", MTU=1))
    writer(server).delete(NodeID("a"))
    messages = [await peer.receive() for _ in range(5)]
    assert [m.type for m in messages] == [
        "NodeAdded",
        "EdgeAdded",
        "NodeUpdated",
        "EdgeDeleted",
        "NodeDeleted",
    ]
    assert {m.namespace for m in messages} == {"Graph"}
    assert {m.status for m in messages} == {200}
    assert messages[0].obj["DeletedAt"] is None
    assert messages[2].obj["Metadata"] == {"Type": "device", "Name": "a", "MTU": 1}
    assert messages[4].obj["DeletedAt"] > 0


async def test_a_partial_subscriber_gets_the_operations_of_an_update(
    start: Start, connect: Connect
) -> None:
    """Additions and deletions stay whole (§2.9)."""
    server = await start(Server())
    peer = await subscribe(connect, server, headers=PARTIAL)
    other = await subscribe(connect, server, "full")
    writer(server).upsert(spec("a"))
    writer(server).patch(NodeID("a"), [Op(OpKind.SET, "Ovs.Name", "x"), Op(OpKind.SET, "MTU", 1)])
    assert (await peer.receive()).type == "NodeAdded"
    update = await peer.receive()
    assert update.type == "NodePartiallyUpdated"
    assert update.obj.pop("UpdatedAt") > 0
    assert update.obj == {
        "ID": "a",
        "Revision": 2,
        "Ops": [
            {"Type": 1, "Key": "Ovs.Name", "Value": "x"},
            {"Type": 1, "Key": "MTU", "Value": 1},
        ],
    }
    assert [(await other.receive()).type for _ in range(2)] == ["NodeAdded", "NodeUpdated"]


async def test_an_update_without_known_operations_is_sent_whole(
    start: Start, connect: Connect
) -> None:
    """The original sends null operations then, and the content is lost (§10, 1)."""
    server = await start(Server())
    peer = await subscribe(connect, server, headers=PARTIAL)
    old = Node(NodeID("a"), {"Type": "t", "Name": "a"}, "h", Origin("test.x"), 1, 1)
    server.graph.add_node(old)
    server.graph.apply_ops("a", kind="node", ops=[], revision=7, updated_at_ms=2)
    assert (await peer.receive()).type == "NodeAdded"
    update = await peer.receive()
    assert (update.type, update.obj["Revision"]) == ("NodeUpdated", 7)


async def test_a_burst_larger_than_the_queue_does_not_drop_those_who_keep_up(
    start: Start, connect: Connect
) -> None:
    """A large host connects: its elements all come at once."""
    server = await start(Server(queue_size=100))
    peer = await subscribe(connect, server)
    for i in range(5_000):
        writer(server).upsert(spec(f"n{i}"))
    assert [(await peer.receive()).obj["ID"] for _ in range(5_000)] == [
        f"n{i}" for i in range(5_000)
    ]
    assert server.losses.counts() == {}


async def test_a_subscriber_that_does_not_keep_up_is_dropped_and_others_are_not(
    start: Start, connect: Connect
) -> None:
    """It connects again and asks for the state; memory stays bounded."""
    server = await start(Server(queue_size=100))
    await subscribe(connect, server, "slow", protocol="json")
    good = await subscribe(connect, server, "good")
    # A client that does not call `receive` reads until its own buffers are full.
    rounds = 0
    while "slow" in server.hub.status()["Subscribers"]:
        for _ in range(50):
            writer(server).upsert(spec("a", Text="x" * 100_000, Round=rounds))
            rounds += 1
            await good.receive()
        assert rounds < 100_000
    assert ("hub.subscriber", LossReason.QUEUE_FULL) in server.losses.counts()
    writer(server).upsert(spec("b"))
    assert (await good.receive()).obj["ID"] == "b"


async def test_other_messages_go_to_subscribers_of_their_namespace(
    start: Start, connect: Connect
) -> None:
    """Alerts and notifications share the endpoint with the graph."""
    server = await start(Server())
    graph = await subscribe(connect, server, "g", headers={"X-Websocket-Namespace": "Graph"})
    alerts = await subscribe(connect, server, "a", headers={"X-Websocket-Namespace": "Alert"})
    both = await subscribe(connect, server, "b")
    writer(server).upsert(spec("a"))
    server.hub.broadcast("Alert", "Alert", {"UUID": "u"})
    assert (await alerts.receive()).namespace == "Alert"
    assert [(await both.receive()).namespace for _ in range(2)] == ["Graph", "Alert"]
    assert (await graph.receive()).namespace == "Graph"
    assert await graph.silent()


# Asking for the state


async def test_a_sync_request_gives_the_live_graph(start: Start, connect: Connect) -> None:
    """And what changes after it follows after it."""
    server = await start(Server())
    for i in range(1_000):
        writer(server).upsert(spec(f"n{i}"))
    peer = await subscribe(connect, server)
    await peer.send(Message("Graph", "SyncRequest", None, ""))
    writer(server).upsert(spec("later"))
    first, second = await peer.receive(), await peer.receive()
    reply, change = (first, second) if first.type == "SyncReply" else (second, first)
    assert change.obj["ID"] == "later"
    known = ids(reply)
    assert len(known) == (1_001 if reply is second else 1_000)
    assert reply.uuid == ""


@pytest.mark.parametrize(
    "obj",
    [
        {"TimeSlice": None, "TimePoint": False, "GremlinFilter": None},
        {"Time": 0},
        {"GremlinFilter": ""},
    ],
)
async def test_all_forms_of_asking_for_now_are_understood(
    start: Start, connect: Connect, obj: dict[str, Any]
) -> None:
    """Go clients, the web UI and the Python client each have their own."""
    server = await start(Server())
    writer(server).upsert(spec("a"))
    peer = await subscribe(connect, server)
    assert ids(await ask(peer, **obj)) == ["a"]


async def test_the_past_is_honoured_with_and_without_filter(start: Start, connect: Connect) -> None:
    """The original ignores the time in most combinations (§10, 3)."""
    server = await start(Server())
    writer(server).upsert(spec("now"))
    old = [
        Node(NodeID(i), {"Type": t}, "", Origin("o"), 1, 1)
        for i, t in (("d", "device"), ("h", "x"))
    ]
    server.past[500] = (old, list[Edge]())
    peer = await subscribe(connect, server)
    assert ids(await ask(peer, Time=500)) == ["d", "h"]
    assert ids(await ask(peer, Time=500, GremlinFilter="")) == ["d", "h"]
    assert ids(await ask(peer, Time=500, GremlinFilter="Type=device")) == ["d"]
    assert ids(await ask(peer, Time=500)) == ["d"]
    assert ids(await ask(peer)) == ["now"]


async def test_without_history_the_past_is_refused(start: Start, connect: Connect) -> None:
    """Status 400 and no object: how the UI finds out (§2.9)."""
    server = await start(Server())
    peer = await subscribe(connect, server)
    reply = await ask(peer, Time=500)
    assert (reply.status, reply.obj) == (400, None)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"GremlinFilter": "G.V("}, "expected G or Type=x"),
        ({"GremlinFilter": 7}, "neither a text nor null"),
        ({"Time": "now"}, "neither a whole number"),
    ],
)
async def test_a_bad_request_is_answered_and_changes_nothing(
    start: Start, connect: Connect, request_: dict[str, Any], says: str
) -> None:
    """The previous filter stays, and so does the connection."""
    server = await start(Server())
    for type_ in ("device", "host"):
        writer(server).upsert(spec(type_, type_))
    peer = await subscribe(connect, server)
    assert ids(await ask(peer, GremlinFilter="Type=host")) == ["host"]
    reply = await ask(peer, **request_)
    assert reply.status == 400
    assert says in reply.obj
    assert ids(await ask(peer)) == ["host"]


# Filters


async def test_a_filter_of_the_handshake_limits_what_is_sent(
    start: Start, connect: Connect
) -> None:
    """Additions, then deletions, then updates of what stayed (§2.9)."""
    server = await start(Server(filter_interval_s=0.01))
    writer(server).upsert(spec("a"))
    writer(server).upsert(spec("h", "host"))
    peer = await subscribe(connect, server, headers={"X-Gremlin-Filter": "Type=device"})
    assert await peer.silent()
    writer(server).upsert(spec("h", "host", MTU=1))
    writer(server).upsert(spec("b"))
    writer(server).link(link("a", "b"))
    writer(server).link(link("h", "b"))
    writer(server).upsert(spec("a", MTU=2))
    messages = [await peer.receive() for _ in range(3)]
    assert [(m.type, m.obj["ID"]) for m in messages[::2]] == [
        ("NodeAdded", "b"),
        ("NodeUpdated", "a"),
    ]
    assert messages[1].type == "EdgeAdded"
    # A node that only stops matching is deleted as far as this subscriber is concerned.
    writer(server).upsert(spec("b", "bridge"))
    messages = [await peer.receive() for _ in range(2)]
    assert [m.type for m in messages] == ["NodeDeleted", "EdgeDeleted"]
    assert await peer.silent()


async def test_a_partial_subscriber_with_a_filter_gets_each_step(
    start: Start, connect: Connect
) -> None:
    """Several updates between two evaluations arrive as they were made."""
    server = await start(Server(filter_interval_s=0.01))
    writer(server).upsert(spec("a"))
    headers = {"X-Gremlin-Filter": "Type=device", **PARTIAL}
    peer = await subscribe(connect, server, headers=headers)
    for mtu in (1, 2, 3):
        writer(server).patch(NodeID("a"), [Op(OpKind.SET, "MTU", mtu)])
    steps = [await peer.receive() for _ in range(3)]
    assert [(m.type, m.obj["Revision"]) for m in steps] == [
        ("NodePartiallyUpdated", revision) for revision in (2, 3, 4)
    ]
    assert steps[-1].obj["Ops"] == [{"Type": 1, "Key": "MTU", "Value": 3}]


async def test_a_partial_subscriber_with_too_many_steps_gets_the_whole_element(
    start: Start, connect: Connect
) -> None:
    """What is remembered between two evaluations is bounded."""
    server = await start(Server(filter_interval_s=0.05))
    writer(server).upsert(spec("a"))
    headers = {"X-Gremlin-Filter": "Type=device", **PARTIAL}
    peer = await subscribe(connect, server, headers=headers)
    for mtu in range(3_000):
        writer(server).patch(NodeID("a"), [Op(OpKind.SET, "MTU", mtu)])
    update = await peer.receive()
    assert (update.type, update.obj["Metadata"]["MTU"]) == ("NodeUpdated", 2_999)


async def test_a_node_that_came_back_anew_is_deleted_first(start: Start, connect: Connect) -> None:
    """Subscribers ignore a revision that is not greater than the one they know."""
    server = await start(Server(filter_interval_s=0.05))
    for name in ("a", "b"):
        writer(server).upsert(spec(name))
    writer(server).upsert(spec("a", MTU=1))
    writer(server).link(link("a", "b"))
    peer = await subscribe(connect, server, headers={"X-Gremlin-Filter": "Type=device"})
    assert len((await ask(peer)).obj["Edges"]) == 1
    writer(server).delete(NodeID("a"))
    writer(server).upsert(spec("a", MTU=2))
    writer(server).link(link("a", "b"))
    messages = [await peer.receive() for _ in range(4)]
    assert [m.type for m in messages] == ["NodeDeleted", "NodeAdded", "EdgeDeleted", "EdgeAdded"]
    assert messages[1].obj["Metadata"]["MTU"] == 2


async def test_a_filter_can_be_set_changed_and_removed(start: Start, connect: Connect) -> None:
    """The update policy stays as it was, unlike in the original (§10, 4 and 5)."""
    server = await start(Server(filter_interval_s=0.01))
    writer(server).upsert(spec("a"))
    writer(server).upsert(spec("h", "host"))
    peer = await subscribe(connect, server, headers=PARTIAL)
    assert ids(await ask(peer, GremlinFilter="Type=device")) == ["a"]
    assert ids(await ask(peer)) == ["a"]
    assert ids(await ask(peer, GremlinFilter="Type=host")) == ["h"]
    writer(server).upsert(spec("a", MTU=1))
    assert await peer.silent()
    writer(server).upsert(spec("h", "host", MTU=1))
    assert (await peer.receive()).type == "NodePartiallyUpdated"
    assert ids(await ask(peer, GremlinFilter="")) == ["a", "h"]
    writer(server).upsert(spec("a", MTU=2))
    assert (await peer.receive()).type == "NodePartiallyUpdated"
    assert ids(await ask(peer)) == ["a", "h"]


async def test_a_wrong_filter_in_the_handshake_ends_the_connection(
    start: Start, connect: Connect
) -> None:
    """With code 1000 and no reason, as in the original (§2.2)."""
    server = await start(Server())
    peer = await connect(server.address, ENDPOINT, headers={"X-Gremlin-Filter": "nonsense("})
    assert (await peer.socket.receive(timeout=5)).data == 1000
    await eventually(lambda: not server.hub.status()["Subscribers"])

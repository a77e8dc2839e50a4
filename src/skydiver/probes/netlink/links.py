"""What is known of the interfaces of all namespaces, and what the graph should say of them.

No input or output: the probe feeds decoded messages in, in the order of the kernel, and calls
`state`. In between, any number of messages about an interface become one statement, so that a
storm costs the graph no more than its outcome.

Peers. Both ends of a veth pair tell the index of the other, and its namespace by a number that
counts in the namespace of the teller (in a dump: in the host's). When one end moves, the kernel
reports that end only: what the other end once said becomes wrong without an event. So a pair is
one fact for both ends, the last word of either counts, and an end whose partner vanished is
asked again (`doubtful`). The same goes for what sits on another interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from skydiver.base.ids import NodeID
from skydiver.graph import EdgeSpec, NodeSpec, Op, OpKind, Writer
from skydiver.probes.netlink.link_metadata import (
    LOOPBACK,
    PAIRS,
    TUNNELS,
    address_text,
    link_metadata,
)
from skydiver.topology import Relation, link_node_id

HOST = -1
"""Stands for the number of the host's own namespace."""

LinkKey: TypeAlias = tuple[int, int]
"""Number of the namespace on the host, and interface index in it."""

_AF_INET, _AF_BRIDGE = 2, 7
_OVS = "openvswitch"
_STATED_AT_ONCE = 16
_SETTINGS = ("mtu", "mac", "master", "info", "slave_info", "details", "xdp", "altnames")
"""Parts of a message that some changes of the kernel are not announced for."""


class Space:
    """One network namespace: its node, its interfaces, and how it numbers other namespaces."""

    __slots__ = (
        "facts",
        "inode",
        "links",
        "name",
        "nsid",
        "numbering",
        "numbers_more",
        "root",
        "root_facts",
    )

    def __init__(self, nsid: int, *, inode: int, root: NodeID, name: str) -> None:
        self.nsid = nsid
        self.inode = inode
        self.root = root
        self.name = name
        """Empty for the host."""
        self.links: dict[int, Link] = {}
        self.numbering: dict[int, int] = {}
        """Its own number of another namespace, to the host's; empty for the host."""
        self.numbers_more = False
        """It numbers a namespace since the last dump; which one, only the next can tell."""
        self.facts: dict[int, dict[str, Any]] = {}
        """By interface index, known yet or not: see `LinkTable.set_fact`."""
        self.root_facts: dict[str, Any] = {}


class Link:
    """The last that was heard of one interface."""

    __slots__ = (
        "bus_info",
        "driver",
        "edges",
        "elsewhere",
        "ipv4",
        "ipv6",
        "key",
        "message",
        "metric",
        "node_id",
        "recent_metric",
        "since_ms",
        "underlying",
    )

    def __init__(
        self, key: LinkKey, node_id: NodeID, message: Mapping[str, Any], since_ms: int
    ) -> None:
        self.key = key
        self.node_id = node_id
        self.message = message
        self.since_ms = since_ms
        """When it was first heard of."""
        self.ipv4: list[str] = []
        self.ipv6: list[str] = []
        self.metric: dict[str, int] = dict(message["stats"])
        self.recent_metric: dict[str, int] = {}
        """Increase between the last two samples that differ."""
        self.driver = ""
        """Of a real device, as ethtool says; virtual ones are named by their kind."""
        self.bus_info: str | None = None
        self.underlying: LinkKey | None = None
        """What IFLA_LINK leads to; None for a veth, see the pairs."""
        self.elsewhere: int | None = None
        """Namespace of what IFLA_LINK leads to, if it is another one and known."""
        self.edges: dict[tuple[NodeID, NodeID, str], EdgeSpec] = {}
        """Those stated in the graph."""


class LinkTable:
    """All interfaces, and the statements about those that changed."""

    def __init__(self, writer: Writer, *, host_id: str, own_nsid: int | None) -> None:
        self.writer = writer
        self._host_id = host_id
        self._own_nsid = own_nsid
        self._spaces: dict[int, Space] = {}
        self._changed: dict[LinkKey, None] = {}
        """Interfaces to be stated as a whole."""
        self._updated: dict[LinkKey, dict[str, Any]] = {}
        """Of others, the keys that changed; None = withdrawn."""
        self._roots: dict[int, None] = {}
        """Namespaces whose own facts changed."""
        self._peers: dict[LinkKey, LinkKey] = {}
        """Both ways, for veth pairs of which at least one end is known."""
        self._above: dict[LinkKey, set[LinkKey]] = {}
        """What sits on an interface, by `Link.underlying`."""
        self._towards: dict[int, set[LinkKey]] = {}
        """Interfaces that lead to another namespace, by `Link.elsewhere`."""
        self._orphans: dict[LinkKey, None] = {}
        self._wanted: dict[int, None] = {}
        self._undriven: dict[LinkKey, None] = {}
        self._unasked: dict[LinkKey, None] = {}

    # Namespaces

    def space(self, nsid: int) -> Space | None:
        """The namespace with this number."""
        return self._spaces.get(nsid)

    def key_of(self, node_id: str) -> LinkKey | None:
        """What a node stands for: an interface, or with index 0 a namespace."""
        for space in self._spaces.values():
            if space.root == node_id:
                return space.nsid, 0
            for index, link in space.links.items():
                if link.node_id == node_id:
                    return space.nsid, index
        return None

    def spaces(self) -> Iterator[Space]:
        """All of them."""
        return iter(list(self._spaces.values()))

    def add_space(self, nsid: int, *, inode: int, root: NodeID, name: str) -> Space:
        """Begin with a namespace, empty as yet."""
        space = Space(nsid, inode=inode, root=root, name=name)
        self._spaces[nsid] = space
        self._named_anew(nsid)
        return space

    def remove_space(self, nsid: int) -> None:
        """Forget a namespace and everything in it; the graph too."""
        space = self._spaces.get(nsid)
        if space is not None:
            for link in list(space.links.values()):
                self._forget(space, link)
            del self._spaces[nsid]
            self._wanted.pop(nsid, None)
            self._roots.pop(nsid, None)
            if space.root_facts:
                self.writer.delete(space.root)
            self._named_anew(nsid)

    def rename_space(self, nsid: int, name: str) -> None:
        """A namespace has another name."""
        space = self._spaces.get(nsid)
        if space is not None and space.name != name:
            space.name = name
            self._named_anew(nsid)

    def _named_anew(self, nsid: int) -> None:
        """Interfaces that name the namespace of their peer have to be stated again."""
        for key in self._towards.get(nsid, ()):
            self._changed[key] = None

    # What other parts of the probe know

    def set_fact(self, nsid: int, index: int, name: str, value: Any | None) -> None:
        """Metadata key `name` of an interface, known yet or not; None withdraws it.

        It is forgotten with the interface. `value` belongs to the graph from now on.
        """
        space = self._spaces.get(nsid)
        if space is None or not _put(space.facts.setdefault(index, {}), name, value):
            return
        if index in space.links:
            self._update((nsid, index), name, value)

    def set_root_fact(self, nsid: int, name: str, value: Any | None) -> None:
        """The same for the node of the namespace itself."""
        space = self._spaces.get(nsid)
        if space is not None and _put(space.root_facts, name, value):
            self._roots[nsid] = None

    def _update(self, key: LinkKey, name: str, value: Any | None) -> None:
        if value is None or key not in self._changed:
            self._updated.setdefault(key, {})[name] = value

    # Messages

    def event(self, space: Space, message: Mapping[str, Any], *, at_ms: int) -> None:
        """Take in one message of the event socket."""
        match message["kind"]:
            case "newlink" if message["family"] == _AF_BRIDGE:
                self._set_port(space, message)
            case "newlink":
                self.set_link(space, message, at_ms=at_ms)
            case "dellink" if not message["family"]:
                link = space.links.get(message["index"])
                if link is not None:
                    self._forget(space, link)
            case "newaddr" | "deladdr":
                self._set_address(space, message, present=message["kind"] == "newaddr")
            case "newnsid" if message["nsid"] not in space.numbering:
                space.numbers_more = True
                if any(link.elsewhere is not None for link in space.links.values()):
                    self._wanted[space.nsid] = None  # for what `LinkNetNsID` should say
            case "delnsid":
                space.numbering.pop(message["nsid"], None)

    def set_link(
        self, space: Space, message: Mapping[str, Any], *, at_ms: int, dumped: bool = False
    ) -> None:
        """Take in the state of an interface; `dumped`: peers are numbered as the host does."""
        if message["family"]:
            return  # tells of a bridge port; the interface has a message of its own
        if not message["mtu"] and not dumped:
            # Not a whole message: wireless drivers announce other things in its form.
            self._wanted[space.nsid] = None
            return
        index = message["index"]
        link = space.links.get(index)
        if link is None:
            node_id = link_node_id(self._host_id, space.inode, index)
            link = space.links[index] = Link((space.nsid, index), node_id, message, at_ms)
            if not message["kind_name"] and message["arphrd"] != LOOPBACK:
                self._undriven[link.key] = None
            self._unasked[link.key] = None
            self._ask_master(link)
        else:
            self._ask_again(link, message)
            link.message = message
        self._changed[link.key] = None
        self._connect(space, link, dumped=dumped)

    def _set_port(self, space: Space, message: Mapping[str, Any]) -> None:
        """Take in how a bridge treats one of its ports, which is announced in this way only."""
        link = space.links.get(message["index"])
        info = message.get("slave_info")
        if link is not None and info and link.message["master"] == message["master"]:
            link.message = {**link.message, "slave_info": info}
            self._changed[link.key] = None

    def _set_address(self, space: Space, message: Mapping[str, Any], *, present: bool) -> None:
        link = space.links.get(message["index"])
        if link is None:
            return  # the interface is gone, or a dump is about to tell of both
        addresses = link.ipv4 if message["family"] == _AF_INET else link.ipv6
        text = address_text(message)
        if present and text not in addresses:
            addresses.append(text)
        elif not present and text in addresses:
            addresses.remove(text)
        else:
            return
        self._changed[link.key] = None

    def end_dump(
        self, space: Space, indexes: set[int], addresses: Iterable[Mapping[str, Any]]
    ) -> None:
        """The dump of `space` told of these interfaces and addresses, and of no others."""
        space.numbers_more = False
        found: dict[int, tuple[list[str], list[str]]] = {index: ([], []) for index in indexes}
        for address in addresses:
            lists = found.get(address["index"])
            if lists is not None:
                lists[address["family"] != _AF_INET].append(address_text(address))
        for link in list(space.links.values()):
            lists = found.get(link.key[1])
            if lists is None:
                self._forget(space, link)
            elif (link.ipv4, link.ipv6) != lists:
                link.ipv4, link.ipv6 = lists
                self._changed[link.key] = None

    def _forget(self, space: Space, link: Link) -> None:
        """The interface is gone."""
        key = link.key
        del space.links[key[1]]
        space.facts.pop(key[1], None)
        self._changed.pop(key, None)
        self._updated.pop(key, None)
        self._ask_master(link)
        self._lead(link, None)
        self._rest_on(link, None)
        for above in self._above.get(key, ()):
            self._orphan(above, link.node_id)
        peer = self._peers.pop(key, None)
        if peer is not None and self._peers.get(peer) == key:
            del self._peers[peer]
            self._orphan(peer, link.node_id)
        if link.edges:
            # This withdraws the edges at it too, whoever they were stated for.
            self.writer.delete(link.node_id)

    def _orphan(self, key: LinkKey, vanished: NodeID) -> None:
        """What `key` was linked with is gone; should it come back, the edge is stated again."""
        self._orphans[key] = self._changed[key] = None
        link = self._link(key)
        if link is not None:
            link.edges = {ends: edge for ends, edge in link.edges.items() if ends[0] != vanished}

    # Peers

    def _connect(self, space: Space, link: Link, *, dumped: bool) -> None:
        """Work out what IFLA_LINK leads to."""
        target = self._target(space, link.message, dumped=dumped)
        if link.message["kind_name"] in PAIRS:
            if target is None:
                partner = self._peers.get(link.key)
                if partner is not None:
                    self._lead(link, partner[0])
                return
            if dumped or self._is_plausible(link, target):
                self._pair(link.key, target)
            else:
                self._orphans[link.key] = None
            return
        # A tunnel that moved tells the namespace of its packets, and no interface.
        self._rest_on(link, target if target is not None and target[1] else None)
        if target is not None:
            self._lead(link, target[0])
        elif link.message["link_netnsid"] is None:
            self._lead(link, None)

    def _target(self, space: Space, message: Mapping[str, Any], *, dumped: bool) -> LinkKey | None:
        """The other interface; None when there is none, or its namespace is not understood."""
        number = message["link_netnsid"]
        if number is None:
            return (space.nsid, message["link"]) if message["link"] else None
        if not dumped and space.nsid != HOST:
            number = space.numbering.get(number)
            if number is None:
                # Numbered by its namespace a moment ago; a dump tells what the host calls it.
                self._wanted[space.nsid] = None
                return None
        return HOST if number == self._own_nsid else number, message["link"]

    def _is_plausible(self, link: Link, target: LinkKey) -> bool:
        """Whether an event that names no other namespace can be taken by its word.

        It also names none when that is about to end: the last words of the host's end of a veth
        would then make a pair with whatever has that index here.
        """
        other = self._link(target)
        if link.message["link_netnsid"] is not None or other is None:
            return True
        claim = other.message
        if claim["kind_name"] != link.message["kind_name"]:
            return False
        # The first end of a new pair is told before it has a peer.
        return claim["link"] == 0 or (
            claim["link"] == link.key[1] and claim["link_netnsid"] is None
        )

    def _pair(self, end: LinkKey, other: LinkKey) -> None:
        """Two ends of a veth belong together, and to no others."""
        for one, partner in ((end, other), (other, end)):
            former = self._peers.get(one)
            if former is not None and former != partner:
                if self._peers.get(former) == one:
                    del self._peers[former]
                    self._orphans[former] = None
                self._changed[former] = None
            self._peers[one] = partner
            self._changed[one] = None
            link = self._link(one)
            if link is not None:
                self._lead(link, partner[0])

    def _lead(self, link: Link, nsid: int | None) -> None:
        """Note the namespace that `link` leads to."""
        elsewhere = None if nsid == link.key[0] else nsid
        if elsewhere == link.elsewhere:
            return
        _move(self._towards, link.key, link.elsewhere, elsewhere)
        link.elsewhere = elsewhere
        self._changed[link.key] = None

    def _rest_on(self, link: Link, target: LinkKey | None) -> None:
        """Note what `link` sits on."""
        if target != link.underlying:
            _move(self._above, link.key, link.underlying, target)
            link.underlying = target

    def has_doubts(self) -> bool:
        """Whether `doubtful` may have something to tell."""
        return bool(self._orphans)

    def doubtful(self) -> set[int]:
        """Namespaces of interfaces that point at something that went, and are still there."""
        spaces = set()
        for key in self._orphans:
            link = self._link(key)
            if link is None or key in self._peers:
                continue
            if link.underlying is None or self._link(link.underlying) is None:
                spaces.add(key[0])
        self._orphans.clear()
        return spaces

    def wanted(self) -> set[int]:
        """Namespaces to dump, because something in them could not be understood."""
        wanted = set(self._wanted)
        self._wanted.clear()
        return wanted

    def _link(self, key: LinkKey) -> Link | None:
        space = self._spaces.get(key[0])
        return None if space is None else space.links.get(key[1])

    # Drivers and counters

    def has_undriven(self) -> bool:
        """Whether `undriven` has something to tell."""
        return bool(self._undriven)

    def undriven(self) -> list[tuple[Space, list[Link]]]:
        """Real devices that came since the last call: ethtool has to be asked for their driver."""
        found: dict[int, list[Link]] = {}
        for key in self._undriven:
            link = self._link(key)
            if link is not None:
                found.setdefault(key[0], []).append(link)
        self._undriven.clear()
        return [(self._spaces[nsid], links) for nsid, links in found.items()]

    def has_unasked(self) -> bool:
        """Whether `unasked` has something to tell."""
        return bool(self._unasked)

    def unasked(self) -> list[LinkKey]:
        """Interfaces that are new or changed since the last call, so that what ethtool says of
        them may be another thing."""
        found = list(self._unasked)
        self._unasked.clear()
        return found

    def resting_on(self, key: LinkKey) -> list[LinkKey]:
        """Interfaces that have their speed from this one: its master, and what sits on it."""
        link = self._link(key)
        master = link.message["master"] if link is not None else 0
        return [*self._above.get(key, ()), *([(key[0], master)] if master else ())]

    def _ask_again(self, link: Link, message: Mapping[str, Any]) -> None:
        former = link.message
        if any(message[name] != former[name] for name in ("link_flags", "operstate", "master")):
            for index in {link.key[1], former["master"], message["master"]} - {0}:
                self._unasked[link.key[0], index] = None

    def _ask_master(self, link: Link) -> None:
        """The speed of a bridge or bond is that of its members."""
        master = link.message["master"]
        if master:
            self._unasked[link.key[0], master] = None

    def set_driver(self, link: Link, driver: str, bus_info: str | None) -> None:
        """What ethtool says of a real device."""
        link.driver, link.bus_info = driver, bus_info
        self._changed[link.key] = None

    def sample(
        self, space: Space, message: Mapping[str, Any], *, now_ms: int, before_ms: int
    ) -> None:
        """Take in the counters of an interface; `before_ms`: when the last sample was taken."""
        link = space.links.get(message["index"])
        counters = message.get("stats")
        if link is not None and any(
            message.get(name) != link.message.get(name) for name in _SETTINGS
        ):
            self._wanted[space.nsid] = None
        if link is None or not counters:
            return
        increase = {}
        for name, value in counters.items():
            former = link.metric.get(name, 0)
            # A counter that went back has been reset: all of it is new.
            more = value - former if value >= former else value
            if more:
                increase[name] = more
        if increase:
            start_ms = max(before_ms, link.since_ms)
            link.metric = {**counters, "Last": now_ms}
            link.recent_metric = {**increase, "Start": start_ms, "Last": now_ms}
            self._update(link.key, "Metric", link.metric)
            self._update(link.key, "LastUpdateMetric", link.recent_metric)

    # Statements

    def state(self, enough: Callable[[], bool] = lambda: False) -> bool:
        """State what changed until `enough` says so; whether everything was said."""
        while self._changed or self._updated or self._roots:
            for key in list(islice(self._changed, _STATED_AT_ONCE)):
                del self._changed[key]
                updated = self._updated.pop(key, {})
                link = self._link(key)
                if link is not None:
                    space = self._spaces[key[0]]
                    self._state(space, link)
                    # What an update set, a statement of the whole does not withdraw.
                    facts = space.facts.get(key[1], {})
                    withdrawn = {
                        name: None
                        for name, value in updated.items()
                        if value is None and name not in facts
                    }
                    if withdrawn:
                        self._state_update(key, withdrawn)
            for key in list(islice(self._updated, _STATED_AT_ONCE)):
                self._state_update(key, self._updated.pop(key))
            for nsid in list(islice(self._roots, _STATED_AT_ONCE)):
                del self._roots[nsid]
                space = self._spaces[nsid]
                self.writer.enrich(space.root, dict(space.root_facts))
            if enough():
                break
        return not (self._changed or self._updated or self._roots)

    def _state_update(self, key: LinkKey, update: Mapping[str, Any]) -> None:
        link = self._link(key)
        if link is not None:
            ops = [
                Op(OpKind.DELETE, name) if value is None else Op(OpKind.SET, name, value)
                for name, value in update.items()
            ]
            self.writer.patch(link.node_id, ops, plain=True)

    def _state(self, space: Space, link: Link) -> None:
        node = NodeSpec(id=link.node_id, metadata=self._metadata(space, link))
        self.writer.upsert(node, plain=True)
        edges = {
            (edge.parent, edge.child, str(edge.metadata["RelationType"])): edge
            for edge in self._edges(space, link)
        }
        for stated in link.edges.keys() - edges.keys():
            self.writer.unlink(*stated)
        for named, edge in edges.items():
            if link.edges.get(named) != edge:
                self.writer.link(edge)
        link.edges = edges

    def _metadata(self, space: Space, link: Link) -> dict[str, Any]:
        metadata = link_metadata(link.message, driver=link.driver)
        if link.bus_info is not None:
            metadata["BusInfo"] = link.bus_info
        if link.ipv4:
            metadata["IPV4"] = list(link.ipv4)
        if link.ipv6:
            metadata["IPV6"] = list(link.ipv6)
        peer = self._peers.get(link.key)
        if peer is not None and link.message["kind_name"] in PAIRS:
            # Not of the message: it is old if the other end moved since.
            metadata["ParentIndex"] = metadata["PeerIfIndex"] = peer[1]
        if link.elsewhere is not None:
            number = self._number_inside(space, link.elsewhere)
            if number is not None:
                metadata["LinkNetNsID"] = number
            elif space.numbers_more:
                self._wanted[space.nsid] = None
            other = self._spaces.get(link.elsewhere)
            metadata["LinkNetNsName"] = "" if other is None else other.name
        metadata.update(space.facts.get(link.key[1], {}))
        metadata["Metric"] = link.metric
        if link.recent_metric:
            metadata["LastUpdateMetric"] = link.recent_metric
        return metadata

    def _number_inside(self, space: Space, nsid: int) -> int | None:
        """What `space` calls the namespace that the host calls `nsid`."""
        if space.nsid == HOST:
            return nsid
        host_number = self._own_nsid if nsid == HOST else nsid
        for number, meant in space.numbering.items():
            if meant == host_number:
                return number
        return None

    def _edges(self, space: Space, link: Link) -> Iterator[EdgeSpec]:
        yield _edge(space.root, link.node_id, Relation.OWNERSHIP)
        message = link.message
        if message["master"] and message["slave_kind"] != _OVS:
            # Ports of Open vSwitch hang below bridges that its own probe knows.
            master = link_node_id(self._host_id, space.inode, message["master"])
            yield _edge(master, link.node_id, Relation.LAYER2)
        kind = message["kind_name"]
        if kind in PAIRS:
            peer = self._node_of(self._peers.get(link.key))
            own_order = (link.key[1], link.node_id)
            if peer is not None and own_order < (self._peers[link.key][1], peer):
                yield _edge(peer, link.node_id, Relation.LAYER2, kind)
        elif kind:
            underlying = self._node_of(link.underlying)
            if underlying is not None:
                relation = Relation.UNDERLAY if kind in TUNNELS else Relation.LAYER2
                yield _edge(underlying, link.node_id, relation, kind)
        if kind == "hsr":
            # Its ports do not tell that they are.
            for name in ("Slave1Index", "Slave2Index"):
                index = message.get("info", {}).get(name)
                if index:
                    port = link_node_id(self._host_id, space.inode, index)
                    yield _edge(link.node_id, port, Relation.LAYER2, kind)

    def _node_of(self, key: LinkKey | None) -> NodeID | None:
        space = None if key is None else self._spaces.get(key[0])
        if key is None or space is None:
            return None
        return link_node_id(self._host_id, space.inode, key[1])


def _edge(parent: NodeID, child: NodeID, relation: Relation, kind: str = "") -> EdgeSpec:
    metadata = {"RelationType": relation.value}
    if kind:
        metadata["Type"] = kind
    return EdgeSpec(parent=parent, child=child, metadata=metadata)


def _put(facts: dict[str, Any], name: str, value: Any | None) -> bool:
    """Set or remove a fact; whether that changed anything."""
    if facts.get(name) == value:
        return False
    if value is None:
        del facts[name]
    else:
        facts[name] = value
    return True


def _move(
    index: dict[Any, set[LinkKey]], key: LinkKey, former: Any | None, now: Any | None
) -> None:
    """Keep a reverse index: `key` was below `former`, and is below `now`."""
    if former is not None:
        keys = index[former]
        keys.discard(key)
        if not keys:
            del index[former]
    if now is not None:
        index.setdefault(now, set()).add(key)

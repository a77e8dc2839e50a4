"""The hub: the end of the WebSocket protocol that is connected to (api.md §2).

An analyzer offers three endpoints: agents bring their topology and answer questions, publishers
bring elements of their own, subscribers follow the graph. An agent offers the last two over its own
graph. What a peer sends becomes changes of the graph, the graph's changes go to the subscribers,
and nobody in between keeps a second copy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aiohttp import WSCloseCode, web

from skydiver.base.clock import ClockMs, ClockNs, wall_ms, wall_ns
from skydiver.base.errors import Unavailable
from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.graph import Graph
from skydiver.hub.connection import Connection
from skydiver.hub.flows import AgentFlows
from skydiver.hub.messages import Message, event
from skydiver.hub.origins import MemoryOrigins, OriginLedger
from skydiver.hub.pool import Authenticate, Pool
from skydiver.hub.publisher import Publisher
from skydiver.hub.replica import Replica
from skydiver.hub.settings import HubSettings
from skydiver.hub.subscribers import Evaluate, Subscribers

log = logging.getLogger(__name__)

AGENT = "agent"
"""Client type of those that hold flow tables."""


class Hub:
    """The WebSocket endpoints of one process, over its graph."""

    def __init__(
        self,
        *,
        graph: Graph,
        host_id: str,
        losses: Losses,
        gremlin: Evaluate,
        settings: HubSettings | None = None,
        clock_ms: ClockMs = wall_ms,
        clock_ns: ClockNs = wall_ns,
        authenticate: Authenticate | None = None,
        authenticate_agents: Authenticate | None = None,
        origins: OriginLedger | None = None,
        own_flows: Callable[[bytes], Awaitable[Sequence[bytes]]] | None = None,
    ) -> None:
        """`gremlin` evaluates the filters of subscribers. `authenticate` lets publishers and
        subscribers in, `authenticate_agents` the agents; None = everybody. `own_flows` asks
        flow tables of this process."""
        self._graph = graph
        self._settings = settings = settings or HubSettings()
        self._clock_ms = clock_ms
        service = graph.origin.partition(".")[0]
        self._turn = asyncio.Lock()
        pool = partial(
            Pool,
            service=service,
            host_id=host_id,
            settings=settings,
            losses=losses,
            turn=self._turn,
            clock_ms=clock_ms,
            clock_ns=clock_ns,
        )
        self._agents = pool(
            "hub.agent",
            authenticate=authenticate_agents,
            largest_message=settings.largest_agent_message,
        )
        self._publishers = pool(
            "hub.publisher", authenticate=authenticate, largest_message=settings.largest_message
        )
        self._subscribers = pool(
            "hub.subscriber", authenticate=authenticate, largest_message=settings.largest_message
        )
        self._pools = (self._agents, self._publishers, self._subscribers)
        self._following = Subscribers(graph, gremlin, settings)
        self._origins = origins or MemoryOrigins(lambda: asyncio.get_running_loop().time())
        self._replicas: dict[tuple[Origin, bool], Replica] = {}
        """By origin and whether it is an agent: a publisher may use the same name."""
        self.flows = AgentFlows(
            self.agents,
            expected=lambda host: self._origins.knows(Origin(f"{AGENT}.{host}")),
            losses=losses,
            timeout_s=settings.request_timeout_s,
            own=own_flows,
        )

    def add_routes(self, app: web.Application, *, agents: bool = True) -> None:
        """Add the endpoints to `app`; agents themselves take no agents."""
        if agents:
            app.router.add_get("/ws/agent/topology", self._accept_agent)
        app.router.add_get("/ws/publisher", self._accept_publisher)
        app.router.add_get("/ws/subscriber", self._accept_subscriber)

    async def run(self) -> None:
        """Follow the graph, ping the peers, and remove what the dead left; until cancelled."""
        forget = self._graph.subscribe(self._following.on_event)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(), name="hub pings")
                group.create_task(self._expire(), name="hub origins")
        finally:
            forget()
            for pool in self._pools:
                await pool.close(WSCloseCode.GOING_AWAY)

    # What others ask of the peers

    def agents(self) -> Mapping[str, Connection]:
        """The connected agents by host id."""
        return {
            host_id: peer
            for host_id, peer in self._agents.connections.items()
            if peer.handshake.client_type == AGENT and not peer.ended
        }

    async def request(
        self, host_id: str, namespace: str, type_: str, obj: Any, timeout_s: float | None = None
    ) -> Message:
        """Ask an agent; `Unavailable` when it is not there or does not answer."""
        agent = self._agents.connections.get(host_id)
        if agent is None or agent.handshake.client_type != AGENT:
            raise Unavailable(f"no agent {host_id!r} is connected")
        return await agent.request(event(namespace, type_, obj), timeout_s=timeout_s)

    def broadcast(self, namespace: str, type_: str, obj: Any) -> None:
        """Tell every subscriber that wants `namespace`."""
        self._following.broadcast(event(namespace, type_, obj))

    def status(self) -> dict[str, Any]:
        """The connected peers (api.md §3.12)."""
        return {
            "Agents": self._agents.status(),
            "Publishers": self._publishers.status(),
            "Subscribers": self._subscribers.status(),
        }

    # Endpoints

    async def _accept_agent(self, request: web.Request) -> web.StreamResponse:
        came: list[Connection] = []

        async def serve(connection: Connection) -> None:
            came.append(connection)
            await self._origins.heard(connection.handshake.origin)
            log.info("%s: connected", connection.name)
            replica = self._replica(connection.handshake.origin, carries=True)
            try:
                await self._publish(connection, replica, trusted=True)
            finally:
                log.info("%s: disconnected", connection.name)

        response = await self._agents.accept(request, serve)
        # Its place is free by now, so that it can come back while its elements wait for it.
        for connection in came:
            if connection.handshake.delete_on_disconnect:
                handshake = connection.handshake
                await self._after_grace(
                    handshake.host_id, self._replica(handshake.origin, carries=True)
                )
        return response

    async def _accept_publisher(self, request: web.Request) -> web.StreamResponse:
        async def serve(connection: Connection) -> None:
            replica = self._replica(connection.handshake.origin, carries=False)
            try:
                await self._publish(connection, replica, trusted=False)
            finally:
                if replica.author and connection.handshake.delete_on_disconnect:
                    await replica.remove()
                self._forget(replica)

        return await self._publishers.accept(request, serve)

    async def _accept_subscriber(self, request: web.Request) -> web.StreamResponse:
        return await self._subscribers.accept(request, self._following.serve)

    async def _publish(self, connection: Connection, replica: Replica, *, trusted: bool) -> None:
        publisher = Publisher(
            connection,
            replica,
            self._graph,
            trusted=trusted,
            default_relation=self._settings.default_relation,
            clock_ms=self._clock_ms,
        )
        await connection.serve(publisher.handle)

    def _replica(self, origin: Origin, *, carries: bool) -> Replica:
        key = (origin, carries)
        replica = self._replicas.get(key)
        if replica is None:
            replica = self._replicas[key] = Replica(
                self._graph, origin, carries=carries, turn=self._turn, clock_ms=self._clock_ms
            )
        return replica

    def _forget(self, replica: Replica) -> None:
        self._replicas.pop((replica.origin, replica.carries), None)

    # The dead

    async def _after_grace(self, host_id: str, replica: Replica) -> None:
        """Remove an agent's elements, unless it comes back and says what it has now."""
        if not replica.author:
            return
        syncs = replica.syncs
        await asyncio.sleep(self._settings.agent_grace_s)
        if replica.syncs != syncs:
            return
        replica.author = False
        removed = await replica.remove(unless=lambda: replica.syncs != syncs)
        log.info("%s: %d elements removed", replica.origin, removed)
        if host_id not in self._agents.connections:
            await self._origins.forget(replica.origin)
            self._forget(replica)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._settings.ping_delay_s)
            for pool in self._pools:
                pool.tick()
            for agent in list(self._agents.connections.values()):
                await self._origins.heard(agent.handshake.origin)

    async def _expire(self) -> None:
        """Remove the elements of agents that were not heard of for long.

        An agent's departure is noticed at once and cleaned up after; this is for those that were
        connected to an analyzer that died, or are in a graph that was read from a store.
        """
        for origin in {node.origin for node in self._graph.view().nodes()}:
            # The hub of an agent has the agent's own elements; these nobody has to be heard of for.
            if origin.startswith(f"{AGENT}.") and origin != self._graph.origin:
                await self._origins.heard(origin)
        while True:
            await asyncio.sleep(self._settings.origin_scan_s)
            for origin in await self._origins.silent_for(self._settings.origin_expiry_s):
                replica = self._replica(origin, carries=True)
                removed = await replica.remove()
                self._forget(replica)
                await self._origins.forget(origin)
                log.info("%s: not heard of for long, %d elements removed", origin, removed)

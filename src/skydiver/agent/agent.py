"""The agent of one host: its probes, captures and graph, wired to the analyzers.

Runs without capabilities and changes no files: whatever needs a capability is asked of the broker.
Without an analyzer it goes on, and brings the next one up to date.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import uvloop

from skydiver import gremlin
from skydiver.api.auth import authenticator, websocket_guard
from skydiver.api.origins import allowed_origins
from skydiver.api.server import build_app, refuse_exposure, serve
from skydiver.api.tls import client_context, server_context
from skydiver.base.errors import SkydiverError, Unavailable
from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.base.settings import Settings
from skydiver.base.tasks import until_signal
from skydiver.broker import drop_capabilities
from skydiver.broker.confinement import forbid_writing
from skydiver.broker.namespaces import Namespaces
from skydiver.captures.supervisor import CaptureSet
from skydiver.graph import Graph, Op, OpKind
from skydiver.hub.clocks import HostClock
from skydiver.hub.flow_client import FlowClient
from skydiver.hub.pod import Pod, Question
from skydiver.hub.routes import ROUTES
from skydiver.hub.server import Hub
from skydiver.hub.settings import HubSettings
from skydiver.probes.netlink import NetlinkProbe
from skydiver.probes.probe import Probe
from skydiver.probes.supervisor import ProbeSet, configured
from skydiver.topology import NodeType, host_node_id
from skydiver.topology.health import AGENT, health_metadata
from skydiver.topology.tid import TidMapper

if TYPE_CHECKING:
    from skydiver.broker.client import Broker

log = logging.getLogger(__name__)

HEALTH_EVERY_S = 5.0
FIRST_LOOK_S = 5.0
LOOK_AGAIN_S = 0.05
AUTH_KEY = "agent.auth.api.backend"


def main(settings: Settings, broker: Broker) -> None:
    """Run the agent until SIGINT or SIGTERM; `Unavailable` when the broker ends before."""
    listening, connecting = server_context(settings.tls), client_context(settings.tls)
    drop_capabilities()
    if settings.agent.read_only and not forbid_writing():
        log.info("this kernel has no Landlock: nothing but its user keeps the agent from writing")
    for words in broker.missing:
        log.warning("this agent lacks %s", words)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, broker, listening, connecting))
    except BaseExceptionGroup as group:
        # The first that failed took the others with it; it alone says why.
        expected: BaseException | None = group.subgroup(SkydiverError)
        while isinstance(expected, BaseExceptionGroup):
            expected = expected.exceptions[0]
        if expected is None:
            raise
        raise expected from None
    finally:
        broker.close()


async def run(
    settings: Settings,
    broker: Broker,
    listening: ssl.SSLContext | None,
    connecting: ssl.SSLContext | None,
) -> None:
    """All parts of the agent in one task group, until a signal; with TLS where it is given."""
    losses = Losses()
    origin = Origin(f"agent.{settings.host_id}")
    graph = Graph(host=settings.host_id, origin=origin, losses=losses)
    TidMapper(graph)
    namespaces = Namespaces(
        broker,
        run_paths=(settings.agent.topology.netns.run_path,),
        proc_path=settings.agent.topology.netns.proc_path,
        losses=losses,
    )
    await namespaces.find_host()
    chosen = configured(settings.agent)
    probes = ProbeSet(
        chosen,
        graph=graph,
        broker=broker,
        namespaces=namespaces,
        losses=losses,
    )
    web_socket = settings.http.ws
    hub_settings = HubSettings(
        ping_delay_s=web_socket.ping_delay_s,
        pong_timeout_s=web_socket.pong_timeout_s,
        queue_size=web_socket.queue_size,
    )
    flows = FlowClient(
        analyzers=settings.analyzers,
        host_id=settings.host_id,
        protocol=settings.flow.protocol,
        buffer_bytes=settings.agent.flow.buffer_mib * 1024 * 1024,
        losses=losses,
        settings=hub_settings,
        headers=cluster_headers(settings),
        tls=connecting,
    )
    captures = CaptureSet(
        graph,
        broker,
        namespaces,
        settings,
        losses,
        sink=flows.send,
    )
    pod = Pod(
        graph=graph,
        host_id=settings.host_id,
        analyzers=settings.analyzers,
        captures=captures,
        flows=captures.query,
        losses=losses,
        settings=hub_settings,
        headers=cluster_headers(settings),
        tls=connecting,
        ready=lambda: first_look(graph, namespaces),
        clock_told=HostClock(graph.owned_by("clock"), host_node_id(settings.host_id)).tell,
        questions=questions_to(chosen),
    )
    access = authenticator(settings, settings.agent.auth.api.backend, AUTH_KEY)
    refuse_exposure("agent", settings, {AUTH_KEY: access})

    async def evaluate(text: str, at_ms: int | None) -> Any:
        if at_ms is not None:
            raise Unavailable("agents keep no history")
        query = gremlin.parse(text, vocabulary="core")
        return (await query.run(gremlin.Environment(graph.view()))).graph()

    hub = Hub(
        graph=graph,
        host_id=settings.host_id,
        losses=losses,
        gremlin=evaluate,
        settings=hub_settings,
        authenticate=websocket_guard(access, allowed_origins(settings, settings.agent.listen)),
    )

    def status() -> dict[str, Any]:
        return {
            "Clients": hub.status()["Subscribers"],
            **pod.status(),
            "TopologyProbes": probes.status(),
            "FlowProbes": ["afpacket", "pcapsocket"],
            "Captures": captures.status(),
            "Flows": flows.status(),
        }

    app = build_app(
        service="agent",
        settings=settings,
        view=graph.view,
        authenticator=access,
        losses=losses,
        status=status,
        missing=lambda: broker.missing,
        add_routes=lambda app: hub.add_routes(app, agents=False),
    )
    async with serve(app, settings.agent.listen, key="agent.listen", tls=listening) as address:
        log.info("agent of %s listens on %s", settings.host_id, address)
        async with flows.running(), asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(part, name=name)
                for name, part in (
                    ("namespaces", namespaces.run()),
                    ("probes", probes.run()),
                    ("captures", captures.run()),
                    ("pod", pod.run()),
                    ("hub", hub.run()),
                    ("health", tell_health(graph, probes, broker, losses)),
                    ("broker", _end_with(broker)),
                )
            ]
            await until_signal()
            for task in running:
                task.cancel()
    log.info("agent stopped")


def questions_to(probes: Iterable[Probe[Any]]) -> dict[tuple[str, str], Question]:
    """What analyzers may ask of the probes."""
    netlink = [probe for probe in probes if isinstance(probe, NetlinkProbe)]
    return {ROUTES: netlink[0].routes} if netlink else {}


async def first_look(graph: Graph, namespaces: Namespaces) -> None:
    """Wait until the probes have stated what there is, at most for `FIRST_LOOK_S`.

    The graph is complete when it has stopped growing: interfaces arrive in one go.
    """
    count = 0
    try:
        async with asyncio.timeout(FIRST_LOOK_S):
            await namespaces.listed()
            while count != graph.node_count() or not any(graph.lookup("Type", NodeType.HOST.value)):
                count = graph.node_count()
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        log.warning("the first look at this host took over %s s", FIRST_LOOK_S)


async def tell_health(graph: Graph, probes: ProbeSet, broker: Broker, losses: Losses) -> None:
    """Keep what this agent lost, lacks and runs on the node of its host; until cancelled."""
    writer = graph.owned_by("agent")
    host = host_node_id(graph.host)
    while True:
        health = health_metadata(losses, broker.missing, probes.status())
        told = writer.patch(host, (Op(OpKind.SET, AGENT, health),))
        await asyncio.sleep(HEALTH_EVERY_S if told else LOOK_AGAIN_S)


async def _end_with(broker: Broker) -> None:
    await broker.gone()
    raise Unavailable("the broker ended, so the agent cannot go on")


def cluster_headers(settings: Settings) -> dict[str, str]:
    """Credentials and cookies towards the analyzers."""
    headers: dict[str, str] = {}
    cluster = settings.agent.auth.cluster
    if cluster.username:
        pair = f"{cluster.username}:{cluster.password}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    if settings.http.cookie:
        headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in settings.http.cookie.items())
    return headers

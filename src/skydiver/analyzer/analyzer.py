"""The analyzer: graph of all hosts in memory, hub, API and its objects, unprivileged."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from skydiver import gremlin
from skydiver.analyzer import privileges
from skydiver.api.auth import authenticator, cluster_authenticator, websocket_guard
from skydiver.api.captures import check_bpf
from skydiver.api.origins import allowed_origins
from skydiver.api.server import build_app, refuse_exposure, serve
from skydiver.api.tls import server_context
from skydiver.base.errors import ConfigError, ProtocolError, QueryError
from skydiver.base.ids import Origin
from skydiver.base.losses import Losses
from skydiver.base.settings import Settings
from skydiver.base.tasks import until_signal
from skydiver.flow.imports import Imports
from skydiver.graph import Graph, Node
from skydiver.graph.collector import Collector
from skydiver.hub.flow_server import FlowServer
from skydiver.hub.flow_subscribers import FlowSubscribers
from skydiver.hub.ondemand import CaptureController, EvaluateNodes
from skydiver.hub.server import Hub
from skydiver.hub.settings import HubSettings
from skydiver.objects import CaptureChecks, Conflict, ObjectStore, new_capture
from skydiver.storage.sqlite import SqliteObjectStore
from skydiver.topology.health import hosts_status

log = logging.getLogger(__name__)

OBJECTS = "objects.sqlite"
"""File in the data folder with captures and other API objects."""


def main(settings: Settings, *, uid: int | None) -> None:
    """Run until SIGINT or SIGTERM; started as root, as the user `uid` or else `skydive`."""
    tls = server_context(settings.tls)
    identity = privileges.wanted(uid)
    privileges.prepare_folder(Path(settings.data_dir), identity)
    if identity is not None:
        privileges.import_everything()
        privileges.become(identity)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings, tls))


async def run(settings: Settings, tls: ssl.SSLContext | None) -> None:
    """All parts of the analyzer in one task group, until a signal; it listens with `tls`."""
    losses = Losses()
    origin = Origin(f"analyzer.{settings.host_id}")
    graph = Graph(host=settings.host_id, origin=origin, losses=losses)
    collector = Collector(graph)
    auth = settings.analyzer.auth
    access = authenticator(settings, auth.api.backend, "analyzer.auth.api.backend")
    agents_access = cluster_authenticator(settings)
    refuse_exposure(
        "analyzer",
        settings,
        {"analyzer.auth.api.backend": access, "analyzer.auth.cluster.backend": agents_access},
    )

    async def graph_of(text: str, at_ms: int | None) -> Any:
        if at_ms is not None:
            raise QueryError("this analyzer keeps no history; ask without a time")
        query = gremlin.parse(text)
        return (await query.run(gremlin.Environment(graph.view(), hub.flows))).graph()

    async def nodes_of(text: str) -> Iterable[Node]:
        # Over the topology alone, as when they are checked and counted (gremlin.md §1.2): what is
        # captured must not depend on what was.
        result = await gremlin.parse(text).run(gremlin.Environment(graph.view(), None))
        return result.nodes()

    imports = Imports(settings, losses)
    origins = allowed_origins(settings, settings.analyzer.listen)
    web_socket = settings.http.ws
    hub_settings = HubSettings(
        ping_delay_s=web_socket.ping_delay_s,
        pong_timeout_s=web_socket.pong_timeout_s,
        queue_size=web_socket.queue_size,
    )
    hub = Hub(
        graph=graph,
        host_id=settings.host_id,
        losses=losses,
        gremlin=graph_of,
        settings=hub_settings,
        authenticate=websocket_guard(access, origins),
        authenticate_agents=websocket_guard(agents_access, origins),
        own_flows=imports.query,
    )
    flow_subscribers = FlowSubscribers(
        host_id=settings.host_id,
        losses=losses,
        settings=hub_settings,
        authenticate=websocket_guard(access, origins),
    )
    flow_server = FlowServer(
        host_id=settings.host_id,
        losses=losses,
        most_flows=settings.analyzer.flow.max_buffer_size,
        sinks=[flow_subscribers],
        stats=flow_subscribers.stats,
        settings=hub_settings,
        authenticate=websocket_guard(agents_access, origins),
    )
    store = await SqliteObjectStore.open(Path(settings.data_dir) / OBJECTS, losses=losses)
    try:
        captures = CaptureController(store=store, hub=hub, graph=graph, evaluate=nodes_of)
        await create_startup_capture(store, settings, nodes_of)

        def status() -> dict[str, Any]:
            return {
                **hub.status(),
                "Captures": captures.status(),
                "Flows": {
                    **flow_server.status(),
                    "Subscribers": flow_subscribers.status(),
                },
                "Probes": {},
                "Hosts": hosts_status(graph.view()),
            }

        def add_routes(app: web.Application) -> None:
            for part in (hub, flow_server, flow_subscribers):
                part.add_routes(app)

        app = build_app(
            service="analyzer",
            settings=settings,
            view=graph.view,
            authenticator=access,
            losses=losses,
            status=status,
            flows=hub.flows,
            store=store,
            ask=hub.request,
            imports=imports,
            add_routes=add_routes,
        )
        async with serve(app, settings.analyzer.listen, key="analyzer.listen", tls=tls) as address:
            log.info("analyzer listens on %s", address)
            if settings.flow.protocol == "udp":
                flow_server.listen(address)
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(part, name=name)
                    for name, part in (
                        ("hub", hub.run()),
                        ("flows", flow_server.run()),
                        ("flow subscribers", flow_subscribers.run()),
                        ("captures", captures.run()),
                        ("objects", store.run()),
                    )
                ]
                await until_signal()
                for task in running:
                    task.cancel()
    finally:
        imports.close()
        await store.close()
        collector.close()
    log.info("analyzer stopped")


async def create_startup_capture(
    store: ObjectStore, settings: Settings, evaluate: EvaluateNodes
) -> None:
    """Make the capture of ``analyzer.startup``, unless there is one like it."""
    startup = settings.analyzer.startup
    if not startup.capture_gremlin:
        return
    document = {
        "GremlinQuery": startup.capture_gremlin,
        "BPFFilter": startup.capture_bpf,
        "Type": startup.capture_type,
    }
    try:
        capture = await new_capture(
            document,
            CaptureChecks(evaluate, check_bpf),
            layer_key_mode=settings.flow.default_layer_key_mode,
        )
    except (ProtocolError, QueryError) as error:
        raise ConfigError(f"analyzer.startup: {error}") from error
    try:
        await store.create(capture)
    except Conflict:
        log.debug("the capture of analyzer.startup exists")

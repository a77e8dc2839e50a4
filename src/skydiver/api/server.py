"""The web application: routes with their guards, what every answer shares, and listening.

One thin middleware does what every request needs: an error becomes one line of text, large answers
are compressed, other origins may read. Who may do what is decided by the route's guard, composed
when the application is built, so that an API without authentication pays nothing for it.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web
from aiohttp.http import HttpVersion11

from skydiver.api.answers import compress, error_answer, failure, share, text_answer
from skydiver.api.auth import Authenticator
from skydiver.api.bodies import declares_too_much
from skydiver.api.captures import Captures
from skydiver.api.connections import LINGER_S, LOSSES, Runner, http_log
from skydiver.api.health import LoopLag
from skydiver.api.login import Login
from skydiver.api.metrics import Metrics
from skydiver.api.openapi import Description
from skydiver.api.origins import Origins, allowed_origins, preflight
from skydiver.api.pcap import Pcap
from skydiver.api.routes import Handler, Route
from skydiver.api.routing import Ask, RoutingTables
from skydiver.api.status import Service, Status
from skydiver.api.topology import Topology
from skydiver.base.errors import ConfigError, SkydiverError
from skydiver.base.losses import Losses
from skydiver.base.settings import Address, Settings
from skydiver.flow import FlowSource
from skydiver.flow.imports import Imports
from skydiver.graph import GraphView
from skydiver.objects import ObjectStore

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 75.0
"""How long a connection may be without a whole request line and headers, however they trickle."""
CLOSE_S = 1.0
_ANY_PATH = "/{path}"
_ONLY_TLS = "max-age=63072000; includeSubDomains"


def build_app(
    *,
    service: Service,
    settings: Settings,
    view: Callable[[], GraphView],
    authenticator: Authenticator,
    losses: Losses,
    status: Callable[[], Mapping[str, Any]],
    missing: Callable[[], Sequence[str]] = tuple,
    flows: FlowSource | None = None,
    store: ObjectStore | None = None,
    ask: Ask | None = None,
    imports: Imports | None = None,
    add_routes: Callable[[web.Application], None] | None = None,
) -> web.Application:
    """The application of an analyzer or an agent.

    `view` gives the graph as it is now, `status` the parts of api.md §3.12 that are known outside
    (hub, probes, captures), `missing` what this process lacks in words. `store` is where captures
    are kept; without one (agents) there is no ``/api/capture``. `ask` asks an agent; without it
    there is no ``/api/routes``. `imports` takes capture files; without it there is no
    ``/api/pcap``. `add_routes` adds the WebSocket endpoints, which guard themselves.
    """
    lag = LoopLag()
    topology = Topology(view, flows, "full" if service == "analyzer" else "core")
    own = Status(service, settings, losses, status, missing)
    routes = [
        *own.routes(),
        *topology.routes(),
        *Login(authenticator).routes(),
        *Metrics(view, losses, status, lag).routes(),
    ]
    if store is not None:
        mode = settings.flow.default_layer_key_mode
        routes += Captures(store, topology, mode).routes()
    if ask is not None:
        routes += RoutingTables(view, ask).routes()
    if imports is not None:
        routes += Pcap(imports, settings.analyzer.pcap.max_body_bytes).routes()
    routes += Description(service, routes).routes()
    app = web.Application(middlewares=[_answer], client_max_size=settings.http.rest.max_body_bytes)
    app[LOSSES] = losses
    if settings.tls.on:
        app.on_response_prepare.append(_insist_on_tls)
    listen = (settings.analyzer if service == "analyzer" else settings.agent).listen
    origins = allowed_origins(settings, listen)
    for route in routes:
        handler = _guarded(route, authenticator, origins)
        expect = _expecting(route.max_body_bytes)
        app.router.add_route(route.method, route.path, handler, expect_handler=expect)
    if add_routes is not None:
        add_routes(app)
    app.router.add_route("*", f"{_ANY_PATH[:-1]}:(?s:.*)}}", _unrouted, expect_handler=_expecting())

    async def watch_loop(_: web.Application) -> AsyncIterator[None]:
        lag.start()
        yield
        lag.stop()

    app.cleanup_ctx.append(watch_loop)
    return app


@asynccontextmanager
async def serve(
    app: web.Application, listen: Address, *, key: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Address]:
    """Serve `app` until the block ends; gives the address, with the port that was found for 0.

    `key` is the setting that names the address, for the message when it cannot be had. Without
    `tls` everything is in clear.
    """
    runner = Runner(
        app,
        access_log=None,
        handle_signals=False,
        shutdown_timeout=CLOSE_S,
        keepalive_timeout=KEEP_ALIVE_S,
        lingering_time=LINGER_S,
        # A small compressed body can stand for any amount of memory.
        auto_decompress=False,
        logger=http_log(),
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, listen.host, listen.port, ssl_context=tls).start()
        except OSError as error:
            # asyncio puts words of its own around those of the system.
            reason = (error.strerror or str(error)).rpartition(": ")[2].lower()
            raise ConfigError(f"{key}: cannot listen on {listen}: {reason}") from error
        port = runner.addresses[0][1]
        yield replace(listen, port=port)
    finally:
        await runner.cleanup()


def refuse_exposure(
    service: Service, settings: Settings, authenticators: Mapping[str, Authenticator]
) -> None:
    """Refuse to listen beyond this machine without authentication, unless that is asked for.

    `authenticators` are by the setting that names each back end.
    """
    part = settings.analyzer if service == "analyzer" else settings.agent
    if part.listen.loopback:
        return
    names = [key for key, authenticator in authenticators.items() if authenticator.open]
    if not names:
        return
    what = f"{service}.listen is {part.listen}, which other machines reach without authentication"
    if not part.auth.allow_unauthenticated:
        raise ConfigError(
            f"{what}; set {' and '.join(names)} to basic, or allow it with "
            f"--allow-unauthenticated or {service}.auth.allow_unauthenticated: true"
        )
    log.warning("%s, as the settings allow", what)


def _guarded(route: Route, authenticator: Authenticator, origins: Origins) -> Handler:
    """The route's handler behind the checks that it needs, and no others."""
    handler = route.handler
    changes = route.permission is not None and route.permission[1] == "write"
    if authenticator.open and not changes:

        async def known(request: web.Request) -> web.StreamResponse:
            origins.refuse_rebound(request)
            return await handler(request)

        return known
    if route.public:
        return handler

    async def guarded(request: web.Request) -> web.StreamResponse:
        user = await authenticator.user(request)
        if route.permission is not None and not user.may(*route.permission):
            what, action = route.permission
            raise failure(405, f"'{user.name}' has no '{action}' permission on '{what}'")
        if authenticator.open:
            origins.refuse_rebound(request)
            origins.refuse_foreign(request)
        return await handler(request)

    return guarded


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method == "OPTIONS" and "Origin" in request.headers:
        return preflight(request)
    try:
        answer = await handler(request)
    except SkydiverError as error:
        answer = error_answer(error)
    except web.HTTPException as error:
        answer = _from_exception(request, error)
    if answer.prepared:
        return answer  # it has left already: a WebSocket, or something large
    share(request, answer)
    if isinstance(answer, web.Response):
        await compress(request, answer)
    return answer


async def _insist_on_tls(request: web.Request, answer: web.StreamResponse) -> None:
    if request.secure and request.path.startswith(("/login", "/ws/")):
        answer.headers["Strict-Transport-Security"] = _ONLY_TLS


def _expecting(
    max_body_bytes: int | None = None,
) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    """Lets bodies come when the client asks first; aiohttp's own breaks on words in no charset."""

    async def expect(request: web.Request) -> web.StreamResponse | None:
        if request.headers["Expect"].lower() != "100-continue":
            raise web.HTTPExpectationFailed(text="expected 100-continue in the header Expect")
        if max_body_bytes is None and declares_too_much(request):
            return _too_large(request)
        if (request.content_length or 0) > (max_body_bytes or math.inf):
            return None  # the handler refuses it
        if request.version == HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # These bytes are no part of the answer.
            request.writer.output_size = 0
        return None

    return expect


def _from_exception(request: web.Request, error: web.HTTPException) -> web.Response:
    """One line for what a handler refuses."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return _too_large(request)
    headers = {k: v for k, v in error.headers.items() if not k.startswith("Content-")}
    if isinstance(error, web.HTTPRequestTimeout):
        headers["Connection"] = "close"
    return text_answer(error.status, error.text or "", headers)


def _too_large(request: web.Request) -> web.Response:
    limit = request.client_max_size
    return text_answer(413, f"body too large, expected at most {limit} bytes")


async def _unrouted(request: web.Request) -> web.Response:
    """What no route takes: another method, a trailing slash, or nothing that exists."""
    resources = [r for r in request.app.router.resources() if r.canonical != _ANY_PATH]
    allowed = {method for r in resources for method in (await r.resolve(request))[1]}
    if allowed:
        allow = ", ".join(sorted(allowed))
        return text_answer(405, f"expected {allow}, got {request.method}", {"Allow": allow})
    if request.path == "/":
        # Where a person's browser goes with the address that was printed at the start.
        return text_answer(200, "Skydive: /api/openapi.json describes what can be asked here")
    path = request.path.rstrip("/")
    if path != request.path and any(r.canonical == path for r in resources):
        query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
        return text_answer(301, headers={"Location": f"{path}{query}"})
    return text_answer(404, "404 page not found")

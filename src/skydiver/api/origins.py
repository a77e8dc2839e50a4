"""Web pages of other origins: what they may read and what they may not change.

As in the original any page may read an API that asks for no credentials: its user interfaces are
served from elsewhere. A page may not *change* anything there, or every page that somebody opens
could start captures through the API on loopback. So a request that changes something and carries
the ``Origin`` of another machine is refused, unless the setting ``http.rest.allowed_origins`` names
it. On loopback a page of our own must come from an address, not from a name: a name can be made to
point here (DNS rebinding). With authentication, browsers do not attach the cookie to requests of
other sites (``SameSite=Lax``), and the API asks for nothing else.

Rebinding would also let a page read what listens on loopback, as a page of the same origin: its
requests carry neither ``Origin`` nor, over plain HTTP, ``Sec-Fetch-Site``. So on loopback without
authentication a browser must ask for this machine: by an address, a name of loopback or the host
name. Programs may use any name, since people reach them through tunnels and proxies; a browser is
known by headers that none of the usual programs send and that a page cannot leave out.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from skydiver.api.answers import failure, text_answer
from skydiver.base.settings import Address, Settings

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SIMPLE_METHODS = frozenset({"GET", "HEAD", "POST"})
_HEADERS = frozenset(
    {
        "x-requested-with",
        "content-type",
        "authorization",
        "x-auth-token",
        "x-resource-ttl",
        "accept",
        "accept-language",
        "content-language",
        "origin",
    }
)
_OF_BROWSERS = ("Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Accept-Language", "Referer")


class Origins:
    """Who may change things through an API without authentication."""

    def __init__(self, allowed: Sequence[str], *, on_loopback: bool) -> None:
        self._allowed = frozenset(allowed)
        self._on_loopback = on_loopback
        own = socket.gethostname().lower()
        self._names = {"localhost", own, own.partition(".")[0], *map(_host, allowed)} - {""}

    def refuse_rebound(self, request: web.Request) -> None:
        """Refuse a browser that takes us for another host, when only this machine can reach us."""
        headers = request.headers
        given = headers.get("Host")
        if given is None or not self._on_loopback or "*" in self._allowed:
            return
        host = _host(f"//{given}").rstrip(".")
        if host in self._names or host.endswith(".localhost") or (host and not _is_name(host)):
            return
        if "Mozilla/" in headers.get("User-Agent", "") or any(h in headers for h in _OF_BROWSERS):
            raise failure(
                403,
                f"this is not {given[:100]}: expected an address, localhost or the host name; "
                "http.rest.allowed_origins can allow it",
            )

    def refuse_foreign(self, request: web.Request) -> None:
        """Refuse what a web page of another machine asks a browser to send."""
        origin = request.headers.get("Origin")
        if origin is None or not self._allowed.isdisjoint({origin, "*"}):
            return
        host = _host(origin)
        if host and Address(host, 0).loopback:
            return
        ours = host == _host(f"//{request.host}") and not (self._on_loopback and _is_name(host))
        if not host or not ours:
            raise failure(
                403,
                f"a page of {origin[:100]} may not change anything here; "
                "http.rest.allowed_origins can allow it",
            )


def allowed_origins(settings: Settings, listen: Address) -> Origins:
    """As the settings say, for what listens there."""
    return Origins(settings.http.rest.allowed_origins, on_loopback=listen.loopback)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def preflight(request: web.Request) -> web.Response:
    """What a browser asks before it sends a request of another origin (api.md §3.1)."""
    method = request.headers.get("Access-Control-Request-Method")
    if method is None:
        return text_answer(400, "no Access-Control-Request-Method")
    if method not in _METHODS:
        return text_answer(405, f"method {method} is not allowed for other origins")
    asked = request.headers.get("Access-Control-Request-Headers", "")
    names = [name.strip() for name in asked.split(",") if name.strip()]
    for name in names:
        if name.lower() not in _HEADERS:
            return text_answer(403, f"header {name} is not allowed for other origins")
    headers = {"Access-Control-Allow-Origin": "*"}
    if method not in _SIMPLE_METHODS:
        headers["Access-Control-Allow-Methods"] = method
    if names:
        headers["Access-Control-Allow-Headers"] = ", ".join(names)
    return text_answer(200, headers=headers)

"""What a route is: enough to serve it, to guard it, and to document it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiohttp import web

from skydiver.api.access import Action

Permission: TypeAlias = tuple[str, Action]
"""Object and action."""
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Answer:
    """One way a route may answer."""

    description: str
    type: Any = None
    """Type of the JSON value; None = no JSON."""
    media_types: tuple[str, ...] = ("application/json",)


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    """Of the router's syntax, ``/api/capture/{id:.+}``."""
    handler: Handler
    summary: str
    answers: Mapping[int, Answer]
    """Errors that every route may give need no mention."""
    permission: Permission | None = None
    """None = any user that is known."""
    public: bool = False
    """True = nobody needs to be known."""
    body: Any = None
    """Type of the JSON value in the request."""
    form: tuple[str, ...] = ()
    """Fields of the form in the request."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Parameters after the ``?`` of the address, with what they mean."""
    upload: tuple[str, ...] = ()
    """Media types of the file that the request brings."""
    max_body_bytes: int | None = None
    """Of the request; None = what the application allows."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Request headers it reads, with what they mean."""

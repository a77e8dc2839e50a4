"""REST and WebSocket API for people, scripts and the UI."""

from skydiver.api.access import User
from skydiver.api.auth import (
    Authenticator,
    authenticator,
    cluster_authenticator,
    websocket_guard,
)
from skydiver.api.server import build_app, refuse_exposure, serve

__all__ = [
    "Authenticator",
    "User",
    "authenticator",
    "build_app",
    "cluster_authenticator",
    "refuse_exposure",
    "serve",
    "websocket_guard",
]

"""Who asks: back ends by name, tokens from where clients put them (api.md §3.2)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from aiohttp import web

from skydiver.api.access import ADMIN, EVERYBODY, User
from skydiver.api.answers import failure
from skydiver.api.origins import Origins
from skydiver.api.passwords import matches, read_htpasswd
from skydiver.base.errors import ConfigError
from skydiver.base.settings import AuthSettings, Settings

log = logging.getLogger(__name__)

READ_ONLY_PATH = "/ws/subscriber"
"""The WebSocket endpoint whose messages change nothing."""
REMEMBERED = 1_000
REMEMBER_S = 300.0
"""How long a password that was right is not hashed again."""
_MAX_TOKEN = 4_096


class Authenticator(Protocol):
    """Knows users by the token that a request carries, or by name and password."""

    open: bool
    """True when it lets everybody in."""

    async def user(self, request: web.Request) -> User:
        """Who sent `request`; raises `HTTPUnauthorized`."""
        ...

    async def login(self, name: str, password: str) -> tuple[User, str]:
        """The user and the token for later requests; raises `HTTPUnauthorized`."""
        ...


class NoAuthentication:
    """Everybody is the administrator."""

    open = True

    async def user(self, request: web.Request) -> User:
        return EVERYBODY

    async def login(self, name: str, password: str) -> tuple[User, str]:
        return EVERYBODY, ""


class BasicAuthentication:
    """Names and passwords from the settings or from a file of htpasswd.

    A hash may take a second to check by design, so that happens in one thread of its own, one at a
    time, and what was right is remembered for some minutes as a keyed digest.
    """

    open = False

    def __init__(self, users: Mapping[str, str], file: str, role: str) -> None:
        """`users` are names in lower case and passwords; `file` may be empty."""
        self._users = users
        self._file = file
        self._role = role
        self._hashes: Mapping[str, str] = read_htpasswd(file) if file else {}
        self._stamp = self._file_stamp()
        self._thread = ThreadPoolExecutor(1, "passwords")
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, tuple[User, float]] = OrderedDict()

    async def user(self, request: web.Request) -> User:
        token = _token(request)
        if token is None:
            raise failure(401, "No credentials provided")
        # `Basic dTpw`, or the token alone.
        encoded = token.rpartition(" ")[2]
        if len(encoded) > _MAX_TOKEN:
            raise failure(401, "Wrong credentials")
        digest = hmac.digest(self._key, encoded.encode("utf-8", "surrogateescape"), "sha256")
        self._follow_file()
        known = self._known.get(digest)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            raise failure(401, "Wrong credentials") from None
        name, colon, password = text.partition(":")
        if not colon:
            raise failure(401, "Wrong credentials")
        user = await self._check(name, password)
        self._known[digest] = (user, time.monotonic() + REMEMBER_S)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return user

    async def login(self, name: str, password: str) -> tuple[User, str]:
        self._follow_file()
        user = await self._check(name, password)
        return user, base64.b64encode(f"{name}:{password}".encode()).decode()

    async def _check(self, name: str, password: str) -> User:
        if not await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(self._right, name, password)
        ):
            raise failure(401, "Wrong credentials")
        return User(name, ADMIN if name == ADMIN else self._role)

    def _right(self, name: str, password: str) -> bool:
        hashed = self._hashes.get(name)
        if hashed is not None:
            return matches(password, hashed)
        expected = self._users.get(name.lower())
        # Digests, so that neither length nor content of the right one shows in the time taken.
        given = hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()
        wanted = hashlib.sha256((expected or "").encode()).digest()
        return hmac.compare_digest(given, wanted) and expected is not None

    def _follow_file(self) -> None:
        """Read the file again when it changed; a broken one leaves what was known."""
        if not self._file or (stamp := self._file_stamp()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._hashes = read_htpasswd(self._file)
        except ConfigError as error:
            log.error("%s; users stay as they were", error)
        self._known.clear()

    def _file_stamp(self) -> tuple[int, int, int]:
        if not self._file:
            return 0, 0, 0
        try:
            status = os.stat(self._file)
        except OSError:
            return 0, 0, 0
        return status.st_mtime_ns, status.st_ino, status.st_size


class _AsAdmin:
    """Users of another back end, all of them administrators: peers of a cluster."""

    def __init__(self, inner: Authenticator) -> None:
        self.open = inner.open
        self._inner = inner

    async def user(self, request: web.Request) -> User:
        return User((await self._inner.user(request)).name, ADMIN)

    async def login(self, name: str, password: str) -> tuple[User, str]:
        user, token = await self._inner.login(name, password)
        return User(user.name, ADMIN), token


def authenticator(settings: Settings, backend: str, key: str) -> Authenticator:
    """The back end called `backend`; `key` is the setting that names it, for messages."""
    section = settings.auth.get(backend.lower())
    if section is None:
        raise ConfigError(
            f"{key}: no section auth.{backend}; expected one of {', '.join(sorted(settings.auth))}"
        )
    match section.type.lower():
        case "noauth":
            return NoAuthentication()
        case "basic":
            return _basic(section, f"auth.{backend}")
        case other:
            raise ConfigError(
                f"auth.{backend}.type: expected noauth or basic, got {other or 'nothing'!r}"
            )


def cluster_authenticator(settings: Settings) -> Authenticator:
    """The back end for agents and analyzers that connect to an analyzer."""
    key = "analyzer.auth.cluster.backend"
    return _AsAdmin(authenticator(settings, settings.analyzer.auth.cluster.backend, key))


def websocket_guard(
    of: Authenticator, origins: Origins
) -> Callable[[web.Request], Awaitable[User]]:
    """What lets a WebSocket request pass: 401 for strangers, 403 for those who may not.

    Without authentication a web page of another machine may follow the graph, as it may read it
    over HTTP, but must not publish.
    """

    async def guard(request: web.Request) -> User:
        user = await of.user(request)
        if of.open:
            origins.refuse_rebound(request)
            if request.path != READ_ONLY_PATH:
                origins.refuse_foreign(request)
        if not user.may_connect(request.path):
            raise failure(403, f"{user.name!r} may not connect to {request.path}")
        return user

    return guard


def _basic(section: AuthSettings, key: str) -> BasicAuthentication:
    if not section.users and not section.file:
        raise ConfigError(f"{key}: expected users or the name of a password file under file")
    if section.role not in {"admin", "guest"}:
        raise ConfigError(f"{key}.role: expected admin or guest, got {section.role!r}")
    return BasicAuthentication(section.users, section.file, section.role)


def _token(request: web.Request) -> str | None:
    """Where clients put it, first match wins."""
    if "Cookie" in request.headers:
        cookie = request.cookies.get("authtoken")
        if cookie:
            return cookie
    headers = request.headers
    return (
        headers.get("Authorization")
        or headers.get("X-Auth-Token")
        or request.query.get("x-auth-token")
        or None
    )

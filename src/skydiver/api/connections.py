"""What meets bytes that are no HTTP request: one line of text, and the connection is closed.

aiohttp answers them before any middleware, with a page that repeats what came. Here the answer
says what was wrong and what was expected and repeats nothing. Whoever wrote is let finish for a
while, since closing with unread bytes would take the answer back (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import http_exceptions as wrong
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from skydiver.api.answers import text_answer
from skydiver.base.losses import Losses, LossReason

LOSSES = web.AppKey("losses", Losses)
"""Where an application counts what it could not read."""
PART = "api"
"""Name in the loss counters."""

LINGER_S = 5.0
"""How long the rest of what was refused is read, so that its sender hears why."""

_EXPECTED = "expected an HTTP/1.1 request"


class Runner(web.AppRunner):
    """Runs an application whose connections are `_Connection`."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        losses = self.app.get(LOSSES) or Losses()
        return _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            connection=lambda server: _Connection(
                server, losses, loop=asyncio.get_running_loop(), **made._kwargs
            ),
        )


class _Server(web.Server):
    def __init__(self, *args: Any, connection: Callable[[web.Server], _Connection], **kw: Any):
        super().__init__(*args, **kw)
        self._connection = connection

    def __call__(self) -> RequestHandler:
        return self._connection(self)


class _Connection(RequestHandler):
    """One connection of a client."""

    def __init__(self, server: web.Server, losses: Losses, **kw: Any) -> None:
        super().__init__(server, **kw)
        self._losses = losses
        self._gone = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._gone.set()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """One line for what is no request, and for what a handler let through."""
        if not isinstance(exc, wrong.HttpProcessingError):
            answer = super().handle_error(request, status, exc, message)  # logs it
            text = "internal error, which the log explains" if status == 500 else "no answer yet"
            answer = text_answer(answer.status, text)
        else:
            self._losses.add(PART, LossReason.DECODE)
            self.logger.debug("%s sent no HTTP request: %s", request.remote, type(exc).__name__)
            answer = text_answer(400, f"{what_was_wrong(exc)}; {_EXPECTED}")
        answer.force_close()
        return answer

    def _make_error_handler(
        self, err_info: Any
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            answer = self.handle_error(request, err_info.status, err_info.exc, err_info.message)
            await answer.prepare(request)
            await answer.write_eof()
            self.close()  # from here on what arrives is read and thrown away
            if self.transport is not None and self.transport.can_write_eof():
                self.transport.write_eof()
            try:
                async with asyncio.timeout(LINGER_S):
                    await self._gone.wait()
            except TimeoutError:
                self.force_close()
            return answer

        return handler


def what_was_wrong(error: wrong.HttpProcessingError) -> str:
    """The fault in words, without what was sent."""
    if isinstance(error, wrong.LineTooLong):
        return f"the request line or a header is longer than {error.args[1]} bytes"
    if isinstance(error, wrong.BadHttpMethod) and "HTTPS" in error.message:
        return "this port does not speak TLS"
    if "PRI/Upgrade" in error.message:
        return "this port does not speak HTTP/2"
    # The parser's words for the kind of fault, then a blank line and the bytes.
    words, blank, _bytes = error.message.partition(":\n\n  b")
    fault = words.rpartition("\n")[2].strip()
    return f"not HTTP: {fault[:1].lower()}{fault[1:]}" if blank and fault else "not HTTP"


def http_log() -> logging.Logger:
    """aiohttp's log, where a peer that does not speak HTTP is one line and not a stack."""
    log = logging.getLogger("skydiver.api.http")
    if not any(isinstance(each, _NoStack) for each in log.filters):
        log.addFilter(_NoStack())
    return log


class _NoStack(logging.Filter):
    """Says what a peer does wrong in one line, and at most once a second."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = 0.0
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectionError):
            return False  # the client has left, which is its right
        if isinstance(error, (wrong.HttpProcessingError, TimeoutError)):
            now = time.monotonic()
            if now < self._next_at:
                self._left_out += 1
                return False
            self._next_at = now + 1.0
            more = f" (and {self._left_out} more before)" if self._left_out else ""
            self._left_out = 0
            record.msg = f"{record.getMessage()}: {' '.join(str(error).split())[:200]}{more}"
            record.args = ()
            record.exc_info = None
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

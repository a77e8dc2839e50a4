"""Log set-up: one line per event, to the places and from the levels that the settings name."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

from skydiver.base.errors import ConfigError

if TYPE_CHECKING:
    from skydiver.base.settings import LoggingOutput, LoggingSettings

LEVELS = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": logging.INFO,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}
_COLORS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31;1m"}


def set_up(*, service: str, level: str = "INFO", settings: LoggingSettings | None = None) -> None:
    """Configure the root logger of this process.

    `service` is ``agent``, ``analyzer`` or ``broker``; `level` a name of the original's levels.
    Without `settings` everything goes to standard error.
    """
    if settings is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Line(service))
        handlers = [handler]
    else:
        handlers = [_handler(backend, service, settings) for backend in settings.backends]
    logging.basicConfig(
        level=LEVELS.get(level.upper(), logging.INFO), handlers=handlers, force=True
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _handler(backend: str, service: str, settings: LoggingSettings) -> logging.Handler:
    output: LoggingOutput
    handler: logging.Handler
    colored = False
    match backend:
        case "file":
            output = settings.file
            try:
                # Appended to: analyzer and agent of one host may share the file.
                handler = logging.FileHandler(settings.file.path, encoding="utf-8")
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ConfigError(f"logging.file.path {settings.file.path}: {reason}") from error
        case "syslog":
            output = settings.syslog
            handler = _syslog(settings)
        case _:
            output = settings.stdout if backend == "stdout" else settings.stderr
            stream = sys.stdout if backend == "stdout" else sys.stderr
            handler = logging.StreamHandler(stream)
            colored = settings.color and stream.isatty()
    if output.level:
        handler.setLevel(LEVELS[output.level])
    if (output.encoder or settings.encoder) == "json":
        handler.setFormatter(_Json(service))
    else:
        handler.setFormatter(_Line(service, colored=colored))
    return handler


def _syslog(settings: LoggingSettings) -> logging.Handler:
    import socket
    from logging.handlers import SysLogHandler

    syslog = settings.syslog
    where: str | tuple[str, int] = syslog.address
    kind = socket.SOCK_STREAM if syslog.protocol == "tcp" else socket.SOCK_DGRAM
    if syslog.protocol != "unixgram":
        host, _, port = syslog.address.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError(f"logging.syslog.address: expected host:port, got {syslog.address!r}")
        where = (host, int(port))
    try:
        handler = SysLogHandler(where, facility=SysLogHandler.LOG_DAEMON, socktype=kind)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"logging.syslog.address {syslog.address}: {reason}") from error
    handler.ident = f"{syslog.tag}: "
    return handler


class _Line(logging.Formatter):
    """Time, service, level, part of the program, message."""

    def __init__(self, service: str, *, colored: bool = False) -> None:
        super().__init__(
            f"%(asctime)s {service} %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        self._colored = colored

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        color = _COLORS.get(record.levelno) if self._colored else None
        return f"{color}{line}\x1b[0m" if color else line


class _Json(logging.Formatter):
    """One JSON object per line, for collectors."""

    def __init__(self, service: str) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S")
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": self.formatTime(record, self.datefmt),
            "service": self._service,
            "level": record.levelname,
            "part": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["stack"] = self.formatException(record.exc_info)
        return json.dumps(document)

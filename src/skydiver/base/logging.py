"""Log set-up: one line per event on standard error, level from the settings."""

from __future__ import annotations

import logging
import sys

LEVELS = {
    "CRITICAL": logging.CRITICAL,
    "ERROR": logging.ERROR,
    "WARNING": logging.WARNING,
    "NOTICE": logging.INFO,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
}


def set_up(*, service: str, level: str = "INFO") -> None:
    """Configure the root logger of this process.

    `service` is ``agent``, ``analyzer`` or ``broker``; `level` a name of the original's levels.
    """
    logging.basicConfig(
        level=LEVELS.get(level.upper(), logging.INFO),
        format=f"%(asctime)s {service} %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

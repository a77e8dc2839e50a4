"""Log set-up: one line per event on standard error, level from the settings."""

from __future__ import annotations

import logging
import sys


def set_up(*, service: str, debug: bool = False) -> None:
    """Configure the root logger of this process. `service` is ``agent``, ``analyzer``, ``broker``."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format=f"%(asctime)s {service} %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)

"""What can be known to be wrong before analyzer and agent of one host are started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from skydiver.base.errors import ConfigError, SkydiverError

if TYPE_CHECKING:
    from skydiver.base.settings import Settings

_LONGEST = 64 * 1024


def apart(check: Callable[[], None]) -> None:
    """Run `check` in a child process, and raise here what it found.

    It imports what analyzer and agent import, which the parent is better off without.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _tell(check, writing)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        found = pipe.read(_LONGEST).decode("utf-8", "replace")
    os.waitpid(child, 0)
    if found:
        raise ConfigError(found)


def _tell(check: Callable[[], None], writing: int) -> None:
    import logging

    logging.disable()  # warnings are said by the parts themselves
    try:
        check()
    except SkydiverError as error:
        os.write(writing, str(error).encode("utf-8", "replace")[:_LONGEST])
    except Exception as error:  # noqa: BLE001 - a bug, which the part itself shows in full
        os.write(writing, f"check of the settings: {type(error).__name__}: {error}".encode())


def check_agent(settings: Settings) -> None:
    """Raise `SkydiverError` when the agent would not start with these settings."""
    from skydiver.agent.agent import AUTH_KEY
    from skydiver.api import authenticator, refuse_exposure
    from skydiver.api.tls import client_context, server_context
    from skydiver.probes.supervisor import configured

    configured(settings.agent)
    server_context(settings.tls)
    client_context(settings.tls)
    access = authenticator(settings, settings.agent.auth.api.backend, AUTH_KEY)
    refuse_exposure("agent", settings, {AUTH_KEY: access})


def check_analyzer(settings: Settings, uid: int | None) -> None:
    """Raise `SkydiverError` when the analyzer would not start with these settings."""
    from skydiver import gremlin
    from skydiver.analyzer import privileges
    from skydiver.api import authenticator, cluster_authenticator, refuse_exposure
    from skydiver.base.errors import QueryError

    key, cluster_key = "analyzer.auth.api.backend", "analyzer.auth.cluster.backend"
    authenticators = {
        key: authenticator(settings, settings.analyzer.auth.api.backend, key),
        cluster_key: cluster_authenticator(settings),
    }
    refuse_exposure("analyzer", settings, authenticators)
    if settings.analyzer.startup.capture_gremlin:
        try:
            gremlin.parse(settings.analyzer.startup.capture_gremlin)
        except QueryError as error:
            raise ConfigError(f"analyzer.startup: {error}") from error
    privileges.prepare_folder(Path(settings.data_dir), privileges.wanted(uid))

"""Probes that other distributions install, as entry points of the group ``skydiver.probes``.

They run inside the agent and may do what it may do, but whatever goes wrong in one of them is one
line and ends this one only: the host and its interfaces are seen all the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from skydiver.base.errors import ConfigError, SkydiverError, Unavailable
from skydiver.base.ids import Origin
from skydiver.base.settings import AgentSettings, TopologySettings, is_own_topology_key
from skydiver.base.settings_plugins import installed
from skydiver.graph import Graph, Join
from skydiver.probes.probe import Context, Probe

log = logging.getLogger(__name__)

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
"""What a probe may be called: it is a key of the settings and part of their variables."""


class Plugin(Probe[None]):
    """An installed probe, kept from taking the agent with it."""

    def __init__(self, name: str, probe: Probe[Any] | None, *, error: str = "") -> None:
        super().__init__(None)
        # One class stands for all of them.
        self.name = name  # type: ignore[misc]
        self.joins = tuple(probe.joins) if probe else ()  # type: ignore[misc]
        self.error = error
        """Why it does not run; empty while it does."""
        self._probe = probe

    async def run(self, ctx: Context) -> None:
        if self._probe is None:
            return
        try:
            await self._probe.run(ctx)
        except Unavailable:
            raise
        except Exception as error:  # a bug of a plug-in costs the plug-in, not the agent
            if isinstance(error, ExceptionGroup) and error.split(Unavailable)[1] is None:
                raise
            self.error = f"ended by {_said(error)}"
            debug = log.isEnabledFor(logging.DEBUG)
            log.error("probe %s: %s; what it stated goes", self.name, self.error, exc_info=debug)
            with ctx.graph.resync():
                pass  # nobody keeps it true any more


def configured_plugin(name: str, settings: AgentSettings) -> Plugin:
    """The probe of this name with its settings; one that does not run says why in the log."""
    try:
        probe = load_installed(name).from_settings(settings)
        if not all(isinstance(join, Join) for join in probe.joins):
            raise ConfigError(f"probe {name}: its joins are not of the class Join")
        # What is wrong inside one shows here, and not when the agent's own graph takes it.
        Graph(host="", origin=Origin("")).add_joins(probe.joins)
        return Plugin(name, probe)
    except ConfigError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 (its constructor is code of others, too)
        said = f"probe {name}: {_said(error)}"
    log.error("%s; the agent goes on without it", said)
    return Plugin(name, None, error=said)


def load_installed(name: str) -> type[Probe[Any]]:
    """The class of an installed probe; `ConfigError` says in one line why there is none."""
    entries = installed().get(name, [])
    if not entries:
        raise ConfigError(f"no probe {name!r} is installed")
    if is_own_topology_key(name) or hasattr(TopologySettings, name) or not NAME.fullmatch(name):
        raise ConfigError(
            f"{described(entries[0], name)}: its name is not one that a probe may have"
        )
    if len(entries) > 1:
        sources = " and ".join(source(entry) for entry in entries)
        raise ConfigError(f"probe {name}: installed by {sources}; remove all but one")
    return _loaded(entries[0], name)


def _loaded(entry: EntryPoint, name: str) -> type[Probe[Any]]:
    try:
        value = entry.load()
    except (Exception, SystemExit) as error:  # code of others runs here
        raise ConfigError(f"{described(entry, name)}: cannot be loaded: {_said(error)}") from error
    candidates: Iterable[Any] = (
        value.__dict__.values() if isinstance(value, ModuleType) else (value,)
    )
    found = probe_of(candidates, name)
    if found is None:
        raise ConfigError(
            f"{described(entry, name)}: {entry.value} is no class derived from "
            f"skydiver.probes.probe.Probe with the name {name!r}"
        )
    return found


def probe_of(values: Iterable[Any], name: str) -> type[Probe[Any]] | None:
    """The probe called `name` among some values."""
    for value in values:
        if (
            isinstance(value, type)
            and issubclass(value, Probe)
            and value.__dict__.get("name") == name
        ):
            return value
    return None


def described(entry: EntryPoint, name: str) -> str:
    """The probe for a message: its name and who installed it."""
    return f"probe {name} of {source(entry)}"


def source(entry: EntryPoint) -> str:
    """The distribution that installed it."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def _said(error: BaseException) -> str:
    """An error that nobody expected, in one line, with the place where it was raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = " ".join(str(error).split())[:300]
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    if isinstance(error, SkydiverError):
        said = words
    frames: Sequence[Any] = extract_tb(error.__traceback__)
    return f"{said} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else said

"""What a topology probe is: it states facts about its own nodes, and runs until it is cancelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, get_args, get_origin

from skydiver.base.clock import ClockMs
from skydiver.base.errors import ConfigError
from skydiver.base.losses import Losses
from skydiver.base.settings import AgentSettings
from skydiver.base.settings_plugins import PARENT, PluginSection
from skydiver.broker.client import Broker
from skydiver.broker.namespaces import Namespaces
from skydiver.graph import Join, Writer

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class Context:
    """What a probe works with."""

    graph: Writer
    """Its own statements; those of other probes about the same node are not touched."""
    broker: Broker
    namespaces: Namespaces
    host_id: str
    clock_ms: ClockMs
    losses: Losses


class Probe(ABC, Generic[Config]):
    """One source of topology. Watch first, then list inside `resync`, then follow."""

    name: ClassVar[str]
    """As the user writes it."""
    joins: ClassVar[Sequence[Join]] = ()
    """Edges between its nodes and those of others; the graph makes them in any order of arrival."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def from_settings(cls, settings: AgentSettings) -> Self:
        """With its section of the settings, which is ``agent.topology.<name>``.

        The settings know the sections of our own probes; that of another is read here, as the
        dataclass that it names as ``Probe[Config]``.
        """
        section: Any = getattr(settings.topology, cls.name, None)
        if section is not None:
            return cls(section)
        written = settings.topology.plugins.get(cls.name) or PluginSection(f"{PARENT}{cls.name}")
        config: Any = _config_type(cls)
        if config is type(None):
            if written.written:
                raise ConfigError(f"{written.where}: {written.key}: this probe takes no settings")
            return cls(cast(Any, None))
        return cls(written.read(config))

    @abstractmethod
    async def run(self, ctx: Context) -> None:
        """State facts until cancelled. `Unavailable` means: try again later.

        To return means that all has been said.
        """


def _config_type(of: type[Any]) -> Any:
    for cls in of.__mro__:
        for base in getattr(cls, "__orig_bases__", ()):
            if get_origin(base) is Probe:
                return type(None) if get_args(base)[0] is None else get_args(base)[0]
    raise ConfigError(f"{of.__qualname__}: expected a class derived from Probe[its settings]")

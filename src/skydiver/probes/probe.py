"""What a topology probe is: it states facts about its own nodes, and runs until it is cancelled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

from skydiver.base.clock import ClockMs
from skydiver.base.losses import Losses
from skydiver.base.settings import AgentSettings
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
        """With its section of the settings, which is ``agent.topology.<name>``."""
        section: Any = getattr(settings.topology, cls.name)
        return cls(section)

    @abstractmethod
    async def run(self, ctx: Context) -> None:
        """State facts until cancelled. `Unavailable` means: try again later.

        To return means that all has been said.
        """

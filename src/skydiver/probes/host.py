"""Host probe: the root of everything that an agent sees.

Reads:  the name of the system, and the settings.
Writes: one node of type ``host``; keys ``Name``, ``Hostname`` and those of ``agent.metadata``.
Joins:  none; the other probes hang what they see below it.
Needs:  nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from skydiver.base.settings import AgentSettings
from skydiver.graph import NodeSpec
from skydiver.probes.probe import Context, Probe
from skydiver.topology import NodeType, host_node_id


@dataclass(frozen=True, slots=True)
class Config:
    """Settings under ``agent``."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Put into the node as they are; they may replace what the probe itself says."""


class HostProbe(Probe[Config]):
    name = "host"

    @classmethod
    def from_settings(cls, settings: AgentSettings) -> Self:
        return cls(Config(metadata=settings.metadata))

    async def run(self, ctx: Context) -> None:
        with ctx.graph.resync() as snapshot:
            snapshot.upsert(
                host_node(ctx.host_id, hostname=socket.gethostname(), extra=self.config.metadata)
            )


def host_node(host_id: str, *, hostname: str, extra: Mapping[str, Any]) -> NodeSpec:
    """The node of the host; dots in the keys of `extra` make objects."""
    metadata = {"Name": host_id, "Type": NodeType.HOST.value, "Hostname": hostname}
    return NodeSpec(id=host_node_id(host_id), metadata={**metadata, **nested(extra)})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Objects in place of dotted keys, at every depth; what would have to be two things at once
    keeps the first. None becomes the empty text."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            value = nested(value)
        place = out
        *parents, last = str(key).split(".")
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                break
            place = inner
        else:
            place[last] = _merged(place.get(last), "" if value is None else value)
    return out


def _merged(former: Any, value: Any) -> Any:
    return {**former, **value} if isinstance(former, dict) and isinstance(value, dict) else value

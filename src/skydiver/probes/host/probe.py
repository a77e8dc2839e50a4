"""The probe: the name of the host, what the settings say of it, and values of its files."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Self

from skydiver.base.settings import AgentSettings, MetadataFile
from skydiver.graph import NodeSpec
from skydiver.probes.host.watcher import ConfigFiles
from skydiver.probes.probe import Context, Probe
from skydiver.topology import NodeType, host_node_id


@dataclass(frozen=True, slots=True)
class Config:
    """Settings under ``agent``."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Put into the node as they are; they may replace what the probe itself says."""
    files: Sequence[MetadataFile] = ()
    """Values of files, for ``Config``."""


class HostProbe(Probe[Config]):
    name = "host"

    @classmethod
    def from_settings(cls, settings: AgentSettings) -> Self:
        return cls(Config(settings.metadata, settings.metadata_config.files))

    async def run(self, ctx: Context) -> None:
        async with aclosing(ConfigFiles(self.config.files).changes()) as changes:
            async for values in changes:
                config = {f"Config.{name}": value for name, value in values.items()}
                ctx.graph.upsert(
                    host_node(
                        ctx.host_id,
                        hostname=socket.gethostname(),
                        extra={**self.config.metadata, **config},
                    )
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

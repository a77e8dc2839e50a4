"""``/api``, ``/api/status`` and ``/api/config``: what runs, how it is, and how it is set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from aiohttp import web

from skydiver import __version__
from skydiver.api.answers import json_answer
from skydiver.api.models import AgentStatus, AnalyzerStatus, Info
from skydiver.api.routes import Answer, Route
from skydiver.base.losses import Losses
from skydiver.base.settings import Settings

Service: TypeAlias = Literal["analyzer", "agent"]


class Status:
    """What a process says of itself."""

    def __init__(
        self,
        service: Service,
        settings: Settings,
        losses: Losses,
        parts: Callable[[], Mapping[str, Any]],
        missing: Callable[[], Sequence[str]],
    ) -> None:
        """`parts` is the status of hub, probes and captures (api.md §3.12), `missing` what the
        process lacks, in words."""
        self._service = service
        self._settings = settings
        self._losses = losses
        self.parts = parts
        self._missing = missing

    def routes(self) -> Sequence[Route]:
        document = AnalyzerStatus if self._service == "analyzer" else AgentStatus
        return (
            Route(
                "GET",
                "/api",
                self._info,
                "Which program answers",
                {200: Answer("Host, version and service", Info)},
            ),
            Route(
                "GET",
                "/api/status",
                self._status,
                "Peers, probes, and what was lost or is missing",
                {200: Answer("The status", document)},
                permission=("status", "read"),
            ),
            Route(
                "GET",
                "/api/config/{key:(?s:.+)}",
                self._config,
                "A setting by its dotted key, or all below a section; secrets are masked",
                {200: Answer("The value; an empty text when there is none", Any)},
                permission=("config", "read"),
            ),
        )

    async def _info(self, request: web.Request) -> web.Response:
        return json_answer(
            {"Host": self._settings.host_id, "Version": __version__, "Service": self._service}
        )

    async def _status(self, request: web.Request) -> web.Response:
        return json_answer(
            {
                **self.parts(),
                "Losses": self._losses.as_json(),
                "Missing": list(self._missing()),
            }
        )

    async def _config(self, request: web.Request) -> web.Response:
        return json_answer(self._settings.get(request.match_info["key"]))

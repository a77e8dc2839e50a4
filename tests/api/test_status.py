"""What a process says of itself."""

from __future__ import annotations

import pytest
from tests.api.conftest import Api, Start

from skydiver import __version__
from skydiver.base.losses import LossReason


async def test_the_program_names_itself(api: Api) -> None:
    """`allinone` waits for this answer; clients check the version."""
    answer = await api.ask("GET", "/api")
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/json; charset=UTF-8"
    assert answer.json == {"Host": "h1", "Version": __version__, "Service": "analyzer"}
    assert answer.body.endswith(b"\n")


async def test_status_is_what_the_parts_say_and_what_was_lost(start: Start) -> None:
    """Every drop is visible to whoever asks (principle 1)."""
    status = {"Agents": {"h2": {"IsConnected": True}}, "Captures": {"IsMaster": True}}
    async with start(status=lambda: status, missing=lambda: ["CAP_NET_RAW: no captures"]) as api:
        api.losses.add("hub.subscriber", LossReason.QUEUE_FULL, 3)
        assert (await api.ask("GET", "/api/status")).json == {
            **status,
            "Losses": {"hub.subscriber": {"queue_full": 3}},
            "Missing": ["CAP_NET_RAW: no captures"],
        }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("analyzer.listen", "127.0.0.1:8082"),
        ("ANALYZER.Listen", "127.0.0.1:8082"),
        ("flow.update", 60),
        ("agent.topology.probes", []),
        ("no.such.key", ""),
        ("auth.basic.users", {"bob": "********"}),
        ("a/b/../c", ""),
    ],
)
async def test_settings_are_read_by_their_key(start: Start, key: str, value: object) -> None:
    """Unknown ones are empty with 200, as in the original; secrets are masked (defect 28)."""
    async with start({"auth.basic.users": {"bob": "secret"}}) as api:
        answer = await api.ask("GET", f"/api/config/{key}")
        assert (answer.status, answer.json) == (200, value)

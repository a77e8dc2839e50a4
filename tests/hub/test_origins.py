"""The ledger of origins, against a clock of its own."""

from skydiver.base.ids import Origin
from skydiver.hub.origins import MemoryOrigins

AGENT = Origin("agent.h1")


async def test_an_origin_is_silent_only_after_the_whole_time() -> None:
    """Deleting a living host's elements would be worse than keeping a dead one's a little."""
    now = 100.0
    origins = MemoryOrigins(lambda: now)
    await origins.heard(AGENT)
    now = 135.0
    assert await origins.silent_for(35) == []
    now = 135.1
    assert await origins.silent_for(35) == [AGENT]
    await origins.heard(AGENT)
    assert await origins.silent_for(35) == []


async def test_an_origin_is_known_until_it_is_forgotten() -> None:
    """Its host is expected to have flow tables as long."""
    origins = MemoryOrigins(lambda: 0.0)
    assert not origins.knows(AGENT)
    await origins.heard(AGENT)
    assert origins.knows(AGENT)
    await origins.forget(AGENT)
    assert not origins.knows(AGENT)
    await origins.forget(AGENT)

"""The times of the hub that follow from others."""

from skydiver.hub.settings import HubSettings


def test_the_deadlines_follow_from_ping_and_pong() -> None:
    """7 s and 35 s by default, as the original's (api.md §2.22)."""
    settings = HubSettings()
    assert settings.read_deadline_s == 7
    assert settings.origin_expiry_s == 35

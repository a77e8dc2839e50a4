"""The built-in policy: administrators do everything, guests look."""

from __future__ import annotations

import pytest

from skydiver.api.access import Action, User


@pytest.mark.parametrize(
    ("what", "action", "admin", "guest"),
    [
        ("topology", "read", True, True),
        ("status", "read", True, True),
        ("capture", "read", True, False),
        ("capture", "write", True, False),
        ("config", "read", True, False),
        ("topology", "write", True, False),
    ],
)
def test_roles_allow_what_the_original_allows(
    what: str, action: Action, admin: bool, guest: bool
) -> None:
    """The table of api.md §3.3; a role that nobody defined allows nothing."""
    assert User("a", "admin").may(what, action) is admin
    assert User("g", "guest").may(what, action) is guest
    assert User("x", "other").may(what, action) is False


def test_guests_may_follow_the_graph_and_not_write_to_it() -> None:
    """Subscribers read, publishers and agents write."""
    guest = User("g", "guest")
    assert guest.may_connect("/ws/subscriber")
    assert not guest.may_connect("/ws/publisher")
    assert not guest.may_connect("/ws/agent/topology")
    assert User("a", "admin").may_connect("/ws/agent/topology")
    assert not User("x", "other").may_connect("/ws/subscriber")


def test_permissions_name_every_object_once_per_action() -> None:
    """User interfaces decide by this list what to show."""
    listed = list(User("g", "guest").permissions())
    assert ("topology", "read", True) in listed
    assert ("capture", "write", False) in listed
    assert len({(what, action) for what, action, _ in listed}) == len(listed)

"""Who may do what: the original's built-in policy (api.md §3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Action: TypeAlias = Literal["read", "write"]

ADMIN = "admin"
GUEST = "guest"

_OBJECTS: tuple[tuple[str, tuple[Action, ...]], ...] = (
    ("capture", ("read", "write")),
    ("config", ("read",)),
    ("pcap", ("write",)),
    ("status", ("read",)),
    ("topology", ("read",)),
)
"""What the API serves, and what can be done with it."""

_GUEST_READS = frozenset({"status", "topology"})
_GUEST_SOCKETS = frozenset({"/ws/subscriber"})


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    role: str

    def may(self, what: str, action: Action) -> bool:
        """True when the role allows `action` on `what`; a role without a policy allows nothing."""
        if self.role == ADMIN:
            return True
        return self.role == GUEST and action == "read" and what in _GUEST_READS

    def may_connect(self, path: str) -> bool:
        """True when the role allows the WebSocket endpoint at `path`."""
        return self.role == ADMIN or (self.role == GUEST and path in _GUEST_SOCKETS)

    def permissions(self) -> Iterator[tuple[str, Action, bool]]:
        """Object, action, allowed: as the login tells them to user interfaces."""
        for what, actions in _OBJECTS:
            for action in actions:
                yield what, action, self.may(what, action)


EVERYBODY = User("admin", ADMIN)
"""Who asks where no authentication is set up."""

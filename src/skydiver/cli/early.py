"""What must happen before anything else is imported: the agent forks its broker.

The broker keeps the capabilities, so it is to hold as little code as can be, and its own imports
overlap with those of the agent.
"""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from skydiver.broker.client import Broker

_TAKES_A_VALUE = frozenset({"-c", "--conf", "-b", "--config-backend"})
_broker: Broker | None = None


def fork_broker_for(words: Sequence[str]) -> None:
    """Fork the broker when the command line runs the agent."""
    global _broker
    if command(words) == "agent" and not {"-h", "--help"} & set(words):
        from skydiver.broker import fork_broker

        _broker = fork_broker()


def command(words: Sequence[str]) -> str:
    """The first word that is neither an option nor the value of one."""
    following = False
    for word in words:
        if following:
            following = False
        elif word in _TAKES_A_VALUE:
            following = True
        elif not word.startswith("-"):
            return word
    return ""


def forked_broker() -> Broker:
    """The broker that was forked early, or one forked now."""
    if _broker is not None:
        return _broker
    from skydiver.broker import fork_broker

    return fork_broker()

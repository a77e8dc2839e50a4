"""The agent's broker is forked before anything else is imported."""

import pytest

from skydiver.cli.early import command


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("agent", "agent"),
        ("--verbose -c agent.yml agent --listen :1", "agent"),
        ("--conf agent client status", "client"),
        ("--conf=agent version", "version"),
        ("", ""),
    ],
)
def test_the_command_is_found_among_options(line: str, expected: str) -> None:
    """A file called agent must not fork a broker, and an option before it must not prevent it."""
    assert command(line.split()) == expected

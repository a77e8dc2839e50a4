"""The group `skydive client`."""

from typing import Any


def test_help_names_every_command(skydive: Any) -> None:
    """A user who does not know the commands finds them."""
    shown = skydive("client", "--help").stdout
    for command in ("query", "status", "topology", "capture"):
        assert command in shown


def test_no_command_shows_the_help(skydive: Any) -> None:
    """As the original does."""
    done = skydive("client")
    assert (done.returncode, "capture" in done.stdout) == (0, True)

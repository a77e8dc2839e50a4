"""What reaches the terminal is harmless; what reaches a pipe is the original's JSON."""

import pytest

from skydiver.cli import output


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("tap0", "tap0"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\x0ab"),
        ("größe", "größe"),
        ("\u202eabc", "\\x202eabc"),
        (None, ""),
        (True, "true"),
        (5, "5"),
        (["a", 1, None], "a, 1, "),
        ({"a": "\x1b"}, '{"a":"\\u001b"}'),
        ([{"a": 1}], '[{"a":1}]'),
    ],
)
def test_text_of_strangers_cannot_steer_the_terminal(value: object, shown: str) -> None:
    """Names of interfaces and containers are chosen by whoever made them."""
    assert output.clean(value) == shown


def test_results_of_queries_are_indented_by_tabs(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As the original prints them; text that looks like indentation stays."""
    output.print_json([{"a": "  x\n  y", "b": []}], tabs=True)
    assert capfdbinary.readouterr().out == b'[\n\t{\n\t\t"a": "  x\\n  y",\n\t\t"b": []\n\t}\n]\n'


def test_other_json_is_indented_by_two_spaces(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As the original prints resources and status."""
    output.print_json({"a": {"b": 1}})
    assert capfdbinary.readouterr().out == b'{\n  "a": {\n    "b": 1\n  }\n}\n'

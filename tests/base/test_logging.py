"""Where log lines go, and what they look like."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.errors import ConfigError
from skydiver.base.logging import set_up
from skydiver.base.settings import load_settings


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def start(level: str = "INFO", **overrides: Any) -> None:
    given = {f"logging.{key.replace('__', '.')}": value for key, value in overrides.items()}
    set_up(service="agent", level=level, settings=load_settings([], given, {}).logging)


def test_lines_go_to_standard_error_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Where service managers collect them."""
    set_up(service="agent")
    logging.getLogger("skydiver.x").info("hello")
    logging.getLogger("skydiver.x").debug("not this")
    line = capsys.readouterr().err
    assert line.endswith(" agent INFO skydiver.x: hello\n")
    assert line.count("\n") == 1


def test_several_places_each_have_their_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything to a file, trouble to the terminal."""
    file = tmp_path / "log"
    start("DEBUG", backends=["file", "stdout"], file__path=str(file), stdout__level="error")
    logging.getLogger("x").debug("detail")
    logging.getLogger("x").error("trouble")
    assert capsys.readouterr().out.endswith("ERROR x: trouble\n")
    assert [line.split(": ")[1] for line in file.read_text().splitlines()] == ["detail", "trouble"]


def test_a_file_is_added_to(tmp_path: Path) -> None:
    """A restart must not erase why it was needed."""
    file = tmp_path / "log"
    file.write_text("before\n")
    start(backends="file", file__path=str(file))
    logging.getLogger("x").info("after")
    assert len(file.read_text().splitlines()) == 2


def test_collectors_get_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Also with a stack, which has lines of its own."""
    start(encoder="json")
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("part").exception("a\nb")
    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert (document["service"], document["level"], document["part"], document["message"]) == (
        "agent", "ERROR", "part", "a\nb",
    )  # fmt: skip
    assert "ValueError: x" in document["stack"]


def test_syslog_gets_the_tag(tmp_path: Path) -> None:
    """As the original sends it to the local socket."""
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        start(backends="syslog", syslog__address=str(path), syslog__tag="sky")
        logging.getLogger("x").warning("hello")
        receiver.settimeout(10)
        assert b"sky: " in receiver.recv(1000)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"backends": "file", "file__path": "/no/such/folder/log"},
         "logging.file.path /no/such/folder/log: no such file or directory"),
        ({"backends": "syslog", "syslog__protocol": "udp", "syslog__address": "nowhere"},
         "logging.syslog.address: expected host:port, got 'nowhere'"),
    ],
)  # fmt: skip
def test_a_place_that_cannot_be_used_is_named(overrides: dict[str, Any], message: str) -> None:
    """Before anything else is started."""
    with pytest.raises(ConfigError) as raised:
        start(**overrides)
    assert str(raised.value) == message

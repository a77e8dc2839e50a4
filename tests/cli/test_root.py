"""The program `skydive` itself."""

import signal
import socket
import subprocess
import sys
from typing import Any


def test_help_names_every_command(skydive: Any) -> None:
    """The first thing that anybody types; the word help means the same."""
    shown = skydive("--help").stdout
    for command in ("allinone", "analyzer", "agent", "client", "version", "completion"):
        assert command in shown
    assert skydive("help").stdout == shown == skydive().stdout


def test_the_words_of_the_original_are_printed_for_the_version(skydive: Any) -> None:
    """Scripts cut the third word."""
    assert skydive("version").stdout.split()[:2] == [
        "skydive",
        "github.com/skydive-project/skydive",
    ]


def test_an_unknown_command_is_one_line(skydive: Any) -> None:
    """With the status of every error, 1."""
    done = skydive("frobnicate")
    assert (done.returncode, done.stderr) == (
        1, "skydive: no such command 'frobnicate'; see 'skydive --help'\n"
    )  # fmt: skip


def test_control_c_is_quiet() -> None:
    """A user who interrupts knows that they did."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-m", "skydiver.cli", "client", "status", "--analyzer", address],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "")

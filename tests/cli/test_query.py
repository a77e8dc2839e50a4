"""`skydive client query`, run as a user runs it."""

import json
import os
import pty
import subprocess
import sys
from base64 import b64encode
from typing import Any

import pytest

NODES = [{"ID": "n1", "Metadata": {"Name": "br0", "Type": "bridge"}, "Host": "h",
          "Origin": "agent.h", "CreatedAt": 1, "UpdatedAt": 1, "DeletedAt": None,
          "Revision": 1}]  # fmt: skip


def test_a_pipe_gets_the_members_of_the_original(analyzer: Any, skydive: Any) -> None:
    """Scripts written for the original go on working."""
    analyzer.answers["G.V().Has('Name','br0')"] = NODES
    done = skydive("client", "query", "G.V().Has('Name','br0')", SKYDIVE_ANALYZER=analyzer.address)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == NODES
    assert done.stdout.startswith('[\n\t{\n\t\t"ID": "n1",')


def test_a_terminal_gets_a_table(analyzer: Any) -> None:
    """Nobody reads pages of JSON."""
    analyzer.answers["G.V()"] = NODES
    parent, child = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "skydiver.cli", "client", "query", "G.V()"],
        env={**os.environ, "SKYDIVE_ANALYZER": analyzer.address, "TERM": "xterm", "COLUMNS": "100"},
        stdout=child,
    )
    os.close(child)
    shown = b""
    while True:
        try:
            shown += os.read(parent, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
    os.close(parent)
    assert done.wait(10) == 0
    assert b"br0" in shown
    assert b"\x1b[" in shown
    assert b'"ID"' not in shown


def test_a_table_may_be_asked_for_in_a_pipe(analyzer: Any, skydive: Any) -> None:
    """For mails and logs; without colour."""
    analyzer.answers["G.V()"] = NODES
    done = skydive("client", "query", "G.V()", "--format", "table", "--analyzer", analyzer.address)
    assert done.stdout.splitlines()[1].split() == ["br0", "bridge", "h"]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("format_", "accept", "content"),
    [
        ("dot", "text/vnd.graphviz", b"digraph g {}\n"),
        ("pcap", "application/vnd.tcpdump.pcap", b"\xd4\xc3\xb2\xa1\x00\xff"),
        ("pcapng", "application/x-pcapng", b"\x0a\x0d\x0d\x0a\x00\xff"),
    ],
)
def test_other_formats_are_passed_on_untouched(
    analyzer: Any, skydive: Any, format_: str, accept: str, content: bytes
) -> None:
    """They are for other programs."""
    analyzer.answers["G"] = content
    words = ("client", "query", "G", "--format", format_, "--analyzer", analyzer.address)
    assert skydive(*words, binary=True).stdout == content
    assert analyzer.seen[-1][2]["Accept"] == accept


def test_packets_that_a_pcap_file_has_no_room_for_are_told(analyzer: Any, skydive: Any) -> None:
    """Nothing is lost in silence; the file itself stays as it came."""
    analyzer.answers["G"], analyzer.left_out = b"\xd4\xc3", "3"
    words = ("client", "query", "G", "--format", "pcap", "--analyzer", analyzer.address)
    done = skydive(*words, binary=True)
    assert (done.returncode, done.stdout) == (0, b"\xd4\xc3")
    assert done.stderr == (
        b"skydive: 3 packets of another link type are left out; --format pcapng has room for all\n"
    )


def test_a_wrong_query_is_one_line_with_the_column(analyzer: Any, skydive: Any) -> None:
    """The user looks at the query, not at our source."""
    done = skydive("client", "query", "G.V(X", "--analyzer", analyzer.address)
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", "skydive: unexpected 'X' (column 7)\n"
    )  # fmt: skip


def test_flows_that_are_missing_from_an_answer_are_said(analyzer: Any, skydive: Any) -> None:
    """An empty answer must not look like an empty network."""
    analyzer.answers["G.Flows()"] = []
    analyzer.missing = "h2, h1"
    done = skydive("client", "query", "G.Flows()", "--analyzer", analyzer.address)
    assert (done.returncode, done.stdout) == (0, "[]\n")
    assert done.stderr == "skydive: flows of h1, h2 are missing from this answer\n"


def test_nobody_at_the_address_is_one_line_with_what_to_start(skydive: Any) -> None:
    """The first mistake of every new user."""
    done = skydive("client", "query", "G", SKYDIVE_ANALYZER="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr == (
        "skydive: no analyzer at 127.0.0.1:1 (connection refused); start one with "
        "'skydive allinone', or name another by --analyzer or SKYDIVE_ANALYZER\n"
    )


def test_credentials_are_sent_and_their_lack_is_said(analyzer: Any, skydive: Any) -> None:
    """An analyzer beyond loopback asks for them."""
    analyzer.password = b64encode(b"u:p").decode()
    analyzer.answers["G"] = []
    refused = skydive("client", "query", "G", SKYDIVE_ANALYZER=analyzer.address)
    assert refused.returncode == 1
    assert "refuses the credentials (Wrong credentials)" in refused.stderr
    variables = {"SKYDIVE_USERNAME": "u", "SKYDIVE_PASSWORD": "p"}
    done = skydive("client", "query", "G", SKYDIVE_ANALYZER=analyzer.address, **variables)
    assert (done.returncode, done.stdout) == (0, "[]\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["client", "query"], "missing argument 'GREMLIN'; see 'skydive client query --help'"),
        (["client", "query", "G", "--format", "xml"], "invalid value for '--format'"),
        (["client", "query", "G", "--nope"], "no such option: --nope"),
        (["client", "quary", "G"], "no such command 'quary'. Did you mean 'query'?"),
        (["client", "query", ""], "the query is empty"),
        (["client", "query", "G", "--analyzer", "x:y"], "address 'x:y': expected host:port"),
    ],
)
def test_a_wrong_line_is_one_line_and_status_1(skydive: Any, words: list[str], said: str) -> None:
    """The original's status for every error is 1."""
    done = skydive(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"skydive: {said}")


def test_a_reader_that_stops_early_is_no_error(analyzer: Any) -> None:
    """`skydive client query … | head -1` is an everyday line."""
    analyzer.answers["G.V()"] = NODES * 20_000
    command = (
        f"{sys.executable} -m skydiver.cli client query 'G.V()' | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "SKYDIVE_ANALYZER": analyzer.address},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("[\n0\n", "")

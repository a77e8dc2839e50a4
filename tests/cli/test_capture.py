"""`skydive client capture`, run as a user runs it."""

import json
from typing import Any

import pytest

TAPS = "G.V().Has('Name', Regex('^tap.*'))"


def body(analyzer: Any) -> dict[str, Any]:
    """What was sent last."""
    sent: dict[str, Any] = analyzer.seen[-1][3]
    return sent


def create(analyzer: Any, skydive: Any, *words: str) -> Any:
    return skydive("client", "capture", "create", *words, SKYDIVE_ANALYZER=analyzer.address)


def test_a_capture_is_created_with_the_defaults_of_the_original(
    analyzer: Any, skydive: Any
) -> None:
    """What is not said must mean the same as ever."""
    done = create(analyzer, skydive, "--gremlin", TAPS)
    assert json.loads(done.stdout)["UUID"] == "u0"
    assert body(analyzer) == {
        "GremlinQuery": TAPS, "Port": 0, "SamplingRate": 1, "PollingInterval": 10,
        "HeaderSize": 0, "RawPacketLimit": 0, "ExtraTCPMetric": False, "IPDefrag": False,
        "ReassembleTCP": False, "LayerKeyMode": "L2", "ExtraLayers": 0,
    }  # fmt: skip
    assert "X-Resource-TTL" not in analyzer.seen[-1][2]


def test_every_option_reaches_its_member(analyzer: Any, skydive: Any) -> None:
    """Documented options, one by one."""
    create(
        analyzer, skydive, "--node", "tid-1", "--bpf", "tcp port 80", "--name", "n",
        "--description", "d", "--type", "afpacket", "--port", "6343", "--samplingrate", "2",
        "--pollinginterval", "3", "--header-size", "128", "--rawpacket-limit", "4",
        "--extra-tcp-metric", "--ip-defrag", "--reassamble-tcp", "--layer-key-mode", "L3",
        "--extra-layer", "VRRP", "--extra-layer", "DHCPv4", "--target", "h:1",
        "--target-type", "netflowv5", "--ttl", "5000",
    )  # fmt: skip
    assert body(analyzer) == {
        "GremlinQuery": "G.V().Has('TID','tid-1')", "BPFFilter": "tcp port 80", "Name": "n",
        "Description": "d", "Type": "afpacket", "Port": 6343, "SamplingRate": 2,
        "PollingInterval": 3, "HeaderSize": 128, "RawPacketLimit": 4, "ExtraTCPMetric": True,
        "IPDefrag": True, "ReassembleTCP": True, "LayerKeyMode": "L3", "ExtraLayers": 5,
        "Target": "h:1", "TargetType": "netflowv5",
    }  # fmt: skip
    assert analyzer.seen[-1][2]["X-Resource-TTL"] == "5000ms"


@pytest.mark.parametrize(("found", "lines"), [([], 1), ([{"ID": "n"}], 0), (None, 0)])
def test_a_node_that_is_not_there_yet_is_said(
    analyzer: Any, skydive: Any, found: Any, lines: int
) -> None:
    """It may be a wish for later, or a typing error; only the user knows."""
    if found is not None:
        analyzer.answers["G.V().Has('TID','t')"] = found
    done = create(analyzer, skydive, "--node", "t")
    assert (done.returncode, json.loads(done.stdout)["UUID"]) == (0, "u0")
    line = "skydive: no node has this TID now; the capture starts when one appears\n"
    assert done.stderr == line * lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected either --gremlin or --node"),
        (["--gremlin", "G", "--node", "t"], "expected either --gremlin or --node"),
        (["--node", "a'b"], '"a\'b": expected no quotes'),
        (
            ["--gremlin", "G", "--extra-layer", "X"],
            "--extra-layer X: expected VRRP, DNS, DHCPv4, DHCPv6, TLS, HTTP, QUIC or NTP",
        ),
        (["--gremlin", "G", "--layer-key-mode", "L4"], "invalid value for '--layer-key-mode'"),
        (["--gremlin", "G", "--ttl", "-1"], "invalid value for '--ttl'"),
        (["--gremlin", "G", "--port", "many"], "invalid value for '--port'"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_sent(
    analyzer: Any, skydive: Any, words: list[str], said: str
) -> None:
    """One line that names the option."""
    done = create(analyzer, skydive, *words)
    assert (done.returncode, done.stderr.count("\n"), analyzer.seen) == (1, 1, [])
    assert done.stderr.startswith(f"skydive: {said}")


def test_a_duplicate_is_said(analyzer: Any, skydive: Any) -> None:
    """Repeating a line from the shell's history is normal."""
    create(analyzer, skydive, "--gremlin", TAPS)
    done = create(analyzer, skydive, "--gremlin", TAPS)
    assert (done.returncode, done.stderr) == (
        1,
        "skydive: creation of a capture: there is one like it already (duplicated resource)\n",
    )


def test_captures_are_listed_shown_and_ended(analyzer: Any, skydive: Any) -> None:
    """The life of a capture."""
    create(analyzer, skydive, "--gremlin", TAPS)
    environment = {"SKYDIVE_ANALYZER": analyzer.address}
    listed = skydive("client", "capture", "list", **environment)
    assert list(json.loads(listed.stdout)) == ["u0"]
    one = skydive("client", "capture", "get", "u0", **environment)
    assert json.loads(one.stdout)["GremlinQuery"] == TAPS
    ended = skydive("client", "capture", "delete", "u0", **environment)
    assert (ended.returncode, ended.stdout, analyzer.captures) == (0, "", {})


def test_the_table_counts_what_the_nodes_say(analyzer: Any, skydive: Any) -> None:
    """The resource itself does not know what its captures dropped."""
    create(analyzer, skydive, "--gremlin", TAPS)
    analyzer.answers["G.V().HasKey('Captures').Values('Captures')"] = [
        [{"ID": "u0", "State": "active", "PacketsReceived": 120, "PacketsDropped": 3}]
    ]
    words = ("client", "capture", "list", "--format", "table", "--analyzer", analyzer.address)
    shown = skydive(*words).stdout.splitlines()[1]
    assert shown.split()[-4:] == ["L2", "1", "120", "3"]


def test_ending_goes_on_after_an_unknown_id(analyzer: Any, skydive: Any) -> None:
    """One that has gone by itself must not keep the others alive."""
    create(analyzer, skydive, "--gremlin", TAPS)
    words = ("client", "capture", "delete", "nope", "u0")
    done = skydive(*words, SKYDIVE_ANALYZER=analyzer.address)
    assert (done.returncode, analyzer.captures) == (1, {})
    assert done.stderr == "skydive: deletion of capture nope: Capture 'nope' not found\n"

"""The publisher against a real analyzer: what is stated is there, whatever happens in between."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_analyzer import Analyzer
from skydive_publisher import Full, Invalid, Publisher, PublisherError, Refused, Unavailable
from skydive_publisher import publisher as module

PACKAGE = Path(module.__file__).parents[1]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts to connect."""
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.2)


def port(name: str, **more: Any) -> dict[str, Any]:
    return {"Type": "neutronport", "Name": name, **more}


def test_what_is_stated_is_in_the_graph_until_the_publisher_ends(analyzer: Analyzer) -> None:
    """Nodes, edges, updates and deletions; and nothing stays of a publisher that is gone."""
    with Publisher(analyzer.address, origin="neutron.host1") as publisher:
        publisher.link("net", "p1", "ownership", {"Since": 7})
        publisher.upsert_node("net", {"Type": "neutronnet", "Name": "blue"})
        publisher.upsert_node("p1", port("p1", Neutron={"MTU": 1450, "VNI": 3}))
        publisher.upsert_node("p2", port("p2"))
        publisher.link("net", "p2", "ownership")
        publisher.flush()
        assert analyzer.nodes()["p1"] == port("p1", Neutron={"MTU": 1450, "VNI": 3})
        assert analyzer.edges() == {("net", "p1", "ownership"), ("net", "p2", "ownership")}

        publisher.update("p1", {"Neutron.MTU": 9000, "State": "UP"}, remove=("Neutron.VNI",))
        publisher.delete_node("p2")
        publisher.flush()
        assert analyzer.nodes()["p1"] == port("p1", Neutron={"MTU": 9000}, State="UP")
        assert set(analyzer.nodes()) == {"net", "p1"}
        assert len(publisher) == 3

        publisher.unlink("net", "p1", "ownership")
        publisher.flush()
        assert analyzer.edges() == set()
        found = analyzer.query("G.V().Has('@ID', 'p1')")[0]
        assert (found["Origin"], found["Host"], found["Revision"]) == ("neutron.host1", "host1", 2)
    analyzer.until(lambda: analyzer.nodes() == {})


def test_a_persistent_publisher_replaces_what_its_last_run_left(
    start: Callable[[str], Analyzer],
) -> None:
    """What both runs state stays the same node; what only the first did goes."""
    analyzer = start("")
    for run in (1, 2):
        with Publisher(analyzer.address, origin="a.b", persistent=True) as publisher:
            with publisher.batch():
                publisher.upsert_node("stays", port("stays", Run=run))
                publisher.upsert_node(f"only{run}", port("x"))
            publisher.flush()
        assert set(analyzer.nodes()) == {"stays", f"only{run}"}
    stayed = analyzer.query("G.V().Has('@ID', 'stays')")[0]
    assert (stayed["Metadata"]["Run"], stayed["Revision"]) == (2, 2)


def test_a_server_that_comes_back_is_told_everything(start: Callable[[str], Analyzer]) -> None:
    """Also what changed while it was away."""
    analyzer = start("")
    with Publisher(analyzer.address, origin="a.b") as publisher:
        publisher.upsert_node("one", port("one"))
        publisher.upsert_node("two", port("two"))
        publisher.link("one", "two", "layer2")
        publisher.flush()
        analyzer.stop()
        analyzer.until(lambda: not publisher.connected)
        publisher.upsert_node("three", port("three"))
        publisher.delete_node("two")
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1:\d+: .*(refused|closed|lost)"):
            publisher.flush(0.2)
        analyzer.start()
        publisher.flush()
        assert (set(analyzer.nodes()), analyzer.edges()) == ({"one", "three"}, set())
        assert publisher.connected
        assert publisher.error is None


def test_an_edge_to_a_node_of_another_comes_back_with_it(
    analyzer: Analyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent restarts, and nobody tells the publisher."""
    monkeypatch.setattr(module, "REPEAT_FOREIGN_S", 0.1)
    with Publisher(analyzer.address, origin="a.b") as publisher:
        publisher.upsert_node("mine", port("mine"))
        publisher.link("theirs", "mine", "layer2")
        publisher.flush()
        assert analyzer.edges() == set()
        for _ in range(2):
            with Publisher(analyzer.address, origin="other.b2") as other:
                other.upsert_node("theirs", port("theirs"))
                analyzer.until(lambda: analyzer.edges() == {("theirs", "mine", "layer2")})
            analyzer.until(lambda: analyzer.edges() == set())


def test_edges_come_with_their_nodes_whichever_is_stated_first(analyzer: Analyzer) -> None:
    """A server refuses an edge without its nodes and forgets it; the publisher does not."""
    with Publisher(analyzer.address, origin="a.b") as publisher:

        def flushed() -> set[tuple[str, str, str]]:
            publisher.flush()
            return analyzer.edges()

        expected = {("p", "c", "layer2")}
        publisher.link("p", "c", "layer2", {"Since": 1})
        assert flushed() == set()
        publisher.upsert_node("p", port("p"))
        assert flushed() == set()
        publisher.upsert_node("c", port("c"))
        assert flushed() == expected
        with publisher.batch():
            publisher.delete_node("c")
            publisher.link("p", "c", "layer2", {"Since": 2})
        assert flushed() == set()
        publisher.upsert_node("c", port("c"))
        assert flushed() == expected
        assert analyzer.query("G.E()")[0]["Metadata"]["Since"] == 2
        publisher.link("c", "c", "self")
        assert len(flushed()) == 2
        publisher.delete_node("c")
        assert flushed() == set()


def test_what_was_deleted_and_stated_again_at_once_is_as_stated_last(analyzer: Analyzer) -> None:
    """The server hears of one change, and takes it for a newer one only by its revision."""
    with Publisher(analyzer.address, origin="a.b") as publisher:
        for number in range(3):
            publisher.upsert_node("n", port("n", Number=number))
            publisher.flush()
        with publisher.batch():
            publisher.delete_node("n")
            publisher.upsert_node("n", port("n", Number=7))
        publisher.flush()
        assert analyzer.nodes()["n"]["Number"] == 7


def test_whatever_happens_the_server_ends_up_with_what_is_stated(
    start: Callable[[str], Analyzer],
) -> None:
    """Threads that state at random while the server is killed and comes back."""
    analyzer = start("")
    stop = threading.Event()
    with Publisher(analyzer.address, origin="a.b", persistent=True) as publisher:

        def state(thread: int) -> None:
            rng = random.Random(thread)
            while not stop.wait(0.001):
                one, other = (f"{thread}.{rng.randrange(20)}" for _ in range(2))
                what = rng.randrange(5)
                if what < 2:
                    publisher.upsert_node(one, port("n", Number=rng.randrange(5)))
                elif what == 2:
                    publisher.delete_node(one)
                elif what == 3:
                    publisher.link(one, other, "layer2", {"Number": rng.randrange(5)})
                else:
                    publisher.unlink(one, other, "layer2")

        threads = [threading.Thread(target=state, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            time.sleep(0.5)
            analyzer.kill()
            analyzer.start()
        analyzer.until(lambda: publisher.connected and bool(analyzer.nodes()))
        stop.set()
        for thread in threads:
            thread.join()
        publisher.flush()
        held = publisher._held.values()
        nodes = {one.key[1]: one.metadata for one in held if not one.parent}
        assert analyzer.nodes() == nodes
        assert {edge["ID"]: edge["Metadata"] for edge in analyzer.query("G.E()")} == {
            one.key[1]: one.metadata for one in held if {one.parent, one.child} <= nodes.keys()
        }


IMPATIENT = "http.ws.ping_delay: 0.2\nhttp.ws.pong_timeout: 0.5\n"
"""Whoever is silent for 0.7 s is dropped."""


def test_an_idle_publisher_stays_connected(start: Callable[[str], Analyzer]) -> None:
    """The server drops who does not answer its pings: the thread does, whatever the program
    does."""
    analyzer = start(IMPATIENT)
    with Publisher(analyzer.address, origin="a.b") as publisher:
        publisher.upsert_node("n", port("n"))
        publisher.flush()
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            assert publisher.connected
            time.sleep(0.1)
        assert set(analyzer.nodes()) == {"n"}
        assert publisher.error is None


def test_many_threads_state_at_once_and_nothing_is_lost(analyzer: Analyzer) -> None:
    """The last state of each element is what counts."""
    with Publisher(analyzer.address, origin="a.b") as publisher:

        def state(thread: int) -> None:
            for number in range(300):
                publisher.upsert_node(f"{thread}.{number % 100}", port("n", Number=number))

        threads = [threading.Thread(target=state, args=(thread,)) for thread in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        publisher.flush()
        nodes = analyzer.nodes()
        assert len(nodes) == 500
        assert {nodes[id_]["Number"] - 200 for id_ in nodes if id_.startswith("3.")} == set(
            range(100)
        )


def test_a_second_publisher_of_the_same_name_says_so(analyzer: Analyzer) -> None:
    """Servers know publishers by the name alone; two programs on one host need two names."""
    with Publisher(analyzer.address, origin="a.b"):
        second = Publisher(analyzer.address, origin="other.b")
        with pytest.raises(Unavailable, match="has a publisher named 'b' already"):
            second.start(timeout_s=0.5)
        with Publisher(analyzer.address, origin="other.other-b", host="b") as third:
            third.upsert_node("n", port("n"))
            third.flush()
            found = analyzer.query("G.V().Has('@ID', 'n')")[0]
            assert (found["Origin"], found["Host"]) == ("other.other-b", "b")


def test_without_waiting_the_server_may_come_later(start: Callable[[str], Analyzer]) -> None:
    """A service starts whether or not somebody watches it."""
    analyzer = start("")
    analyzer.stop()
    publisher = Publisher(analyzer.address, origin="a.b").start(timeout_s=None)
    publisher.upsert_node("n", port("n"))
    analyzer.start()
    publisher.flush()
    assert set(analyzer.nodes()) == {"n"}
    publisher.close()
    with pytest.raises(PublisherError, match="was closed"):
        publisher.upsert_node("n", port("n2"))


def test_credentials_let_in_or_are_refused_in_one_line(start: Callable[[str], Analyzer]) -> None:
    """A wrong password is not worth trying again."""
    settings = "analyzer.auth.api.backend: basic\nauth: {basic: {users: {admin: secret}}}\n"
    guarded = start(settings)
    with Publisher(guarded.address, origin="a.b", username="admin", password="secret") as publisher:
        publisher.upsert_node("n", port("n"))
        publisher.flush()
    began = time.monotonic()
    with pytest.raises(Refused, match="refuses the credentials of 'admin'"):
        Publisher(guarded.address, origin="a.b", username="admin", password="wrong").start(30)
    assert time.monotonic() - began < 25


def test_nobody_at_the_address_is_one_line() -> None:
    """Until the time-out it is tried again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    with pytest.raises(Unavailable, match=rf"^127\.0\.0\.1:{number}: connection refused$"):
        Publisher(f"127.0.0.1:{number}", origin="a.b").start(timeout_s=0.2)


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 99],
    ids=["nothing", "ssh", "http", "noise"],
)
def test_something_else_at_the_address_is_one_line(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a hang nor an exception of the library below."""
    monkeypatch.setattr(module, "STOP_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        publisher = Publisher(f"127.0.0.1:{server.getsockname()[1]}", origin="a.b")
        with pytest.raises(PublisherError, match=r"127\.0\.0\.1:\d+") as raised:
            publisher.start(timeout_s=0.4)
        thread.join()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("origin", ["neutron", "", ".host", "neutron.", "a.b\r\nX: y", "é.b"])
def test_an_origin_that_cannot_be_one_is_refused(origin: str) -> None:
    """It becomes two headers."""
    with pytest.raises(Invalid, match=r"expected <program>\.<name>"):
        Publisher("127.0.0.1:1", origin=origin)


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "::1:1", "[::1]", "h:0", "h:65536"])
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    """At once, not at each attempt."""
    with pytest.raises(Invalid, match="expected host:port"):
        Publisher(address, origin="a.b")


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A synchronisation must fit into one message; what was taken back makes room."""
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    publisher = Publisher("127.0.0.1:1", origin="a.b")
    for number in range(5):
        publisher.upsert_node(str(number), port("x" * 1_000))
    with pytest.raises(Full, match="holds at most"):
        publisher.upsert_node("more", port("x" * 5_000))
    publisher.delete_node("0")
    publisher.delete_node("1")
    publisher.delete_node("2")
    publisher.upsert_node("more", port("x" * 5_000))
    assert len(publisher) == 3


def test_flush_inside_a_batch_is_a_mistake(analyzer: Analyzer) -> None:
    """It would wait for what the batch holds back."""
    with Publisher(analyzer.address, origin="a.b") as publisher:
        publisher.upsert_node("n", port("n"))
        with publisher.batch(), pytest.raises(PublisherError, match="its own end"):
            publisher.flush()


def test_a_fork_is_noticed(analyzer: Analyzer) -> None:
    """Services fork their workers; the thread stays behind, and nothing would ever be sent."""
    with Publisher(analyzer.address, origin="a.b") as publisher:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                publisher.upsert_node("n", port("n"))
            except PublisherError as error:
                status = 0 if "fork" in str(error) else 2
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_neither_asyncio_nor_anything_compiled() -> None:
    """What replaces sockets and threads must be able to reach all of it."""
    code = (
        "import sys, skydive_publisher; "
        "print([name for name, module in sys.modules.items() if name.split('.')[0] == 'asyncio' "
        "or 'site-packages' in (getattr(module, '__file__', None) or '') "
        "and module.__file__.endswith('.so')])"
    )
    assert run(code) == "[]\n"


PATCHED = """
{patch}
import sys, time
from skydive_publisher import Publisher
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        {sleep}(0.01)
{spawn}(tick)
with Publisher({address!r}, origin="green.h") as publisher:
    for number in range(50):
        publisher.upsert_node(str(number), {{"Type": "t", "Name": "n"}})
    publisher.flush()
    print(len(publisher), ticks >= 1)
    before = ticks
    {sleep}(1.2)
    publisher.update("0", {{"Later": True}})
    publisher.flush()
    print(publisher.connected, publisher.error, ticks - before > 20)
    print(sorted(name for name in sys.modules if name == "asyncio"))
    sys.stdout.flush()
    {sleep}(0.5)
"""


GEVENT = "import gevent.monkey; gevent.monkey.patch_all(); import gevent"
EVENTLET = "import eventlet; eventlet.monkey_patch()"


@pytest.mark.parametrize(
    ("patch", "spawn", "sleep"),
    [
        pytest.param(GEVENT, "gevent.spawn", "gevent.sleep", id="gevent"),
        pytest.param(EVENTLET, "eventlet.spawn_n", "eventlet.sleep", id="eventlet"),
    ],
)
def test_a_monkey_patched_service_publishes_while_it_works(
    start: Callable[[str], Analyzer], patch: str, spawn: str, sleep: str
) -> None:
    """Green threads share one real one: whoever blocks it blocks all, and pings go unanswered."""
    analyzer = start(IMPATIENT)
    code = PATCHED.format(patch=patch, spawn=spawn, sleep=sleep, address=analyzer.address)
    done = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    analyzer.until(lambda: analyzer.nodes().get("0", {}).get("Later") is True, within_s=30)
    assert len(analyzer.nodes()) == 50
    out, err = done.communicate(timeout=30)
    assert done.returncode == 0, err
    assert out.splitlines()[:2] == ["50 True", "True None True"]

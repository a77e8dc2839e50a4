"""The demo: a network small enough to draw, with traffic over each thing that can be followed.

                 switch                       tunnel: VXLAN 42 between
    web  ────── tap-web ┐                     192.168.42.1 and .2
    desk ───── tap-desk ┤ br0
    nat  ────── tap-nat ┤        router        vtep1         vtep2
    (home behind it)    └ tap-router ─ eth0    br1           br2
                              eth2 ─────────── lan ═ wan ─── wan ═ lan ── guest
                              eth1 ── branch

Every box is a namespace. `web` (10.0.0.18) answers HTTP on port 80; `desk` (10.0.0.17) asks it
over the bridge, `branch` (10.0.1.2) over router and bridge, `guest` (10.0.2.2) over tunnel,
router and bridge, and `home` (192.168.7.2) through the NAT, which turns it into 10.0.0.254.
"""

from __future__ import annotations

import http.client
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from skydiver.base.errors import SkydiverError, Unavailable
from skydiver.lab.lab import Lab, Namespace, Process, wait_until
from skydiver.lab.record import RECORDS

ANALYZER = ("127.0.0.1", 8082)
WEB = "10.0.0.18"
STOP_S = 25.0
"""How long the analyzer and the agent may take to end in order."""

COMMANDS = (
    ("""client query "G.V().Has('Type','netns')\"""", "the namespaces of this host"),
    (
        """client topology query --gremlin "G.V().Has('Name','br0').Out()\"""",
        "what hangs on the bridge",
    ),
    (
        """client capture create --gremlin "G.V().Has('Name', Regex('^tap.*'))" """
        "--layer-key-mode L3",
        "watch the ports of the bridge",
    ),
    (
        f"""client query "G.Flows().Has('Network','{WEB}','Transport','80').Nodes()\"""",
        "where the web server's flows pass (a few seconds after the capture)",
    ),
    (
        f"""client query "G.Flows().Has('Network','{WEB}').Limit(5)\"""",
        "five of the flows themselves",
    ),
)


def build(lab: Lab) -> dict[str, Namespace]:
    """Make the network of the drawing; returns its namespaces by name."""
    with lab.batch():
        names = (
            "web", "desk", "switch", "router", "branch",
            "vtep1", "vtep2", "guest", "nat", "home",
        )  # fmt: skip
        at = {name: lab.netns(name) for name in names}

        for name in ("web", "desk", "router", "nat"):
            lab.veth((at[name], "eth0"), (at["switch"], f"tap-{name}"))
        lab.bridge(at["switch"], "br0", "tap-web", "tap-desk", "tap-router", "tap-nat")
        lab.address(at["web"], "eth0", f"{WEB}/24")
        lab.address(at["desk"], "eth0", "10.0.0.17/24")

        lab.address(at["router"], "eth0", "10.0.0.1/24")
        _host_behind(lab, at["router"], "eth1", "10.0.1.1", at["branch"], "10.0.1.2")

        lab.veth((at["router"], "eth2"), (at["vtep1"], "lan"))
        lab.address(at["router"], "eth2", "10.0.2.1/24")
        # Room for the 50 octets that the tunnel puts around each frame.
        lab.veth((at["vtep1"], "wan"), (at["vtep2"], "wan"), mtu=1600)
        lab.veth((at["vtep2"], "lan"), (at["guest"], "eth0"))
        for here, there, bridge in (("1", "2", "br1"), ("2", "1", "br2")):
            vtep = at[f"vtep{here}"]
            lab.address(vtep, "wan", f"192.168.42.{here}/24")
            lab.vxlan(vtep, "vxlan42", 42, local=f"192.168.42.{here}", remote=f"192.168.42.{there}")
            lab.bridge(vtep, bridge, "lan", "vxlan42")
        lab.address(at["guest"], "eth0", "10.0.2.2/24")
        lab.route(at["guest"], "default", via="10.0.2.1")

        lab.address(at["nat"], "eth0", "10.0.0.254/24")
        _host_behind(lab, at["nat"], "eth1", "192.168.7.1", at["home"], "192.168.7.2")
        for name in ("web", "desk", "nat"):
            lab.route(at[name], "default", via="10.0.0.1")
        lab.forward(at["router"])
        lab.forward(at["nat"])
        lab.masquerade(at["nat"], "eth0")
    return at


def start_traffic(lab: Lab, at: dict[str, Namespace]) -> None:
    """A web server, and about four requests and one echo request a second for it."""
    lab.http_server(at["web"], WEB)
    for name in ("desk", "branch", "guest", "home"):
        lab.http_gets(at[name], f"http://{WEB}/", every_s=1.0)
    lab.pings(at["desk"], WEB, every_s=1.0)


def main() -> int:
    """Build the lab, print what to try, stay until Ctrl-C."""
    # A shell starts what it puts in the background with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Lab("demo") as lab:
            at = build(lab)
            start_traffic(lab, at)
            with analyzer(lab, RECORDS) as child:
                seen = wait_seen(lab.prefix, len(at))
                print(introduction(len(at), seen), flush=True)
                stay(child)
    except KeyboardInterrupt:
        print("\nthe lab is gone", flush=True)
    except SkydiverError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def analyzer(lab: Lab, directory: Path) -> Iterator[Process | None]:
    """The analyzer that runs already (None), or one started for the length of the demo."""
    if answers():
        print("using the skydive that runs already", flush=True)
        yield None
        return
    print("starting skydive allinone", flush=True)
    data = directory / "data"
    with (directory / "allinone.log").open("w+b") as log, _gone_afterwards(data):
        # As a process of the lab, so that it goes with it even when this program is killed. What
        # is tried in the demo stays there: captures are kept in a folder of its own.
        variable = f"SKYDIVE_DATA_DIR={data}"
        command = ["env", variable, sys.executable, "-m", "skydiver.cli", "allinone"]
        child = lab.spawn(lab.host, command, output=log, errors=subprocess.STDOUT)
        try:
            wait_until(
                lambda: answers() or _ended(child, log),
                "an answer of skydive allinone",
                timeout_s=30,
                every_s=0.1,
            )
            yield child
        except TimeoutError as error:
            raise Unavailable(f"{error}; see {log.name}") from error
        finally:
            child.popen.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                child.popen.wait(STOP_S)


def answers() -> bool:
    """True when an analyzer serves its API on this host; asking for a password counts."""
    connection = http.client.HTTPConnection(*ANALYZER, timeout=2)
    try:
        connection.request("GET", "/api")
        return connection.getresponse().status in (200, 401)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def count(gremlin: str) -> int:
    """How many elements a query finds; 0 also when the analyzer refuses to say."""
    connection = http.client.HTTPConnection(*ANALYZER, timeout=5)
    try:
        connection.request("POST", "/api/topology", json.dumps({"GremlinQuery": gremlin}))
        response = connection.getresponse()
        body = response.read()
        return int(body) if response.status == 200 else 0
    except (OSError, http.client.HTTPException, ValueError):
        return 0
    finally:
        connection.close()


def wait_seen(prefix: str, expected: int, *, timeout_s: float = 15.0) -> int:
    """Wait until the namespaces of the lab are in the graph; returns how many are."""
    query = f"G.V().Has('Type','netns','Name',Regex('{prefix}-.*')).Count()"
    deadline = time.monotonic() + timeout_s
    while (found := count(query)) < expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def introduction(namespaces: int, seen: int) -> str:
    """What was built and five commands to paste."""
    skydive = "skydive" if shutil.which("skydive") else str(Path(sys.executable).parent / "skydive")
    lines = [(__doc__ or "").split("\n\n", 1)[1].rstrip(), ""]
    if seen < namespaces:
        lines += [
            f"skydive sees {seen} of the {namespaces} namespaces; does its agent run as root?",
            "",
        ]
    lines.append("In another terminal, in this order:")
    for command, what in COMMANDS:
        lines += ["", f"  # {what}", f"  {shlex.quote(skydive)} {command}"]
    return "\n".join([*lines, "", "Ctrl-C ends the traffic and removes the lab."])


def stay(child: Process | None) -> None:
    """Until Ctrl-C, or the end of the analyzer that was started here."""
    while child is None or child.running():
        time.sleep(0.5)
    raise Unavailable(f"skydive allinone ended by itself; see {RECORDS / 'allinone.log'}")


def _host_behind(
    lab: Lab, router: Namespace, device: str, gateway: str, host: Namespace, address: str
) -> None:
    lab.veth((router, device), (host, "eth0"))
    lab.address(router, device, f"{gateway}/24")
    lab.address(host, "eth0", f"{address}/24")
    lab.route(host, "default", via=gateway)


@contextmanager
def _gone_afterwards(folder: Path) -> Iterator[None]:
    """Remove a folder now, which a killed demo may have left, and at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ended(child: Process, log: IO[bytes]) -> bool:
    """Raise with the last line that the child wrote, when it has ended."""
    if child.running():
        return False
    log.seek(0)
    said = log.read().decode("utf-8", "replace").strip().splitlines() or ["nothing said"]
    raise Unavailable(f"skydive allinone ended at once: {said[-1]}")

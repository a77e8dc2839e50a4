"""``skydive client``: the commands that ask an analyzer."""

from __future__ import annotations

from skydiver.cli.lazy import group
from skydiver.cli.options import ClientOptions

app = group(
    "Ask an analyzer.",
    ClientOptions,
    {
        "query": "skydiver.cli.query:app",
        "status": "skydiver.cli.status:app",
        "topology": "skydiver.cli.topology:app",
        "capture": "skydiver.cli.capture:app",
        "routes": "skydiver.cli.routes:app",
        "pcap": "skydiver.cli.pcap:app",
    },
)

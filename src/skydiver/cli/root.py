"""The commands of ``skydive``."""

from __future__ import annotations

from skydiver.cli.lazy import group
from skydiver.cli.options import GlobalOptions

COMPLETION = "_SKYDIVE_COMPLETE"
"""Variable by which a shell asks for the words that fit."""

app = group(
    "See, trace and replay what happens on a network.",
    GlobalOptions,
    {
        "allinone": "skydiver.cli.services:allinone_app",
        "analyzer": "skydiver.cli.services:analyzer_app",
        "agent": "skydiver.cli.services:agent_app",
        "client": "skydiver.cli.client:app",
        "probe": "skydiver.cli.probe:app",
        "version": "skydiver.cli.version:app",
        "completion": "skydiver.cli.completion:app",
        "bash-completion": "skydiver.cli.completion:bash_app",
    },
)

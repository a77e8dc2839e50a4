"""`skydive client status`, run as a user runs it."""

import json
from typing import Any

STATUS = {"Agents": {}, "Probes": {"fabric": {"Status": "running"}}, "Losses": {}}


def test_a_pipe_gets_the_members_of_the_original(analyzer: Any, skydive: Any) -> None:
    """Monitoring reads this; indentation by two spaces as ever."""
    analyzer.status = STATUS
    done = skydive("client", "status", SKYDIVE_ANALYZERS=f"{analyzer.address} other:1")
    assert json.loads(done.stdout) == STATUS
    assert done.stdout.startswith('{\n  "Agents": {},\n')


def test_a_table_names_what_runs_and_what_was_lost(analyzer: Any, skydive: Any) -> None:
    """The same facts for a person."""
    analyzer.status = STATUS
    done = skydive("client", "status", "--format", "table", "--analyzer", analyzer.address)
    assert "fabric  running" in done.stdout
    assert "Losses: none" in done.stdout

from __future__ import annotations

from skydiver.base.settings import AgentSettings
from skydiver.probes.netlink import NetlinkProbe


def test_a_probe_gets_the_section_of_its_name() -> None:
    """Nobody has to pass settings to each probe by hand."""
    probe = NetlinkProbe.from_settings(AgentSettings())
    assert probe.config.metrics_update_s == AgentSettings().topology.netlink.metrics_update_s

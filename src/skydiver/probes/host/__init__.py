"""Host probe: the root of everything that an agent sees.

Reads:  the name of the system, the settings, and files of the host that these name.
Writes: one node of type ``host``; keys ``Name``, ``Hostname``, ``Config`` and those of
        ``agent.metadata``.
Joins:  none; the other probes hang what they see below it.
Needs:  nothing.
"""

from skydiver.probes.host.probe import Config, HostProbe, host_node, nested

__all__ = ["Config", "HostProbe", "host_node", "nested"]

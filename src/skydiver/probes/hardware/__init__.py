"""Hardware probe: what kind of machine the host is.

Reads:  /proc/cpuinfo, /proc/cmdline, /etc/os-release, /sys; once, when the agent starts.
Writes: nothing of its own; adds the keys of docs/probes/hardware.md to the node of the host.
Joins:  none.
Needs:  nothing; what cannot be read is left out.
"""

from skydiver.probes.hardware.probe import HardwareProbe

__all__ = ["HardwareProbe"]

"""Shelf of topology sources: one module each."""

ALWAYS = ("host", "hardware", "netns", "netlink")
"""Those that cannot be switched off, in the order of starting."""

BUILTIN = (*ALWAYS,)
"""The names that ``agent.topology.probes`` takes."""

"""The agent: probes and captures of one host wired to the analyzers."""

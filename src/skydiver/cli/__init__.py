"""Command line: one module per sub-command."""

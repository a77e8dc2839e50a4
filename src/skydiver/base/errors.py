"""What can go wrong for a user: a closed set, each with one clear line.

Messages are lower case and say what, which, and what was expected.
"""

from __future__ import annotations


class SkydiverError(Exception):
    """Base of everything that a user meets as one line and exit status 1 or HTTP 4xx."""


class ConfigError(SkydiverError):
    """A setting, an option or an environment variable is wrong."""


class QueryError(SkydiverError):
    """A Gremlin query or a filter cannot be parsed or run."""

    def __init__(self, message: str, *, column: int | None = None) -> None:
        super().__init__(message if column is None else f"{message} (column {column})")
        self.column = column
        """1-based position in the query text; None when it has none."""


class Unavailable(SkydiverError):
    """Something outside (daemon, peer, kernel facility, privilege) is not there now."""


class ProtocolError(SkydiverError):
    """A peer or a file sent something that its format does not allow."""


class StoreError(SkydiverError):
    """A store refused or lost an operation."""

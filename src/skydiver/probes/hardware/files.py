"""Small files of the kernel and the distribution."""

from __future__ import annotations

from pathlib import Path

MOST_BYTES = 4 * 1024 * 1024
"""/proc/cpuinfo of a thousand processors has half of it."""


def text_of(path: Path) -> str:
    """Content of a file; empty when it is not there or may not be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""

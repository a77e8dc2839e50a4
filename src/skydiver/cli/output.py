"""Where results go: tables for a person at a terminal, the original's JSON in a pipe."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from skydiver.base.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


class Format(StrEnum):
    """How resources are shown."""

    TABLE = "table"
    JSON = "json"


class QueryFormat(StrEnum):
    """How the result of a query is shown."""

    TABLE = "table"
    JSON = "json"
    DOT = "dot"
    PCAP = "pcap"
    PCAPNG = "pcapng"


FORMAT_HELP = "How to show it; by default a table at a terminal, else json."


def wants_table(format_: str | None) -> bool:
    """What was asked for, or a table when a person is looking."""
    return format_ == "table" or (format_ is None and sys.stdout.isatty())


def print_json(value: Any, *, tabs: bool = False) -> None:
    """Print a value as JSON, indented by two spaces, or by tabs as results of queries are."""
    write(_indented(orjson.dumps(value, option=orjson.OPT_INDENT_2), tabs=tabs) + b"\n")


def write(content: bytes) -> None:
    """Write bytes to standard output."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def write_binary(content: bytes, what: str) -> None:
    """Write bytes that would spoil a terminal."""
    if sys.stdout.isatty():
        raise ConfigError(f"{what} is binary: send it to a file or a pipe")
    write(content)


def console() -> Console:
    """For tables. A pipe has no width, so lines there are as long as they need to be."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, soft_wrap=False)


def clean(value: Any) -> str:
    """Text for a terminal: what came from the network must not steer it."""
    text = value if isinstance(value, str) else _compact(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _compact(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return ", ".join(_compact(item) if not isinstance(item, str) else item for item in value)
    return orjson.dumps(value).decode()


def _indented(content: bytes, *, tabs: bool) -> bytes:
    if not tabs:
        return content
    # Only indentation begins a line with spaces: JSON strings hold no line breaks.
    return re.sub(
        rb"^ +", lambda spaces: b"\t" * (len(spaces[0]) // 2), content, flags=re.MULTILINE
    )

"""Run every benchmark alone, print its figures next to their targets, write docs/performance.md.

``python -m benches [NAME…]`` runs only the named ones and writes nothing.
"""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benches.figure import Figure

BENCHMARKS = (
    "flow_table",
    "graph",
    "startup",
    "netlink_latency",
    "dump",
    "storms",
    "taps",
    "flow_wire",
    "churn",
    "graph_http",
    "publisher",
)
ROOT = Path(__file__).resolve().parent.parent


def main(names: list[str]) -> None:
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    figures: list[Figure] = []
    for name in names or BENCHMARKS:
        print(f"running {name}", file=sys.stderr)
        figures += importlib.import_module(f"benches.{name}").figures()
    show(figures)
    if not names:
        (ROOT / "docs" / "performance.md").write_text(page(figures), encoding="utf-8")


def show(figures: list[Figure]) -> None:
    table = Table("id", "what", "min / median / max", "target", "verdict")
    for figure in figures:
        table.add_row(*figure.row(), style="green" if figure.met else "yellow")
    Console().print(table)


def page(figures: list[Figure]) -> str:
    """The whole of docs/performance.md."""
    lines = [
        "# Performance",
        "",
        "Written by `make bench`: minimum, median and maximum of several runs of each figure, next",
        "to its target. Machines are shared and noisy: figures move by 30 %.",
        "",
        f"- Date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"- Machine: {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, "
        f"{platform.machine()}, Python {platform.python_version()}",
        "- Command: `make bench`",
        "",
        "| id | what | min / median / max | target | verdict |",
        "|---|---|---|---|---|",
        *("| " + " | ".join(figure.row()) + " |" for figure in figures),
        "",
        "## Load of each figure",
        "",
        *(f"- **{figure.id}** {figure.what}: {figure.load}" for figure in figures if figure.load),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Distributions that offer a probe, as an installer would leave them, without one."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

PROBE = '''
    """Thermometer probe."""

    import asyncio
    from dataclasses import dataclass

    from skydiver.base.ids import NodeID
    from skydiver.graph import NodeSpec
    from skydiver.probes.probe import Context, Probe


    @dataclass(frozen=True, slots=True)
    class Place:
        room: str = ""


    @dataclass(frozen=True, slots=True)
    class Config:
        url: str = "unix:///run/thermometer"
        every_s: float = 5.0
        rooms: tuple[str, ...] = ()
        place: Place = Place()


    class Thermometer(Probe[Config]):
        name = "thermometer"

        async def run(self, ctx: Context) -> None:
            with ctx.graph.resync() as snapshot:
                snapshot.upsert(NodeSpec(NodeID("t"), {"Name": self.config.url, "Type": "sensor"}))
            await asyncio.Event().wait()
'''


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    name: str = "thermometer",
    module: str = "thermometer_probe",
    source: str = PROBE,
    value: str = "",
    distribution: str = "thermometers",
) -> None:
    """Make a module and the metadata of its distribution importable for one test."""
    site = folder / distribution
    information = site / f"{distribution}-1.2.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", encoding="utf-8"
    )
    (information / "entry_points.txt").write_text(
        f"[skydiver.probes]\n{name} = {value or module}\n", encoding="utf-8"
    )
    (site / f"{module}.py").write_text(dedent(source), encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, module, raising=False)


def install_in_place(project: Path) -> None:
    """What an installer makes of a project's pyproject.toml, beside the project's modules."""
    document = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    information = project / f"{document['name'].replace('-', '_')}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {document['name']}\nVersion: {document['version']}\n",
        encoding="utf-8",
    )
    lines = [
        f"[{group}]\n{name} = {value}\n"
        for group, entries in document["entry-points"].items()
        for name, value in entries.items()
    ]
    (information / "entry_points.txt").write_text("".join(lines), encoding="utf-8")

"""One measured figure of TARGETS: its samples, its target, and the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity measured several times, next to what it should be."""

    id: str
    """Row of the targets: ``T1``, ``G4``, …"""
    what: str
    unit: str
    samples: Sequence[float]
    target: float
    """Upper bound, or lower bound when `more_is_better`."""
    more_is_better: bool = False
    load: str = ""
    """What ran, how often, against what."""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool:
        return self.median >= self.target if self.more_is_better else self.median <= self.target

    def row(self) -> tuple[str, ...]:
        """Identifier, what, min / median / max, target, verdict."""
        bound = "≥" if self.more_is_better else "≤"
        return (
            self.id,
            self.what,
            f"{number(min(self.samples))} / {number(self.median)} / {number(max(self.samples))} "
            f"{self.unit}",
            f"{bound} {number(self.target)} {self.unit}",
            "met" if self.met else f"missed × {ratio(self):.2f}",
        )


def ratio(figure: Figure) -> float:
    """How far off the target: above 1 is worse than the target."""
    if figure.more_is_better:
        return figure.target / max(figure.median, 1e-12)
    return figure.median / max(figure.target, 1e-12)


def number(value: float) -> str:
    """Three significant digits, thousands without exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"

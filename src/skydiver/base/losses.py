"""Accounting of what was lost: every drop is counted here, with a reason from a closed set.

One `Losses` per process. `status`, `/metrics` and the answers of queries read it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum


class LossReason(StrEnum):
    """Why something was dropped."""

    KERNEL_RING = "kernel_ring"
    """Packets that the kernel found no room for in a capture ring."""
    DECODE = "decode"
    """Packets or messages that could not be decoded."""
    TABLE_FULL = "table_full"
    """Flows evicted from a full flow table."""
    INCOMPLETE = "incomplete"
    """Fragments of a packet of which the rest never came."""
    QUEUE_FULL = "queue_full"
    """A bounded queue inside a process had no room."""
    OVERRUN = "overrun"
    """Kernel events lost because a socket buffer ran over; repaired by a resync."""
    OVERSIZE = "oversize"
    """A message above the size limit."""
    INVALID = "invalid"
    """A message refused by validation."""
    WIRE = "wire"
    """Could not be sent: the connection broke before it left."""
    TIMEOUT = "timeout"
    """A peer did not answer in time, so its part of an answer is missing."""
    FAILED = "failed"
    """Whoever was to take it raised an error; the log has it."""


class Losses:
    """Counters by part of the program and reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, LossReason]] = Counter()

    def add(self, part: str, reason: LossReason, count: int = 1) -> None:
        """Count `count` lost items of `part` (``hub.subscriber``, ``probe.netlink``, …)."""
        if count:
            self._counts[part, reason] += count

    def counts(self) -> Mapping[tuple[str, LossReason], int]:
        """All counters that are not zero, as a copy."""
        return dict(self._counts)

    def as_json(self) -> dict[str, dict[str, int]]:
        """``{part: {reason: count}}``, parts sorted."""
        out: dict[str, dict[str, int]] = {}
        for (part, reason), count in sorted(self._counts.items()):
            out.setdefault(part, {})[reason.value] = count
        return out

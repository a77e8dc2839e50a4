"""Limits and times of the hub; the defaults are those of the original (api.md §2.22)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Limits and times of the hub (api.md §2.22)."""

    ping_delay_s: float = 2.0
    pong_timeout_s: float = 5.0
    """A peer that is silent for this long after a ping was due is gone."""
    queue_size: int = 10_000
    """Messages waiting for one peer."""
    queue_bytes: int = 64 * 1024 * 1024
    """Bytes waiting for one peer; a single larger message still goes."""
    write_timeout_s: float = 10.0
    request_timeout_s: float = 10.0
    largest_agent_message: int = 64 * 1024 * 1024
    """Bytes of one message of an agent, whose synchronisation is its whole graph."""
    largest_message: int = 16 * 1024 * 1024
    """Bytes of one message of anybody else."""
    agent_grace_s: float = 3.0
    """How long an agent's elements outlive its connection, for it to come back and find them."""
    origin_scan_s: float = 5.0
    default_relation: str = ""
    """RelationType given to published edges that have none; empty = such edges are refused."""
    filter_interval_s: float = 0.1
    """Least time between two evaluations of a subscriber's filter."""

    @property
    def read_deadline_s(self) -> float:
        return self.ping_delay_s + self.pong_timeout_s

    @property
    def origin_expiry_s(self) -> float:
        """Silence after which an origin's elements are removed (api.md §2.14)."""
        return 5 * self.read_deadline_s

"""Flows of the whole network: every agent's live tables asked at once (api.md §2.15, flows.md §9).

Filter, sort, dedup and limit go to the tables, which send only what can be in the answer; the lower
bound of the range can be applied only to the merged answer. An agent that is slow, gone or speaks
garbage costs its own part of the answer: it is named in `FlowAnswer.missing` and counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import orjson

from skydiver import native
from skydiver.base.errors import ProtocolError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.filters import And, Eq, Filter, Or
from skydiver.flow.search import Flow, FlowAnswer, FlowSearch, Packets, RawPacket
from skydiver.flow.wire import search_to_wire
from skydiver.hub.connection import Connection
from skydiver.hub.messages import Protocol
from skydiver.hub.table_query import query_message, read_result

log = logging.getLogger(__name__)

PART = "hub.flows"
"""Name in the loss counters."""

_WORTH_A_THREAD = 64 * 1024
_OWN = ""
"""Stands for this process where hosts are named."""


class AgentFlows:
    """The flow tables of the connected agents, as one `FlowSource`."""

    def __init__(
        self,
        agents: Callable[[], Mapping[str, Connection]],
        *,
        expected: Callable[[str], bool],
        losses: Losses,
        timeout_s: float,
        own: Callable[[bytes], Awaitable[Sequence[bytes]]] | None = None,
    ) -> None:
        """`expected` says whether a host that is not connected should have tables; `own` asks
        tables of this process, which hold flows of no node."""
        self._agents = agents
        self._expected = expected
        self._losses = losses
        self._timeout_s = timeout_s
        self._own = own

    async def search(
        self, search: FlowSearch, *, tids_by_host: Mapping[str, Sequence[str]] | None = None
    ) -> FlowAnswer:
        """Flows that match; `tids_by_host` restricts to the tables of these nodes, None = all."""
        agents = self._agents()
        pushed = dataclasses.replace(search, first=0)
        missing: list[str] = []
        questions: dict[str, bytes] = {}
        if tids_by_host is None:
            questions = dict.fromkeys(agents, search_to_wire(pushed))
        else:
            for host, tids in tids_by_host.items():
                if not host or not tids:
                    continue
                if host in agents:
                    where = _of_nodes(tids, search.where)
                    questions[host] = search_to_wire(dataclasses.replace(pushed, where=where))
                elif self._expected(host):
                    missing.append(host)
        answers: dict[str, Sequence[bytes]] = {}
        if tids_by_host is None and self._own is not None:
            answers[_OWN] = await self._own(search_to_wire(pushed))
        async with asyncio.TaskGroup() as group:
            for host, question in questions.items():
                group.create_task(
                    self._ask(agents[host], question, answers), name=f"flows of {host}"
                )
        flows, packets, unreadable = await _merged(answers, search)
        for host in unreadable:
            self._losses.add(PART, LossReason.DECODE)
            log.warning("agent %s: its flows cannot be read, left out of the answer", host)
        missing += [host for host in questions if host not in answers or host in unreadable]
        return FlowAnswer(flows, tuple(sorted(missing)), packets)

    async def _ask(
        self, agent: Connection, question: bytes, answers: dict[str, Sequence[bytes]]
    ) -> None:
        """Put the flow sets of one agent into `answers`, or nothing."""
        host = agent.handshake.host_id
        if agent.handshake.protocol is not Protocol.PROTOBUF:
            log.warning("%s: connected with JSON, its flow tables cannot be asked", agent.name)
            self._losses.add(PART, LossReason.INVALID)
            return
        try:
            reply = await agent.request(query_message(question), timeout_s=self._timeout_s)
            answers[host] = read_result(reply)
        except Unavailable as error:
            log.warning("%s; its flows are missing", error)
            self._losses.add(PART, LossReason.TIMEOUT)
        except ProtocolError as error:
            log.warning("%s: %s; its flows are missing", agent.name, error)
            self._losses.add(PART, LossReason.INVALID)


def _of_nodes(tids: Sequence[str], where: Filter | None) -> Filter:
    """Flows captured on one of these nodes, and matching `where`."""
    nodes: Filter = Or(tuple(Eq("NodeTID", tid) for tid in tids))
    return nodes if where is None else And((nodes, where))


_Merged: TypeAlias = tuple[list[Flow], Packets, set[str]]
"""The flows of all answers as one, their packets, and the hosts whose sets are garbage."""


async def _merged(answers: Mapping[str, Sequence[bytes]], search: FlowSearch) -> _Merged:
    size = sum(len(flow_set) for sets in answers.values() for flow_set in sets)
    if size > _WORTH_A_THREAD:
        return await asyncio.to_thread(_merge, answers, search)
    return _merge(answers, search)


def _merge(answers: Mapping[str, Sequence[bytes]], search: FlowSearch) -> _Merged:
    wire = search_to_wire(search)
    everything = [flow_set for sets in answers.values() for flow_set in sets]
    if not everything:
        return [], dict, set()
    unreadable: set[str] = set()
    try:
        merged = native.merge_flow_sets(everything, wire)
    except ValueError:
        # One of them is garbage: find it, and answer with the others.
        unreadable = {host for host, sets in answers.items() if not _readable(sets, wire)}
        readable = [s for host, sets in answers.items() if host not in unreadable for s in sets]
        merged = native.merge_flow_sets(readable, wire)
    flows: list[Flow] = orjson.loads(native.flow_set_json(merged))
    # Few captures keep packets, and few queries ask for them: they are read when one does.
    kept = any(flow.get("RawPacketsCaptured") for flow in flows)
    return flows, partial(_packets, merged) if kept else dict, unreadable


def _packets(flow_set: bytes) -> dict[str, list[RawPacket]]:
    """The packets of all flows in a set."""
    return {
        uuid: [RawPacket(*packet) for packet in packets]
        for uuid, packets in native.flow_set_packets(flow_set)
    }


def _readable(flow_sets: Sequence[bytes], wire: bytes) -> bool:
    try:
        native.merge_flow_sets(flow_sets, wire)
    except ValueError:
        return False
    return True

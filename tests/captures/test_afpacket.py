"""The filter that is installed, and the threads that wait for the kernel."""

from __future__ import annotations

import asyncio
import threading

from skydiver.captures.afpacket import BriefThreads, names_vlan, normalized, resolved
from skydiver.filters.bpf import compile_bpf


def test_the_traffic_of_the_agent_itself_is_left_out() -> None:
    """Capturing the reports of a capture would feed it with itself."""
    excluded = [("10.1.0.1", 8082), ("fd00::1", 8082)]
    got = normalized("tcp or udp", excluded)
    assert got == (
        "(tcp or udp) and not (host 10.1.0.1 and port 8082) and not (host fd00::1 and port 8082)"
    )
    assert normalized("  ", excluded[:1]) == "not (host 10.1.0.1 and port 8082)"
    assert normalized("", []) == ""
    assert compile_bpf(got)


def test_names_of_analyzers_become_addresses_and_unknown_ones_are_left_out() -> None:
    """libpcap would refuse the whole filter for one name that is not known."""
    assert ("127.0.0.1", 8082) in resolved([("localhost", 8082), ("127.0.0.1", 8082)])
    assert resolved([("not a host name", 1)]) == []


def test_only_filters_that_name_a_vlan_run_on_the_wire_format() -> None:
    """The kernel is quicker, but sees no tags."""
    assert names_vlan("vlan 10 and tcp")
    assert names_vlan("(vlan)")
    assert not names_vlan("host vlan10.example")
    assert not names_vlan("tcp port 80")


async def test_the_threads_of_a_burst_end_after_it_and_later_work_is_done() -> None:
    """Five hundred captures start side by side; an idle agent keeps a handful of threads."""
    before = threading.active_count()
    threads = BriefThreads(32, rest_s=0.01)
    together = threading.Barrier(32)
    await asyncio.gather(*(threads.run(lambda: together.wait(10)) for _ in range(32)))
    async with asyncio.timeout(10):
        while threading.active_count() > before:
            await asyncio.sleep(0.01)
    assert await threads.run(lambda: "done") == "done"
    assert threading.active_count() == before + 1
    threads.close()

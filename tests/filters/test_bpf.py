"""Packet filters become kernel programs, or one line that says what is wrong."""

from __future__ import annotations

import pytest

from skydiver.base.errors import QueryError
from skydiver.filters.bpf import LINK_RAW_IP, compile_bpf

RETURN = 0x06


def test_an_empty_filter_takes_every_packet_up_to_the_snap_length() -> None:
    """A capture without a filter still cuts packets to its header size."""
    assert compile_bpf("", snaplen=256) == ((RETURN, 0, 0, 256),)


def test_a_filter_looks_at_the_ethernet_type_and_returns_the_snap_length() -> None:
    """The program must be exactly what tcpdump would install."""
    assert compile_bpf("arp", snaplen=96) == (
        (0x28, 0, 0, 12),
        (0x15, 0, 1, 0x0806),
        (RETURN, 0, 0, 96),
        (RETURN, 0, 0, 0),
    )


def test_without_a_link_header_the_filter_looks_at_the_version_nibble() -> None:
    """On a tun device the first byte is IP; an Ethernet filter would match garbage."""
    first, *_ = compile_bpf("ip", link_type=LINK_RAW_IP)
    assert first == (0x30, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tcp porrt 80", "syntax error"),
        ("port 80 and", "syntax error"),
        ("port 99999", "99999"),
        ("(((", "syntax error"),
        ("host 300.1.1.1.1", "300.1.1.1.1"),
        ("\0", "NUL"),
        ("(" * 2_000, "syntax error"),
        ("é", "packet filter 'é'"),
    ],
)
def test_a_bad_filter_is_refused_in_one_line_with_the_words_of_libpcap(
    text: str, words: str
) -> None:
    """The user must see what libpcap did not understand, and the agent must go on."""
    with pytest.raises(QueryError) as caught:
        compile_bpf(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_filter_beyond_what_the_kernel_takes_is_refused() -> None:
    """The kernel would only say "invalid argument"."""
    addresses = " or ".join(f"host fd00::{number:x}" for number in range(200))
    assert len(compile_bpf(addresses)) > 1_000
    with pytest.raises(QueryError, match="instructions, at most 4096 expected"):
        compile_bpf(" or ".join(f"host fd::{number:x}" for number in range(255)))


def test_a_filter_that_would_keep_libpcap_busy_for_hours_is_refused() -> None:
    """Compiling takes time that grows with the cube of the length."""
    ports = "port " + " or ".join(str(port) for port in range(1, 280))
    with pytest.raises(QueryError, match="instructions, at most 16384 expected"):
        compile_bpf(ports)
    with pytest.raises(QueryError, match="characters, at most 4096 expected"):
        compile_bpf("port 1 or " * 500 + "port 2")

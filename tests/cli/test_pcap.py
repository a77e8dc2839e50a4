"""``client pcap`` against a real API."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Run
from tests.cli.test_real_analyzer import address

__all__ = ["address"]


def pcap(packets: int) -> bytes:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)]
    for number in range(packets):
        udp = struct.pack(">HHHH", 1000 + number, 53, 8, 0)
        head = bytes.fromhex("4500001c0001000040110000") + bytes([10, 0, 0, 1, 10, 0, 0, 2])
        data = bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + udp
        out += [struct.pack("<IIII", 1_000_000_000 + number, 0, len(data), len(data)), data]
    return b"".join(out)


def test_a_file_is_imported_and_found_by_the_words_that_are_printed(
    skydive: Run, address: str, tmp_path: Path
) -> None:
    """The whole way: file, analyzer, query."""
    file = tmp_path / "a.pcap"
    file.write_bytes(pcap(500))
    done = skydive("client", "pcap", "-t", str(file), "--analyzer", address)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first == f"{file} was successfully imported"
    counted, query = second.split(": ", 1)
    assert counted == "500 packets, 500 flows"
    gremlin = query.removeprefix('skydive client query "').removesuffix('"')
    found = skydive("client", "query", f"{gremlin}.Count()", "--analyzer", address)
    assert found.stdout.strip() == "500"


def test_a_file_from_a_pipe_is_imported(address: str) -> None:
    """Its length is not known, so it goes in chunks."""
    words = ["client", "pcap", "--trace", "-", "--analyzer", address]
    done = subprocess.run(
        [sys.executable, "-m", "skydiver.cli", *words],
        input=pcap(9),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith(b"- was successfully imported\n9 packets, 9 flows")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "import: not a pcap or pcapng file"),
        (pcap(3)[:-1], "import: the capture file ends in the middle, after 2 packets; the flows"),
        (b"x" * 3_000_000, "import: not a pcap or pcapng file"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    skydive: Run, address: str, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Also when the analyzer refuses before all is sent."""
    file = tmp_path / "b.pcap"
    if content is not None:
        file.write_bytes(content)
    done = skydive("client", "pcap", "-t", str(file), "--analyzer", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_terminal_shows_how_far_it_is(address: str, tmp_path: Path) -> None:
    """Large files take a while."""
    file = tmp_path / "c.pcap"
    file.write_bytes(pcap(5000))
    primary, secondary = os.openpty()
    words = ["client", "pcap", "-t", str(file), "--analyzer", address]
    done = subprocess.run(
        [sys.executable, "-m", "skydiver.cli", *words],
        stdout=subprocess.PIPE,
        stderr=secondary,
        timeout=60,
        check=False,
    )
    os.close(secondary)
    shown = os.read(primary, 10_000).decode()
    os.close(primary)
    assert done.returncode == 0
    assert "100 % of 0.3 MiB" in shown
    assert shown.endswith("\r\x1b[K")

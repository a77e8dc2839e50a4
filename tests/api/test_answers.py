"""What all answers share: one line for errors, compression for those who take it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from tests.api.conftest import Start

from skydiver.api.answers import encoding_for, error_answer, one_line
from skydiver.base.errors import (
    ConfigError,
    ProtocolError,
    QueryError,
    SkydiverError,
    StoreError,
    Unavailable,
)
from skydiver.objects import Conflict


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP, deflate", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0", "deflate"),
        ("gzip; q=0.0", None),
        ("*", "gzip"),
        ("br", None),
        ("", None),
        ("identity", None),
    ],
)
def test_only_encodings_that_the_client_takes_are_used(header: str, encoding: str | None) -> None:
    """A client that cannot decompress would see noise."""
    assert encoding_for(header) == encoding


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueryError("no such step", column=3), 400),
        (ProtocolError("bad JSON"), 400),
        (ConfigError("no"), 400),
        (Conflict("duplicated resource"), 409),
        (StoreError("disk full"), 503),
        (Unavailable("not there"), 503),
    ],
)
def test_each_error_has_its_status(error: SkydiverError, status: int) -> None:
    """4xx is the caller's turn, 503 is ours."""
    answer = error_answer(error)
    assert answer.status == status
    assert answer.text == f"{error}\n"


def test_an_error_is_one_printable_line_of_bounded_length() -> None:
    """It is shown in terminals, and quotes what somebody sent."""
    assert one_line("a\nb\t c\r\n") == "a b c"
    assert one_line("\x1b[31mred\x07") == "\\x1b[31mred\\x07"
    assert len(one_line("x" * 100_000)) == 2_000


async def test_large_answers_are_compressed_for_those_who_take_it(start: Start) -> None:
    """The original's own client asks for gzip always."""
    async with start({"agent.metadata": {f"k{n}": "v" * 100 for n in range(2_000)}}) as api:
        path = "/api/config/agent.metadata"
        plain = await api.ask("GET", path)
        assert plain.header("Content-Encoding") is None
        for name, read in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
            packed = await api.ask("GET", path, headers={"Accept-Encoding": name})
            assert packed.header("Content-Encoding") == name
            assert packed.header("Vary") == "Accept-Encoding"
            assert len(packed.body) < len(plain.body) / 5
            assert read(packed.body) == plain.body
        small = await api.ask("GET", "/api", headers={"Accept-Encoding": "gzip"})
        assert small.header("Content-Encoding") is None

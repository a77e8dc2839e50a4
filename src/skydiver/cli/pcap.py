"""``skydive client pcap``: a capture file as flows."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import IO, Annotated

import typer

from skydiver.base.errors import ConfigError
from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, ClientOptions, takes
from skydiver.cli.output import clean
from skydiver.client.rest import Client

app = single()

_PIECE = 256 * 1024
_MIB = 1024 * 1024


@app.command(context_settings=CONTEXT)
@takes(ClientOptions)
def pcap(
    options: ClientOptions,
    trace: Annotated[
        str,
        typer.Option(
            "--trace", "-t", metavar="FILE", help="pcap or pcapng file; - is standard input."
        ),
    ],
) -> None:
    """Import a capture file: its flows can be asked for at once."""
    with _opened(trace) as file, Client(options.access()) as client:
        done = client.upload("/api/pcap", "import", _pieces(file), _size(file))
    print(f"{clean(trace)} was successfully imported")
    if not done:
        return  # an analyzer of another make says no more
    print(
        f"{done['Packets']} packets, {done['Flows']} flows: "
        f"skydive client query \"G.Flows().Has('CaptureID','{done['ID']}')\""
    )
    for count, words in (
        (done["Evicted"], "flows found no room"),
        (done["DecodeErrors"], "packets could not be decoded to the end"),
    ):
        if count:
            print(f"skydive: {count} {words}", file=sys.stderr)


def _opened(name: str) -> IO[bytes]:
    if name == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return open(name, "rb")
    except OSError as error:
        raise ConfigError(f"--trace {name}: {error.strerror}") from error


def _size(file: IO[bytes]) -> int | None:
    """Bytes of a file; None for a pipe."""
    about = os.fstat(file.fileno())
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """What there is to send; on a terminal one sees how far it is."""
    size, sent = _size(file), 0
    shown = sys.stderr.isatty()
    try:
        while piece := file.read(_PIECE):
            yield piece
            sent += len(piece)
            if shown:
                share = f"{100 * sent // size} % of " if size else ""
                total = size or sent
                print(f"\r{share}{total / _MIB:.1f} MiB\x1b[K", end="", file=sys.stderr)
    except OSError as error:
        raise ConfigError(f"--trace: {error.strerror}") from error
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

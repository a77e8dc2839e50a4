"""Packet filters: the text that people write, compiled by libpcap into a program for the kernel.

libpcap is loaded when the first filter is compiled, and is optional: without it only captures
without a filter work.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from typing import TypeAlias

from skydiver.base.errors import QueryError, Unavailable

Instruction: TypeAlias = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""

LINK_ETHERNET = 1
LINK_RAW_IP = 12
LINK_IPV4 = 228
LINK_IPV6 = 229

MAX_TEXT = 4_096
"""Characters. The time that libpcap takes grows with the square to the cube of the length: seconds
for the worst filters of this length, hours for those ten times as long."""
MAX_INSTRUCTIONS = 4_096
"""What the kernel takes (BPF_MAXINSNS)."""

_MOST_TO_OPTIMIZE = 16_384

_NETMASK_UNKNOWN = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


@cache
def _libpcap() -> ctypes.CDLL:
    """The library with its prototypes; raises `Unavailable`."""
    # Debian and Ubuntu name version 1 "0.8", the others "1".
    for name in ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
        library.pcap_open_dead.restype = ctypes.c_void_p
        library.pcap_compile.argtypes = (
            ctypes.c_void_p,
            ctypes.POINTER(_Program),
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_uint32,
        )
        library.pcap_compile.restype = ctypes.c_int
        library.pcap_geterr.argtypes = (ctypes.c_void_p,)
        library.pcap_geterr.restype = ctypes.c_char_p
        library.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
        library.pcap_freecode.restype = None
        library.pcap_close.argtypes = (ctypes.c_void_p,)
        library.pcap_close.restype = None
        return library
    raise Unavailable("libpcap is not installed, so packet filters cannot be compiled")


@lru_cache(maxsize=128)
def compile_bpf(
    text: str, link_type: int = LINK_ETHERNET, snaplen: int = 4_096
) -> tuple[Instruction, ...]:
    """Compile a filter expression; an empty one takes every packet.

    The program returns `snaplen` for a packet that matches, which is how much of it the kernel
    keeps. Raises `QueryError` with libpcap's words. A host or network *name* in `text` is resolved,
    which may take seconds: where that matters, call this in a thread.
    """
    if len(text) > MAX_TEXT:
        raise QueryError(f"packet filter of {len(text)} characters, at most {MAX_TEXT} expected")
    if "\0" in text:
        raise QueryError("packet filter holds a NUL character")
    library = _libpcap()
    handle = library.pcap_open_dead(link_type, snaplen)
    if not handle:
        raise Unavailable("libpcap has no memory to compile a packet filter")
    try:
        # What is hopeless long before optimization stays so, and optimizing is the slow part.
        if len(text) > 256:
            _compiled(library, handle, text, optimize=False, most=_MOST_TO_OPTIMIZE)
        return _compiled(library, handle, text, optimize=True, most=MAX_INSTRUCTIONS)
    finally:
        library.pcap_close(handle)


def _compiled(
    library: ctypes.CDLL, handle: int, text: str, *, optimize: bool, most: int
) -> tuple[Instruction, ...]:
    program = _Program()
    encoded = text.encode("utf-8", "surrogateescape")
    if library.pcap_compile(handle, program, encoded, int(optimize), _NETMASK_UNKNOWN) != 0:
        words = library.pcap_geterr(handle).decode(errors="replace")
        raise QueryError(f"packet filter {_short(text)!r}: {words}")
    try:
        if program.length > most:
            raise QueryError(
                f"packet filter {_short(text)!r} is too long: it takes {program.length} "
                f"instructions, at most {most} expected"
            )
        if not optimize:
            return ()
        return tuple((i.code, i.jt, i.jf, i.k) for i in program.instructions[: program.length])
    finally:
        library.pcap_freecode(program)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."

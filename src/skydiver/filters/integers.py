"""The integer coercion of the query language (gremlin.md §4.1)."""

from __future__ import annotations

import math
import re
from typing import Any

_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*"
    r"|[1-9](?:_?[0-9])*)"
)
_ZERO_DECIMALS = re.compile(r"\.0+\Z")
_OCTAL = re.compile(r"\A([+-]?)0(?=[0-7_])")
_LONGEST = 80
"""Digits, sign and prefix of any 64-bit integer in base two; leading zeros beyond are refused."""
INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


def to_int(value: Any) -> int | None:
    """The integer that `value` stands for, None when it stands for none.

    Decimals are truncated, booleans are 1 and 0, null is 0; a text is read as Go reads it with the
    base told by its prefix, after zero decimals are taken off.
    """
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return _text_to_int(value)
    if value is None:
        return 0
    if isinstance(value, float):
        return math.trunc(value) if math.isfinite(value) else None
    return None


def _text_to_int(text: str) -> int | None:
    # Nearly all texts in a graph are names: told by their first character.
    if not text or text[0] not in "0123456789+-":
        return None
    text = _ZERO_DECIMALS.sub("", text)
    if len(text) > _LONGEST or _INTEGER.fullmatch(text) is None:
        return None
    number = int(_OCTAL.sub(r"\g<1>0o", text), 0)
    return number if INT64_MIN <= number <= INT64_MAX else None

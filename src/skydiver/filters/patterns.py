"""Regular expressions as RE2 understands them, run by `re`.

A pattern means the same here, in the data plane and in the original, which all follow RE2. `re`
differs in small things (what ``$`` and ``{`` mean, ASCII classes, flags in the middle) and in large
ones (look-around, back-references). So a pattern is parsed by the grammar of RE2, refused where it
leaves it, and written anew for `re`.

`re` backtracks, and takes time exponential in the value for patterns such as ``(a+)+$``; RE2 does
not. What a user may write must not stop the program, so a pattern that can backtrack badly (an
unbounded repetition inside another, or one after another) is run by `automaton` instead, in time
proportional to the value. It is slower on short values, hence the choice by pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from skydiver.base.errors import QueryError
from skydiver.filters.pattern_syntax import backtracks_badly, parse, to_python

Search = Callable[[str], object]
"""Tells whether a text contains a match."""


def check_pattern(pattern: str) -> None:
    """`QueryError` unless `pattern` is one that can be searched for."""
    compile_pattern(pattern)


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Search:
    """What searches a text for `pattern`."""
    from skydiver.filters.automaton import Automaton

    tree = parse(pattern)
    if backtracks_badly(tree):
        return Automaton(tree).search
    try:
        return re.compile(to_python(tree)).search
    except (re.error, OverflowError, RecursionError) as error:
        raise QueryError(f"pattern '{pattern}': {error}") from error

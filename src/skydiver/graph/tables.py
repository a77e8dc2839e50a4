"""Tables that can be frozen: what makes a snapshot of the graph nearly free.

Freezing a table hands out its dictionary as it is; only the next write, and only when somebody
still holds what was frozen, copies it. Most queries begin and end between two writes and cost no
copy at all. A copy is of the references only (about a millisecond for 100 k rows).

Rejected: persistent tries (each read and each write several times slower in Python), a copy per
snapshot (pays for queries that read one node), a lock (a long dump would stop the graph).
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from typing import Any, Generic, TypeVar, cast
from weakref import ReferenceType, ref

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Frozen(Generic[K, V]):
    """The rows of a table at one moment; they stay as they are while this is held."""

    __slots__ = ("__weakref__", "rows")

    def __init__(self, rows: Mapping[K, V]) -> None:
        self.rows = rows


class Table(Generic[K, V]):
    """Rows by key, in order of their first writing."""

    __slots__ = ("_frozen", "copies", "rows")

    def __init__(self) -> None:
        self.rows: dict[K, V] = {}
        """For reading only."""
        self.copies = 0
        """How often the rows had to be copied."""
        self._frozen: ReferenceType[Frozen[K, V]] | None = None

    def freeze(self) -> Frozen[K, V]:
        """The rows as they are now."""
        if self._frozen is not None and (frozen := self._frozen()) is not None:
            return frozen
        frozen = Frozen(self.rows)
        self._frozen = ref(frozen)
        return frozen

    def writable(self) -> dict[K, V]:
        """The rows, for writing at once; not to be kept."""
        if self._frozen is not None:
            if self._frozen() is not None:
                self.rows = self.rows.copy()
                self.copies += 1
            self._frozen = None
        return self.rows


_SMALL = 8
"""Members of a set up to which it is a tuple, which is copied when it changes."""


class SetTable(Generic[K]):
    """Ordered sets of identifiers by key: adjacency and indexes.

    Most sets have one member or a few and are kept as small as that allows: one identifier as
    itself, a few as a tuple, many as the keys of a dictionary. Such a dictionary may be shared with
    what was frozen, so it is copied before its first change after the table was.
    """

    __slots__ = ("_copies", "_owned", "table")

    def __init__(self) -> None:
        self.table: Table[K, Any] = Table()
        self._owned: set[K] | None = None
        """Keys of the dictionaries that nothing frozen shares; None = all."""
        self._copies = 0

    def add(self, key: K, member: str) -> None:
        rows = self._writable()
        found = rows.get(key)
        if found is None:
            rows[key] = member
        elif type(found) is dict:
            self._own(rows, key, found)[member] = None
        elif type(found) is tuple:
            if member not in found:
                if len(found) < _SMALL:
                    rows[key] = (*found, member)
                else:
                    rows[key] = dict.fromkeys((*found, member))
                    if self._owned is not None:
                        self._owned.add(key)
        elif found != member:
            rows[key] = (found, member)

    def discard(self, key: K, member: str) -> None:
        rows = self._writable()
        found = rows.get(key)
        if found is None:
            return
        if type(found) is dict:
            if member in found:
                found = self._own(rows, key, found)
                del found[member]
                if not found:
                    del rows[key]
        elif type(found) is tuple:
            left = tuple(other for other in found if other != member)
            rows[key] = left if len(left) > 1 else left[0]
        elif found == member:
            del rows[key]

    def remove(self, key: K) -> None:
        """Forget the whole set of `key`."""
        if key in self.table.rows:
            del self._writable()[key]

    def _writable(self) -> dict[K, Any]:
        rows = self.table.writable()
        if self._copies != self.table.copies:
            self._copies = self.table.copies
            self._owned = set()
        return rows

    def _own(self, rows: dict[K, Any], key: K, found: dict[str, None]) -> dict[str, None]:
        if self._owned is None or key in self._owned:
            return found
        found = rows[key] = found.copy()
        self._owned.add(key)
        return found


def members(rows: Mapping[K, Any], key: K) -> Collection[str]:
    """The set of `key` in the rows of a `SetTable`."""
    found = rows.get(key)
    if found is None:
        return ()
    if isinstance(found, str):
        return (found,)
    return cast("Collection[str]", found)

"""What several sources say about one element, and what it looks like in the end.

Each source has a facet. Where two sources say something about the same path, the one that spoke
first about the element is heard, until it withdraws; so none overwrites another, and a source that
repeats itself changes nothing. Objects are not opinions: two sources may each say a part of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from skydiver.graph.elements import Metadata
from skydiver.graph.events import Op, OpKind
from skydiver.graph.metadata import (
    applied,
    at_path,
    differences,
    effective,
    has_path,
    overlaid,
    set_path,
)

Tree = dict[str, Any]


class Facet:
    """What one source says: its last whole statement, changed by its later patches."""

    __slots__ = ("holds", "patched", "source", "states", "tree")

    def __init__(self, source: str) -> None:
        self.source = source
        self.holds = False
        """Whether the source says that the element exists, not only what it is like."""
        self.states = False
        """Whether there was a whole statement, not only patches."""
        self.tree: Metadata = {}
        self.patched: tuple[str, ...] = ()
        """Paths that patches set beside the statement; they stay when it is renewed."""

    def state(self, metadata: Metadata, *, holds: bool = True) -> None:
        """Replace the statement. Patches stay where it says nothing."""
        kept: list[str] = []
        tree = metadata
        for path in self.patched:
            if not has_path(metadata, path) and has_path(self.tree, path):
                changed = set_path(tree, path, at_path(self.tree, path))
                if changed is not None:
                    tree = changed
                    kept.append(path)
        self.states = True
        self.holds = holds
        self.tree = tree
        self.patched = tuple(kept)

    def patch(self, ops: Iterable[Op]) -> None:
        """Change parts of what is said."""
        for op in ops:
            if op.kind is OpKind.DELETE:
                below = f"{op.key}."
                self.patched = tuple(
                    path for path in self.patched if path != op.key and not path.startswith(below)
                )
            elif op.key not in self.patched and not has_path(self.tree, op.key):
                self.patched = (*self.patched, op.key)
            self.tree = applied(self.tree, (op,))


class Facets:
    """All that is said about one element here."""

    __slots__ = ("_facets", "base", "base_revision")

    def __init__(self, base: Metadata | None = None, base_revision: int = 0) -> None:
        self.base = base
        """What its owner elsewhere says; None when the element is our own."""
        self.base_revision = base_revision
        """Of the owner; ours may be ahead of it."""
        # A tuple: nearly all elements have one source or two, and there are many elements.
        self._facets: tuple[Facet, ...] = ()

    def __iter__(self) -> Iterator[Facet]:
        """In the order in which the sources first spoke."""
        return iter(self._facets)

    def __len__(self) -> int:
        return len(self._facets)

    @property
    def is_held(self) -> bool:
        """Whether somebody says that the element exists."""
        return self.base is not None or any(facet.holds for facet in self._facets)

    def kept(self) -> Facets | None:
        """What outlives the element, for its return: statements that do not hold it."""
        facets = Facets()
        facets._facets = tuple(facet for facet in self if facet.states and not facet.holds)
        return facets if facets._facets else None

    def get(self, source: str) -> Facet | None:
        """The facet of `source`."""
        for facet in self._facets:
            if facet.source == source:
                return facet
        return None

    def of(self, source: str) -> Facet:
        """The facet of `source`, made if need be."""
        facet = self.get(source)
        if facet is None:
            facet = Facet(source)
            self._facets = (*self._facets, facet)
        return facet

    def drop(self, source: str) -> bool:
        """Forget what `source` says; whether it said anything."""
        before = self._facets
        self._facets = tuple(facet for facet in before if facet.source != source)
        return len(self._facets) < len(before)

    def visible(self) -> Metadata:
        """All facets in one; who holds the element is heard before who only knows of it."""
        facets: Iterable[Facet] = self._facets
        if len(self._facets) > 1:
            facets = sorted(facets, key=lambda facet: not facet.holds)
        trees = [facet.tree for facet in facets]
        return overlaid(trees if self.base is None else [self.base, *trees])

    def patch(
        self, source: str, ops: Iterable[Op], shown: Metadata
    ) -> tuple[Metadata, tuple[Op, ...] | None]:
        """Patch the facet of `source`: what is visible then, and what changed of `shown`."""
        ops = tuple(ops)
        facet = self.of(source)
        facet.patch(ops)
        roots = {op.key.partition(".")[0] for op in ops}
        others = [other.tree for other in self._facets if other is not facet]
        if self.base is not None:
            others.append(self.base)
        if all(roots.isdisjoint(tree) for tree in others):
            # Nobody else speaks about these: what is visible changes by the same operations.
            return effective(shown, ops)
        after = self.visible()
        return after, differences(shown, after)

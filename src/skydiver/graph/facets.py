"""What several sources say about one element, and what it looks like in the end.

Each source has a facet. Where two sources say something about the same path, the one that spoke
first about the element is heard, until it withdraws; so none overwrites another, and a source that
repeats itself changes nothing. Objects are not opinions: two sources may each say a part of one.
"""

from __future__ import annotations

from collections.abc import Iterable
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

    __slots__ = ("holds", "patched", "stated", "tree")

    def __init__(self) -> None:
        self.holds = False
        """Whether the source says that the element exists, not only what it is like."""
        self.stated: Metadata | None = None
        """The whole statement; None when there were only patches."""
        self.tree: Metadata = {}
        self.patched: dict[str, None] = {}
        """Paths that patches set beside the statement; they stay when it is renewed."""

    def state(self, metadata: Metadata, *, holds: bool = True) -> None:
        """Replace the statement. Patches stay where it says nothing."""
        self.holds = holds
        kept: dict[str, None] = {}
        tree = metadata
        for path in self.patched:
            if not has_path(metadata, path) and has_path(self.tree, path):
                changed = set_path(tree, path, at_path(self.tree, path))
                if changed is not None:
                    tree = changed
                    kept[path] = None
        self.stated = metadata
        self.tree = tree
        self.patched = kept

    def patch(self, ops: Iterable[Op]) -> None:
        """Change parts of what is said."""
        tree = self.tree
        for op in ops:
            tree = applied(tree, (op,))
            if op.kind is OpKind.SET:
                if self.stated is None or not has_path(self.stated, op.key):
                    self.patched[op.key] = None
            else:
                below = f"{op.key}."
                self.patched = {
                    path: None
                    for path in self.patched
                    if path != op.key and not path.startswith(below)
                }
        self.tree = tree


class Facets:
    """All that is said about one element here."""

    __slots__ = ("base", "base_revision", "by_source")

    def __init__(self, base: Metadata | None = None, base_revision: int = 0) -> None:
        self.base = base
        """What its owner elsewhere says; None when the element is our own."""
        self.base_revision = base_revision
        """Of the owner; ours may be ahead of it."""
        self.by_source: dict[str, Facet] = {}

    @property
    def is_held(self) -> bool:
        """Whether somebody says that the element exists."""
        return self.base is not None or any(facet.holds for facet in self.by_source.values())

    def kept(self) -> Facets | None:
        """What outlives the element, for its return: statements that do not hold it."""
        facets = Facets()
        facets.by_source = {
            source: facet
            for source, facet in self.by_source.items()
            if facet.stated is not None and not facet.holds
        }
        return facets if facets.by_source else None

    def of(self, source: str) -> Facet:
        """The facet of `source`, made if need be."""
        facet = self.by_source.get(source)
        if facet is None:
            facet = self.by_source[source] = Facet()
        return facet

    def visible(self) -> Metadata:
        """All facets in one; who holds the element is heard before who only knows of it."""
        facets: Iterable[Facet] = self.by_source.values()
        if len(self.by_source) > 1:
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
        others = [other.tree for other in self.by_source.values() if other is not facet]
        if self.base is not None:
            others.append(self.base)
        if all(roots.isdisjoint(tree) for tree in others):
            # Nobody else speaks about these: what is visible changes by the same operations.
            return effective(shown, ops)
        after = self.visible()
        return after, differences(shown, after)

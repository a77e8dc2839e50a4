"""The steps of the language: what a step is, and which names lead to which.

Parser, plan, completion and documentation all read this registry, so there is one grammar.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Any, Literal, Self, TypeAlias, TypeVar

from skydiver.gremlin.arguments import Args
from skydiver.gremlin.kinds import Result
from skydiver.gremlin.offers import Offer

Vocabulary: TypeAlias = Literal["core", "full"]
"""``core`` is the topology language, ``full`` adds flows and walks (gremlin.md §1.2)."""


class Step:
    """One step of a query: its arguments and no state.

    A subclass is a frozen data class and states by the annotation of `run` what it applies to.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, args: Args) -> Self:
        """The step with these arguments; without a parser of its own it takes none."""
        args.none()
        return cls()

    def offer(self) -> Offer | None:
        """What the step before may take over instead of this step running."""
        return None

    def absorb(self, offer: Offer) -> Self | None:
        """This step with `offer` taken over, or None when it refuses."""
        return None

    def run(self, source: Any) -> Any:
        """The result of applying the step to `source`; awaitable when it has to ask others."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Registration:
    name: str
    """As documented, ``ShortestPathTo``."""
    step: type[Step]
    vocabulary: Vocabulary
    accepts: tuple[type[Result], ...]
    """What it applies to."""
    asynchronous: bool

    def applies_to(self) -> str:
        """What it applies to, in words."""
        return ", ".join(kind.kind for kind in self.accepts)


UNAVAILABLE: Mapping[str, str] = {
    "WORKFLOW": "workflows are not run by this analyzer",
}
"""Words of the full vocabulary that cannot be answered, and why."""

_registered: dict[str, Registration] = {}

S = TypeVar("S", bound=type[Step])


def step(*names: str, vocabulary: Vocabulary = "core") -> Callable[[S], S]:
    """Register a step under its name and its aliases; case does not matter."""

    def register(cls: S) -> S:
        hint = typing.get_type_hints(cls.run)["source"]
        accepts = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        for name in names:
            if name.upper() in _registered:
                raise ValueError(f"two steps are called {name}")
            _registered[name.upper()] = Registration(
                name, cls, vocabulary, accepts, inspect.iscoroutinefunction(cls.run)
            )
        return cls

    return register


@cache
def steps() -> Mapping[str, Registration]:
    """All steps by their name in upper case."""
    shelf = import_module("skydiver.gremlin.steps")
    for module in shelf.BUILTIN:
        import_module(f"skydiver.gremlin.steps.{module}")
    return _registered

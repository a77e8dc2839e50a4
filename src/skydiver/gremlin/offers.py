"""What a step can hand over to the step before it instead of running itself (gremlin.md §8).

The step before decides whether it absorbs the offer; that is how filters, orders and limits reach
the graph's indexes and the agents' flow tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias, TypeVar

from skydiver.base.errors import QueryError
from skydiver.filters import And, Eq, Filter, Or, exists
from skydiver.gremlin.arguments import Args, Keyword, MetadataPairs
from skydiver.gremlin.predicates import Predicate, Scalar, converted, scalar

T = TypeVar("T")

Operand: TypeAlias = Predicate | Scalar


@dataclass(frozen=True, slots=True)
class Window:
    """Keep items `first` to `last` - 1."""

    first: int
    last: int

    def of(self, items: Iterable[T]) -> Iterator[T]:
        """The items inside; nothing beyond `last` is looked at."""
        return islice(items, self.first, max(self.first, self.last))


@dataclass(frozen=True, slots=True)
class Order:
    by: str
    """Field; empty = the default of what is sorted."""
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Distinct:
    by: tuple[str, ...]
    """Fields; empty = the identity of what is de-duplicated."""


EITHER_SIDE = ("Network", "Link", "Transport")
"""Flow keys that stand for their ``.A`` or their ``.B`` (§5.4)."""

PORTS = ("Transport.A", "Transport.B")


@dataclass(frozen=True, slots=True)
class Condition:
    """What `Has`, `HasEither` and the arguments of navigation steps ask for (§7)."""

    pairs: tuple[tuple[str, Operand], ...] = ()
    key: str | None = None
    """The only argument: this key must exist."""
    either: bool = False
    """One true pair is enough."""

    @classmethod
    def parse(cls, args: Args, *, either: bool = False) -> Condition:
        """Read a key, or pairs of key and value or predicate, or nothing."""
        items = args.items
        if len(items) == 1:
            return cls(key=args.one_text(), either=either)
        if len(items) % 2:
            raise QueryError(
                f"{args.step} needs pairs of key and value; {items[-1]} has no partner",
                column=items[-1].column,
            )
        pairs: list[tuple[str, Operand]] = []
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key.value, str):
                raise args.error("a key that is a text", at=key)
            match value.value:
                case Predicate() as predicate:
                    pairs.append((key.value, predicate))
                case Keyword() | MetadataPairs():
                    raise args.error("a value or a predicate", at=value)
                case plain:
                    pairs.append((key.value, scalar(args.step, plain, column=value.column)))
        return cls(tuple(pairs), either=either)

    @property
    def arguments(self) -> int:
        """How many arguments were written."""
        return 1 if self.key is not None else 2 * len(self.pairs)

    def on_elements(self) -> Filter | None:
        """The filter of nodes, edges and values; None without arguments: everything."""
        if self.key is not None:
            return exists(self.key)
        return self._joined([_test(key, operand) for key, operand in self.pairs])

    def on_flows(self) -> Filter:
        """The filter of flows: pairs only, either side where the key names a layer."""
        if self.key is not None or not self.pairs:
            raise QueryError("a filter of flows needs pairs of key and value")
        joined = self._joined([_flow_test(key, operand) for key, operand in self.pairs])
        assert joined is not None
        return joined

    def _joined(self, tests: list[Filter]) -> Filter | None:
        if not tests:
            return None
        if len(tests) == 1:
            return tests[0]
        return Or(tuple(tests)) if self.either else And(tuple(tests))


def _test(key: str, operand: Operand) -> Filter:
    return operand.on(key) if isinstance(operand, Predicate) else Eq(key, operand)


def _flow_test(key: str, operand: Operand) -> Filter:
    if key in EITHER_SIDE:
        return Or((_flow_test(f"{key}.A", operand), _flow_test(f"{key}.B", operand)))
    return _test(key, converted(operand, _port) if key in PORTS else operand)


def _port(value: Scalar) -> Scalar:
    """Ports are numbers, and may be written as texts (§15, Q16)."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 5:
        return int(value)
    return value


Offer: TypeAlias = Condition | Window | Order | Distinct


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """A filter that is true when both are; kept flat, however many are joined."""
    if first is None or second is None:
        return second if first is None else first
    heads = first.filters if isinstance(first, And) else (first,)
    tails = second.filters if isinstance(second, And) else (second,)
    return And(heads + tails)

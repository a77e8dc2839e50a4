"""Predicate trees as they travel: the protobuf ``filters.Filter`` (flows.md §1.8)."""

from __future__ import annotations

from collections.abc import Iterable

from skydiver.base.errors import ProtocolError, QueryError
from skydiver.filters import filters_pb2 as pb
from skydiver.filters.tree import (
    And,
    Eq,
    Filter,
    Gt,
    Gte,
    IPv4Range,
    Lt,
    Lte,
    Missing,
    Not,
    Or,
    Regex,
)

MAX_DEPTH = 45
"""Deeper trees are refused; the protobuf library takes 100 messages inside each other, and each
level of a tree is two."""


def to_wire(where: Filter) -> pb.Filter:
    """`where` as its message; `QueryError` when it is too deep to travel."""
    return _to_wire(where, MAX_DEPTH)


def _to_wire(where: Filter, depth: int) -> pb.Filter:
    if depth == 0:
        raise QueryError(f"filter nested deeper than {MAX_DEPTH}")
    match where:
        case And(filters):
            return _bool_filter(pb.AND, filters, depth)
        case Or(filters):
            return _bool_filter(pb.OR, filters, depth)
        case Not(filters):
            return _bool_filter(pb.NOT, filters, depth)
        case Eq(key, bool(value)):
            return pb.Filter(TermBoolFilter=pb.TermBoolFilter(Key=key, Value=value))
        case Eq(key, int(value)):
            return pb.Filter(TermInt64Filter=pb.TermInt64Filter(Key=key, Value=value))
        case Eq(key, str(value)):
            return pb.Filter(TermStringFilter=pb.TermStringFilter(Key=key, Value=value))
        case Gt(key, bound):
            return pb.Filter(GtInt64Filter=pb.GtInt64Filter(Key=key, Value=bound))
        case Gte(key, bound):
            return pb.Filter(GteInt64Filter=pb.GteInt64Filter(Key=key, Value=bound))
        case Lt(key, bound):
            return pb.Filter(LtInt64Filter=pb.LtInt64Filter(Key=key, Value=bound))
        case Lte(key, bound):
            return pb.Filter(LteInt64Filter=pb.LteInt64Filter(Key=key, Value=bound))
        case Regex(key, pattern):
            return pb.Filter(RegexFilter=pb.RegexFilter(Key=key, Value=pattern))
        case Missing(key):
            return pb.Filter(NullFilter=pb.NullFilter(Key=key))
        case IPv4Range(key, cidr):
            return pb.Filter(IPV4RangeFilter=pb.IPV4RangeFilter(Key=key, Value=cidr))
    raise TypeError(f"not a filter: {where!r}")


def _bool_filter(op: pb.BoolFilterOp, filters: Iterable[Filter], depth: int) -> pb.Filter:
    parts = [_to_wire(f, depth - 1) for f in filters]
    return pb.Filter(BoolFilter=pb.BoolFilter(Op=op, Filters=parts))


def from_wire(message: pb.Filter) -> Filter:
    """The tree of `message`; `ProtocolError` when it is none."""
    return _from_wire(message, MAX_DEPTH)


def _from_wire(message: pb.Filter, depth: int) -> Filter:
    if depth == 0:
        raise ProtocolError(f"filter nested deeper than {MAX_DEPTH}")
    fields = message.ListFields()
    if len(fields) != 1:
        raise ProtocolError(f"filter with {len(fields)} kinds set, expected one")
    _, value = fields[0]
    match value:
        case pb.BoolFilter():
            return _from_bool_filter(value, depth)
        case pb.TermStringFilter() | pb.TermInt64Filter() | pb.TermBoolFilter():
            return Eq(value.Key, value.Value)
        case pb.GtInt64Filter():
            return Gt(value.Key, value.Value)
        case pb.GteInt64Filter():
            return Gte(value.Key, value.Value)
        case pb.LtInt64Filter():
            return Lt(value.Key, value.Value)
        case pb.LteInt64Filter():
            return Lte(value.Key, value.Value)
        case pb.RegexFilter():
            return Regex(value.Key, value.Value)
        case pb.NullFilter():
            return Missing(value.Key)
        case _:
            return IPv4Range(value.Key, value.Value)


def _from_bool_filter(message: pb.BoolFilter, depth: int) -> Filter:
    filters = tuple(_from_wire(f, depth - 1) for f in message.Filters)
    match message.Op:
        case pb.AND:
            return And(filters)
        case pb.OR:
            return Or(filters)
        case pb.NOT:
            return Not(filters)
        case _:
            raise ProtocolError(f"boolean filter of unknown kind {message.Op}")

"""Predicate tree shared by graph, flows and storage.

One semantics (gremlin.md §§6-7, api.md §9.1), several executors: `evaluate` here, Rust over flow
tables, SQL in the stores. A tree is immutable and hashable.
"""

from skydiver.filters.evaluate import (
    MISSING,
    FieldReader,
    Predicate,
    compile_filter,
    compile_for,
    field_test,
)
from skydiver.filters.integers import to_int
from skydiver.filters.patterns import check_pattern
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
    exists,
)

__all__ = [
    "MISSING",
    "And",
    "Eq",
    "FieldReader",
    "Filter",
    "Gt",
    "Gte",
    "IPv4Range",
    "Lt",
    "Lte",
    "Missing",
    "Not",
    "Or",
    "Predicate",
    "Regex",
    "check_pattern",
    "compile_filter",
    "compile_for",
    "exists",
    "field_test",
    "to_int",
]

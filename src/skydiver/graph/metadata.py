"""Metadata trees: normal form, equality, paths, changes. Nothing here changes a tree in place.

A path is written ``a.b.c`` and descends objects (api.md §1.3). A key that holds a dot itself is an
ordinary key, but no path leads to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from sys import intern
from typing import Any

from skydiver.graph.elements import Metadata
from skydiver.graph.events import Op, OpKind

MAX_DEPTH = 100
"""Objects and lists inside each other; deeper metadata is refused."""
_FEW = 4
"""Texts in the metadata of an edge up to which it is worth looking for the same."""
_MANY = 16
"""Flags in one object from which on it is worth looking for the same one."""
INT_MIN = -(2**63)
INT_MAX = 2**64 - 1


def normalised(metadata: Metadata) -> dict[str, Any]:
    """A copy of `metadata` that is plain JSON: enumerations become texts, tuples lists, whole
    decimals integers. `TypeError` or `ValueError` for what JSON cannot say."""
    return {_key(key): normal_value(value) for key, value in metadata.items()}


def normal_value(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A copy of `value` that is plain JSON."""
    kind = type(value)
    if kind is bool or value is None:
        return value
    if kind is str:
        # Words such as UP or veth are kept once; names and addresses are not worth it.
        if value.isalpha() and value.isascii():
            return intern(value)
        return value if value.isascii() else _utf8(value)
    if kind is int:
        if INT_MIN <= value <= INT_MAX:
            return value
        raise ValueError("metadata cannot hold an integer of more than 64 bits")
    if kind is float:
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if depth == 0:
        raise ValueError(f"metadata nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        if len(value) >= _MANY and all(type(member) is bool for member in value.values()):
            return _flags(tuple(value), bytes(value.values()))
        return {_key(key): normal_value(member, depth - 1) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [normal_value(member, depth - 1) for member in value]
    for base in (str, int, float):
        if isinstance(value, base):
            return normal_value(base(value), depth)
    raise TypeError(f"metadata cannot hold a {kind.__name__}")


def shared(metadata: dict[str, Any]) -> Metadata:
    """The same metadata, kept once for all that say it: most edges say one of a few things."""
    if len(metadata) <= _FEW and all(type(value) is str for value in metadata.values()):
        return _shared(tuple(metadata.items()))
    return metadata


@lru_cache(maxsize=1_000)
def _shared(items: tuple[tuple[str, str], ...]) -> Metadata:
    return dict(items)


@lru_cache(maxsize=1_000)
def _flags(names: tuple[Any, ...], values: bytes) -> Metadata:
    """Large sets of flags, such as the features of an interface, are the same on many elements."""
    return {_key(name): bool(value) for name, value in zip(names, values, strict=True)}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"metadata keys are texts, not {type(key).__name__}")
    return key if type(key) is str and key.isascii() else _utf8(str(key))


def _utf8(text: str) -> str:
    """`text` with what UTF-8 cannot say replaced: names of files may hold any byte."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def exploded(labels: Metadata) -> dict[str, Any]:
    """`labels` with every key that holds dots made into levels, and null made "".

    Where two keys collide (``a`` and ``a.b``) the first stays (topology-probes.md §2.2).
    """
    tree: dict[str, Any] = {}
    for key, value in labels.items():
        if isinstance(value, Mapping):
            value = exploded(value)
        elif value is None:
            value = ""
        changed = set_path(tree, key, normal_value(value))
        tree = tree if changed is None else changed
    return tree


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON. Python takes true for 1 and 1.0; JSON does not."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other) or one != other:
        return False
    if kind is dict:
        # The keys are the same, since the objects are equal.
        return all(same(value, other[key]) for key, value in one.items())
    if kind is list:
        return all(map(same, one, other))
    return True


def set_path(tree: Metadata, path: str, value: Any) -> dict[str, Any] | None:
    """`tree` with `value` at `path`; None when something on the way is not an object."""
    changed = dict(tree)
    if "." not in path:
        changed[path] = value
        return changed
    level = changed
    *parents, last = path.split(".")
    if len(parents) > MAX_DEPTH:
        return None
    for parent in parents:
        below = level.get(parent)
        if below is None and parent not in level:
            below = {}
        elif not isinstance(below, dict):
            return None
        level[parent] = level = dict(below)
    level[last] = value
    return changed


def delete_path(tree: Metadata, path: str) -> dict[str, Any] | None:
    """`tree` without `path` and without the parents that become empty; None when not there."""
    head, dot, rest = path.partition(".")
    if head not in tree:
        return None
    changed = dict(tree)
    if not dot:
        del changed[head]
        return changed
    below = tree[head]
    if not isinstance(below, dict):
        return None
    without = delete_path(below, rest)
    if without is None:
        return None
    if without:
        changed[head] = without
    else:
        del changed[head]
    return changed


def has_path(tree: Metadata, path: str) -> bool:
    """Whether `path` leads to something, through objects only."""
    level: Any = tree
    for part in path.split("."):
        if not isinstance(level, dict) or part not in level:
            return False
        level = level[part]
    return True


def at_path(tree: Metadata, path: str) -> Any:
    """What `path` leads to, through objects only; it must be there."""
    level: Any = tree
    for part in path.split("."):
        level = level[part]
    return level


def applied(tree: Metadata, ops: Iterable[Op]) -> dict[str, Any]:
    """`tree` after `ops`; those that cannot be done are left out."""
    changed = dict(tree)
    for op in ops:
        key = op.key
        if "." not in key:
            if op.kind is OpKind.SET:
                changed[key] = op.value
            else:
                changed.pop(key, None)
            continue
        result = (
            set_path(changed, key, op.value) if op.kind is OpKind.SET else delete_path(changed, key)
        )
        changed = changed if result is None else result
    return changed


def effective(tree: Metadata, ops: Iterable[Op]) -> tuple[Metadata, tuple[Op, ...]]:
    """`tree` after `ops`, and those of them that changed something."""
    done: list[Op] = []
    for op in ops:
        if op.kind is OpKind.SET:
            if has_path(tree, op.key) and same(at_path(tree, op.key), op.value):
                continue
            changed = set_path(tree, op.key, op.value)
        else:
            changed = delete_path(tree, op.key)
        if changed is not None:
            tree = changed
            done.append(op)
    return tree, tuple(done)


def overlaid(trees: Iterable[Metadata]) -> Metadata:
    """All `trees` in one; where two say something about the same, the first is heard."""
    result: Metadata | None = None
    for tree in trees:
        result = tree if result is None else _beneath(result, tree)
    return {} if result is None else result


def _beneath(upper: Metadata, lower: Metadata) -> Metadata:
    """`upper` with what only `lower` says added."""
    found: dict[str, Any] | None = None
    for key, value in lower.items():
        if key not in upper:
            found = dict(upper) if found is None else found
            found[key] = value
        elif isinstance(value, dict) and isinstance(above := upper[key], dict):
            merged = _beneath(above, value)
            if merged is not above:
                found = dict(upper) if found is None else found
                found[key] = merged
    return upper if found is None else found


def differences(before: Metadata, after: Metadata) -> tuple[Op, ...] | None:
    """What makes `after` of `before`, by keys of the top level; None when no path can say it."""
    ops = [
        Op(OpKind.SET, key, value)
        for key, value in after.items()
        if key not in before or not same(before[key], value)
    ]
    ops += [Op(OpKind.DELETE, key) for key in before if key not in after]
    return None if any("." in op.key for op in ops) else tuple(ops)

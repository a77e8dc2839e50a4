"""Configuration files: YAML with the place of each setting, for messages that point at it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from skydiver.base.errors import ConfigError
from skydiver.base.settings_kinds import Scalar, Tree

if TYPE_CHECKING:
    from yaml import MappingNode, Node, SafeLoader
    from yaml.error import Mark, MarkedYAMLError

MAX_BYTES = 1024 * 1024
MAX_VALUES = 50_000
"""Aliases can make a small file stand for any number of values."""
MAX_DEPTH = 64

_IN_WORDS = {
    "found character that cannot start any token": (
        "a tab, or another character that needs quotes; expected spaces or a quoted text"
    ),
    "mapping values are not allowed in this context": (
        "a key where none can be; expected a value, in quotes when it holds ': '"
    ),
    "found unexpected end of stream": "a quote that is not closed",
    "found undefined alias": "an alias of what has no such name before it",
    "but found another document": "a second document; expected one in a file",
}
"""Errors that people meet often, said for them."""

IsSection: TypeAlias = Callable[[tuple[str, ...]], bool]
"""Whether a path of keys names a section, as opposed to a setting that may itself be a map."""


@dataclass(frozen=True, slots=True)
class Written:
    """One setting as somebody wrote it."""

    where: str
    """``/etc/skydive/skydive.yml, line 12``."""
    value: Tree


def read_file(name: str, is_section: IsSection) -> dict[str, Written]:
    """Settings of a YAML file by dotted key in lower case; ``-`` is standard input.

    `ConfigError` names file, line and column of what is wrong.
    """
    label = "standard input" if name == "-" else name
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(name, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"configuration file {label}: {reason}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"configuration file {label}: larger than {MAX_BYTES} bytes")
    return _File(label, is_section).read(content)


def yaml_loader() -> type[SafeLoader]:
    """The loader in C where PyYAML has it: ten times quicker."""
    import yaml

    loader: type[SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader


def shallow(text: str) -> str:
    """`text` itself, once it is known to nest at most `MAX_DEPTH` levels.

    PyYAML's composer in C recurses without a limit: a file of brackets crashes the process.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text, Loader=yaml_loader()):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                problem = f"nested more than {MAX_DEPTH} levels deep"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=_mark(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return text


class _File:
    """Walks the YAML nodes of one file."""

    def __init__(self, label: str, is_section: IsSection) -> None:
        import yaml  # late: most starts read no file

        self._yaml = yaml
        self._constructor = yaml.constructor.SafeConstructor()
        self._label = label
        self._is_section = is_section
        self._found: dict[str, Written] = {}
        self._left = MAX_VALUES

    def read(self, content: bytes) -> dict[str, Written]:
        yaml = self._yaml
        try:
            root = yaml.compose(shallow(content.decode("utf-8-sig")), Loader=yaml_loader())
            if root is not None and not _is_null(root):
                self._section(root, ())
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise ConfigError(f"{self._label}, line {line}: not UTF-8") from error
        except yaml.MarkedYAMLError as error:
            raise self._broken(error) from error
        except (yaml.YAMLError, RecursionError) as error:
            problem = " ".join(str(getattr(error, "reason", error)).split())
            raise ConfigError(f"{self._label}: not YAML: {problem}") from error
        return self._found

    def _section(self, node: Node, path: tuple[str, ...]) -> None:
        if not isinstance(node, self._yaml.MappingNode):
            what = f"section {'.'.join(path)}" if path else "the file"
            raise self._error(_mark(node), f"expected keys and values in {what}")
        for key_node, value in self._members(node, len(path)):
            # A key with dots is short for nested sections.
            full = (*path, *key_node.value.lower().split("."))
            if _is_null(value):
                continue
            if self._is_section(full):
                self._section(value, full)
                continue
            key = ".".join(full)
            where = f"{self._label}, line {key_node.start_mark.line + 1}"
            if key in self._found:
                raise ConfigError(f"{where}: {key} is given twice")
            self._found[key] = Written(where, self._tree(value, len(full)))

    def _tree(self, node: Node, depth: int) -> Tree:
        if isinstance(node, self._yaml.ScalarNode):
            return Scalar("" if _is_null(node) else node.value, self._value(node))
        if isinstance(node, self._yaml.SequenceNode):
            self._count(node, depth)
            return [self._tree(item, depth + 1) for item in node.value]
        assert isinstance(node, self._yaml.MappingNode)  # there is no fourth kind
        return {
            key.value.lower(): self._tree(item, depth + 1)
            for key, item in self._members(node, depth)
        }

    def _members(self, node: MappingNode, depth: int) -> list[tuple[Node, Node]]:
        """Keys and values of a mapping, with what ``<<`` merges in."""
        self._count(node, depth)
        own: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, self._yaml.ScalarNode):
                raise self._error(_mark(key), "expected a plain key")
            if key.value.lower() in own:
                raise self._error(_mark(key), f"{key.value} is given twice")
            own.add(key.value.lower())
        self._constructor.flatten_mapping(node)
        # What is merged in stands first and may be said again; what an alias shows is done once.
        members = list({key.value.lower(): (key, value) for key, value in node.value}.values())
        node.value = members
        return members

    def _value(self, node: Any) -> Any:
        try:
            value = self._constructor.construct_object(node)
        except (ValueError, OverflowError):
            return node.value
        # Dates and the like have no place in JSON.
        return value if isinstance(value, (str, int, float, type(None))) else node.value

    def _count(self, node: Node, depth: int) -> None:
        self._left -= 1 + len(node.value)
        if self._left < 0 or depth > MAX_DEPTH:
            limit = f"more than {MAX_VALUES} values or {MAX_DEPTH} levels, aliases counted"
            raise self._error(_mark(node), limit)

    def _broken(self, error: MarkedYAMLError) -> ConfigError:
        """What the parser says, in words for who has not read the standard."""
        said = " ".join(str(error.problem or error.context).split())
        mark, begun = error.problem_mark or error.context_mark, error.context_mark
        problem = _IN_WORDS.get(said, said)
        if said.startswith("nested"):
            return self._error(mark, problem)
        if begun and mark and error.context and begun.line != mark.line:
            problem += f" ({' '.join(error.context.split())} from line {begun.line + 1} on)"
        return self._error(mark, f"not YAML: {problem}")

    def _error(self, mark: Mark | None, problem: str) -> ConfigError:
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return ConfigError(f"{self._label}{place}: {problem}")


def _mark(at: Any) -> Mark:
    mark: Mark = at.start_mark
    return mark


def _is_null(node: Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")

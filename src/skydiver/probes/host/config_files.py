"""Values of configuration files: what a dotted selector finds in JSON, YAML, TOML, INI, properties.

Files belong to other programs, so they may hold anything, and change while they are read. Each
becomes a tree of mappings, lists and texts, values as they are written: a number keeps its zeros.
Limits on size and depth keep a hostile one cheap. YAML is walked as nodes and never built: aliases
and merges can make a small file stand for more than fits into memory.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from typing import Any, TypeAlias

import yaml

from skydiver.base.settings import MetadataFile
from skydiver.base.settings_files import shallow, yaml_loader

MAX_BYTES = 256 * 1024
MAX_VALUE = 4096
"""Characters of one value."""
_LONGEST_TOML_LINE = 16 * 1024
"""The parser takes the square of the number of dots in a key."""

Tree: TypeAlias = Any
"""A mapping, a list, or a scalar; of YAML its nodes."""


def value_of(file: MetadataFile) -> str:
    """The value that `file` selects; `ValueError` or `OSError` say why there is none."""
    try:
        text = _content(file.path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    if "\0" in text:
        raise ValueError("not a text")
    try:
        tree = _READERS[file.type](text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {_yaml_problem(error)}") from None
    except configparser.Error as error:
        raise ValueError(f"not INI: {_ini_problem(error)}") from None
    except ValueError as error:
        raise ValueError(f"not {file.type.upper()}: {_line(error)}") from None
    for found in _selected(tree, file.selector.split(".")):
        value = _scalar(found, file.selector)
        if len(value) > MAX_VALUE:
            raise ValueError(f"more than {MAX_VALUE} characters at {file.selector}")
        # Escapes can write halves of characters, which cannot be sent.
        return value.encode("utf-8", "replace").decode()
    raise ValueError(f"nothing at {file.selector}")


def _content(path: str) -> bytes:
    # A pipe in its place must not make us wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    return content


# Formats


def _json(text: str) -> Tree:
    return json.loads(text, parse_int=str, parse_float=str)


def _toml(text: str) -> Tree:
    if any(len(line) > _LONGEST_TOML_LINE for line in text.splitlines()):
        raise ValueError(f"a line of more than {_LONGEST_TOML_LINE} characters")
    return tomllib.loads(text, parse_float=str)


def _yaml(text: str) -> Tree:
    return yaml.compose(shallow(text), Loader=yaml_loader())


_TOP, _NONE = "\0top", "\0none"
"""Names that no text has."""


def _ini(text: str) -> Tree:
    """Sections of keys; keys before the first section are at the top."""
    parser = configparser.RawConfigParser(
        strict=False,  # what is given again counts, as in many programs
        allow_no_value=True,
        default_section=_NONE,  # DEFAULT is a section like any other
        empty_lines_in_values=False,
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(f"[{_TOP}]\n{text}")
    tree: dict[str, Any] = {}
    for name in parser.sections():
        values = {key: _unquoted(value or "") for key, value in parser.items(name)}
        tree.update(values if name == _TOP else {name: values})
    return tree


_QUOTED = re.compile(r"""(["'])(.*?)\1\s*([#;].*)?""", re.DOTALL)


def _unquoted(value: str) -> str:
    match = _QUOTED.fullmatch(value)
    return match[2] if match else value


_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_PAIR = re.compile(r"((?:\\.|[^\\=:\s])+)(?:\s*[=:]\s*|\s+|$)(.*)", re.DOTALL)


def _properties(text: str) -> Tree:
    """As Java's ``Properties.load`` reads them."""
    tree: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _PAIR.fullmatch(line)
        if match:
            tree[_ESCAPE.sub(_unescaped, match[1])] = _ESCAPE.sub(_unescaped, match[2])
    return tree


def _logical_lines(text: str) -> Iterator[str]:
    """Lines without comments; a backslash at the end continues in the next one."""
    parts: list[str] = []
    for raw in text.splitlines():
        line = raw.lstrip()
        if not parts and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        parts.append(line[:-1] if backslashes % 2 else line)
        if backslashes % 2 == 0:
            yield "".join(parts)
            parts = []
    if parts:
        yield "".join(parts)


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}.get(code, code)


_READERS: Mapping[str, Callable[[str], Tree]] = {
    "json": _json,
    "toml": _toml,
    "yaml": _yaml,
    "yml": _yaml,
    "ini": _ini,
    "properties": _properties,
    "props": _properties,
    "prop": _properties,
}


# Selection


def _selected(tree: Tree, parts: list[str]) -> Iterator[Tree]:
    """What the parts lead to; keys may have dots themselves. The most exact comes first."""
    if not parts:
        yield tree
        return
    for length in range(1, len(parts) + 1):
        for member in _members(tree, ".".join(parts[:length])):
            yield from _selected(member, parts[length:])


def _members(tree: Tree, key: str) -> Iterator[Tree]:
    """The member of this name, then those whose name differs in case."""
    if isinstance(tree, list | yaml.SequenceNode):
        items = tree if isinstance(tree, list) else tree.value
        if key.isascii() and key.isdigit() and len(key) < 7:
            yield from items[int(key) : int(key) + 1]
        return
    # What is given last counts.
    pairs = _pairs(tree)[::-1]
    yield from [value for name, value in pairs if name == key][:1]
    yield from [value for name, value in pairs if name != key and name.lower() == key.lower()]


def _pairs(tree: Tree) -> list[tuple[str, Tree]]:
    """Keys and values of a mapping, after those that YAML merges into it."""
    if isinstance(tree, Mapping):
        return list(tree.items())
    pairs: list[tuple[str, Tree]] = []
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.MappingNode) or id(node) in seen:
            continue
        seen.add(id(node))
        own = [(name.value, value) for name, value in node.value if _is_scalar(name)]
        pairs[:0] = own
        for name, value in own:
            if name == "<<":
                several = isinstance(value, yaml.SequenceNode)
                waiting.extend(value.value if several else [value])
    return pairs


def _is_scalar(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _scalar(value: Tree, selector: str) -> str:
    if isinstance(value, yaml.ScalarNode):
        return "" if value.tag == "tag:yaml.org,2002:null" else str(value.value)
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            if value.bit_length() > 3 * MAX_VALUE:
                raise ValueError(f"a number of more than {MAX_VALUE} digits at {selector}")
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            raise ValueError(f"a section or a list at {selector}, expected a single value")


# Words


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]


def _yaml_problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1})" if mark else ""
        return _line(error.problem or error.context) + place
    return _line(error)


def _ini_problem(error: configparser.Error) -> str:
    if isinstance(error, configparser.ParsingError) and error.errors:
        return f"line {error.errors[0][0] - 1} is neither a section nor a key with a value"
    return _line(error.message)

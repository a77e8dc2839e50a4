"""Request bodies in YAML, which the original takes for what people keep in files."""

from __future__ import annotations

from typing import Any

import yaml

from skydiver.base.errors import ProtocolError
from skydiver.base.settings_files import shallow, yaml_loader

MAX_BYTES = 64 * 1024
"""YAML is read by rules in Python, so a large one would stop the world."""


def yaml_document(body: bytes) -> Any:
    """The YAML value of `body`; `ProtocolError` says where it breaks."""
    if len(body) > MAX_BYTES:
        raise ProtocolError(f"YAML of {len(body)} bytes, expected at most {MAX_BYTES}")
    try:
        return yaml.load(shallow(body.decode()), Loader=yaml_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ProtocolError(f"bad YAML: {error.problem}{place}") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"bad YAML: {getattr(error, 'reason', error)}") from error

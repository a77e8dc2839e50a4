"""The query language: lexer, parser, plan and steps."""

from skydiver.gremlin.kinds import Result
from skydiver.gremlin.parser import parse
from skydiver.gremlin.query import Query
from skydiver.gremlin.registry import Vocabulary
from skydiver.gremlin.scope import Environment, Period

__all__ = ["Environment", "Period", "Query", "Result", "Vocabulary", "parse"]

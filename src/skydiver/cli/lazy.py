"""Groups whose commands are imported when they are called.

`skydive client query` must not pay for the imports of the analyzer, and the agent forks its broker
before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, cast

import typer
from typer.core import TyperGroup

from skydiver.cli.options import CONTEXT, GlobalOptions, takes


class HelpfulGroup(TyperGroup):
    """A group that, called without a command, says which there are."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            args = ["--help"]
        return super().parse_args(ctx, args)


class LazyGroup(HelpfulGroup):
    """A group with a table of commands: name to ``module:attribute`` of a `typer.Typer`."""

    table: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.table:
            return None
        module, attribute = self.table[cmd_name].split(":")
        command = typer.main.get_command(getattr(import_module(module), attribute))
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        # The parent class looks for similar names in what it has loaded.
        self.commands = cast("dict[str, Any]", dict.fromkeys(self.table))
        return super().resolve_command(ctx, args)


def group(help_: str, options: type[GlobalOptions], table: Mapping[str, str]) -> typer.Typer:
    """A `typer.Typer` of lazily imported commands, which all take `options`."""
    return _group(type("Commands", (LazyGroup,), {"table": table}), help_, options)


def several(help_: str, options: type[GlobalOptions]) -> typer.Typer:
    """A `typer.Typer` of commands that live in one module, which all take `options`."""
    return _group(HelpfulGroup, help_, options)


def single() -> typer.Typer:
    """A `typer.Typer` for one command."""
    return typer.Typer(
        add_completion=False, context_settings=CONTEXT, pretty_exceptions_enable=False
    )


def _group(cls: type[HelpfulGroup], help_: str, options: type[GlobalOptions]) -> typer.Typer:
    def before(_options: GlobalOptions) -> None:
        """The options may stand before the command's name; they reach the command."""

    return typer.Typer(
        cls=cls,
        callback=takes(options)(before),
        help=help_,
        add_completion=False,
        context_settings=CONTEXT,
        pretty_exceptions_enable=False,
    )

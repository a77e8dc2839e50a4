"""Options that many commands share, taken wherever they stand in the line.

As in the original, ``skydive -c f client query …``, ``skydive client -c f query …`` and ``skydive
client query … -c f`` mean the same. A class declares such options as fields; `takes` adds them to
the signature of a command or group, and gives the command an instance with what was said anywhere
in the line.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from skydiver.base.settings import Settings
    from skydiver.client.rest import Access

DEFAULT_ADDRESS = "127.0.0.1:8082"
DEFAULT_FILE = "/etc/skydive/skydive.yml"
CONTEXT = {"help_option_names": ["-h", "--help"]}

GLOBAL_PANEL = "Options of every command"
CLIENT_PANEL = "Options of every client command"


@dataclass(slots=True)
class GlobalOptions:
    """What every command of the program takes."""

    conf: Annotated[
        list[str],
        typer.Option(
            "--conf",
            "-c",
            metavar="FILE",
            help="Configuration file; may be given again, later ones win; - is standard input.",
            show_default=DEFAULT_FILE,
            rich_help_panel=GLOBAL_PANEL,
        ),
    ] = field(default_factory=list)
    config_backend: Annotated[
        str,
        typer.Option(
            "--config-backend",
            "-b",
            metavar="NAME",
            help="Where the configuration is.",
            show_default="file",
            rich_help_panel=GLOBAL_PANEL,
        ),
    ] = "file"
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Log details.", rich_help_panel=GLOBAL_PANEL),
    ] = False

    def arguments(self) -> list[str]:
        """The same options as words, to pass on to a child process."""
        words = [word for name in self.conf for word in ("--conf", name)]
        if self.config_backend != "file":
            words += ["--config-backend", self.config_backend]
        return [*words, *(["--verbose"] if self.verbose else [])]


@dataclass(slots=True)
class ClientOptions(GlobalOptions):
    """What every ``skydive client`` command takes besides."""

    analyzer: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="The analyzer to ask; also the variable SKYDIVE_ANALYZER.",
            show_default=DEFAULT_ADDRESS,
            rich_help_panel=CLIENT_PANEL,
        ),
    ] = ""
    username: Annotated[
        str,
        typer.Option(
            help="User name; also the variable SKYDIVE_USERNAME.", rich_help_panel=CLIENT_PANEL
        ),
    ] = ""
    password: Annotated[
        str,
        typer.Option(
            help="Password; also the variable SKYDIVE_PASSWORD.", rich_help_panel=CLIENT_PANEL
        ),
    ] = ""
    cacert: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Authorities to trust; switches TLS on.",
            rich_help_panel=CLIENT_PANEL,
        ),
    ] = ""
    cert: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Certificate to show; with --key it switches TLS on.",
            rich_help_panel=CLIENT_PANEL,
        ),
    ] = ""
    key: Annotated[
        str,
        typer.Option(metavar="FILE", help="Key of --cert.", rich_help_panel=CLIENT_PANEL),
    ] = ""
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Trust any server certificate.", rich_help_panel=CLIENT_PANEL
        ),
    ] = False

    def access(self) -> Access:
        """Where to go and as whom: option, then environment, then configuration, then default."""
        from skydiver.client.rest import Access, parse_address

        configured = self._configured()
        first = next(iter(configured.analyzers), "") if configured else ""
        host, port = parse_address(
            self.analyzer
            or os.environ.get("SKYDIVE_ANALYZER", "")
            or next(iter(os.environ.get("SKYDIVE_ANALYZERS", "").split()), "")
            or str(first)
            or DEFAULT_ADDRESS
        )
        return Access(
            host=host,
            port=port,
            username=self.username or os.environ.get("SKYDIVE_USERNAME", ""),
            password=self.password or os.environ.get("SKYDIVE_PASSWORD", ""),
            insecure=self.insecure,
            **self._tls(configured),
        )

    def _tls(self, configured: Settings | None) -> dict[str, Any]:
        """Certificates by option; without any, those of the configuration."""
        from skydiver.base.errors import ConfigError

        if bool(self.cert) != bool(self.key):
            raise ConfigError("--cert and --key: expected both or none")
        if self.cert or self.cacert:
            return {"cacert": self.cacert, "cert": self.cert, "key": self.key, "tls": True}
        if configured is None or not configured.tls.on:
            return {}
        tls = configured.tls
        return {
            "cacert": tls.ca_cert,
            "cert": tls.client_cert,
            "key": tls.client_key,
            "tls": True,
        }

    def _configured(self) -> Settings | None:
        """The configuration when there is one; loading settings takes longer than a request."""
        named = self.conf or os.access(DEFAULT_FILE, os.R_OK)
        if not named and not any(name.startswith("SKYDIVE_TLS_") for name in os.environ):
            return None
        from skydiver.base.settings import load_settings

        # What else a file says is for agent and analyzer, and so are warnings about it.
        return load_settings(self.conf, warn=lambda _: None)


def takes(options: type[GlobalOptions]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a command take the options of a class; its first parameter receives the instance."""
    hints = get_type_hints(options, include_extras=True)
    names = [item.name for item in fields(options)]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(ctx: typer.Context, **values: Any) -> Any:
            said: dict[str, Any] = ctx.ensure_object(dict)
            for name in names:
                value = values.pop(name)
                if isinstance(value, list):
                    said[name] = [*said.get(name, []), *value]
                elif value not in (None, False):
                    said[name] = value
            chosen = {name: said[name] for name in names if name in said}
            return function(options(**chosen), **values)

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_optional(hints[name]),
            )
            for name in names
        ]
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        mine = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
        parameters = [context, *mine, *shared]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        return command

    return decorate


def _optional(hint: Any) -> Any:
    """The same option where not saying it gives None, so that a group's value is kept."""
    return Annotated[(hint.__origin__ | None, *hint.__metadata__)]

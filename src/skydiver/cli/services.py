"""``skydive agent``, ``analyzer`` and ``allinone``: what runs until it is stopped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skydiver.cli.lazy import single
from skydiver.cli.options import CONTEXT, GlobalOptions, takes

if TYPE_CHECKING:
    from skydiver.base.settings import Settings

agent_app = single()
analyzer_app = single()
allinone_app = single()

Listen = Annotated[
    str, typer.Option(metavar="ADDRESS", help="Where to listen for API and WebSocket.")
]
AllowUnauthenticated = Annotated[
    bool,
    typer.Option(
        "--allow-unauthenticated",
        help="Listen beyond this machine although nobody is asked for credentials.",
    ),
]
AnalyzerUid = Annotated[
    int | None,
    typer.Option(
        metavar="UID",
        help="User that the analyzer becomes when started as root; default: the user skydive.",
    ),
]


@agent_app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def agent(
    options: GlobalOptions,
    listen: Listen = "",
    host_id: Annotated[str, typer.Option(help="Name of this host in the graph.")] = "",
    allow_unauthenticated: AllowUnauthenticated = False,
) -> None:
    """Look at this host: topology and captured traffic, sent to the analyzers."""
    from skydiver.cli.early import forked_broker

    broker = forked_broker()
    settings = _settings(
        options,
        {
            "agent.listen": listen or None,
            "host_id": host_id or None,
            "agent.auth.allow_unauthenticated": allow_unauthenticated or None,
        },
    )
    _set_up_logging(settings, options, "agent")
    from skydiver.agent.agent import main

    main(settings, broker)


@analyzer_app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def analyzer(
    options: GlobalOptions,
    listen: Listen = "",
    analyzer_uid: AnalyzerUid = None,
    allow_unauthenticated: AllowUnauthenticated = False,
) -> None:
    """Hold the graph of all hosts, and answer queries over topology and flows."""
    settings = _settings(
        options,
        {
            "analyzer.listen": listen or None,
            "analyzer.auth.allow_unauthenticated": allow_unauthenticated or None,
        },
    )
    _set_up_logging(settings, options, "analyzer")
    from skydiver.analyzer.analyzer import main

    main(settings, uid=analyzer_uid)


@allinone_app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def allinone(
    options: GlobalOptions,
    analyzer_uid: AnalyzerUid = None,
    allow_unauthenticated: AllowUnauthenticated = False,
) -> int:
    """Run an analyzer and an agent on this host."""
    if allow_unauthenticated:
        for part in ("ANALYZER", "AGENT"):
            os.environ[f"SKYDIVE_{part}_AUTH_ALLOW_UNAUTHENTICATED"] = "true"
    from skydiver.cli import allinone as parts
    from skydiver.cli.checks import apart, check_agent, check_analyzer

    reads_input = "-" in options.conf
    if reads_input:
        parts.keep_standard_input()
    # What is to be said of the settings, the parts say.
    settings = _settings(options, {}, warn=lambda line: None)

    def check() -> None:
        _set_up_logging(settings, options, "check")
        check_analyzer(settings, analyzer_uid)
        check_agent(settings)

    apart(check)
    tls = None
    if settings.tls.on:
        from skydiver.client.tls import client_context

        files = settings.tls
        tls = client_context(cacert=files.ca_cert, cert=files.client_cert, key=files.client_key)
    return parts.run(
        global_options=options.arguments(),
        analyzer_address=_pair(settings.analyzer.listen),
        agent_address=_pair(settings.agent.listen),
        analyzer_uid=analyzer_uid,
        reads_input=reads_input,
        tls=tls,
        cacert=settings.tls.ca_cert,
    )


def _settings(options: GlobalOptions, overrides: dict[str, Any], **how: Any) -> Settings:
    from skydiver.base.errors import ConfigError
    from skydiver.base.settings import load_settings

    if options.config_backend != "file":
        raise ConfigError(
            f"configuration backend {options.config_backend!r} is not supported; expected file"
        )
    return load_settings(options.conf, overrides, **how)


def _set_up_logging(settings: Settings, options: GlobalOptions, service: str) -> None:
    from skydiver.base import logging

    level = "DEBUG" if options.verbose else settings.logging.level
    logging.set_up(service=service, level=level, settings=settings.logging)


def _pair(address: Any) -> tuple[str, int]:
    return (address.host, address.port)

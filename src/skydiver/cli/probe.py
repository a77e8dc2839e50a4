"""``skydive probe``: which topology sources there are, one at work, and a new one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from skydiver.base.errors import ConfigError, SkydiverError
from skydiver.cli.lazy import several
from skydiver.cli.options import CONTEXT, GlobalOptions, takes
from skydiver.cli.output import FORMAT_HELP, Format, clean, console, print_json, wants_table

if TYPE_CHECKING:
    from skydiver.base.settings import AgentSettings
    from skydiver.graph import GraphEvent, Metadata

app = several("Sources of topology: which there are, one at work, a new one.", GlobalOptions)

TEMPLATE = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "skydive_probe_@NAME@.py": "probe.py.txt",
    "tests/test_@NAME@.py": "test_probe.py.txt",
    "tests/data/attic.json": "attic.json.txt",
}
"""Files of a new probe, and what they are made of."""

ShowFormat = Annotated[Format | None, Option("--format", help=FORMAT_HELP)]


@app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def new(
    options: GlobalOptions,
    name: Annotated[str, Argument(metavar="NAME", help="As in the settings: lower case.")],
    output: Annotated[
        str, Option(metavar="DIR", help="Folder to make.", show_default="skydive-probe-NAME")
    ] = "",
) -> None:
    """Write a probe of your own: a small project that works as it is."""
    _refuse_name(name)
    folder = Path(output or f"skydive-probe-{name.replace('_', '-')}")
    words = {
        "@NAME@": name,
        "@DASHED@": name.replace("_", "-"),
        "@CLASS@": "".join(part.capitalize() for part in name.split("_")),
        "@TITLE@": name.replace("_", " ").capitalize(),
    }
    _write(folder, words)
    typer.echo(f"{folder}: a probe that works; its README says how to try it")


@app.command("list", context_settings=CONTEXT)
@takes(GlobalOptions)
def list_(options: GlobalOptions, format_: ShowFormat = None) -> None:
    """Show the probes of Skydive and those that are installed beside it."""
    rows = _known(_settings(options))
    if not wants_table(format_):
        print_json(rows)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold")
    for title in ("Name", "From", "Runs", "Error"):
        table.add_column(title, overflow="fold")
    for row in rows:
        words = [Text(clean(row[key])) for key in ("Name", "From", "Runs")]
        table.add_row(*words, Text(clean(row.get("Error", "")), "red"))
    console().print(table)


@app.command(context_settings=CONTEXT)
@takes(GlobalOptions)
def run(
    options: GlobalOptions,
    name: Annotated[str, Argument(metavar="NAME")],
    seconds: Annotated[float, Option(min=0.1, max=86_400, help="For how long.")] = 10,
    format_: ShowFormat = None,
) -> None:
    """Run one probe on a graph of its own, without an agent, and show what it states.

    A table shows each change as it happens; JSON is the graph at the end.
    """
    from skydiver.broker import drop_capabilities, fork_broker

    broker = fork_broker()  # before anything else is imported, as the agent does it
    try:
        settings = _settings(options)
        drop_capabilities()
        import asyncio

        from skydiver.probes.supervisor import load

        probe = load(name).from_settings(settings)
        asyncio.run(_show(probe, broker, seconds, live=wants_table(format_)))
    except BaseExceptionGroup as group:
        # Its author wants the place in the probe, not that of the tasks around it.
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    finally:
        broker.close()


async def _show(probe: Any, broker: Any, seconds: float, *, live: bool) -> None:
    import asyncio

    from skydiver.base.settings import host_name
    from skydiver.graph.wire import elements_json
    from skydiver.probes.trial import at_work

    def say(event: GraphEvent) -> None:
        print(_line(event), flush=True)

    listener = say if live else None
    async with at_work(probe, broker=broker, host_id=host_name(), listener=listener) as trial:
        await asyncio.sleep(seconds)
        if not live:
            graph = trial.graph
            stated = elements_json(list(graph.nodes()), list(graph.edges()))
            print_json({**stated, "Losses": trial.losses.as_json()})
        for part, reasons in trial.losses.as_json().items() if live else ():
            print(f"! {part} lost {clean(reasons)}")


def _line(event: GraphEvent) -> str:
    from skydiver.graph import Edge, EventKind

    sign = {EventKind.ADDED: "+", EventKind.UPDATED: "~", EventKind.DELETED: "-"}[event.kind]
    element = event.after
    ends = f"{element.parent} -> {element.child} " if isinstance(element, Edge) else ""
    return f"{sign} {ends}{_words(element.metadata)}"


def _words(metadata: Metadata) -> str:
    first = [str(metadata[key]) for key in ("Type", "Name") if key in metadata]
    rest = {key: value for key, value in metadata.items() if key not in ("Type", "Name")}
    return clean(" ".join(first + [f"{key}={clean(value)}" for key, value in rest.items()]))


def _known(settings: AgentSettings) -> list[dict[str, str]]:
    """All probes: where they come from, whether they run, and why they could not."""
    from skydiver.base.settings_plugins import installed
    from skydiver.probes import ALWAYS, BUILTIN
    from skydiver.probes.plugins import source
    from skydiver.probes.supervisor import load

    chosen = settings.topology.probes
    rows = []
    for name in BUILTIN:
        runs = "always" if name in ALWAYS else "yes" if name in chosen else "no"
        rows.append({"Name": name, "From": "skydive", "Runs": runs})
    for name, entries in sorted(installed().items()):
        row = {
            "Name": name,
            "From": ", ".join(source(entry) for entry in entries),
            "Runs": "yes" if name in chosen else "no",
        }
        try:
            found = load(name)
            if name in chosen or name in settings.topology.plugins:
                found.from_settings(settings)
        except SkydiverError as error:
            row["Error"] = str(error)
        rows.append(row)
    for name in chosen:
        if not any(row["Name"] == name for row in rows):
            missing = "neither a probe of skydive nor installed"
            rows.append({"Name": name, "From": "", "Runs": "no", "Error": missing})
    return rows


def _settings(options: GlobalOptions) -> AgentSettings:
    from skydiver.base.settings import load_settings

    # What else the settings say is for the agent, and so are warnings about it.
    return load_settings(options.conf, warn=lambda _: None).agent


def _refuse_name(name: str) -> None:
    from skydiver.base.settings import TopologySettings, is_own_topology_key
    from skydiver.probes import BUILTIN
    from skydiver.probes.plugins import NAME

    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r}: expected a letter and up to 39 more of a-z, 0-9 and _, like 'rack_power'"
        )
    if name in BUILTIN or is_own_topology_key(name) or hasattr(TopologySettings, name):
        raise ConfigError(f"{name}: a name of skydive's own; expected another")


def _write(folder: Path, words: dict[str, str]) -> None:
    """All files or none."""
    from importlib.resources import files

    template = files("skydiver.cli") / "probe_template"
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty; nothing was written")
        for target, origin in TEMPLATE.items():
            path = folder / _filled(target, words)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = template.joinpath(origin).read_text(encoding="utf-8")
            with path.open("x", encoding="utf-8") as file:
                file.write(_filled(text, words))
    except OSError as error:
        raise ConfigError(f"{folder}: {(error.strerror or str(error)).lower()}") from error


def _filled(text: str, words: dict[str, str]) -> str:
    for word, replacement in words.items():
        text = text.replace(word, replacement)
    return text

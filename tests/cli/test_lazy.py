"""Groups import their commands late, and help who does not know them."""

import subprocess
import sys

from typer.testing import CliRunner

from skydiver.cli.lazy import group, several
from skydiver.cli.options import GlobalOptions

runner = CliRunner()

VERSION = "skydiver.cli.version:app"

shelf = several("Things.", GlobalOptions)


@shelf.command()
def first() -> None:
    """First."""


@shelf.command()
def second() -> None:
    """Second."""
    print("second ran")


def test_a_command_is_imported_when_it_is_called() -> None:
    """A table entry that does not exist costs nothing until somebody asks for it."""
    app = group("All.", GlobalOptions, {"version": VERSION, "broken": "nowhere.at.all:app"})
    assert runner.invoke(app, ["version"]).output.startswith("skydive ")
    assert isinstance(runner.invoke(app, ["broken"]).exception, ModuleNotFoundError)


def test_a_group_without_a_command_shows_its_help() -> None:
    """As the original does, with status 0."""
    result = runner.invoke(shelf, [])
    assert result.exit_code == 0
    assert "Second." in result.output


def test_a_slip_is_answered_with_the_nearest_command() -> None:
    """The names are known without importing anything."""
    app = group("All.", GlobalOptions, {"version": VERSION})
    result = runner.invoke(app, ["versoin"])
    assert result.exit_code != 0
    assert "Did you mean 'version'" in result.output


def test_the_client_imports_nothing_of_the_servers() -> None:
    """Its start takes a tenth of a second; each of these would add to it."""
    code = (
        "import sys; from skydiver.cli.__main__ import main; main(['client', 'query', ' ']);"
        "print([m for m in ('aiohttp', 'asyncio', 'rich', 'yaml', 'google.protobuf', 'msgspec',"
        " 'skydiver.graph', 'skydiver.api') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == (
        "[]\n", "skydive: the query is empty; expected one like G.V()\n"
    )  # fmt: skip

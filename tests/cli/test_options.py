"""Options mean the same wherever they stand, and say who is asked as whom."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from skydiver.base.errors import ConfigError
from skydiver.cli.options import ClientOptions, GlobalOptions, takes
from skydiver.client.rest import Access

runner = CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    inner = typer.Typer()

    @made.callback()
    @takes(GlobalOptions)
    def root(options: GlobalOptions) -> None:
        """Root."""

    @inner.callback()
    @takes(ClientOptions)
    def middle(options: ClientOptions) -> None:
        """Middle."""

    @inner.command()
    @takes(ClientOptions)
    def leaf(options: ClientOptions, word: str, number: int = 3) -> None:
        """Leaf."""
        print(options.conf, options.verbose, options.analyzer, options.insecure, word, number)

    @inner.command()
    @takes(ClientOptions)
    def other(options: ClientOptions) -> None:
        """Other."""

    made.add_typer(inner, name="middle")
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("middle leaf w", "[] False  False w 3"),
        ("-c a middle leaf w", "['a'] False  False w 3"),
        ("middle -c a leaf w", "['a'] False  False w 3"),
        ("middle leaf w -c a", "['a'] False  False w 3"),
        ("middle leaf -c a w", "['a'] False  False w 3"),
        ("-c a middle -c b leaf w --conf c", "['a', 'b', 'c'] False  False w 3"),
        ("--verbose middle --analyzer x leaf w", "[] True x False w 3"),
        ("middle --analyzer x leaf w --analyzer y", "[] False y False w 3"),
        ("middle --insecure leaf w --number 4", "[] False  True w 4"),
    ],
)
def test_shared_options_may_stand_anywhere(app: typer.Typer, line: str, expected: str) -> None:
    """Scripts and documentation of the original put them at either end."""
    result = runner.invoke(app, line.split())
    assert result.output.strip() == expected


def test_options_are_passed_on_to_child_processes() -> None:
    """`allinone` starts the others with what it was given."""
    options = GlobalOptions(conf=["a", "b"], config_backend="etcd", verbose=True)
    assert options.arguments() == [
        "--conf", "a", "--conf", "b", "--config-backend", "etcd", "--verbose",
    ]  # fmt: skip
    assert GlobalOptions().arguments() == []


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANALYZER", "ANALYZERS", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"SKYDIVE_{name}", raising=False)


@pytest.mark.parametrize(
    ("option", "variables", "expected"),
    [
        ("", {}, "127.0.0.1:8082"),
        ("", {"SKYDIVE_ANALYZERS": "a:1 b:2"}, "a:1"),
        ("", {"SKYDIVE_ANALYZER": "c:3", "SKYDIVE_ANALYZERS": "a:1"}, "c:3"),
        ("d:4", {"SKYDIVE_ANALYZER": "c:3"}, "d:4"),
        ("", {"SKYDIVE_ANALYZER": ""}, "127.0.0.1:8082"),
    ],
)
def test_the_strongest_word_says_who_is_asked(
    monkeypatch: pytest.MonkeyPatch, option: str, variables: dict[str, str], expected: str
) -> None:
    """Option, then the client's variable, then the list of analyzers, then the default."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ClientOptions(analyzer=option).access().authority == expected


def test_analyzers_of_a_configuration_file_are_used(tmp_path: Path) -> None:
    """`skydive client -c` with the file of the agent asks the agent's analyzer."""
    file = tmp_path / "skydive.yml"
    file.write_text("analyzers:\n  - 10.9.9.9:4711\n  - 10.9.9.8:4711\n")
    assert ClientOptions(conf=[str(file)]).access().authority == "10.9.9.9:4711"


def test_a_configuration_file_that_is_wrong_is_said(tmp_path: Path) -> None:
    """Asking somebody else than the user wrote down would be worse than not asking."""
    with pytest.raises(ConfigError, match=r"nowhere\.yml"):
        ClientOptions(conf=[str(tmp_path / "nowhere.yml")]).access()


def test_credentials_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password on a command line is seen by every user of the machine."""
    monkeypatch.setenv("SKYDIVE_USERNAME", "u")
    monkeypatch.setenv("SKYDIVE_PASSWORD", "p")
    assert ClientOptions().access() == Access(username="u", password="p")
    assert ClientOptions(username="v").access() == Access(username="v", password="p")


def test_a_wrong_configuration_is_an_error_whoever_is_asked(tmp_path: Path) -> None:
    """As for services: a mistyped `tls` would else ask in clear."""
    file = tmp_path / "skydive.yml"
    file.write_text("analyzrs: a:1\ntsl: {ca_cert: x}\n")
    with pytest.raises(ConfigError) as raised:
        ClientOptions(conf=[str(file)], analyzer="b:2").access()
    first, second = str(raised.value).splitlines()
    assert first == f"{file}, line 1: unknown key analyzrs; the nearest known key is analyzers"
    assert second.startswith(f"{file}, line 2: unknown key tsl")


def test_certificates_come_by_option_else_from_the_configuration(tmp_path: Path) -> None:
    """One file for agent and client is enough; options are for other analyzers."""
    file = tmp_path / "skydive.yml"
    file.write_text("tls: {ca_cert: ca, client_cert: c, client_key: k}\n")
    conf = [str(file)]
    assert ClientOptions(conf=conf).access() == Access(cacert="ca", cert="c", key="k", tls=True)
    other = ClientOptions(conf=conf, cacert="x").access()
    assert other == Access(cacert="x", tls=True)
    assert ClientOptions(cert="y", key="z").access() == Access(cert="y", key="z", tls=True)
    file.write_text("tls: {server_cert: s, server_key: k}\n")
    assert ClientOptions(conf=conf).access() == Access(tls=True)
    file.write_text("host_id: x\n")
    assert ClientOptions(conf=conf, insecure=True).access() == Access(insecure=True)


def test_half_a_pair_of_options_is_refused() -> None:
    """It would be asked in clear."""
    with pytest.raises(ConfigError, match=r"^--cert and --key: expected both or none$"):
        ClientOptions(cert="x").access()

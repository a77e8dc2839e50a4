"""What a person writes in files, variables and options becomes settings, or one clear line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skydiver.base.errors import ConfigError
from skydiver.base.settings import Address, MetadataFile, Settings, load_settings


def load(
    text: str = "",
    *,
    folder: Path | None = None,
    environ: dict[str, str] | None = None,
    overrides: dict[str, Any] | None = None,
) -> tuple[Settings, list[str]]:
    """Settings from a file's text, and the warnings said on the way."""
    warnings: list[str] = []
    files = []
    if folder is not None:
        (folder / "skydive.yml").write_text(text, encoding="utf-8")
        files = [folder / "skydive.yml"]
    return load_settings(files, overrides, environ or {}, warn=warnings.append), warnings


def test_without_any_source_the_defaults_of_the_original_hold() -> None:
    """A user who configures nothing gets the documented ports and times."""
    settings, warnings = load()
    assert str(settings.analyzer.listen) == "127.0.0.1:8082"
    assert str(settings.agent.listen) == "127.0.0.1:8081"
    assert (settings.flow.expire_s, settings.flow.update_s) == (600, 60)
    assert settings.flow.application_timeout_s == {"arp": 10, "dns": 10}
    assert settings.http.ws.queue_size == 10_000
    assert settings == Settings()
    assert warnings == []


def test_option_beats_environment_beats_later_file_beats_earlier_file(tmp_path: Path) -> None:
    """The precedence that all documentation promises (api.md §5.1)."""
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text("flow: {update: 1, expire: 11, max_entries: 21}\nhost_id: first\n")
    second.write_text("flow: {update: 2, expire: 12}\n")
    environ = {"SKYDIVE_FLOW_UPDATE": "3"}
    settings = load_settings([first, second], {"host_id": "option"}, environ)
    assert settings.flow.update_s == 3
    assert settings.flow.expire_s == 12
    assert settings.flow.max_entries == 21
    assert settings.host_id == "option"


def test_an_option_that_was_not_given_changes_nothing() -> None:
    """The command line hands over every option it has, mostly None."""
    settings, _ = load(overrides={"analyzer.listen": None, "host_id": "me"})
    assert settings.analyzer.listen == Address("127.0.0.1", 8082)
    assert settings.host_id == "me"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("SKYDIVE_ANALYZERS", "a:8082 b:8083", "analyzers", ["a:8082", "b:8083"]),
        ("SKYDIVE_AGENT_TOPOLOGY_PROBES", "ovsdb\tdocker", "agent.topology.probes",
         ["ovsdb", "docker"]),
        ("SKYDIVE_AGENT_TOPOLOGY_NETNS_RUN_PATH", "/run/x", "agent.topology.netns.run_path",
         "/run/x"),
        ("SKYDIVE_AGENT_METADATA", '{"Rack": 7, "Site": {"A": true}}', "agent.metadata",
         {"rack": 7, "site": {"a": True}}),
        ("SKYDIVE_FLOW_APPLICATION_PORTS_TCP", '{"8080": "web"}', "flow.application_ports.tcp",
         {"8080": "WEB"}),
        ("SKYDIVE_AUTH_MINE_TYPE", "basic", "auth.mine.type", "basic"),
        ("SKYDIVE_HOST_ID", "", "host_id", Settings().host_id),
        ("SKYDIVE_DATA_DIR", "/srv/sky", "data_dir", "/srv/sky"),
        ("SKYDIVE_ANALYZER_AUTH_ALLOW_UNAUTHENTICATED", "true",
         "analyzer.auth.allow_unauthenticated", True),
    ],
)  # fmt: skip
def test_variables_say_lists_by_white_space_and_maps_as_json(
    variable: str, text: str, key: str, value: Any
) -> None:
    """Container images are configured by nothing else."""
    settings, warnings = load(environ={variable: text})
    assert settings.get(key) == value
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:8082", "10.0.0.1:8082"),
        (":8082", "localhost:8082"),
        ("8082", "localhost:8082"),
        ("[::1]:8082", "[::1]:8082"),
        ("0.0.0.0:0", "0.0.0.0:0"),
    ],
)
def test_addresses_follow_the_rules_of_the_original(text: str, address: str) -> None:
    """A port alone is localhost, never all interfaces."""
    settings, _ = load(overrides={"analyzer.listen": text})
    assert str(settings.analyzer.listen) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "1:2:3", "h:70000", "a b:1", "-1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """A typing error must not become a listener somewhere else."""
    with pytest.raises(ConfigError, match="expected "):
        load(overrides={"analyzer.listen": text})


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("[a, b:1]", "a:8082 b:1"),
        ("10.0.0.1", "10.0.0.1:8082"),
        ("a.example b-1:2", "a.example:8082 b-1:2"),
        ("'8083'", "localhost:8083"),
        ("['[::1]:5']", "[::1]:5"),
    ],
)
def test_analyzers_are_hosts_with_or_without_a_port(
    tmp_path: Path, text: str, addresses: str
) -> None:
    """Nearly all analyzers are at the usual port."""
    settings, _ = load(f"analyzers: {text}\n", folder=tmp_path)
    assert [str(address) for address in settings.analyzers] == addresses.split()


def test_only_addresses_of_this_machine_count_as_loopback() -> None:
    """Listening elsewhere without authentication is refused by this."""
    assert Address("127.0.0.53", 1).loopback
    assert Address("localhost", 1).loopback
    assert Address("::1", 1).loopback
    assert not Address("0.0.0.0", 1).loopback
    assert not Address("::", 1).loopback
    assert not Address("127.evil.example", 1).loopback


def test_keys_do_not_mind_case_nor_dots(tmp_path: Path) -> None:
    """As in the original, whose reader lower-cases all keys."""
    text = (
        "Analyzer:\n  LISTEN: :9\nagent.topology.netns.run_path: /x\n"
        "auth:\n  Mine: {Users: {Bob: 007}}\n"
    )
    settings, _ = load(text, folder=tmp_path)
    assert settings.analyzer.listen == Address("localhost", 9)
    assert settings.agent.topology.netns.run_path == "/x"
    assert settings.auth["mine"].users == {"bob": "007"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("analyzer:\n  lissten: :1\n",
         "{file}, line 2: unknown key analyzer.lissten; the nearest known key is analyzer.listen"),
        ("zzqqxxyy: 1\n", "{file}, line 1: unknown key zzqqxxyy"),
        ("flow:\n  update: soon\n",
         "{file}, line 2: flow.update: expected a number of seconds above 0, got 'soon'"),
        ("flow: {expire: 0}\n",
         "{file}, line 1: flow.expire: expected a number of seconds above 0, got 0"),
        ("flow: {max_entries: [1]}\n",
         "{file}, line 1: flow.max_entries: expected a whole number from 1, got a list"),
        ("flow: 3\n", "{file}, line 1, column 7: expected keys and values in section flow"),
        ("- a\n", "{file}, line 1, column 1: expected keys and values in the file"),
        ("a: [1\nb: 2\n", "{file}, line 2, column 2: not YAML: did not find expected ',' or ']' "
         "(while parsing a flow sequence from line 1 on)"),
        ("\thost_id: x", "{file}, line 1, column 1: not YAML: a tab, or another character that "
         "needs quotes; expected spaces or a quoted text"),
        ("host_id: a: b", "{file}, line 1, column 11: not YAML: a key where none can be; "
         "expected a value, in quotes when it holds ': '"),
        ("a: 1\n---\nb: 2\n", "{file}, line 2, column 1: not YAML: a second document; "
         "expected one in a file (expected a single document in the stream from line 1 on)"),
        ("host_id: a\nHost_ID: b\n", "{file}, line 2, column 1: Host_ID is given twice"),
        ("flow: {update: 1}\nflow.update: 2\n", "{file}, line 2: flow.update is given twice"),
        ("agent:\n  metadata: [1]\n",
         "{file}, line 2: agent.metadata: expected a map, got a list"),
        ("etcd: {max_wal_files: -1}\n",
         "{file}, line 1: etcd.max_wal_files: expected a whole number from 0, got -1"),
        ("logging: {backends: [printer]}\n",
         "logging.backends: unknown backend 'printer'; expected stderr, stdout, file or syslog"),
        ("logging: {level: loud}\n",
         "{file}, line 1: logging.level: expected CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG,"
         " got 'loud'"),
        ("host_id: \"a\\x07b\"\n",
         "host_id: expected 1 to 255 printable characters, got 'a\\x07b'"),
        ("a: !!python/object:os.system x\n",
         "{file}, line 1, column 4: not YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object:os.system'"),
        ("analyzers: 5\n", "{file}, line 1: analyzers: expected host:port or a list of those, "
         "got 5 without a host"),
        ("analyzers: [a:1, true]\n", "{file}, line 1: analyzers: expected host:port or a list of "
         "those, got true without a host"),
        ("analyzers: {a: 1}\n",
         "{file}, line 1: analyzers: expected host:port or a list of those, got a section"),
        ("analyzers: http://a:1\n",
         "{file}, line 1: analyzers: expected host:port, got 'http://a:1'"),
        ("a: &a\n  b: *a\n",
         "{file}, line 1, column 4: more than 50000 values or 64 levels, aliases counted"),
        ("[" * 100_000, "{file}, line 1, column 65: nested more than 64 levels deep"),
    ],
)  # fmt: skip
def test_a_wrong_file_gives_one_line_with_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    """The person who broke it must find it without reading our source."""
    with pytest.raises(ConfigError) as raised:
        load(text, folder=tmp_path)
    assert str(raised.value) == message.format(file=tmp_path / "skydive.yml")


def test_all_unknown_keys_of_all_files_are_named(tmp_path: Path) -> None:
    """Else a person starts the program once for each of them."""
    first, second = tmp_path / "first.yml", tmp_path / "second.yml"
    first.write_text("analyzer:\n  lissten: :1\nzzqqxxyy: {a: 1, b: 2}\n")
    second.write_text("host_id: x\nflow.updat: 5\n")
    with pytest.raises(ConfigError) as raised:
        load_settings([first, second], environ={})
    assert str(raised.value).splitlines() == [
        f"{first}, line 2: unknown key analyzer.lissten; the nearest known key is analyzer.listen",
        f"{first}, line 3: unknown key zzqqxxyy",
        f"{second}, line 2: unknown key flow.updat; the nearest known key is flow.update",
    ]


def test_a_file_of_something_else_does_not_flood_the_terminal(tmp_path: Path) -> None:
    """Somebody's inventory, given by mistake."""
    with pytest.raises(ConfigError) as raised:
        load("".join(f"key{n}: {n}\n" for n in range(1_000)), folder=tmp_path)
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 980 more unknown keys"


def test_a_file_that_is_not_text_or_not_there_is_named(tmp_path: Path) -> None:
    """The wrong file given to --conf is the commonest mistake."""
    (tmp_path / "binary").write_bytes(b"a: 1\n\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary, line 2: not UTF-8$"):
        load_settings([tmp_path / "binary"], environ={})
    with pytest.raises(ConfigError, match=r"missing: no such file or directory$"):
        load_settings([tmp_path / "missing"], environ={})
    with pytest.raises(ConfigError, match=r"is a directory$"):
        load_settings([tmp_path], environ={})


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--conf -`, for secrets that should not lie in a file."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"host_id: piped\n")))
    assert load_settings(["-"], environ={}).host_id == "piped"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"nope: 1\n")))
    with pytest.raises(ConfigError, match=r"^standard input, line 1: unknown key nope"):
        load_settings(["-"], environ={})


def test_a_wrong_variable_is_named() -> None:
    """The place of an error is a variable as often as a file."""
    with pytest.raises(ConfigError) as raised:
        load(environ={"SKYDIVE_FLOW_UPDATE": "x"})
    assert str(raised.value) == (
        "environment variable SKYDIVE_FLOW_UPDATE: flow.update: "
        "expected a number of seconds above 0, got 'x'"
    )
    with pytest.raises(ConfigError, match=r"expected a map or a JSON object, got '{'"):
        load(environ={"SKYDIVE_AGENT_METADATA": "{"})


def test_variables_of_others_are_left_alone_but_slips_are_said() -> None:
    """Kubernetes sets SKYDIVE_ANALYZER_PORT and more for a service of that name."""
    _, warnings = load(
        environ={
            "SKYDIVE_ANALYZER_PORT_8082_TCP": "tcp://10.0.0.1:8082",
            "SKYDIVE_ANALYZER_SERVICE_HOST": "10.0.0.1",
            "SKYDIVE_ANALYZER": "127.0.0.1:8082",
            "SKYDIVE_ANALYZER_LISTN": ":1",
        }
    )
    assert warnings == [
        "environment variable SKYDIVE_ANALYZER_LISTN is ignored; "
        "did you mean SKYDIVE_ANALYZER_LISTEN?"
    ]


def test_keys_of_the_original_without_effect_are_said_in_one_line(tmp_path: Path) -> None:
    """A file made for the original must start; its owner must know what it does not do."""
    text = (
        "etcd: {embedded: false}\n"
        "storage:\n  myes: {driver: elasticsearch, hosts: ['http://me:secret@es:9200']}\n"
        "analyzer: {topology: {k8s: {probes: [pod]}}, peers: {other: {endpoints: [a:1]}}}\n"
        "rbac: {policy: ['p, x, y, z, deny']}\n"
    )
    settings, warnings = load(text, folder=tmp_path)
    assert warnings == [
        "no protection by rbac.policy: these settings have no effect yet",
        "accepted but without effect yet: analyzer.peers.other.endpoints, "
        "analyzer.topology.k8s.probes, etcd.embedded, storage.myes.driver, storage.myes.hosts",
    ]
    assert settings.get("etcd.embedded") is False
    assert settings.get("storage.myes.hosts") == ["http://********@es:9200"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"server_cert": "x"}, "tls.server_cert and tls.server_key: expected both or none"),
        ({"client_key": "x"}, "tls.client_cert and tls.client_key: expected both or none"),
        (
            {"server_cert": "x", "server_key": "x", "require_client_cert": "true"},
            "tls.require_client_cert: expected tls.ca_cert, which says whose certificates count",
        ),
    ],
)
def test_half_of_what_tls_needs_is_refused(keys: dict[str, str], message: str) -> None:
    """Whoever wrote it believes to be protected."""
    with pytest.raises(ConfigError) as raised:
        load(overrides={f"tls.{key}": value for key, value in keys.items()})
    assert str(raised.value) == message


def test_files_of_tls_that_do_not_switch_it_on_are_said() -> None:
    """An authority alone protects nothing, as in the original."""
    settings, warnings = load(overrides={"tls.ca_cert": "x"})
    assert not settings.tls.on
    assert len(warnings) == 1
    assert warnings[0].startswith("TLS is off: expected tls.server_cert and tls.server_key, or ")


def test_old_names_stand_for_new_ones_that_are_not_given(tmp_path: Path) -> None:
    """Old files go on working, and say how to be renewed (api.md §5.1)."""
    text = (
        "auth: {type: basic, analyzer_username: me}\nagent.flow.stats_update: 7\n"
        "analyzer.auth.cluster.backend: noauth\nnetns.run_path: /x\n"
    )
    settings, warnings = load(text, folder=tmp_path)
    assert settings.analyzer.auth.api.backend == "basic"
    assert settings.analyzer.auth.cluster.backend == "noauth"
    assert settings.agent.auth.cluster.username == "me"
    assert settings.agent.capture.stats_update_s == 7
    assert settings.agent.topology.netns.run_path == "/x"
    file = tmp_path / "skydive.yml"
    assert warnings[-1] == (
        f"{file}, line 4: netns.run_path is the old name of agent.topology.netns.run_path"
    )
    assert len(warnings) == 4


def test_the_list_of_the_sample_file_is_understood(tmp_path: Path) -> None:
    """The original's own sample writes application_timeout as a list of maps (defect 33)."""
    text = "flow:\n  application_timeout:\n    - arp: 5\n    - dns: 6\n"
    settings, _ = load(text, folder=tmp_path)
    assert settings.flow.application_timeout_s == {"arp": 5, "dns": 6}


def test_values_are_what_is_written_not_what_yaml_makes_of_them(tmp_path: Path) -> None:
    """YAML reads 0123 as 83 and NO as false; a password is neither."""
    text = "host_id: 0123\nanalyzer: {auth: {cluster: {password: NO}}}\nagent: {metadata: {n: 1}}\n"
    settings, _ = load(text, folder=tmp_path)
    assert settings.host_id == "0123"
    assert settings.analyzer.auth.cluster.password == "NO"
    assert settings.agent.metadata == {"n": 1}


def test_an_empty_value_counts_as_not_written(tmp_path: Path) -> None:
    """Sample files list keys and leave them open."""
    settings, warnings = load("host_id:\nanalyzer:\nflow: ~\ntls:\n  ca_cert:\n", folder=tmp_path)
    assert settings == Settings()
    assert warnings == []


def test_secrets_are_masked_wherever_they_stand(tmp_path: Path) -> None:
    """GET /api/config showed passwords in the original (defect 28)."""
    text = (
        "auth: {basic: {users: {bob: secret1}}}\nhttp: {cookie: {c: secret2}}\n"
        "agent: {auth: {cluster: {password: secret3}}}\n"
        "storage: {es: {auth: {password: secret4}}}\n"
        "etcd: {servers: ['http://u:secret5@x:1']}\n"
    )
    settings, _ = load(text, folder=tmp_path)
    for section in ("auth", "http", "agent", "storage", "etcd"):
        shown = repr(settings.get(section))
        assert "secret" not in shown
        assert "********" in shown
    assert settings.get("auth.basic.users") == {"bob": "********"}


def test_a_key_without_value_or_unknown_reads_as_nothing() -> None:
    """The original answers 200 with an empty text (api.md §3.13)."""
    settings = Settings()
    assert settings.get("no.such.key") == ""
    assert settings.get("") == ""
    assert settings.get("analyzer.listen.host") == ""
    assert settings.get("tls.ca_cert") == ""
    assert settings.get("Agent.Topology.Netlink.Metrics_Update") == 30
    assert settings.get("ui.theme") == "dark"


METADATA_FILE = {
    "path": "/etc/ex.ini",
    "type": "ini",
    "name": "driver",
    "selector": "DEFAULT.l3_driver",
}


def test_files_of_the_metadata() -> None:
    """A list of objects in a file, JSON in a variable; the type may follow from the name."""
    key = "agent.metadata_config.files"
    settings, _ = load(overrides={key: [METADATA_FILE]})
    assert settings.agent.metadata_config.files == (MetadataFile(**METADATA_FILE),)
    assert settings.get(key) == [METADATA_FILE]
    bare = {member: text for member, text in METADATA_FILE.items() if member != "type"}
    given = {"SKYDIVE_AGENT_METADATA_CONFIG_FILES": json.dumps([bare])}
    assert load(environ=given)[0].agent.metadata_config == settings.agent.metadata_config


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("x", "a list or a JSON array, got 'x'"),
        ({"path": "/a"}, "a list of objects with path, type, name and selector"),
        ([1], "an object with path, type, name, selector as entry 1"),
        ([{**METADATA_FILE, "tpye": "ini"}], "selector in entry 1, got 'tpye'"),
        ([{**METADATA_FILE, "selector": ""}], "'selector' in entry 1"),
        ([{**METADATA_FILE, "path": "ex.ini"}], "a path from the root, got 'ex.ini'"),
        ([{**METADATA_FILE, "type": "xml"}], "a type of json, toml, ini"),
        ([{**METADATA_FILE, "name": []}], "a text for 'name', got a list"),
        ([METADATA_FILE, METADATA_FILE], "different names, got 'driver' twice"),
    ],
)
def test_a_wrong_file_of_the_metadata_is_refused(value: Any, says: str) -> None:
    """At the start, and not as a value that never comes."""
    with pytest.raises(ConfigError) as caught:
        load(overrides={"agent.metadata_config.files": value})
    assert str(caught.value).startswith("the command line: agent.metadata_config.files: expected ")
    assert says in str(caught.value)


def test_every_key_of_the_reference_is_known() -> None:
    """Whatever the original's documentation names must be accepted."""
    keys = """
        host_id analyzers tls.ca_cert http.cookie http.rest.debug http.ws.bulk_maxdelay
        http.ws.enable_write_compression cache.cleanup plugin.plugins_dir analyzer.listen
        analyzer.auth.cluster.password analyzer.cluster analyzer.startup.capture_type
        analyzer.flow.max_buffer_size analyzer.topology.fabric analyzer.topology.ovn.cacert
        analyzer.ssh_enabled agent.auth.cluster.username agent.topology.blockdev.iostat_update
        agent.topology.neutron.ssl_insecure agent.topology.bess.port agent.flow.ebpf.polling_rate
        agent.metadata_config.files agent.metadata flow.protocol flow.application_timeout
        dpdk.ports ovs.oflow.address opencontrail.mpls_udp_port storage.elasticsearch.driver
        storage.x.flattened_ignore_above logging.syslog.tag logging.file.encoder auth.x.domain_name
        etcd.client_timeout ui.bpf.favorites ui.bandwidth_relative_alert rbac.model.matchers
        agent.flow.pcapsocket.port_min agent.flow.pcapsocket.min_port
    """
    maps = {"http.cookie", "agent.metadata", "flow.application_timeout"}
    addresses = {"analyzer.listen", "analyzers"}
    for key in keys.split():
        value: Any = {} if key in maps else "a:1" if key in addresses else "1"
        if key.endswith("encoder"):
            value = "json"
        if key == "flow.protocol":
            value = "websocket"
        if key.endswith("metadata_config.files"):
            value = []
        load(overrides={key: value})


def test_importing_settings_stays_light() -> None:
    """Three processes start with this; YAML and the web server load when they are needed."""
    heavy = {"yaml", "msgspec", "orjson", "aiohttp", "socket", "asyncio", "difflib"}
    script = "import sys, skydiver.base.settings; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy & set(loaded) == set()

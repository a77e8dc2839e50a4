# ruff: noqa: RUF009 (the calls that look like shared defaults make fields)
"""Settings: typed, immutable, loaded from options, environment and YAML files (api.md §5).

The fields below are the keys: ``settings.agent.topology.netns.run_path`` is what a file writes as
``agent: {topology: {netns: {run_path: …}}}`` and a variable as
``SKYDIVE_AGENT_TOPOLOGY_NETNS_RUN_PATH``. A field whose name carries a unit says its key itself.

Highest first: an option given on the command line, the environment, the files in reverse order,
the default. Keys do not mind case. An unknown key in a file is an error that names it, the place,
and the nearest known key, a line for each; unknown variables are not ours (Kubernetes sets some
with our prefix) unless they look like a slip of the pen.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

from skydiver.base.errors import ConfigError
from skydiver.base.settings_files import Written, read_file
from skydiver.base.settings_kinds import (
    Address,
    Addresses,
    Choice,
    Flag,
    Integer,
    Listen,
    Map,
    MetadataFile,
    MetadataFiles,
    PortNames,
    Seconds,
    SecondsMap,
    Text,
    TextMap,
    Texts,
    tree,
)
from skydiver.base.settings_loading import (
    Given,
    Schema,
    key_of,
    made,
    plugin_sections,
    section,
    sections,
    setting,
)
from skydiver.base.settings_plugins import PARENT, PluginSection
from skydiver.base.settings_reserved import PROTECTING, RESERVED

__all__ = [
    "DEFAULT_FILE",
    "Address",
    "AuthSettings",
    "MetadataFile",
    "Settings",
    "TlsSettings",
    "load_settings",
]

log = logging.getLogger(__name__)

DEFAULT_FILE = "/etc/skydive/skydive.yml"
"""Read when no file is named, and not missed when it is not there."""
MASK = "********"

_LEVELS = ("CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")


@dataclass(frozen=True, slots=True)
class LoggingOutput:
    """One place that log lines go to."""

    level: str = setting(Choice(("", *_LEVELS)), "")
    """Empty = `logging.level`."""
    encoder: str = setting(Choice(("", "json", "console")), "")


@dataclass(frozen=True, slots=True)
class LoggingFile(LoggingOutput):
    path: str = setting(Text(), "/var/log/skydive.log")


@dataclass(frozen=True, slots=True)
class LoggingSyslog(LoggingOutput):
    address: str = setting(Text(), "/dev/log")
    protocol: str = setting(Choice(("unixgram", "udp", "tcp")), "unixgram")
    tag: str = setting(Text(), "skydive")


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    level: str = setting(Choice(_LEVELS), "INFO")
    backends: tuple[str, ...] = setting(Texts(), ("stderr",))
    """Of ``stderr``, ``stdout``, ``file``, ``syslog``."""
    color: bool = setting(Flag(), True)
    encoder: str = setting(Choice(("", "json", "console")), "")
    stderr: LoggingOutput = section(LoggingOutput)
    stdout: LoggingOutput = section(LoggingOutput)
    file: LoggingFile = section(LoggingFile)
    syslog: LoggingSyslog = section(LoggingSyslog)


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM (api.md §3.14)."""

    server_cert: str = setting(Text(), "")
    server_key: str = setting(Text(), "")
    client_cert: str = setting(Text(), "")
    """Shown by whoever connects."""
    client_key: str = setting(Text(), "")
    ca_cert: str = setting(Text(), "")
    """Who may have signed the certificates of others; empty = the authorities of the system."""
    require_client_cert: bool = setting(Flag(), False)

    @property
    def on(self) -> bool:
        """Whether all listening and connecting is by TLS."""
        pair = self.client_cert and self.client_key
        return bool((self.server_cert and self.server_key) or (self.ca_cert and pair))


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    ping_delay_s: float = setting(Seconds(), 2.0, name="ping_delay")
    pong_timeout_s: float = setting(Seconds(), 5.0, name="pong_timeout")
    queue_size: int = setting(Integer(1, 10_000_000), 10_000)
    """Messages waiting for one peer."""


@dataclass(frozen=True, slots=True)
class RestSettings:
    max_body_bytes: int = setting(Integer(1024), 8 * 1024 * 1024)
    """Largest body of a request; ours, the original has no limit."""
    allowed_origins: tuple[str, ...] = setting(Texts(), ())
    """Origins of web pages that may change things through an API without authentication, beyond
    those of this machine; ours. ``*`` allows all."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    cookie: Mapping[str, str] = made(TextMap(), dict)
    """Sent with the requests of agents and analyzers."""
    ws: WebSocketSettings = section(WebSocketSettings)
    rest: RestSettings = section(RestSettings)


@dataclass(frozen=True, slots=True)
class ApiAuthSettings:
    backend: str = setting(Text(), "noauth")
    """Name of a section under ``auth``."""


@dataclass(frozen=True, slots=True)
class AgentClusterAuthSettings:
    username: str = setting(Text(), "")
    password: str = setting(Text(), "")


@dataclass(frozen=True, slots=True)
class AnalyzerClusterAuthSettings:
    backend: str = setting(Text(), "noauth")
    """For agents and analyzers that connect."""
    username: str = setting(Text(), "")
    """Towards other analyzers."""
    password: str = setting(Text(), "")


@dataclass(frozen=True, slots=True)
class AgentAuthSettings:
    api: ApiAuthSettings = section(ApiAuthSettings)
    cluster: AgentClusterAuthSettings = section(AgentClusterAuthSettings)
    allow_unauthenticated: bool = setting(Flag(), False)
    """Listen beyond loopback without authentication; ours."""


@dataclass(frozen=True, slots=True)
class AnalyzerAuthSettings:
    api: ApiAuthSettings = section(ApiAuthSettings)
    cluster: AnalyzerClusterAuthSettings = section(AnalyzerClusterAuthSettings)
    allow_unauthenticated: bool = setting(Flag(), False)
    """Listen beyond loopback without authentication; ours."""


@dataclass(frozen=True, slots=True)
class StartupSettings:
    """A capture made when the analyzer starts, unless it exists."""

    capture_gremlin: str = setting(Text(), "")
    capture_bpf: str = setting(Text(), "")
    capture_type: str = setting(Text(), "")


@dataclass(frozen=True, slots=True)
class PcapSettings:
    """Import of capture files; ours."""

    max_body_bytes: int = setting(Integer(1024), 4 * 1024 * 1024 * 1024)
    """Largest file; it is read as it comes and not held."""
    memory_mib: int = setting(Integer(1, 1024 * 1024), 256)
    """Memory of the flows of all imported files."""


@dataclass(frozen=True, slots=True)
class AnalyzerFlowSettings:
    max_buffer_size: int = setting(Integer(1), 100_000)
    """Flows that wait to be handed over."""


@dataclass(frozen=True, slots=True)
class AnalyzerSettings:
    listen: Address = setting(Listen(), Address("127.0.0.1", 8082))
    auth: AnalyzerAuthSettings = section(AnalyzerAuthSettings)
    startup: StartupSettings = section(StartupSettings)
    pcap: PcapSettings = section(PcapSettings)
    flow: AnalyzerFlowSettings = section(AnalyzerFlowSettings)


@dataclass(frozen=True, slots=True)
class NetlinkSettings:
    metrics_update_s: float = setting(Seconds(), 30.0, name="metrics_update")
    routes_per_table: int = setting(Integer(1, 100_000), 256)
    """Most routes of a table in the metadata of an interface; ours."""


@dataclass(frozen=True, slots=True)
class NetnsSettings:
    run_path: str = setting(Text(), "/var/run/netns")
    proc_path: str = setting(Text(), "/proc")
    """Where the host's processes are, for an agent in a container; ours."""


@dataclass(frozen=True, slots=True)
class TopologySettings:
    probes: tuple[str, ...] = setting(Texts(), ())
    """Beyond those that always run. The original's default is ``ovsdb``."""
    netlink: NetlinkSettings = section(NetlinkSettings)
    netns: NetnsSettings = section(NetnsSettings)
    plugins: Mapping[str, PluginSection] = plugin_sections()
    """By name, of probes that are installed beside ours."""


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    stats_update_s: float = setting(Seconds(), 1.0, name="stats_update")
    ring_budget_mib: int = setting(Integer(1, 1024 * 1024), 64)
    """Memory of all capture rings together; ours."""
    threads: int = setting(Integer(1, 64), 2)
    """Threads that read all the rings; ours."""


@dataclass(frozen=True, slots=True)
class PcapSocketSettings:
    """Where captures of type ``pcapsocket`` listen."""

    bind_address: str = setting(Text(), "127.0.0.1")
    min_port: int = setting(Integer(1, 65_535), 8100)
    max_port: int = setting(Integer(1, 65_535), 8132)


@dataclass(frozen=True, slots=True)
class AgentFlowSettings:
    buffer_mib: int = setting(Integer(1, 1024 * 1024), 32)
    """Memory of the flows that no analyzer has yet; ours."""
    pcapsocket: PcapSocketSettings = section(PcapSocketSettings)


@dataclass(frozen=True, slots=True)
class MetadataConfigSettings:
    files: tuple[MetadataFile, ...] = setting(MetadataFiles(), ())
    """Values of files of the host that are shown on its node."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    listen: Address = setting(Listen(), Address("127.0.0.1", 8081))
    read_only: bool = setting(Flag(), True)
    """Change no file and signal no other process, whoever it was started as; ours."""
    auth: AgentAuthSettings = section(AgentAuthSettings)
    topology: TopologySettings = section(TopologySettings)
    capture: CaptureSettings = section(CaptureSettings)
    flow: AgentFlowSettings = section(AgentFlowSettings)
    metadata: Mapping[str, Any] = made(Map(), dict)
    """Merged into the metadata of the host's node."""
    metadata_config: MetadataConfigSettings = section(MetadataConfigSettings)


@dataclass(frozen=True, slots=True)
class ApplicationPorts:
    tcp: Mapping[int, str] = made(PortNames(), dict)
    udp: Mapping[int, str] = made(PortNames(), dict)


@dataclass(frozen=True, slots=True)
class FlowSettings:
    expire_s: float = setting(Seconds(), 600.0, name="expire")
    update_s: float = setting(Seconds(), 60.0, name="update")
    protocol: str = setting(Choice(("udp", "websocket")), "udp")
    """How flows travel between us and originals."""
    max_entries: int = setting(Integer(1), 500_000)
    """Flows in one table."""
    default_layer_key_mode: str = setting(Choice(("L2", "L3")), "L2")
    application_ports: ApplicationPorts = section(ApplicationPorts)
    application_timeout_s: Mapping[str, float] = made(
        SecondsMap(), lambda: {"arp": 10.0, "dns": 10.0}, name="application_timeout"
    )


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """One section under ``auth``: a way to know who asks."""

    type: str = setting(Text(), "")
    """``noauth``, ``basic`` or ``keystone``."""
    file: str = setting(Text(), "")
    """Of the format of htpasswd."""
    users: Mapping[str, str] = made(TextMap(), dict)
    """Name in lower case to password."""
    role: str = setting(Text(), "admin")


def _auth_defaults() -> Mapping[str, AuthSettings]:
    return {name: AuthSettings(type=name) for name in ("basic", "keystone", "noauth")}


def default_data_dir() -> str:
    """Where what must outlive a restart goes: the system's folder, or the user's own."""
    system = "/var/lib/skydive"
    if os.geteuid() == 0 or os.access(system, os.W_OK):
        return system
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "skydive")


def host_name() -> str:
    return os.uname().nodename


@dataclass(frozen=True, slots=True)
class Settings:
    host_id: str = made(Text(), host_name)
    data_dir: str = made(Text(), default_data_dir)
    """Folder of the embedded stores; ours."""
    analyzers: tuple[Address, ...] = setting(Addresses(), ())
    logging: LoggingSettings = section(LoggingSettings)
    tls: TlsSettings = section(TlsSettings)
    http: HttpSettings = section(HttpSettings)
    analyzer: AnalyzerSettings = section(AnalyzerSettings)
    agent: AgentSettings = section(AgentSettings)
    flow: FlowSettings = section(FlowSettings)
    auth: Mapping[str, AuthSettings] = sections(AuthSettings, _auth_defaults)
    reserved: Mapping[str, Any] = field(default_factory=dict)
    """What was given for keys that have no effect yet."""

    def get(self, dotted_key: str) -> Any:
        """The value of a key, or a map of the keys below it, as JSON; secrets masked.

        Empty for a key that is not known, and for one that has neither value nor default.
        """
        value: Any = self._document()
        for part in dotted_key.lower().split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return "" if value is None else value

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for key, default in RESERVED.items():
            if "*" not in key:
                _put(document, key, default)
        for key, value in self.reserved.items():
            _put(document, key, value)
        for key, value in _values(self, ""):
            _put(document, key, value)
        return document


def load_settings(
    files: Sequence[str | os.PathLike[str]] = (),
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    warn: Callable[[str], None] = log.warning,
) -> Settings:
    """Settings of a program that starts; `ConfigError` names the key and the place it comes from,
    and has a line for each key that does not exist.

    `overrides` are options by dotted key; None means that the option was not given. `warn` gets one
    line for all keys without effect, and one for each key with an old name.
    """
    given = Given(_schema())
    for file in files or ([DEFAULT_FILE] if os.path.exists(DEFAULT_FILE) else []):
        for key, written in read_file(os.fspath(file), _schema().is_section).items():
            given.add(key, written)
    given.add_environment(os.environ if environ is None else environ, warn)
    for key, value in (overrides or {}).items():
        if value is not None:
            given.add(key.lower(), Written("the command line", tree(value)))
    given.refuse_unknown()
    given.rename(warn)
    settings: Settings = given.build(Settings, reserved=given.reserved())
    _refuse_nonsense(settings)
    _check_tls(settings.tls, warn)
    _say_reserved(settings, warn)
    return settings


def is_own_topology_key(name: str) -> bool:
    """Whether ``agent.topology.<name>`` means something else than an installed probe's section."""
    key = f"{PARENT}{name}"
    return _schema().kind(key) is not None or _schema().is_section(tuple(key.split(".")))


@cache
def _schema() -> Schema:
    return Schema(Settings)


def _values(section: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of a section as JSON, secrets masked."""
    for item in fields(section):
        value = getattr(section, item.name)
        key = key_of(item, path)
        if "section" in item.metadata:
            yield from _values(value, f"{key}.")
        elif "named" in item.metadata:
            for name, named in value.items():
                yield from _values(named, f"{key}.{name}.")
        elif "plugins" in item.metadata:
            for plugin in value.values():
                yield plugin.key, plugin.plain()
        elif "kind" in item.metadata:
            yield key, value


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        document = document.setdefault(parent, {})
    document[last] = _json(value, last)


def _json(value: Any, name: str) -> Any:
    """A value as JSON; passwords and what may hold them are masked."""
    if value in ("", None):
        return value
    if name == "password":
        return MASK
    match value:
        case Mapping():
            hide = name in {"users", "cookie"}
            return {str(k): MASK if hide else _json(v, str(k)) for k, v in value.items()}
        case list() | tuple():
            return [_json(item, name) for item in value]
        case float() if value.is_integer():
            return int(value)
        case str():
            return re.sub(r"(://)[^/@\s]*@", rf"\1{MASK}@", value)
        case Address():
            return str(value)
        case MetadataFile():
            return asdict(value)
        case _:
            return value


def _refuse_nonsense(settings: Settings) -> None:
    ports = settings.agent.flow.pcapsocket
    if ports.max_port < ports.min_port:
        raise ConfigError(
            f"agent.flow.pcapsocket.max_port: expected at least min_port ({ports.min_port}), "
            f"got {ports.max_port}"
        )
    for backend in settings.logging.backends:
        if backend not in {"stderr", "stdout", "file", "syslog"}:
            raise ConfigError(
                f"logging.backends: unknown backend {backend!r}; "
                "expected stderr, stdout, file or syslog"
            )
    if not settings.host_id or len(settings.host_id) > 255 or not settings.host_id.isprintable():
        raise ConfigError(
            f"host_id: expected 1 to 255 printable characters, got {settings.host_id[:60]!r}"
        )


def _check_tls(tls: TlsSettings, warn: Callable[[str], None]) -> None:
    for cert, key, part in (
        (tls.server_cert, tls.server_key, "server"),
        (tls.client_cert, tls.client_key, "client"),
    ):
        if bool(cert) != bool(key):
            raise ConfigError(f"tls.{part}_cert and tls.{part}_key: expected both or none")
    if tls.require_client_cert and not tls.ca_cert:
        raise ConfigError(
            "tls.require_client_cert: expected tls.ca_cert, which says whose certificates count"
        )
    if not tls.on and tls != TlsSettings():
        warn(
            "TLS is off: expected tls.server_cert and tls.server_key, "
            "or tls.client_cert, tls.client_key and tls.ca_cert"
        )


def _say_reserved(settings: Settings, warn: Callable[[str], None]) -> None:
    protecting = sorted(key for key in settings.reserved if key.startswith(PROTECTING))
    if protecting:
        warn(f"no protection by {', '.join(protecting)}: these settings have no effect yet")
    others = sorted(settings.reserved.keys() - set(protecting))
    if others:
        warn(f"accepted but without effect yet: {', '.join(others)}")

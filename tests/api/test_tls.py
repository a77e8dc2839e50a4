"""TLS by the settings: who is let in, and that nothing is answered in clear."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from tests.certificates import Authority, authority

from skydiver.api import serve
from skydiver.api.tls import client_context, server_context
from skydiver.base.errors import ConfigError
from skydiver.base.settings import Address, TlsSettings, load_settings
from skydiver.client.tls import reason_of


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = authority(tmp_path_factory.mktemp("ca"))
    for name in ("server", "client"):
        made.issue(name)
    return made


def settings(ca: Authority, **more: Any) -> TlsSettings:
    """Server pair and authority of `ca`, and more."""
    members = {
        "server_cert": f"{ca.folder}/server.pem",
        "server_key": f"{ca.folder}/server.key",
        "ca_cert": ca.cert,
        **more,
    }
    return load_settings([], {f"tls.{k}": v for k, v in members.items()}, {}).tls


def with_client(ca: Authority) -> dict[str, str]:
    return {
        "client_cert": f"{ca.folder}/client.pem",
        "client_key": f"{ca.folder}/client.key",
    }


async def ask(server: TlsSettings, client: ssl.SSLContext | None, host: str = "127.0.0.1") -> int:
    """The status that a server with these settings answers."""
    context = server_context(server)
    async with serve(web.Application(), Address("127.0.0.1", 0), key="x", tls=context) as address:
        url = f"http{'s' if client else ''}://{host}:{address.port}/"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=client or True) as it:
            return it.status


async def test_who_trusts_the_authority_is_answered(ca: Authority) -> None:
    """By name and by address, with and without a certificate to show."""
    server = settings(ca)
    for client in (settings(ca), settings(ca, **with_client(ca))):
        assert await ask(server, client_context(client)) == 404
        assert await ask(server, client_context(client), "localhost") == 404


async def test_a_client_certificate_is_demanded_when_the_settings_say_so(ca: Authority) -> None:
    """Encryption alone does not keep strangers out."""
    server = settings(ca, require_client_cert=True)
    assert await ask(server, client_context(settings(ca, **with_client(ca)))) == 404
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await ask(server, client_context(settings(ca)))


async def test_a_certificate_of_another_authority_is_refused_on_both_sides(
    ca: Authority, tmp_path: Path
) -> None:
    """Only `tls.ca_cert` is trusted, not the system's authorities besides."""
    other = authority(tmp_path / "other")
    other.issue("client")
    with pytest.raises(aiohttp.ClientConnectorCertificateError) as refused:
        await ask(settings(ca), client_context(settings(ca, ca_cert=other.cert)))
    assert reason_of(refused.value).startswith("its certificate is not trusted: ")
    stranger = settings(ca, **with_client(other))
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await ask(settings(ca), client_context(stranger))


async def test_a_certificate_of_another_host_is_refused(ca: Authority) -> None:
    """Or any holder of a certificate of the authority could stand in for the analyzer."""
    cert, key = ca.issue("elsewhere", "DNS:elsewhere.example")
    server = settings(ca, server_cert=cert, server_key=key)
    with pytest.raises(aiohttp.ClientConnectorCertificateError) as refused:
        await ask(server, client_context(settings(ca)))
    assert "127.0.0.1" in reason_of(refused.value)


async def test_nothing_is_answered_in_clear(
    ca: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is a stack logged for whoever tries."""
    context = server_context(settings(ca))
    async with serve(web.Application(), Address("127.0.0.1", 0), key="x", tls=context) as address:
        for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff" + b"a" * 1_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
            writer.write(data)
            try:
                async with asyncio.timeout(10):
                    assert b"HTTP" not in await reader.read()
            except ConnectionError:
                pass  # closed while we wrote
            finally:
                writer.close()
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


async def test_old_versions_of_tls_are_refused(ca: Authority) -> None:
    """Everything before 1.2 can be broken."""
    context = server_context(settings(ca))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert {name for name in names if not name.startswith(("TLS_", "ECDHE-"))} == set()


def test_tls_is_on_by_either_group_of_files(ca: Authority) -> None:
    """As in the original; what listens then needs a certificate of its own."""
    assert server_context(TlsSettings()) is None
    assert client_context(TlsSettings()) is None
    only_server = settings(ca, ca_cert="")
    assert server_context(only_server) is not None
    assert client_context(only_server) is not None
    only_client = settings(ca, server_cert="", server_key="", **with_client(ca))
    assert client_context(only_client) is not None
    with pytest.raises(ConfigError, match=r"^tls\.server_cert and tls\.server_key are missing"):
        server_context(only_client)


def test_a_file_that_cannot_be_used_is_one_clear_line(ca: Authority, tmp_path: Path) -> None:
    """Which file, and why."""
    text = tmp_path / "text.pem"
    text.write_text("hello\n")
    wrong_key = f"{ca.folder}/client.key"
    for more, said in (
        ({"server_cert": "/nowhere/x.pem"}, "certificate /nowhere/x.pem: no such file"),
        ({"server_key": "/nowhere/x.key"}, "key /nowhere/x.key: no such file"),
        ({"server_key": wrong_key}, f"key {wrong_key}: it is not that of the certificate"),
        ({"server_cert": str(text)}, f"certificate {text}, key .*: expected both in PEM"),
        ({"ca_cert": str(text)}, f"authorities {text}: expected certificates in PEM"),
        ({"ca_cert": "/nowhere/ca.pem"}, "authorities /nowhere/ca.pem: no such file"),
    ):
        with pytest.raises(ConfigError, match=f"^TLS {said}") as raised:
            server_context(settings(ca, **more))
        assert len(str(raised.value).splitlines()) == 1

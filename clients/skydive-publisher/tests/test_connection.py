from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from skydive_publisher import Publisher, Unavailable


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    file = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", str(file), "-out", str(tmp_path / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    with file.open("a", encoding="utf-8") as both:
        both.write((tmp_path / "cert.pem").read_text(encoding="utf-8"))
    return file


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """A server behind TLS, which reads and answers pings."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    ports: list[int] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        async for _ in connection:
            pass
        return connection

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/ws/publisher", serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        ports.append(runner.addresses[0][1])
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    yield ports[0]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_a_context_switches_tls_on(port: int, certificate: Path) -> None:
    """With whatever authorities and certificates the service has in it; also for large messages,
    which TLS cuts into records."""
    context = ssl.create_default_context(cafile=str(certificate))
    with Publisher(f"127.0.0.1:{port}", origin="a.b", context=context) as publisher:
        for number in range(1000):
            publisher.upsert_node(str(number), {"Type": "t", "Name": "x" * 500})
            if number % 100 == 0:
                publisher.flush()


def test_a_certificate_that_is_not_trusted_is_one_line(port: int) -> None:
    """Not a silent fall-back."""
    publisher = Publisher(f"127.0.0.1:{port}", origin="a.b", context=ssl.create_default_context())
    with pytest.raises(Unavailable, match="certificate verify failed"):
        publisher.start(timeout_s=0.5)

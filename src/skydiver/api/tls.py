"""TLS as the settings say (api.md §3.14): for what listens, and for who connects.

Both are made before privileges are given up: keys are often readable for root only.
"""

from __future__ import annotations

import ssl

from skydiver.base.errors import ConfigError
from skydiver.base.settings import TlsSettings
from skydiver.client import tls

CIPHERS = "ECDHE+AESGCM"
"""Of TLS 1.2; those of 1.3 are all fine."""


def server_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """For what listens; None when TLS is off."""
    if not settings.on:
        return None
    if not settings.server_cert:
        raise ConfigError(
            "tls.server_cert and tls.server_key are missing: "
            "TLS is on by tls.client_cert, so what listens needs them too"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    tls.load_pair(context, settings.server_cert, settings.server_key)
    if settings.ca_cert:
        tls.load_authorities(context, settings.ca_cert)
        demanded = settings.require_client_cert
        context.verify_mode = ssl.CERT_REQUIRED if demanded else ssl.CERT_OPTIONAL
    return context


def client_context(settings: TlsSettings) -> ssl.SSLContext | None:
    """For who connects to an analyzer; None when TLS is off."""
    if not settings.on:
        return None
    return tls.client_context(
        cacert=settings.ca_cert, cert=settings.client_cert, key=settings.client_key
    )

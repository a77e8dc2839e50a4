"""Certificates for connections: from files to a context, and what goes wrong in words."""

from __future__ import annotations

import ssl

from skydiver.base.errors import ConfigError


def client_context(
    *, cacert: str = "", cert: str = "", key: str = "", insecure: bool = False
) -> ssl.SSLContext:
    """For whoever connects: `cacert` alone is trusted, without it the authorities of the system.

    `cert` and `key` are shown to the server; `insecure` trusts any certificate of it.
    """
    context = ssl.create_default_context(cafile=None)
    if cacert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_authorities(context, cacert)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert or key:
        load_pair(context, cert, key)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Take over a certificate and its key; `ConfigError` names the file that is wrong."""
    _readable("certificate", cert)
    _readable("key", key)

    def passphrase() -> str:
        raise ConfigError(f"TLS key {key}: it is encrypted; expected one without a passphrase")

    try:
        context.load_cert_chain(cert, key, passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"TLS key {key}: it is not that of the certificate {cert}") from error
        raise ConfigError(
            f"TLS certificate {cert}, key {key}: expected both in PEM ({reason_of(error)})"
        ) from error


def load_authorities(context: ssl.SSLContext, cacert: str) -> None:
    """Trust the certificates of a file."""
    _readable("authorities", cacert)
    try:
        context.load_verify_locations(cafile=cacert)
    except ssl.SSLError as error:
        raise ConfigError(
            f"TLS authorities {cacert}: expected certificates in PEM ({reason_of(error)})"
        ) from error


def reason_of(error: BaseException | None) -> str:
    """Why TLS failed, in words; empty when it was something else."""
    # aiohttp wraps what asyncio says, in part in errors that look like those of ssl.
    while error is not None and (_inside(error) or not isinstance(error, ssl.SSLError)):
        error = _inside(error) or error.__cause__
    if error is None:
        return ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "it closed the connection, so it may demand a client certificate"
    reason = (error.reason or "").lower()
    if "certificate_required" in reason:
        return "it demands a client certificate"
    if reason in {"wrong_version_number", "http_request", "record_layer_failure"}:
        return "it does not speak TLS"
    return reason.replace("_", " ") or str(error)


def _inside(error: BaseException) -> BaseException | None:
    return getattr(error, "certificate_error", None) or getattr(error, "os_error", None)


def _readable(what: str, name: str) -> None:
    try:
        with open(name, "rb"):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"TLS {what} {name}: {reason}") from error

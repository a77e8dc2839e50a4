"""Certificates for tests, made by the command `openssl`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority with a folder."""

    folder: Path

    @property
    def cert(self) -> str:
        return str(self.folder / "ca.pem")

    def issue(self, name: str, alternative: str = "IP:127.0.0.1,DNS:localhost") -> tuple[str, str]:
        """Files of a certificate and its key."""
        cert, key, request = (self.folder / f"{name}.{end}" for end in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative}\n")
        _openssl("req", "-new", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl(
            *("x509", "-req", "-in", request, "-days", 2, "-extfile", extensions, "-out", cert),
            *("-CA", self.folder / "ca.pem", "-CAkey", self.folder / "ca.key", "-CAcreateserial"),
        )
        return str(cert), str(key)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def authority(folder: Path) -> Authority:
    """A new authority, which nobody trusts yet."""
    folder.mkdir(exist_ok=True)
    _openssl(
        *("req", "-x509", *_NEW_KEY, "-days", 2, "-subj", "/CN=test authority"),
        *("-keyout", folder / "ca.key", "-out", folder / "ca.pem"),
    )
    return Authority(folder)


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30)

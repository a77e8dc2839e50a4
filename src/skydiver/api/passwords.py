"""Files of htpasswd: names, and passwords as hashes of the kinds that Apache's tool writes.

bcrypt, ``$1$`` and the SHA kinds are the system's own crypt(3), which every Debian has and which is
kept up by its authors; ``$apr1$`` and ``{SHA}`` exist nowhere but in htpasswd and are done here.
Rejected: passlib (unmaintained since 2020; its fork brings thirty schemes for the sake of two) and
Python's own `crypt` (gone in 3.13).
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import hmac
from collections.abc import Mapping
from functools import cache

from skydiver.base.errors import ConfigError

MAX_FILE_BYTES = 1024 * 1024
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_APR1_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))
_CRYPT_SCHEMES = ("$2y$", "$2a$", "$2b$", "$1$", "$5$", "$6$", "$y$")
_MAX_PASSWORD = 512
"""Bytes; longer ones only cost time."""


def read_htpasswd(path: str) -> Mapping[str, str]:
    """Names and hashes of a file; `ConfigError` names the line that is wrong."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"password file {path}: {(error.strerror or '').lower()}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"password file {path}: larger than {MAX_FILE_BYTES} bytes")
    users: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, colon, hashed = line.partition(":")
        if not (name and colon and hashed):
            raise ConfigError(f"password file {path}, line {number}: expected name:hash")
        if not hashed.startswith(("{SHA}", "$apr1$", *_CRYPT_SCHEMES)):
            raise ConfigError(
                f"password file {path}, line {number}: expected a hash of bcrypt, $apr1$ or {{SHA}}"
            )
        users[name] = hashed
    return users


def matches(password: str, hashed: str) -> bool:
    """True when `hashed` is of `password`. May take a good part of a second: not for the loop."""
    secret = password.encode()
    if len(secret) > _MAX_PASSWORD or b"\0" in secret:
        return False
    if hashed.startswith("{SHA}"):
        digest = hashlib.sha1(secret, usedforsecurity=False).digest()
        made = "{SHA}" + base64.b64encode(digest).decode()
    elif hashed.startswith("$apr1$"):
        made = apr1(secret, hashed.split("$")[2][:8])
    else:
        made = _crypt(secret, hashed)
    return hmac.compare_digest(made.encode(), hashed.encode())


def apr1(secret: bytes, salt: str) -> str:
    """Apache's variant of MD5 crypt: the same, but for its magic."""
    salted = salt.encode()

    def md5(data: bytes) -> bytes:
        return hashlib.md5(data, usedforsecurity=False).digest()

    alternate = md5(secret + salted + secret)
    text = secret + b"$apr1$" + salted
    text += (alternate * (len(secret) // 16 + 1))[: len(secret)]
    length = len(secret)
    while length:
        text += b"\0" if length & 1 else secret[:1]
        length >>= 1
    digest = md5(text)
    for turn in range(1000):
        parts = [secret if turn & 1 else digest]
        if turn % 3:
            parts.append(salted)
        if turn % 7:
            parts.append(secret)
        parts.append(digest if turn & 1 else secret)
        digest = md5(b"".join(parts))
    out = ""
    for high, middle, low in _APR1_ORDER:
        out += _base64(digest[high] << 16 | digest[middle] << 8 | digest[low], 4)
    return f"$apr1${salt}${out}{_base64(digest[11], 2)}"


def _base64(value: int, count: int) -> str:
    return "".join(_ALPHABET[value >> 6 * place & 63] for place in range(count))


@cache
def _library() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        # crypt_rn writes into memory of the caller, so that threads do not meet.
        library.crypt_rn.argtypes = (
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_int,
        )
        library.crypt_rn.restype = ctypes.c_char_p
        return library
    raise ConfigError(
        "the system has no libcrypt, so passwords hashed by bcrypt cannot be checked; "
        "use htpasswd -m or -s"
    )


def _crypt(secret: bytes, hashed: str) -> str:
    """The hash of `secret` with scheme, cost and salt of `hashed`; empty when that is damaged."""
    data = ctypes.create_string_buffer(32_768)  # sizeof(struct crypt_data), fixed by its authors
    made = _library().crypt_rn(secret, hashed.encode(), data, len(data))
    return made.decode() if made else ""

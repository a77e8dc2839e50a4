"""The analyzer needs no privileges: started as root it becomes a system user.

Everything is imported and the socket is bound before that, so that neither a closed home folder
nor a low port is in the way.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import pwd
from dataclasses import dataclass
from pathlib import Path

import skydiver
from skydiver.base.errors import ConfigError

USER = "skydive"
"""Made by `make run` and by the packages; owner of the data folder."""

LATE_IMPORTS = (
    "concurrent.futures.thread",  # by the first thread pool
    "encodings.idna",  # by the first look-up of a host name
    "encodings.latin_1",
    "encodings.utf_16",
    "encodings.utf_32",
    "encodings.utf_8_sig",
    "_strptime",
    "traceback",
    "linecache",
    "tokenize",
)
"""What the standard library imports when it is first needed."""

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True, slots=True)
class Identity:
    """A user to become."""

    uid: int
    gid: int


def wanted(uid: int | None) -> Identity | None:
    """Whom to become: the user with this number, else `skydive`; None when not root."""
    if os.geteuid() != 0:
        if uid is not None and uid != os.geteuid():
            raise ConfigError(f"--analyzer-uid {uid}: only root can become another user")
        return None
    try:
        entry = pwd.getpwnam(USER) if uid is None else pwd.getpwuid(uid)
    except KeyError as error:
        if uid is not None:
            raise ConfigError(f"--analyzer-uid {uid}: there is no user with this number") from error
        raise ConfigError(
            f"the analyzer must not run as root and there is no user {USER!r}; create it with "
            f"'useradd --system --user-group --no-create-home {USER}', "
            "or name another with --analyzer-uid"
        ) from error
    return Identity(entry.pw_uid, entry.pw_gid)


def prepare_folder(folder: Path, identity: Identity | None) -> None:
    """Make the data folder, owned by whom the analyzer becomes and closed to others."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if identity is not None:
            os.chown(folder, identity.uid, identity.gid)
            for path in folder.rglob("*"):
                os.chown(path, identity.uid, identity.gid, follow_symlinks=False)
    except OSError as error:
        raise ConfigError(f"data_dir {folder}: {(error.strerror or str(error)).lower()}") from error


def become(identity: Identity) -> None:
    """Give up root for good; no program started later gets more either."""
    libc = ctypes.CDLL(None, use_errno=True)
    death_signal = ctypes.c_int()
    libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death_signal))
    parent = os.getppid()
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    # The kernel forgets it when the user changes; without it a killed parent leaves an orphan.
    if death_signal.value:
        libc.prctl(_PR_SET_PDEATHSIG, death_signal.value)
        if os.getppid() != parent:
            raise SystemExit(1)


def import_everything() -> None:
    """Import all modules that the analyzer may need later, of this package and of Python's own."""
    for name in LATE_IMPORTS:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(skydiver.__path__, "skydiver."):
        part = module.name.split(".")[1]
        if part in {"api", "hub", "gremlin", "objects", "storage", "graph", "flow", "topology"}:
            importlib.import_module(module.name)

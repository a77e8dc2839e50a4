"""Values of configuration files, read again whenever a file may have changed.

Editors replace files by renaming, deployments swap symbolic links above them, directories appear
late. So what is watched are directories: those of each file and of what it links to, or the nearest
one above that exists. Whatever happens there makes us look at the files themselves, and as not
every file system tells (remote ones do not), we look from time to time in any case.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from typing import Self, TypeAlias

from skydiver.base.settings import MetadataFile
from skydiver.broker.inotify import Inotify

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 10.0
_SETTLE_S = 0.1
"""Programs write in several steps; busy directories tell of each file in them."""

Signature: TypeAlias = tuple[int, int, int, int, int]


class ConfigFiles:
    """The values that the settings ask for."""

    def __init__(
        self, files: Sequence[MetadataFile], *, look_again_s: float = LOOK_AGAIN_S
    ) -> None:
        self._files = files
        self._look_again_s = look_again_s
        self._signatures: dict[str, Signature | None] = {}
        self._values: dict[str, str] = {}
        self._problems: dict[str, str] = {}

    async def changes(self) -> AsyncGenerator[dict[str, str], None]:
        """All values by name: those of now, and again after each change; until cancelled.

        Ends at once when there is no file to watch.
        """
        async with _Alarm() as alarm:
            first = True
            while True:
                # Watching before reading, so that nothing falls between the two.
                alarm.watch(_directories(file.path for file in self._files))
                if self._look() or first:
                    yield dict(self._values)
                if not self._files:
                    return
                first = False
                await alarm.wait(self._look_again_s)

    def _look(self) -> bool:
        """Read the files that are not as they were; True when a value is another one."""
        before = dict(self._values)
        signatures = {path: _signature(path) for path in {file.path for file in self._files}}
        for file in self._files:
            known = file.path in self._signatures
            if not known or signatures[file.path] != self._signatures[file.path]:
                self._read(file)
        self._signatures = signatures
        return self._values != before

    def _read(self, file: MetadataFile) -> None:
        from skydiver.probes.host.config_files import value_of  # late: most hosts have no file

        try:
            self._values[file.name] = value_of(file)
        except (OSError, ValueError) as error:
            self._values.pop(file.name, None)
            problem = getattr(error, "strerror", None) or str(error)
            if self._problems.get(file.name) != problem:
                self._problems[file.name] = problem
                log.warning("no metadata Config.%s: %s: %s", file.name, file.path, problem.lower())
        else:
            if self._problems.pop(file.name, None):
                log.info("metadata Config.%s: read from %s", file.name, file.path)


class _Alarm:
    """Goes off when something happens in a directory; without inotify only after the time."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._inotify: Inotify | None = None

    async def __aenter__(self) -> Self:
        try:
            self._inotify = Inotify(writes=True)
        except OSError as error:
            log.warning("%s; looking at the files every %g s instead", error, LOOK_AGAIN_S)
        else:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._inotify.fileno(), self._notice, self._inotify)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()

    def watch(self, directories: Iterable[str]) -> None:
        if self._inotify is not None:
            for directory in directories:
                self._inotify.watch(directory)

    async def wait(self, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._told.wait()
                await asyncio.sleep(_SETTLE_S)
        # What comes from here on is not missed: the files are looked at after this.
        self._told.clear()

    def _notice(self, inotify: Inotify) -> None:
        inotify.changes()
        self._told.set()


def _directories(paths: Iterable[str]) -> set[str]:
    """Where a change of these files shows."""
    return {
        _existing(os.path.dirname(place))
        for path in paths
        for place in (path, os.path.realpath(path))
    }


def _existing(directory: str) -> str:
    """The directory itself, or the nearest one above that is there."""
    while directory != "/" and not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def _signature(path: str) -> Signature | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )

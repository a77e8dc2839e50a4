from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from skydiver.base.settings import MetadataFile
from skydiver.probes.host.watcher import ConfigFiles

FOREVER_S = 1000.0


class Seen:
    """The values as they came."""

    def __init__(self) -> None:
        self.all: list[dict[str, str]] = []

    async def until(self, **expected: str) -> None:
        """Wait until these are the values."""
        async with asyncio.timeout(10):
            while not self.all or self.all[-1] != expected:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(
    *paths: Path, look_again_s: float = FOREVER_S, type_: str = "ini"
) -> AsyncIterator[Seen]:
    """Follow the key ``a`` of each file, as `x0`, `x1` …; unless said, only by being told."""
    seen = Seen()
    files = [MetadataFile(str(path), type_, f"x{number}", "a") for number, path in enumerate(paths)]

    async def follow() -> None:
        async for values in ConfigFiles(files, look_again_s=look_again_s).changes():
            seen.all.append(values)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(follow(), name="follow")
        yield seen
        task.cancel()


def in_place(path: Path) -> None:
    path.write_text("a=new")


def by_rename(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("a=new")
    other.rename(path)


def by_deleting(path: Path) -> None:
    path.unlink()
    path.write_text("a=new")


@pytest.mark.parametrize("change", [in_place, by_rename, by_deleting])
async def test_a_change_is_seen(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Programs write over a file, editors put another in its place."""
    path = tmp_path / "file"
    path.write_text("a=old")
    async with watching(path) as seen:
        await seen.until(x0="old")
        for _ in range(2):
            change(path)
            await seen.until(x0="new")
            path.write_text("a=old")
            await seen.until(x0="old")


async def test_a_file_that_appears_later_is_seen(tmp_path: Path) -> None:
    """With the folders that it is in; the agent starts before most other services."""
    path = tmp_path / "one/two/file"
    async with watching(path) as seen:
        await seen.until()
        path.parent.parent.mkdir()
        await asyncio.sleep(0)
        path.parent.mkdir()
        path.write_text("a=1")
        await seen.until(x0="1")
        path.parent.rename(tmp_path / "one/away")
        await seen.until()


async def test_links_are_followed(tmp_path: Path) -> None:
    """Kubernetes changes all files of a volume at once by swapping a link above them."""
    for version in "12":
        (tmp_path / version).mkdir()
        (tmp_path / version / "file").write_text(f"a={version}")
    (tmp_path / "volume").mkdir()
    data = tmp_path / "volume/data"
    data.symlink_to("../1")
    path = tmp_path / "volume/file"
    path.symlink_to("data/file")
    async with watching(path) as seen:
        await seen.until(x0="1")
        os.symlink("../2", tmp_path / "volume/new")
        (tmp_path / "volume/new").rename(data)
        await seen.until(x0="2")
        (tmp_path / "2/file").write_text("a=3")
        await seen.until(x0="3")


async def test_what_cannot_be_read_is_said_once_and_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The other files are shown all the same, and the end of the trouble is said too."""
    broken, good = tmp_path / "broken", tmp_path / "good"
    good.write_text("a=1")
    with caplog.at_level(logging.INFO):
        async with watching(broken, good) as seen:
            await seen.until(x1="1")
            good.write_text("a=2")
            await seen.until(x1="2")
            broken.write_bytes(b"\xff")
            good.write_text("a=3")
            await seen.until(x1="3")
            broken.write_text("a=4")
            await seen.until(x0="4", x1="3")
    assert [record.message for record in caplog.records] == [
        f"no metadata Config.x0: {broken}: no such file or directory",
        f"no metadata Config.x0: {broken}: not utf-8",
        f"metadata Config.x0: read from {broken}",
    ]


async def test_a_value_that_stays_makes_no_change(tmp_path: Path) -> None:
    """Other keys of the file, and other files beside it, change more often."""
    path = tmp_path / "file"
    path.write_text("a=1")
    async with watching(path) as seen:
        await seen.until(x0="1")
        for number in range(3):
            path.write_text(f"a=1\nb={number}")
            (tmp_path / f"other{number}").touch()
            await asyncio.sleep(0.15)
        path.write_text("a=2")
        await seen.until(x0="2")
        assert seen.all == [{"x0": "1"}, {"x0": "2"}]


async def test_without_being_told_the_files_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A host allows each user a number of inotify instances, which others may have used up."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(24, "cannot watch directories: too many open files")

    monkeypatch.setattr("skydiver.probes.host.watcher.Inotify", refuse)
    path = tmp_path / "file"
    async with watching(path, look_again_s=0.01) as seen:
        await seen.until()
        path.write_text("a=1")
        await seen.until(x0="1")
    assert "looking at the files every" in caplog.text


async def test_no_file_is_nothing_to_watch() -> None:
    """The usual host has none, and then nothing wakes up."""
    assert [values async for values in ConfigFiles([]).changes()] == [{}]

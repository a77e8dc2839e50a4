from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skydiver.broker.inotify import Change, Inotify


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()


def test_names_that_come_and_go_are_told(inotify: Inotify, tmp_path: Path) -> None:
    """Each is a namespace that may have begun or ended."""
    assert inotify.watch(str(tmp_path))
    (tmp_path / "a").touch()
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b").unlink()
    changes = inotify.changes()
    assert [change.name for change in changes] == ["a", "a", "b", "b"]
    assert {change.directory for change in changes} == {str(tmp_path)}
    assert inotify.changes() == []


def test_a_directory_that_went_is_no_longer_watched(inotify: Inotify, tmp_path: Path) -> None:
    """It is watched again when it comes back."""
    directory = tmp_path / "netns"
    directory.mkdir()
    assert inotify.watch(str(directory))
    directory.rmdir()
    assert Change(str(directory), "") in inotify.changes()
    assert not inotify.watches(str(directory))
    assert not inotify.watch(str(directory))


def test_a_file_is_not_watched_as_a_directory(inotify: Inotify, tmp_path: Path) -> None:
    """A wrong setting must not look like a working one."""
    (tmp_path / "file").touch()
    assert not inotify.watch(str(tmp_path / "file"))


def test_writes_are_told_to_whoever_wants_them(tmp_path: Path) -> None:
    """Once the writer has closed the file, so that nobody reads half of it."""
    watched = Inotify(writes=True)
    try:
        (tmp_path / "file").touch()
        assert watched.watch(str(tmp_path))
        (tmp_path / "file").write_text("x")
        assert watched.changes() == [Change(str(tmp_path), "file")]
    finally:
        watched.close()

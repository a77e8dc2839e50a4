"""Whom the analyzer becomes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from skydiver.analyzer import privileges
from skydiver.base.errors import ConfigError


def test_an_unknown_user_is_refused_in_one_line() -> None:
    """Going on as root, or as whoever has the number later, would be worse than stopping."""
    with pytest.raises(ConfigError, match="--analyzer-uid 4294967000") as refused:
        privileges.wanted(4294967000)
    assert "\n" not in str(refused.value)


def test_the_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    """It holds what people look for on the network."""
    folder = tmp_path / "a" / "data"
    privileges.prepare_folder(folder, None)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The usual cause is a typing error in a path, so the path must be in the message."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data_dir .*file/data: not a directory"):
        privileges.prepare_folder(tmp_path / "file" / "data", None)


def test_a_given_data_folder_belongs_to_whom_the_analyzer_becomes(tmp_path: Path) -> None:
    """After the change of user nothing else could write there."""
    identity = privileges.Identity(os.geteuid(), os.getegid())
    privileges.prepare_folder(tmp_path / "data", identity)
    assert (tmp_path / "data").stat().st_uid == identity.uid

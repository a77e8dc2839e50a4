from __future__ import annotations

from pathlib import Path

from skydiver.probes.hardware.files import MOST_BYTES, text_of


def test_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    """No host has all of the files that are asked for."""
    assert text_of(tmp_path / "absent") == ""
    assert text_of(tmp_path) == ""


def test_a_large_file_is_cut_and_a_binary_one_is_text(tmp_path: Path) -> None:
    """A bind mount may put anything there."""
    path = tmp_path / "file"
    path.write_bytes(b"\xff" + b"x" * MOST_BYTES)
    assert text_of(path).startswith("�x")
    assert len(text_of(path)) == MOST_BYTES

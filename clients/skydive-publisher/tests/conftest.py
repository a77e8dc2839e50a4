from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_analyzer import Analyzer


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Analyzer]]:
    """Start an analyzer with settings of the test."""
    started: list[Analyzer] = []

    def start(settings: str) -> Analyzer:
        started.append(Analyzer(tmp_path, settings))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def analyzer(start: Callable[[str], Analyzer]) -> Analyzer:
    return start("")

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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Analyzer]:
    analyzer = Analyzer(tmp_path_factory.mktemp("analyzer"))
    analyzer.start()
    yield analyzer
    analyzer.stop()


@pytest.fixture
def analyzer(shared: Analyzer) -> Iterator[Analyzer]:
    """One that several tests use, empty and without publishers for each."""
    shared.until(shared.alone)
    yield shared
    shared.until(shared.alone)

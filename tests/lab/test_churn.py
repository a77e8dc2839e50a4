from __future__ import annotations

from pathlib import Path

import pytest

from skydiver.lab.churn import Churn
from skydiver.lab.lab import Lab

pytestmark = pytest.mark.root


def test_changes_are_made_at_the_rate_and_nothing_is_left() -> None:
    """The load of a benchmark must be what it says."""
    with Lab("churnrt") as lab:
        churn = Churn(lab, seed=1)
        churn.run(seconds=2, rate=100)
        assert 150 < churn.done <= 201
        prefix = lab.prefix
        assert list(Path("/run/netns").glob(f"{prefix}-*"))
    assert not list(Path("/run/netns").glob(f"{prefix}-*"))


def test_any_seed_goes_on_whatever_the_kernel_refuses() -> None:
    """Namespaces end while a change that names them is under way."""
    for seed in range(3):
        with Lab("churnsd") as lab:
            churn = Churn(lab, seed=seed)
            for _ in range(300):
                churn.step()
            churn.settle()
            assert churn.done == 300

"""`skydive version`."""

from typing import Any

import skydiver


def test_the_version_is_that_of_the_package(skydive: Any) -> None:
    """Support begins with this line."""
    assert skydive("version", "--verbose").stdout.split()[-1] == skydiver.__version__

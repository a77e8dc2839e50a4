"""Identifiers equal those of the original, so that stores and flows keep meaning."""

from skydiver.base.ids import derived_id, id_from_parts, random_id


def test_derived_identifiers_equal_the_published_vectors() -> None:
    """Edges made by either program for the same pair must be one edge."""
    assert id_from_parts("a", "b") == "e557c849-a9bd-5c1d-ad6c-db261d9c9e22"
    assert derived_id("AB" + "ownership") == "6a472590-205a-5279-ae7f-955322ad3f43"
    assert derived_id("host1") == "1a21f896-ade2-5afd-9969-4d690a305de0"


def test_random_identifiers_differ() -> None:
    """Two elements with one identifier would be one element."""
    assert random_id() != random_id()

"""Files of htpasswd as Apache's tool writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from skydiver.api.passwords import apr1, matches, read_htpasswd
from skydiver.base.errors import ConfigError


@pytest.mark.parametrize(
    ("password", "hashed"),
    [
        ("foo", "$apr1$mYJd83wW$IO.6aK3G0d4mHxcImhPX50"),
        ("a much longer password than sixteen bytes ü", "$apr1$ab$aYiP4WYFJ.tJHz8MMgobf0"),
        ("", "$apr1$abcdefgh$L.PT565ESX4Tp2bqNs7Ie."),
        ("foo", "{SHA}C+7Hteo/D9vJXQ3UfzxbwnXaijM="),
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        (
            "Hello world!",
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
            "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
        ),
    ],
)
def test_published_hashes_are_recognised(password: str, hashed: str) -> None:
    """The kinds that htpasswd and its users write; values of the algorithms' own tests."""
    assert matches(password, hashed)
    assert not matches(password + "x", hashed)
    assert not matches("wrong", hashed)


@pytest.mark.parametrize("hashed", ["$2y$99$zz", "$apr1$", "{SHA}", "$6$", "$2a$05$short"])
def test_a_damaged_hash_matches_nothing(hashed: str) -> None:
    """Not even the empty password."""
    assert not matches("", hashed)
    assert not matches("x", hashed)


def test_hostile_passwords_are_simply_wrong() -> None:
    """Crypt stops at a NUL, and long ones only cost time."""
    hashed = apr1(b"x", "salt")
    assert not matches("x\0y", hashed)
    assert not matches("x" * 100_000, hashed)


def test_a_file_is_read_with_its_comments(tmp_path: Path) -> None:
    """As Apache reads it."""
    file = tmp_path / "htpasswd"
    file.write_text("# people\n\nbob:$apr1$mYJd83wW$IO.6aK3G0d4mHxcImhPX50\nann:{SHA}x\n")
    assert list(read_htpasswd(str(file))) == ["bob", "ann"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bob", r"line 1: expected name:hash$"),
        ("\n:x", r"line 2: expected name:hash$"),
        ("bob:secret", r"line 1: expected a hash of bcrypt, \$apr1\$ or \{SHA\}$"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A plain password in the file must not silently be a user nobody can be."""
    file = tmp_path / "htpasswd"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_htpasswd(str(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """At the start, and not at the first login."""
    with pytest.raises(ConfigError, match=r"nope: no such file or directory$"):
        read_htpasswd(str(tmp_path / "nope"))

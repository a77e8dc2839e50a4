from __future__ import annotations

import os
from pathlib import Path

import pytest

from skydiver.base.settings import MetadataFile
from skydiver.probes.host.config_files import MAX_BYTES, MAX_VALUE, value_of

INI = """\
top = 1
# comment
[DEFAULT]
l3_driver = ovs
quoted = "a b" ; comment
single = 'x'
apostrophe = it's
flag
again = 1
again = 2
url = http://h:80/p#q

[a.b]
c.d = e
Case = kept
"""

YAML = """\
base: &base {x: 1, y: 010}
servers:
  - name: first
  - name: second
derived:
  <<: *base
  y: own
dotted.key: yes
empty:
on: 2024-01-02
"""

JSON = (
    '{"a": {"b": [{"c": 1.50}, true, null, "t"]}, "a.b": {"x": "dot"}, "n": 123456789012345678901}'
)

TOML = """\
at = 2024-01-02T03:04:05Z
[a]
n = 0x10
f = 1.50
"""

PROPERTIES = r"""
! comment
# comment
a.b.c = one
colon: two
space three
key\ with\ blanks=four \
    five
umlaut=\u00e4\tx
flag
windows=c:\\dir
a=short
"""


def write(folder: Path, content: str | bytes, type_: str, selector: str) -> MetadataFile:
    """A file and what to select of it."""
    path = folder / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return MetadataFile(str(path), type_, "x", selector)


@pytest.mark.parametrize(
    ("type_", "content", "selector", "expected"),
    [
        ("ini", INI, "DEFAULT.l3_driver", "ovs"),
        ("ini", INI, "default.L3_DRIVER", "ovs"),
        ("ini", INI, "top", "1"),
        ("ini", INI, "DEFAULT.quoted", "a b"),
        ("ini", INI, "DEFAULT.single", "x"),
        ("ini", INI, "DEFAULT.apostrophe", "it's"),
        ("ini", INI, "DEFAULT.flag", ""),
        ("ini", INI, "DEFAULT.again", "2"),
        ("ini", INI, "DEFAULT.url", "http://h:80/p#q"),
        ("ini", INI, "a.b.c.d", "e"),
        ("ini", "[core]\n\tbare = false\n\tmode = true\n", "core.mode", "true"),
        ("ini", "\ufeff[A]\r\nb=c\r\n", "A.b", "c"),
        ("yaml", YAML, "servers.1.name", "second"),
        ("yml", YAML, "derived.x", "1"),
        ("yml", YAML, "derived.y", "own"),
        ("yaml", YAML, "base.y", "010"),
        ("yaml", YAML, "dotted.key", "yes"),
        ("yaml", YAML, "empty", ""),
        ("yaml", YAML, "on", "2024-01-02"),
        ("json", JSON, "a.b.0.c", "1.50"),
        ("json", JSON, "a.b.1", "true"),
        ("json", JSON, "a.b.2", ""),
        ("json", JSON, "a.b.x", "dot"),
        ("json", JSON, "n", "123456789012345678901"),
        ("json", r'{"a": "\ud800"}', "a", "?"),
        ("toml", TOML, "at", "2024-01-02T03:04:05+00:00"),
        ("toml", TOML, "a.n", "16"),
        ("toml", TOML, "a.f", "1.50"),
        ("properties", PROPERTIES, "a.b.c", "one"),
        ("props", PROPERTIES, "a", "short"),
        ("prop", PROPERTIES, "colon", "two"),
        ("prop", PROPERTIES, "space", "three"),
        ("prop", PROPERTIES, "key with blanks", "four five"),
        ("prop", PROPERTIES, "umlaut", "ä\tx"),
        ("prop", PROPERTIES, "flag", ""),
        ("prop", PROPERTIES, "windows", "c:\\dir"),
    ],
)
def test_a_value_of_each_format(
    tmp_path: Path, type_: str, content: str, selector: str, expected: str
) -> None:
    """As it is written, since it is shown as a text; case does not matter, as in the original."""
    assert value_of(write(tmp_path, content, type_, selector)) == expected


DEEP = 100_000
BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("type_", "content", "says"),
    [
        ("json", "[" * DEEP, "nested too deep"),
        ("json", "{", "not JSON: "),
        ("json", '{"a": {"b": 1}}', "a section or a list at a, expected a single value"),
        ("json", '{"a": [1]}', "a section or a list at a, expected a single value"),
        ("json", '{"b": 1}', "nothing at a"),
        ("json", "null", "nothing at a"),
        ("json", "", "not JSON: "),
        ("yaml", "[" * DEEP, "not YAML: nested more than 64 levels deep"),
        ("yaml", "a: b: c", "not YAML: mapping values are not allowed"),
        ("yaml", "a: *nothing", "not YAML: found undefined alias"),
        ("yaml", "--- 1\n--- 2\n", "not YAML: "),
        ("yaml", "a: [b]", "a section or a list at a"),
        ("yaml", "", "nothing at a"),
        ("yaml", "x: &x {<<: *x}", "nothing at a"),
        ("toml", "a = " + "[" * 15_000, "nested too deep"),
        ("toml", "a = ", "not TOML: "),
        ("toml", "a = 0x" + "f" * 15_000, "a number of more than 4096 digits at a"),
        ("toml", ".".join("a" * DEEP) + " = 1", "not TOML: a line of more than 16384 characters"),
        ("ini", "[s]\n=x\n", "not INI: line 2 is neither a section nor a key with a value"),
        ("ini", "[s]\nx=1", "nothing at a"),
        ("ini", "a\0=1", "not a text"),
        ("properties", "a" * 100, "nothing at a"),
        ("json", b"\xff\xfe\x00", "not UTF-8"),
        ("json", b'"' + b"x" * MAX_BYTES, f"larger than {MAX_BYTES} bytes"),
        ("json", f'{{"a": "{"x" * (MAX_VALUE + 1)}"}}', f"more than {MAX_VALUE} characters at a"),
    ],
)
def test_a_file_without_the_value_is_one_line(
    tmp_path: Path, type_: str, content: str | bytes, says: str
) -> None:
    """Whatever somebody puts there."""
    with pytest.raises(ValueError, match=r".") as caught:
        value_of(write(tmp_path, content, type_, "a"))
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_merges_of_yaml_do_not_multiply(tmp_path: Path) -> None:
    """Nine to the power of thirty would be built by the usual loader."""
    assert value_of(write(tmp_path, BOMB, "yaml", "a29.x")) == "1"
    with pytest.raises(ValueError, match=r"nothing at a29\.y"):
        value_of(write(tmp_path, BOMB, "yaml", "a29.y"))


def test_what_is_no_file_does_not_make_us_wait(tmp_path: Path) -> None:
    """Opening a pipe waits for a writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, says in ((pipe, "not a regular file"), (tmp_path, "Is a directory")):
        with pytest.raises((ValueError, OSError), match=says):
            value_of(MetadataFile(str(path), "ini", "x", "a"))
    with pytest.raises(FileNotFoundError):
        value_of(MetadataFile(str(tmp_path / "absent"), "ini", "x", "a"))

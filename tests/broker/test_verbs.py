from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skydiver.broker.client import NetnsRef
from skydiver.broker.verbs import VERBS, Session, answer
from skydiver.broker.wire import Reply, close_all


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.netlink.close()
    os.close(session.home)


def ask(session: Session, verb: str, **arguments: Any) -> Reply:
    return answer(session, json.dumps({"id": 1, "verb": verb, **arguments}).encode())


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (b"", "request is not JSON"),
        (b"\xff\xfe", "request is not JSON"),
        (b"[" * 30_000, "recursion"),
        (b"[]", "request is not an object"),
        (b"{}", "id: None is not a number"),
        (b'{"id": true}', "id: True is not a number"),
        (b'{"id": 1}', "unknown verb"),
        (b'{"id": 1, "verb": ["dump"]}', "unknown verb"),
        (b'{"id": 1, "verb": "dump"}', "nsids: expected a list"),
        (b'{"id": 1, "verb": "dump", "nsids": [-1]}', "nsids: expected numbers"),
        (b'{"id": 1, "verb": "dump", "nsids": ["1"]}', "nsids: expected numbers"),
        (b'{"id": 1, "verb": "dump", "nsids": [], "more": 1}', "unknown argument 'more'"),
        (b'{"id": 1, "verb": "identify", "namespaces": [3]}', "namespaces: expected objects"),
        (b'{"id": 1, "verb": "packet_socket", "netns": "/x"}', "netns: expected an object"),
        (b'{"id": 1, "verb": "packet_socket", "netns": {}}', "inode: None is not a number"),
        (b'{"id": 1, "verb": "netlink_socket", "groups": -1}', "groups: -1 is not a number"),
        (b'{"id": 1, "verb": "holders", "known": 0, "everything": 1}', "everything: 1 is neither"),
        (b'{"id": 1, "verb": "look", "known": 0, "pids": [0]}', "pids: expected numbers from 1"),
        (b'{"id": 1, "verb": "look", "known": 0, "pids": 7}', "pids: expected a list"),
        (b'{"id": 1, "verb": "alive", "nsids": [true]}', "nsids: expected numbers"),
        (b'{"id": 1, "verb": "births", "processor": 9000}', "processor: 9000 is not a number"),
        (b'{"id": 1, "verb": "host", "proc": "proc"}', "proc: expected an absolute path"),
        (b'{"id": 1, "verb": "host", "proc": "/tmp"}', "/tmp/1/ns/net: No such file"),
    ],
)
def test_a_wrong_request_is_refused_with_one_line(
    session: Session, packet: bytes, words: str
) -> None:
    """The agent may be taken; whatever it says, the broker goes on and does nothing."""
    reply = answer(session, packet)
    assert words in reply.error
    assert "\n" not in reply.error
    assert reply.descriptors == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"path": "/etc/passwd"}, "/etc/passwd: not a namespace any more"),
        ({"path": "/dev/zero"}, "/dev/zero: not a namespace any more"),
        ({"path": "/proc/self/ns/uts"}, "not a network namespace"),
        ({"path": "relative"}, "expected an absolute path or the number of a process"),
        ({"path": "/a\0b"}, "expected an absolute path or the number of a process"),
        ({"path": "/" + "x" * 5000}, "expected an absolute path or the number of a process"),
        ({"path": "/no/such"}, "/no/such: No such file or directory"),
        ({"path": 5}, "expected an absolute path or the number of a process"),
        ({"pid": -1}, "expected an absolute path or the number of a process"),
        ({"pid": True}, "expected an absolute path or the number of a process"),
        ({"pid": "1/../../etc"}, "expected an absolute path or the number of a process"),
        ({"pid": 2**31 - 1}, "No such file or directory"),
    ],
)
def test_only_network_namespaces_are_entered(
    session: Session, where: dict[str, Any], words: str
) -> None:
    """A path comes from the agent: it must not become a way to open other files as root."""
    inode = os.stat("/proc/self/ns/uts").st_ino
    reply = ask(session, "packet_socket", netns={**where, "inode": inode, "device": session.device})
    assert words in reply.error
    assert reply.descriptors == []


def test_another_namespace_than_the_expected_one_is_not_entered(session: Session) -> None:
    """A path may lead elsewhere by now, and a number of a process may be reused."""
    reference = {"pid": os.getpid(), "inode": 12345, "device": session.device}
    reply = ask(session, "netlink_socket", netns=reference, groups=0)
    assert reply.error == f"/proc/{os.getpid()}/ns/net: is another namespace now"
    assert not reply.refused


def test_a_path_whose_namespace_just_ended_is_no_wrong_request(
    session: Session, tmp_path: os.PathLike[str]
) -> None:
    """The mount goes before the file; whoever asks in between did nothing wrong."""
    path = os.path.join(tmp_path, "gone")
    with open(path, "w", encoding="ascii"):
        pass
    reference = {"path": path, "inode": 12345, "device": session.device}
    reply = ask(session, "netlink_socket", netns=reference, groups=0)
    assert reply.error == f"{path}: not a namespace any more"
    assert not reply.refused


def test_a_fifo_does_not_block_the_broker(session: Session, tmp_path: os.PathLike[str]) -> None:
    """Opening a FIFO for reading waits for a writer, for ever if it likes."""
    path = os.path.join(tmp_path, "fifo")
    os.mkfifo(path)
    reply = ask(session, "packet_socket", netns={"path": path, "inode": 1, "device": 1})
    assert reply.error == f"{path}: not a namespace"


def test_a_netlink_socket_without_groups_needs_no_privilege(session: Session) -> None:
    """What an unprivileged agent can see it should see."""
    reply = ask(session, "netlink_socket", groups=1, receive_buffer=100_000)
    assert reply.error == ""
    assert len(reply.descriptors) == 1
    close_all(reply.descriptors)


def test_the_verbs_are_a_handful() -> None:
    """Each one more is something that a taken agent can do; think before adding to this list."""
    assert sorted(VERBS) == [
        "alive",
        "births",
        "dump",
        "holders",
        "host",
        "identify",
        "look",
        "netlink_socket",
        "packet_socket",
    ]


@pytest.mark.root
def test_the_broker_is_home_again_after_a_call(session: Session, netns: NetnsRef) -> None:
    """It must not keep a namespace alive, nor answer for the wrong one afterwards."""
    before = os.listdir("/proc/self/fd")
    for verb, arguments in (
        ("packet_socket", {}),
        ("netlink_socket", {"groups": 0}),
        ("netlink_socket", {"groups": 0, "receive_buffer": -1}),
    ):
        reply = ask(session, verb, netns=netns.as_json(), **arguments)
        close_all(reply.descriptors)
    assert os.listdir("/proc/self/fd") == before
    assert os.stat("/proc/self/ns/net").st_ino == os.fstat(session.home).st_ino


@pytest.mark.root
def test_a_file_system_that_never_answers_costs_a_moment(session: Session, tmp_path: Path) -> None:
    """Anybody may mount one in a namespace of his own; the broker serves all others."""
    script = f"""
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x20000) == 0
assert libc.mount(None, b"/", None, 0x44000, None) == 0
fuse = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fuse
assert libc.mount(b"silent", {os.fsencode(tmp_path)!r}, b"fuse", 0, options) == 0
print("mounted", flush=True)
time.sleep(60)
"""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no FUSE")
    with subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True
    ) as silent:
        try:
            assert silent.stdout is not None
            assert silent.stdout.readline() == "mounted\n"
            path = f"/proc/{silent.pid}/root{tmp_path}/netns"
            netns = {"path": path, "inode": 1, "device": 1}
            errors = [ask(session, "packet_socket", netns=netns).error for _ in range(100)]
            assert errors[0] == f"{path}: its file system does not answer"
            assert set(errors[1:]) == {f"{path}: another file system did not answer"}
            assert len(session.abandoned) <= 1
        finally:
            silent.kill()
    silent.wait()
    while session.abandoned:  # the end of the mount ends them
        ask(session, "packet_socket", netns={"path": "/proc/1/root/x", "inode": 1, "device": 1})


@pytest.mark.root
def test_a_path_below_the_root_of_a_process_is_opened(session: Session, netns: NetnsRef) -> None:
    """Through another process, of which nothing is left."""
    before = os.listdir("/proc/self/fd")
    path = f"/proc/{os.getpid()}/root{netns.path}"
    reply = ask(session, "identify", namespaces=[netns.as_json() | {"path": path}])
    assert reply.result == ask(session, "identify", namespaces=[netns.as_json()]).result
    absent = ask(session, "packet_socket", netns=netns.as_json() | {"path": f"{path}-not"})
    assert "No such file" in absent.error
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_a_number_that_belongs_to_no_namespace_is_told(session: Session, netns: NetnsRef) -> None:
    """That is how the end of a namespace is known that nobody seems to hold."""
    (number,) = ask(session, "identify", namespaces=[netns.as_json()]).result
    assert ask(session, "alive", nsids=[number, 2**30]).result == [True, False]

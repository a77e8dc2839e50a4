from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from skydiver.base.errors import ConfigError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.broker.client import Broker, Holders
from skydiver.broker.namespaces import Namespace, Namespaces, _names
from skydiver.native import decode_netlink

PREFIX = f"skt-ns-{os.getpid()}"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def name() -> Iterator[str]:
    """A name for a network namespace, which is deleted afterwards if it exists."""
    yield PREFIX
    for path in Path("/run/netns").glob(f"{PREFIX}*"):
        subprocess.run(["ip", "netns", "del", path.name], check=False)


class Log:
    """What a subscriber was told, in order."""

    def __init__(self, namespaces: Namespaces) -> None:
        self.told: list[tuple[str, str]] = []
        self.released: list[str] = []
        namespaces.subscribe(
            added=lambda namespace: self.told.append(("added", namespace.name)),
            removed=lambda namespace: self.told.append(("removed", namespace.name)),
            changed=lambda namespace: self.told.append(("changed", namespace.name)),
            released=lambda namespace: self.released.append(namespace.name),
        )


@asynccontextmanager
async def following(
    broker: Broker,
    *run_paths: str,
    numbered: bool = False,
    look_every_s: float = 1.0,
    losses: Losses | None = None,
) -> AsyncIterator[Namespaces]:
    """Namespaces being followed; with `numbered`, kernel events of numbers are passed on too."""
    namespaces = Namespaces(
        broker,
        run_paths=run_paths or ("/var/run/netns",),
        look_every_s=look_every_s,
        losses=losses,
    )
    with ExitStack() as stack:
        if numbered:
            events = stack.enter_context(await broker.netlink_socket(None, groups=1 << 27))
            loop = asyncio.get_running_loop()
            loop.add_reader(events.fileno(), pass_on, events, namespaces)
            stack.callback(loop.remove_reader, events.fileno())
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(namespaces.run(), name="namespaces")
            await namespaces.listed()
            try:
                yield namespaces
            finally:
                task.cancel()


def pass_on(events: socket.socket, namespaces: Namespaces) -> None:
    for message in decode_netlink(events.recv(65536)):
        if message["kind"] == "newnsid":
            namespaces.nsid_seen(message["nsid"])
        if message["kind"] == "delnsid":
            namespaces.nsid_gone(message["nsid"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def named(namespaces: Namespaces, name: str) -> Namespace | None:
    return next((found for found in namespaces if found.name == name), None)


async def test_a_directory_with_other_files_holds_no_namespace(
    broker: Broker, tmp_path: Path
) -> None:
    """Whatever lies there (also a name that is no text) must not disturb."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    async with following(broker, str(tmp_path)) as namespaces:
        with open(os.fsencode(tmp_path) + b"/\xff\xfe", "wb"):
            pass
        await until(lambda: not namespaces._touched)
        assert not [found for found in namespaces if found.path.startswith(str(tmp_path))]


async def test_the_own_namespace_is_the_host_and_not_in_the_list(
    broker: Broker, tmp_path: Path
) -> None:
    """Docker's `default` is a mount of it; the host has a node of its own kind."""
    (tmp_path / "default").symlink_to("/proc/self/ns/net")
    async with following(broker, str(tmp_path)) as namespaces:
        assert namespaces.host.inode == os.stat("/proc/self/ns/net").st_ino
        assert namespaces.get(namespaces.host.inode) is None


@pytest.mark.root
async def test_a_named_namespace_comes_and_goes(broker: Broker, name: str) -> None:
    """The everyday case, `ip netns add` and `del`: one addition, one removal, no transients."""
    async with following(broker) as namespaces:
        log = Log(namespaces)
        ip("netns", "add", name)
        await until(lambda: named(namespaces, name) is not None)
        found = named(namespaces, name)
        assert found is not None
        assert found.path == f"/var/run/netns/{name}"
        assert found.inode == os.stat(found.path).st_ino
        assert found.nsid is not None
        assert namespaces.by_nsid(found.nsid) is found
        assert namespaces.get(found.inode) is found
        ip("netns", "del", name)
        await until(lambda: named(namespaces, name) is None)
        assert log.told == [("added", name), ("removed", name)]


@pytest.mark.root
async def test_namespaces_of_before_the_start_are_listed(broker: Broker, name: str) -> None:
    """An agent starts on hosts that have been up for months."""
    ip("netns", "add", name)
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
        try:
            await until(lambda: held(holder.pid))
            async with following(broker) as namespaces:
                assert named(namespaces, name) is not None
                assert namespaces.get(os.stat(f"/proc/{holder.pid}/ns/net").st_ino) is not None
        finally:
            holder.kill()


def held(pid: int) -> bool:
    own = os.readlink("/proc/self/ns/net")
    return os.readlink(f"/proc/{pid}/ns/net") != own and "sleep" in command(pid)


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


@pytest.mark.root
async def test_a_namespace_of_a_process_ends_with_it(broker: Broker) -> None:
    """No file tells of it, neither when it begins nor when it ends."""
    async with following(broker) as namespaces:
        log = Log(namespaces)
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            expected = f"sleep-{holder.pid}"
            await until(lambda: named(namespaces, expected) is not None)
            found = named(namespaces, expected)
            assert found is not None
            assert found.path == f"/proc/{holder.pid}/ns/net"
            assert found.ref.pid == holder.pid
            holder.kill()
            await until(lambda: named(namespaces, expected) is None)
        assert log.told[-1] == ("removed", expected)


@pytest.mark.root
async def test_a_namespace_lives_as_long_as_one_of_its_processes(broker: Broker) -> None:
    """The first process of a container may end before the others."""
    async with following(broker) as namespaces:
        script = "sleep 60 & echo $!; exec sleep 61"
        with subprocess.Popen(
            ["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        ) as first:
            assert first.stdout is not None
            other = int(first.stdout.readline())
            inode = os.stat(f"/proc/{first.pid}/ns/net").st_ino
            try:
                await until(lambda: namespaces.get(inode) is not None)
                first.kill()
                first.wait()
                await until(lambda: path_of(namespaces, inode) == f"/proc/{other}/ns/net")
            finally:
                with suppress(ProcessLookupError):
                    os.kill(other, 9)
            await until(lambda: namespaces.get(inode) is None)


def path_of(namespaces: Namespaces, inode: int) -> str:
    found = namespaces.get(inode)
    return "" if found is None else found.path


@pytest.mark.root
async def test_a_mount_that_goes_leaves_the_process_to_hold_the_namespace(
    broker: Broker, name: str
) -> None:
    """`ip netns del` only takes the name away; what runs inside goes on."""
    ip("netns", "add", name)
    inode = os.stat(f"/run/netns/{name}").st_ino
    with subprocess.Popen(["ip", "netns", "exec", name, "sleep", "60"]) as holder:
        try:
            async with following(broker) as namespaces:
                log = Log(namespaces)
                await until(lambda: held(holder.pid))
                ip("netns", "del", name)
                await until(lambda: path_of(namespaces, inode) == f"/proc/{holder.pid}/ns/net")
                # The process may have been seen under the name of the program that it was first.
                await until(lambda: named(namespaces, f"sleep-{holder.pid}") is not None)
                assert {what for what, _ in log.told} == {"changed"}
                holder.kill()
                await until(lambda: namespaces.get(inode) is None)
        finally:
            holder.kill()


@pytest.mark.root
async def test_a_name_given_later_makes_it_another_one_for_users(broker: Broker, name: str) -> None:
    """Name, path and the identifier made of the path must be those of the mount, not of a process
    that happened to be seen first."""
    async with following(broker) as namespaces:
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            try:
                process = f"sleep-{holder.pid}"
                await until(lambda: named(namespaces, process) is not None)
                log = Log(namespaces)
                ip("netns", "attach", name, str(holder.pid))
                await until(lambda: named(namespaces, name) is not None)
                assert log.told == [("removed", process), ("added", name)]
            finally:
                holder.kill()


@pytest.mark.root
async def test_a_mount_over_an_old_file_is_noticed(broker: Broker, name: str) -> None:
    """The directory does not change then, only the mount table does."""
    ip("netns", "add", name)
    path = Path("/run/netns") / f"{name}-again"
    path.touch()
    async with following(broker) as namespaces:
        first = named(namespaces, name)
        assert first is not None
        ip("netns", "add", f"{name}-other")
        subprocess.run(["mount", "--bind", f"/run/netns/{name}-other", str(path)], check=True)
        ip("netns", "del", f"{name}-other")
        await until(lambda: named(namespaces, path.name) is not None)
        subprocess.run(["umount", str(path)], check=True)
        await until(lambda: named(namespaces, path.name) is None)
        assert named(namespaces, name) is first


@pytest.mark.root
async def test_two_mounts_of_one_namespace_are_one(broker: Broker, name: str) -> None:
    """It keeps the first name while that exists, and then takes the other."""
    ip("netns", "add", name)
    inode = os.stat(f"/run/netns/{name}").st_ino
    async with following(broker) as namespaces:
        log = Log(namespaces)
        path = f"/run/netns/{name}-second"
        Path(path).touch()
        subprocess.run(["mount", "--bind", f"/run/netns/{name}", path], check=True)
        await until(lambda: len(namespaces._mounts) > 1)
        assert path_of(namespaces, inode) == f"/var/run/netns/{name}"
        ip("netns", "del", name)
        await until(lambda: path_of(namespaces, inode) == f"/var/run/netns/{name}-second")
        ip("netns", "del", f"{name}-second")
        await until(lambda: namespaces.get(inode) is None)
        assert log.told == [("changed", f"{name}-second"), ("removed", f"{name}-second")]


@pytest.mark.root
async def test_nothing_of_ours_keeps_a_namespace_alive(broker: Broker, name: str) -> None:
    """The kernel reports its end as soon as the last name is gone."""
    async with following(broker) as namespaces:
        ip("netns", "add", name)
        await until(lambda: named(namespaces, name) is not None)
        found = named(namespaces, name)
        assert found is not None
        with await broker.netlink_socket(None, groups=1 << 27) as events:
            ip("netns", "del", name)
            ended: list[int] = []
            async with asyncio.timeout(20):
                while found.nsid not in ended:
                    data = await asyncio.get_running_loop().sock_recv(events, 65536)
                    ended += [m["nsid"] for m in decode_netlink(data) if m["kind"] == "delnsid"]


@pytest.mark.root
async def test_a_wrong_report_of_an_end_is_repaired(broker: Broker, name: str) -> None:
    """An event may be old: its number has been given to a new namespace since."""
    ip("netns", "add", name)
    async with following(broker) as namespaces:
        found = named(namespaces, name)
        assert found is not None
        assert found.nsid is not None
        log = Log(namespaces)
        namespaces.nsid_gone(found.nsid)
        assert log.told == [("removed", name)]
        await until(lambda: log.told == [("removed", name), ("added", name)])


@pytest.mark.root
async def test_another_namespace_under_the_same_name_is_seen_when_events_were_lost(
    broker: Broker, name: str
) -> None:
    """Inodes are reused at once: name and inode alone may not show that it is another."""
    ip("netns", "add", name)
    async with following(broker) as namespaces:
        found = named(namespaces, name)
        assert found is not None
        assert found.nsid is not None
        # The kernel gives the lowest free number, so what takes its place gets a higher one.
        wrong = Namespace(found.inode, found.device, found.nsid + 7000, name, found.path)
        namespaces._known[found.key] = wrong
        log = Log(namespaces)
        namespaces.distrust()
        await until(lambda: log.told == [("removed", name), ("added", name)])
        repaired = named(namespaces, name)
        assert repaired is not None
        assert repaired.nsid == found.nsid


@pytest.mark.root
async def test_a_connected_namespace_of_a_process_is_found_at_once(broker: Broker) -> None:
    """A link to the host makes the kernel number it: no need to wait for the next look."""
    async with following(broker, numbered=True) as namespaces:
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            try:
                inner, outer = f"skti{os.getpid()}", f"skto{os.getpid()}"
                await until(lambda: held(holder.pid))
                ip("link", "add", outer, "type", "veth", "peer", inner, "netns", str(holder.pid))
                await until(lambda: named(namespaces, f"sleep-{holder.pid}") is not None)
            finally:
                holder.kill()
        await until(lambda: named(namespaces, f"sleep-{holder.pid}") is None)


NEVER_S = 3600.0

BIRTHS = {
    "by unshare and a program": ["unshare", "-n", "sleep", "60"],
    "by unshare, a fork and a program": ["unshare", "-n", "-f", "sleep", "60"],
    "with a pid namespace": ["unshare", "-n", "-p", "-f", "sleep", "60"],
    "by unshare in place": [
        sys.executable,
        "-S",
        "-c",
        "import ctypes, time; ctypes.CDLL(None).unshare(0x40000000); time.sleep(60)",
    ],
    "by clone": [
        sys.executable,
        "-S",
        "-c",
        "import ctypes, os, time; s = {'x86_64': 56}.get(os.uname().machine, 220)\n"
        "if not ctypes.CDLL(None).syscall(s, 0x40000011, 0, 0, 0, 0): time.sleep(60)\n"
        "else: os.wait()",
    ],
}


def of_session(namespaces: Namespaces, session: int) -> list[Namespace]:
    """The namespaces that processes of this session hold."""
    found = []
    for namespace in namespaces:
        with suppress(IndexError, ProcessLookupError):
            if os.getsid(namespace.pids[0]) == session:
                found.append(namespace)
    return found


@pytest.mark.root
@pytest.mark.parametrize("how", BIRTHS)
async def test_the_kernel_tells_of_a_birth(broker: Broker, how: str) -> None:
    """Nobody looks at processes here unless the kernel said so; and of the end likewise."""
    async with following(broker, look_every_s=NEVER_S) as namespaces:
        with subprocess.Popen(BIRTHS[how], start_new_session=True) as holder:
            try:
                await until(lambda: bool(of_session(namespaces, holder.pid)))
                (new,) = of_session(namespaces, holder.pid)
                assert os.stat(f"/proc/{new.pids[0]}/ns/net").st_ino == new.inode
                assert not new.mounted
            finally:
                os.killpg(holder.pid, 9)
            await until(lambda: namespaces.get(new.inode) is None)
        assert broker.missing == ()


@pytest.mark.root
async def test_lost_events_are_counted_and_answered_by_a_look_at_everything(
    broker: Broker,
) -> None:
    """A storm of programs while the agent is busy must not hide a namespace."""
    losses = Losses()
    async with following(broker, look_every_s=NEVER_S, losses=losses) as namespaces:
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            try:
                deadline_s = time.monotonic() + 20
                while not held(holder.pid) and time.monotonic() < deadline_s:
                    pass  # the agent hears of nothing meanwhile
                births = namespaces._births
                assert births is not None
                births.read()
                births.read = lambda: (set(), 7)  # type: ignore[method-assign]
                namespaces._wake.set()
                await until(lambda: named(namespaces, f"sleep-{holder.pid}") is not None)
            finally:
                holder.kill()
    assert losses.counts()["broker.births", LossReason.OVERRUN] >= 7


@pytest.mark.root
async def test_without_tracepoints_processes_are_looked_at_more_often(broker: Broker) -> None:
    """Old kernels and locked-down ones: later, but seen; and the status says why."""

    async def none(processor: int) -> tuple[list[int], dict[int, int]]:
        raise Unavailable("broker: perf_event_open: Operation not permitted")

    broker.births = none  # type: ignore[method-assign]
    async with following(broker) as namespaces:
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            try:
                await until(lambda: named(namespaces, f"sleep-{holder.pid}") is not None)
            finally:
                holder.kill()
    assert len(broker.missing) == 1
    assert "Operation not permitted" in broker.missing[0]
    assert "seen later" in broker.missing[0]


@pytest.mark.root
async def test_a_thread_may_be_alone_in_a_namespace(broker: Broker) -> None:
    """Go programs move single threads; /proc shows them only below their process."""
    script = (
        "import ctypes, threading, time\n"
        "def leave(): ctypes.CDLL(None).unshare(0x40000000); time.sleep(60)\n"
        "threading.Thread(target=leave).start()"
    )
    async with following(broker) as namespaces:
        with subprocess.Popen(
            [sys.executable, "-S", "-c", script], start_new_session=True
        ) as holder:
            try:
                await until(lambda: bool(of_session(namespaces, holder.pid)))
                (new,) = of_session(namespaces, holder.pid)
                assert str(new.pids[0]) in os.listdir(f"/proc/{holder.pid}/task")
            finally:
                holder.kill()
        await until(lambda: namespaces.get(new.inode) is None)


@pytest.mark.root
async def test_a_namespace_that_an_open_file_holds_ends_with_the_file(broker: Broker) -> None:
    """The kernel keeps it; so the graph does, but nothing of ours may hold it any more."""
    async with following(broker) as namespaces:
        log = Log(namespaces)
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            name = f"sleep-{holder.pid}"
            await until(lambda: named(namespaces, name) is not None)
            with open(f"/proc/{holder.pid}/ns/net") as file:
                inode = os.fstat(file.fileno()).st_ino
                holder.kill()
                holder.wait()
                await until(lambda: name in log.released)
                for _ in range(5):
                    namespaces.distrust()
                    await until(lambda: not namespaces._distrusted)
                assert namespaces.get(inode) is not None
            await until(lambda: namespaces.get(inode) is None)
        assert log.told[-1] == ("removed", name)


@pytest.mark.root
async def test_a_namespace_that_is_entered_again_is_the_same(broker: Broker) -> None:
    """Whoever has an open file of it can bring it back to life for everybody."""
    async with following(broker) as namespaces:
        log = Log(namespaces)
        with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
            name = f"sleep-{holder.pid}"
            await until(lambda: named(namespaces, name) is not None)
            with open(f"/proc/{holder.pid}/ns/net") as file:
                inode = os.fstat(file.fileno()).st_ino
                holder.kill()
                holder.wait()
                await until(lambda: name in log.released)
                enter = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{file.fileno()}", "sleep", "60"]
                another = subprocess.Popen(enter)
                try:
                    again = f"sleep-{another.pid}"
                    await until(lambda: named(namespaces, again) is not None)
                    assert named(namespaces, again) is namespaces.get(inode)
                finally:
                    another.kill()
                    another.wait()
            await until(lambda: namespaces.get(inode) is None)
        assert [what for what, _ in log.told if what in ("added", "removed")] == [
            "added",
            "removed",
        ]


@pytest.mark.root
async def test_a_namespace_made_inside_a_container_has_its_name(broker: Broker, name: str) -> None:
    """Its mount is in another mount namespace, and nobody is in it."""
    script = "mount -t tmpfs none /run && ip netns add inner-$0 && echo made && exec sleep 60"
    async with following(broker, look_every_s=NEVER_S) as namespaces:
        with subprocess.Popen(
            ["unshare", "-m", "-n", "sh", "-c", script, name], stdout=subprocess.PIPE, text=True
        ) as container:
            try:
                assert container.stdout is not None
                assert container.stdout.readline() == "made\n"
                await until(lambda: named(namespaces, f"inner-{name}") is not None)
                found = named(namespaces, f"inner-{name}")
                assert found is not None
                assert found.path == f"/proc/{container.pid}/root/run/netns/inner-{name}"
                assert found.nsid is not None
            finally:
                container.kill()
            container.wait()
            await until(lambda: named(namespaces, f"inner-{name}") is None)


@pytest.mark.root
async def test_copies_of_mounts_of_the_host_are_no_namespaces_of_containers(
    broker: Broker, name: str, tmp_path: Path
) -> None:
    """Services with a private mount namespace have all mounts of the host."""
    ip("netns", "add", name)
    with subprocess.Popen(["unshare", "-m", "sleep", "60"]) as service:
        try:
            async with following(broker, str(tmp_path)) as namespaces:
                await broker.holders(everything=True)
                assert named(namespaces, name) is None
                assert str(service.pid) not in str(list(broker.mounts.values()))
        finally:
            service.kill()


CGROUPS = Path("/sys/fs/cgroup")


@pytest.mark.root
async def test_a_namespace_of_a_container_has_the_name_of_the_container(broker: Broker) -> None:
    """Twelve digits, as `docker ps` and `crictl ps` show it."""
    identifier = f"{os.getpid():064x}"
    root = next(
        (path for path in (CGROUPS / "unified", CGROUPS) if (path / "cgroup.procs").exists()), None
    )
    if root is None:
        pytest.skip("no cgroup file system")
    group = root / f"docker-{identifier}.scope"
    group.mkdir()
    try:
        async with following(broker) as namespaces:
            enter = f"echo $$ > {group}/cgroup.procs && exec unshare -n sleep 60"
            with subprocess.Popen(["sh", "-c", enter]) as container:
                try:
                    await until(lambda: named(namespaces, identifier[:12]) is not None)
                finally:
                    container.kill()
            await until(lambda: named(namespaces, identifier[:12]) is None)
    finally:
        group.rmdir()


def test_a_second_namespace_of_a_container_is_told_from_the_first() -> None:
    """Programs in a container may have namespaces of their own."""
    held = [
        Holders(7, (30,), "chrome", "0123456789ab"),
        Holders(8, (20, 21), "nginx", "0123456789ab"),
        Holders(9, (40,), "", ""),
    ]
    assert _names(held) == {8: "0123456789ab", 7: "0123456789ab/chrome-30", 9: "process-40"}


@pytest.mark.root
def test_an_agent_in_a_container_follows_the_host_through_its_proc(
    name: str, tmp_path: Path
) -> None:
    """Its own /proc, processes, mounts and network are not those of the host."""
    script = """
import asyncio, os, sys
from skydiver.broker import drop_capabilities, fork_broker
broker = fork_broker()
drop_capabilities()
from skydiver.broker.namespaces import Namespaces
async def main():
    namespaces = Namespaces(broker, run_paths=["/var/run/netns"], proc_path=sys.argv[1])
    await namespaces.find_host()
    print(namespaces.host.inode, os.getpid(), len(broker.missing), flush=True)
    known = {}
    def added(found):
        known[found.key] = found.name, found.path
        print("added", found.name, found.path, found.inode, flush=True)
    def removed(found):
        print("removed", found.name, flush=True)
    namespaces.subscribe(added=added, removed=removed)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(namespaces.run(), name="namespaces")
        await namespaces.listed()
        print("listed", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        task.cancel()
asyncio.run(main())
"""
    ip("netns", "add", name)
    proc = tmp_path / "proc"
    proc.mkdir()
    command = (
        'mount --rbind /proc "$0" && { umount -l /run/netns/* 2>/dev/null; '
        'mount -t tmpfs none /run; } && exec unshare -p -n -f --mount-proc "$@"'
    )
    python = [sys.executable, "-c", script, str(proc)]
    own = os.stat("/proc/self/ns/net").st_ino
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", command, str(proc), *python],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        try:
            assert agent.stdout.readline() == f"{own} 1 0\n"
            at_start = list(iter(agent.stdout.readline, "listed\n"))
            assert [line for line in at_start if line.startswith(f"added {name} {proc}/")]
            with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as holder:
                wanted = f"added sleep-{holder.pid} {proc}/{holder.pid}/ns/net "
                line = next(line for line in agent.stdout if line.startswith(wanted))
                assert line.endswith(f" {os.stat(f'/proc/{holder.pid}/ns/net').st_ino}\n")
                holder.kill()
            assert f"removed sleep-{holder.pid}\n" in iter(agent.stdout.readline, "")
        finally:
            agent.stdin.close()
            agent.wait(10)


@pytest.mark.root
async def test_a_storm_of_namespaces_ends_exact(broker: Broker, name: str) -> None:
    """Two hundred made and then deleted by one command each; what is known is what exists."""
    names = [f"{name}-{number}" for number in range(200)]
    async with following(broker, numbered=True) as namespaces:
        log = Log(namespaces)
        await batch(*(f"netns add {one}" for one in names))
        await until(lambda: {found.name for found in namespaces} >= set(names))
        mounted = {path.name for path in Path("/run/netns").iterdir()}
        assert {found.name for found in namespaces if found.mounted} == mounted
        assert len({found.nsid for found in namespaces}) == len(namespaces)
        await batch(*(f"netns del {one}" for one in names))
        await until(lambda: not {found.name for found in namespaces} & set(names))
        ours = [told for told in log.told if told[1] in names]
        assert len(ours) == 2 * len(names)


async def batch(*lines: str) -> None:
    done = await asyncio.create_subprocess_exec("ip", "-batch", "-", stdin=asyncio.subprocess.PIPE)
    await done.communicate("\n".join(lines).encode())
    assert done.returncode == 0


@pytest.mark.root
async def test_what_was_built_last_is_taken_down_first(broker: Broker, name: str) -> None:
    """Interfaces go before the namespace that owns them."""
    async with following(broker) as namespaces:
        order: list[str] = []
        for who in ("netns", "netlink"):
            namespaces.subscribe(
                added=lambda _, who=who: order.append(f"{who} added"),  # type: ignore[misc]
                removed=lambda _, who=who: order.append(f"{who} removed"),  # type: ignore[misc]
            )
        ip("netns", "add", name)
        await until(lambda: named(namespaces, name) is not None)
        ip("netns", "del", name)
        await until(lambda: named(namespaces, name) is None)
        assert order == ["netns added", "netlink added", "netlink removed", "netns removed"]


@pytest.mark.root
def test_without_privilege_the_names_are_still_seen(name: str) -> None:
    """An agent of an ordinary user shows what it may see."""
    ip("netns", "add", name)
    script = """
import os
os.setgid(65534); os.setuid(65534)
from skydiver.broker import drop_capabilities, fork_broker
broker = fork_broker()
drop_capabilities()
import asyncio
from skydiver.broker.namespaces import Namespaces
async def main():
    namespaces = Namespaces(broker, run_paths=["/var/run/netns"])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(namespaces.run(), name="namespaces")
        await namespaces.listed()
        print(sorted(found.name for found in namespaces), len(broker.missing) > 4)
        task.cancel()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert repr(name) in done.stdout
    assert done.stdout.endswith("True\n")


async def test_a_proc_that_is_none_is_refused_with_the_name_of_the_setting(
    broker: Broker, tmp_path: Path
) -> None:
    """A wrong path of a volume must not show the container as the host."""
    namespaces = Namespaces(broker, proc_path=str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"agent\.topology\.netns\.proc_path: .* is not the /proc"
    ):
        await namespaces.find_host()


@pytest.mark.root
async def test_no_birth_is_missed_in_a_storm_of_programs(broker: Broker, name: str) -> None:
    """Build machines start thousands of programs a second; all other verbs are answered meanwhile,
    and nothing is left afterwards."""
    ip("netns", "add", name)
    await broker.holders()
    before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", broker.pid)]
    async with following(broker, look_every_s=NEVER_S) as namespaces:
        script = "while :; do /bin/true; done"
        storm = [subprocess.Popen(["sh", "-c", script]) for _ in range(2)]
        holders: list[subprocess.Popen[bytes]] = []
        try:
            for _ in range(20):
                holders.append(subprocess.Popen(["unshare", "-n", "sleep", "60"]))
                assert await broker.own_nsid() >= 0
            names = {f"sleep-{holder.pid}" for holder in holders}
            await until(lambda: names <= {found.name for found in namespaces})
        finally:
            for process in (*holders, *storm):
                process.kill()
                process.wait()
        await until(lambda: not names & {found.name for found in namespaces})
        assert named(namespaces, name) is not None
    await broker.holders()
    assert [len(os.listdir(f"/proc/{pid}/fd")) for pid in ("self", broker.pid)] == before


@pytest.mark.root
def test_a_container_alone_follows_its_own_namespaces() -> None:
    """Without the host's /proc, the numbers that the kernel tells are not those of the container:
    what is new there is looked for."""
    script = """
import asyncio, subprocess
from skydiver.broker import fork_broker
broker = fork_broker()
from skydiver.broker.namespaces import Namespaces
async def main():
    namespaces = Namespaces(broker, look_every_s=3600.0)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(namespaces.run(), name="namespaces")
        await namespaces.listed()
        for present in (True, False):
            if present:
                holder = subprocess.Popen(["unshare", "-n", "sleep", "60"])
            else:
                holder.kill()
                holder.wait()
            while (f"sleep-{holder.pid}" in {found.name for found in namespaces}) is not present:
                await asyncio.sleep(0.01)
        task.cancel()
asyncio.run(main())
broker.close()
print("seen")
"""
    command = ["unshare", "-p", "-f", "--mount-proc", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("seen\n", "")


def test_the_clock_is_monotonic() -> None:
    """A step of the wall clock must not stop the looks at processes."""
    assert Namespaces.__init__.__kwdefaults__ is not None
    assert Namespaces.__init__.__kwdefaults__["mono_s"] is time.monotonic

"""Which network namespaces exist now, without keeping any of them alive.

The kernel has no list of them. One is known here because a file leads to it (a bind mount in one
of the *run paths*, as ``ip netns`` and container engines make them, or anywhere inside a container)
or because a process is in it.

- Mounts are told by inotify on the run paths; the mount itself follows the file a moment later. A
  mount or unmount without a change of the directory shows as a change of the mount table.
- Processes that may be in a new namespace are told by the kernel (see `births`), and looked at
  by the broker at once, and a few times more in their first second. All others are looked at in
  turn: some each second, all of them when it matters. A namespace that only processes hold is
  watched by a pidfd of one of them, so that its end is known at once.
- Every namespace gets a number (nsid) on the host. From then on the kernel reports its events to
  the host, and its end (RTM_DELNSID). Whoever reads these passes them to `nsid_seen` and
  `nsid_gone`.

A namespace goes in two steps. When no mount and no process is left, it is *released*: what of ours
keeps it (a capture ring) has to be closed then. It is *removed* when the kernel has ended it, which
is at once, unless an open file or a socket of another program holds it still. The kernel says so
by RTM_DELNSID, and is asked by the number, which no longer belongs to a namespace then.

What stays unseen: a namespace that only an open file or a socket of another program has held since
before the start, and for a while one that only a thread other than the first of its process is in.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TypeAlias

from skydiver.base.errors import ConfigError, SkydiverError, Unavailable
from skydiver.base.losses import Losses, LossReason
from skydiver.broker.births import Births
from skydiver.broker.client import MOST_PROCESSES, Broker, Holders, NetnsRef
from skydiver.broker.inotify import Inotify
from skydiver.broker.wire import LARGEST_REQUEST

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
"""Longest time between two looks at processes, and until a new run path is noticed."""
_LOOK_EVERY_BLIND_S, _REST_BLIND = 0.3, 20
"""The same where the kernel does not tell of processes; and rests this many times the length."""
_GRACE_S = 0.3
"""While files appear in the run paths, a namespace that only a process holds is not announced
earlier: ``ip netns add`` is in the new namespace itself before it mounts it."""
_SHORT_GRACE_S = 0.01
"""Otherwise: ``unshare`` gets the name of the program that it runs."""
_LOOK_AGAIN_S = (0.03, 0.15, 0.6)
"""Looks at a process after the kernel told of it: it may leave its namespace a little later."""
_MOST_YOUNG = 256
_BIRTHS_PAUSE_S = 0.02
"""Between two looks at what the kernel told, so that thousands of programs a second cost little."""
_ALIVE_AGAIN_S, _LONGEST_ALIVE_AGAIN_S = 0.01, 1.0
"""Until the kernel is asked again whether it has ended a namespace that nobody seems to hold."""
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of the kernel's include/linux/proc_ns.h."""
_PART = "broker.births"
_MOUNT_WITHIN_S = 10.0
"""A new file that is no namespace after this time is left alone until the mount table changes."""
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.002, 0.2
_REST = 5
"""A pass is followed by a rest of this many times its own length, so that storms cost a bounded
share of the processor and arrive in batches."""
_AT_ONCE = 256
_TOLD_AT_ONCE = 16
"""Additions and removals in one go; each costs the subscribers some work."""
_MOST_NAMES = 10_000

Key: TypeAlias = tuple[int, int]
"""Device and inode: what tells namespaces apart at one moment. Inodes are reused later."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace other than the host's (and `Namespaces.host` for that one)."""

    inode: int
    device: int
    nsid: int | None
    """The host's number for it, which events and dumps carry; None = may not be given one."""
    name: str
    """Of the mount, the container, or command and number of a process."""
    path: str
    """A file that leads to it: a mount, else ``/proc/<pid>/ns/net``."""
    pids: tuple[int, ...] = ()
    """Some processes in it; the first is the one of `path`, if that is not a mount."""
    mounted: bool = True
    """Whether `path` is a mount."""

    @property
    def key(self) -> Key:
        return self.device, self.inode

    @property
    def ref(self) -> NetnsRef:
        """What the broker takes to open it."""
        if self.mounted:
            return NetnsRef(path=self.path, pid=None, inode=self.inode, device=self.device)
        return NetnsRef(path=None, pid=self.pids[0], inode=self.inode, device=self.device)


Listener: TypeAlias = Callable[[Namespace], None]


@dataclass(frozen=True, slots=True)
class _Subscription:
    added: Listener
    removed: Listener
    changed: Listener | None
    released: Listener | None


class Namespaces:
    """The namespaces that exist now; tells subscribers of each that comes, changes and goes."""

    def __init__(
        self,
        broker: Broker,
        *,
        run_paths: Sequence[str] = (),
        proc_path: str = "/proc",
        losses: Losses | None = None,
        look_every_s: float = _LOOK_EVERY_S,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`proc_path` is the host's /proc; call `find_host` first if it is not this process's."""
        own = os.stat("/proc/self/ns/net")
        self.host = Namespace(
            inode=own.st_ino,
            device=own.st_dev,
            nsid=None,
            name="",
            path="/proc/self/ns/net",
        )
        self._broker = broker
        self._proc = proc_path
        self._losses = Losses() if losses is None else losses
        self._look_every_s = look_every_s
        self._mono_s = mono_s
        self._known: dict[Key, Namespace] = {}
        self._by_nsid: dict[int, Namespace] = {}
        self._subscriptions: list[_Subscription] = []
        self._listed = asyncio.Event()
        self._wake = asyncio.Event()

        self._run_paths = list(run_paths)
        self._stale_run_paths: set[str] = set()
        self._touched: set[str] = set()
        self._mounts: dict[str, Key] = {}
        self._unready: dict[str, float] = {}
        """New files that are no mounts yet, and until when to look at them."""
        self._retry_s = _FIRST_RETRY_S

        self._births: Births | None = None
        self._born_here = os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE
        """Whether this process and the kernel's events count processes alike."""
        self._young: dict[int, tuple[int, float]] = {}
        """Processes to look at again: how often they were already, and when it is time."""
        self._held: list[Holders] = []
        self._first_held_s: dict[int, float] = {}
        self._next_look_s = 0.0
        self._next_full_look_s = 0.0
        self._unsure = False
        """Whether all processes have to be looked at."""
        self._numbers_seen: set[int] = set()
        self._exits: dict[Key, tuple[int, int]] = {}
        """The process that is watched for each namespace that no mount holds, and its pidfd."""
        self._released: dict[Key, tuple[float, float]] = {}
        """When to ask the kernel whether it has ended, and how long to wait after that."""
        self._failed: set[tuple[Key, str]] = set()
        self._distrusted = False
        self._outdated = True
        """Whether something was seen that the known ones do not show yet."""

    # What others ask

    def __iter__(self) -> Iterator[Namespace]:
        return iter(list(self._known.values()))

    def __len__(self) -> int:
        return len(self._known)

    def get(self, inode: int, device: int | None = None) -> Namespace | None:
        """The namespace with this inode; the host's own is not among them."""
        return self._known.get((self.host.device if device is None else device, inode))

    def by_nsid(self, nsid: int) -> Namespace | None:
        """The namespace with this number on the host."""
        return self._by_nsid.get(nsid)

    def subscribe(
        self,
        *,
        added: Listener,
        removed: Listener,
        changed: Listener | None = None,
        released: Listener | None = None,
    ) -> Callable[[], None]:
        """Call these from now on; returns what ends it. Those already known are not told.

        `added` and `changed` (name or path) are called in the order of subscription, `removed` in
        reverse, so that what was built upon something is taken down before it. `released` may come
        before `removed`: close what keeps the namespace alive.
        """
        subscription = _Subscription(added, removed, changed, released)
        self._subscriptions.append(subscription)
        return lambda: self._subscriptions.remove(subscription)

    def watch(self, run_path: str) -> None:
        """Also look for mounts in `run_path`, which need not exist yet."""
        if run_path not in self._run_paths:
            self._run_paths.append(run_path)
            self._wake.set()

    async def find_host(self) -> None:
        """Learn which namespace is the host's, if the host's /proc is elsewhere."""
        if self._proc != "/proc":
            try:
                device, inode = await self._broker.host(self._proc)
            except SkydiverError as error:
                raise ConfigError(
                    f"agent.topology.netns.proc_path: {self._proc!r} is not the /proc of a host, "
                    f"or it may not be read: {error}"
                ) from error
            self.host = replace(
                self.host, device=device, inode=inode, path=f"{self._proc}/1/ns/net"
            )

    async def listed(self) -> None:
        """Return when all namespaces that existed at the start are known."""
        await self._listed.wait()

    # What the reader of kernel events tells

    def nsid_seen(self, nsid: int) -> None:
        """The host gave a number to a namespace (RTM_NEWNSID)."""
        self._numbers_seen.add(nsid)
        self._wake.set()

    def nsid_gone(self, nsid: int) -> None:
        """The namespace of this number has ended (RTM_DELNSID)."""
        namespace = self._by_nsid.get(nsid)
        if namespace is not None:
            self._remove(namespace)
            # Should another one have its inode by now, this look finds it.
            self._doubt()

    def distrust(self) -> None:
        """Kernel events were lost, the ends of namespaces may be among them: check all."""
        self._distrusted = True
        self._doubt()

    def _doubt(self) -> None:
        self._unsure = self._outdated = True
        self._wake.set()

    # Following what exists

    async def run(self) -> None:
        """Follow the namespaces for ever."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a pidfd per namespace
        with ExitStack() as stack:
            inotify = Inotify()
            stack.callback(inotify.close)
            mount_table = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, mount_table)
            mount_changes = select.poll()
            mount_changes.register(mount_table, select.POLLPRI)
            loop = asyncio.get_running_loop()
            loop.add_reader(inotify.fileno(), self._on_directory_change, inotify)
            stack.callback(loop.remove_reader, inotify.fileno())
            stack.callback(self._forget_exits)
            nsid = await self._broker.own_nsid()
            self.host = replace(self.host, nsid=None if nsid < 0 else nsid)
            await self._hear_of_births(stack)
            while True:
                started_s = self._mono_s()
                self._wake.clear()
                self._look_at_mounts(inotify, mount_changes)
                certain = await self._look_at_processes()
                await self._bring_up_to_date(certain=certain)
                await self._look_at_released()
                self._listed.set()
                length_s = self._mono_s() - started_s
                pause_s = _BIRTHS_PAUSE_S if self._young else 0
                await asyncio.sleep(max(_REST * min(length_s, _LOOK_EVERY_S / _REST), pause_s))
                if self._births is not None:
                    self._births.listen(self._wake.set)
                await self._wait(self._next_pass_s())

    async def _wait(self, until_s: float) -> None:
        rest_s = until_s - self._mono_s()
        if rest_s > 0:
            try:
                async with asyncio.timeout(rest_s):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _next_pass_s(self) -> float:
        """When to look again, should nothing happen."""
        now_s = self._mono_s()
        times = [self._next_look_s]
        if self._unsure:
            times.append(self._next_full_look_s)
        if self._unready:
            times.append(now_s + self._retry_s)
            self._retry_s = min(self._retry_s * 2, _LONGEST_RETRY_S)
        times += [first_s + self._grace_s() for first_s in self._first_held_s.values()]
        times += [again_s for _, again_s in self._young.values()]
        times += [again_s for again_s, _ in self._released.values()]
        return min(times)

    def _grace_s(self) -> float:
        return _GRACE_S if self._unready or self._touched else _SHORT_GRACE_S

    # Mounts

    def _on_directory_change(self, inotify: Inotify) -> None:
        for change in inotify.changes():
            if not change.directory or len(self._touched) > _MOST_NAMES:
                self._stale_run_paths.update(self._run_paths)
            elif not change.name:
                self._stale_run_paths.add(change.directory)
            elif _is_text(change.name):
                self._touched.add(f"{change.directory}/{change.name}")
        self._wake.set()

    def _look_at_mounts(self, inotify: Inotify, mount_changes: select.poll) -> None:
        for run_path in self._run_paths:
            if not inotify.watches(run_path) and inotify.watch(run_path):
                self._stale_run_paths.add(run_path)
        if mount_changes.poll(0):
            self._stale_run_paths.update(self._run_paths)
        paths = self._touched | self._unready.keys()
        for run_path in self._stale_run_paths:
            paths |= _entries(run_path)
            paths |= {path for path in self._mounts if path.rpartition("/")[0] == run_path}
        self._stale_run_paths.clear()
        for path in sorted(paths):
            self._look_at_mount(path, is_new=path in self._touched)
        self._touched.clear()

    def _look_at_mount(self, path: str, *, is_new: bool) -> None:
        before = self._mounts.pop(path, None)
        now_s = self._mono_s()
        try:
            found = os.stat(path)
        except OSError:
            self._unready.pop(path, None)
        else:
            if found.st_dev == self.host.device:
                self._mounts[path] = (found.st_dev, found.st_ino)
                self._unready.pop(path, None)
            elif is_new:
                self._unready[path] = now_s + _MOUNT_WITHIN_S
                self._retry_s = _FIRST_RETRY_S
            elif self._unready.get(path, now_s) < now_s:
                del self._unready[path]
        if self._mounts.get(path) != before:
            self._outdated = True

    # Processes

    async def _hear_of_births(self, stack: ExitStack) -> None:
        try:
            self._births = await Births.open(self._broker)
        except Unavailable as error:
            log.info("the kernel does not tell of new namespaces: %s", error)
            self._broker.lack(
                f"kernel events of processes ({error}): "
                "namespaces that only processes hold are seen later"
            )
        else:
            stack.callback(self._forget_births)

    def _forget_births(self) -> None:
        if self._births is not None:
            self._births.close()
            self._births = None

    async def _look_at_the_born(self) -> list[Holders]:
        """Look at the processes that the kernel told of, now and some times later."""
        born, lost = (set(), 0) if self._births is None else self._births.read()
        if lost:
            self._losses.add(_PART, LossReason.OVERRUN, lost)
            self._unsure = True
        now_s = self._mono_s()
        if born and not self._born_here and self._proc == "/proc":
            self._next_look_s = now_s  # their numbers say nothing here, so look who is new
            return self._held
        due = [pid for pid, (_, again_s) in self._young.items() if again_s <= now_s]
        for pid in due:
            looks, _ = self._young.pop(pid)
            if looks < len(_LOOK_AGAIN_S):
                self._young[pid] = looks + 1, now_s + _LOOK_AGAIN_S[looks]
        for pid in born:
            if len(self._young) < _MOST_YOUNG or pid in self._young:
                self._young[pid] = 1, now_s + _LOOK_AGAIN_S[0]
        pids = [pid for pid in born.union(due) if pid > 0]
        held = self._held
        for start in range(0, len(pids), MOST_PROCESSES):
            held = await self._broker.look(pids[start : start + MOST_PROCESSES])
        return held

    async def _look_at_processes(self) -> bool:
        """Ask the broker, if it is time to; whether *all* processes were looked at."""
        if self._numbers_seen - self._by_nsid.keys() - {self.host.nsid}:
            # Somebody connected the host to a namespace that is not known: its process is new.
            self._unsure = True
        self._numbers_seen.clear()
        self._take_holders(await self._look_at_the_born())
        now_s = self._mono_s()
        everything = self._unsure and now_s >= self._next_full_look_s
        if not everything and now_s < self._next_look_s:
            return False
        if everything:
            self._unsure = False
        held = await self._broker.holders(everything=everything)
        done_s = self._mono_s()
        if self._births is None:
            rest_s = max(_LOOK_EVERY_BLIND_S, _REST_BLIND * (done_s - now_s))
            self._next_look_s = done_s + min(rest_s, self._look_every_s)
        else:
            self._next_look_s = done_s + self._look_every_s
        if everything:
            self._next_full_look_s = done_s + _REST * (done_s - now_s)
        if self._failed:
            self._failed.clear()  # what could not be opened is tried again
            self._outdated = True
        self._take_holders(held)
        return everything

    def _take_holders(self, held: list[Holders]) -> None:
        if held is not self._held:
            self._held = held
            self._failed.clear()
            self._outdated = True

    def _on_exit(self, key: Key) -> None:
        self._unwatch(key)
        self._doubt()

    def _watch_holder(self, namespace: Namespace) -> None:
        """Learn of the exit of the process that holds the namespace, if no mount does."""
        # Below another /proc are processes that this one has no numbers for.
        pid = 0 if namespace.mounted or self._proc != "/proc" else namespace.pids[0]
        if self._exits.get(namespace.key, (0, -1))[0] == pid:
            return
        self._unwatch(namespace.key)
        if pid == 0:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._doubt()
        except OSError as error:
            # Out of descriptors, or before Linux 5.3: the next look notices the end.
            log.debug("cannot watch process %d: %s", pid, error.strerror)
        else:
            self._exits[namespace.key] = pid, descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._on_exit, namespace.key)

    def _unwatch(self, key: Key) -> None:
        _, descriptor = self._exits.pop(key, (0, -1))
        if descriptor >= 0:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _forget_exits(self) -> None:
        for key in list(self._exits):
            self._unwatch(key)

    # Bringing the known ones up to date

    async def _bring_up_to_date(self, *, certain: bool) -> None:
        """Announce the difference; nothing is said to be gone unless all processes were seen."""
        if self._distrusted:
            self._distrusted = False
            await self._check_numbers()
        if not self._outdated and not self._first_held_s:
            return
        self._outdated = False
        there = self._there(self._mono_s())
        for number, known in enumerate(list(self._known.values())):
            found = there.get(known.key)
            if self._known.get(known.key) is not known:
                continue  # changed while others had their turn
            if found is not None and known.key in self._released:
                await self._take_back(known, found)
            elif found is not None:
                self._update(known, found)
            elif known.key in self._released:
                continue
            elif certain:
                self._release(known)
            else:
                self._unsure = self._outdated = True
            if number % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._add(
            [
                found
                for key, found in there.items()
                if key not in self._known and (key, found.path) not in self._failed
            ]
        )

    def _there(self, now_s: float) -> dict[Key, Namespace]:
        """What the mounts and the processes say together."""
        paths: dict[Key, list[str]] = {}
        for path, key in self._mounts.items():
            if key != self.host.key:
                paths.setdefault(key, []).append(path)
        for inode, path in self._broker.mounts.items():
            key = (self.host.device, inode)
            if key != self.host.key and path.isprintable():
                paths.setdefault(key, [path])
        held = {(self.host.device, holders.inode): holders for holders in self._held}
        names = _names(self._held)
        there = {}
        for key, found in paths.items():
            known = self._known.get(key)
            path = known.path if known is not None and known.path in found else min(found)
            pids = held[key].pids if key in held else ()
            name = path.rpartition("/")[2]
            there[key] = Namespace(key[1], key[0], None, name, path, pids)
        waiting: dict[int, float] = {}
        grace_s = self._grace_s()
        for key, holders in held.items():
            if key in paths:
                continue
            first_s = self._first_held_s.get(holders.inode, now_s)
            if key in self._known or not self._listed.is_set() or now_s - first_s >= grace_s:
                there[key] = self._held_only(key, holders, names[holders.inode])
            else:
                waiting[holders.inode] = first_s
        self._first_held_s = waiting
        return there

    def _held_only(self, key: Key, holders: Holders, name: str) -> Namespace:
        pid = holders.pids[0]
        known = self._known.get(key)
        if known is not None and not known.mounted and known.pids[0] in holders.pids[1:]:
            pid, name = known.pids[0], known.name
        pids = (pid, *(other for other in holders.pids if other != pid))
        path = f"{self._proc}/{pid}/ns/net"
        return Namespace(key[1], key[0], None, name, path, pids, mounted=False)

    def _update(self, known: Namespace, found: Namespace) -> None:
        found = replace(found, nsid=known.nsid)
        if found == known:
            return
        if found.mounted and not known.mounted:
            # Its identity for users (name, path, and the TID made of it) is another from now on.
            self._remove(known)
            self._insert(found)
            return
        self._known[found.key] = found
        if found.nsid is not None:
            self._by_nsid[found.nsid] = found
        self._watch_holder(found)
        if (found.name, found.path) != (known.name, known.path):
            for subscription in list(self._subscriptions):
                if subscription.changed is not None:
                    subscription.changed(found)

    async def _add(self, new: Sequence[Namespace]) -> None:
        for some in _requests(new):
            numbers = await self._broker.identify([namespace.ref for namespace in some])
            for count, (namespace, number) in enumerate(zip(some, numbers, strict=True)):
                if isinstance(number, str):
                    log.debug("%s: %s", namespace.path, number)
                    self._failed.add((namespace.key, namespace.path))
                else:
                    self._insert(replace(namespace, nsid=None if number < 0 else number))
                if count % _TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _release(self, namespace: Namespace) -> None:
        """Nobody seems to hold it; nobody of ours may, then, until the kernel has ended it."""
        if namespace.nsid is None:
            self._remove(namespace)  # the kernel cannot be asked
            return
        self._released[namespace.key] = self._mono_s(), _ALIVE_AGAIN_S
        self._unwatch(namespace.key)
        for subscription in reversed(self._subscriptions):
            if subscription.released is not None:
                subscription.released(namespace)

    async def _take_back(self, known: Namespace, found: Namespace) -> None:
        """Somebody had an open file of it, and entered or mounted it again."""
        (number,) = await self._broker.identify([found.ref])
        if self._known.get(known.key) is not known or isinstance(number, str):
            return
        del self._released[known.key]
        if number == known.nsid:
            self._update(known, found)
            self._watch_holder(self._known[found.key])
        else:  # another one with the same inode
            self._remove(known)
            self._insert(replace(found, nsid=None if number < 0 else number))

    async def _look_at_released(self) -> None:
        """Ask the kernel which of them it has ended."""
        now_s = self._mono_s()
        due = [self._known[key] for key, (at_s, _) in self._released.items() if at_s <= now_s]
        for start in range(0, len(due), _AT_ONCE):
            some = due[start : start + _AT_ONCE]
            alive = await self._broker.alive(
                [found.nsid for found in some if found.nsid is not None]
            )
            for count, (namespace, lives) in enumerate(zip(some, alive, strict=True)):
                if self._known.get(namespace.key) is not namespace:
                    continue
                if not lives:
                    self._remove(namespace)
                elif namespace.key in self._released:
                    _, wait_s = self._released[namespace.key]
                    longer_s = min(wait_s * 2, _LONGEST_ALIVE_AGAIN_S)
                    self._released[namespace.key] = self._mono_s() + wait_s, longer_s
                if count % _TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _check_numbers(self) -> None:
        held = [found for key, found in self._known.items() if key not in self._released]
        for some in _requests(held):
            numbers = await self._broker.identify([namespace.ref for namespace in some])
            for namespace, number in zip(some, numbers, strict=True):
                if isinstance(number, str):
                    self._unsure = self._outdated = True
                elif number != namespace.nsid and number >= 0:
                    # Another one with the same inode and name: the end of the first went unheard.
                    self._remove(namespace)
                    self._insert(replace(namespace, nsid=number))

    def _insert(self, namespace: Namespace) -> None:
        if namespace.nsid is not None:
            former = self._by_nsid.get(namespace.nsid)
            if former is not None:
                self._remove(former)
            self._by_nsid[namespace.nsid] = namespace
        self._known[namespace.key] = namespace
        self._watch_holder(namespace)
        for subscription in list(self._subscriptions):
            subscription.added(namespace)

    def _remove(self, namespace: Namespace) -> None:
        known = self._known.pop(namespace.key, None)
        if known is None:
            return
        if known.nsid is not None:
            self._by_nsid.pop(known.nsid, None)
        self._released.pop(known.key, None)
        self._unwatch(known.key)
        for subscription in reversed(self._subscriptions):
            subscription.removed(known)


def _names(held: Sequence[Holders]) -> dict[int, str]:
    """Names by inode: of the container, for the namespace of its first process, else of a
    process."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for holders in sorted(held, key=lambda holders: holders.pids[0]):
        name = f"{holders.command or 'process'}-{holders.pids[0]}"
        container = holders.container
        if container and container in taken:
            name = f"{container}/{name}"
        elif container:
            name = container
            taken.add(container)
        names[holders.inode] = name
    return names


def _entries(directory: str) -> set[str]:
    try:
        names = os.listdir(directory)
    except OSError:
        return set()
    return {f"{directory}/{name}" for name in names if _is_text(name)}


def _is_text(name: str) -> bool:
    """Whether it can be written in JSON: names of files are bytes, and need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _requests(namespaces: Sequence[Namespace]) -> Iterator[list[Namespace]]:
    """Parts of `namespaces` that fit into one request each."""
    some: list[Namespace] = []
    size = 0
    for namespace in namespaces:
        length = 2 * len(namespace.path.encode()) + 128
        if some and (size + length > LARGEST_REQUEST // 2 or len(some) == _AT_ONCE):
            yield some
            some, size = [], 0
        some.append(namespace)
        size += length
    if some:
        yield some

"""Random changes of a network at a steady rate, for tests and benchmarks of what follows them.

    with Lab("churn") as lab:
        churn = Churn(lab, seed=1)
        churn.run(seconds=60, rate=200)

Devices come, move between namespaces, get other names, masters, addresses, routes and
neighbours, flap and go; namespaces come and go, some with a process that is killed. A change
that the kernel refuses (the device is gone already, say) counts like any other: what there is
at the end is for the kernel to tell.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from skydiver.base.errors import Unavailable
from skydiver.lab.lab import Lab, Namespace, Process

PLACES = 6
MOST_DEVICES = 120
MOST_PASSING = 8
"""Namespaces that come and go, at a time."""


class Churn:
    """Changes inside namespaces of a lab, some with an end on the host."""

    def __init__(self, lab: Lab, *, seed: int) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._names = 0
        self.done = 0
        """Changes asked for so far."""
        with lab.batch():
            self._places = [lab.netns(f"p{number}") for number in range(PLACES)]
            for place in self._places:
                for name in ("br0", "br1"):
                    lab.bridge(place, name)
        self._commands = {place: self._command(place) for place in (lab.host, *self._places)}
        self._devices: list[tuple[Namespace, str]] = []
        self._passing: list[Namespace] = []
        self._holders: list[Process] = []

    def run(self, *, seconds: float, rate: float) -> None:
        """Make `rate` changes a second, as far as this machine can; returns when all are made."""
        began_s, before = time.monotonic(), self.done
        while (passed_s := time.monotonic() - began_s) < seconds:
            ahead_s = (self.done - before + 1) / rate - passed_s
            if ahead_s > 0:
                time.sleep(ahead_s)
            self.step()
        self.settle()

    def step(self) -> None:
        """Make one random change."""
        changes, weights = zip(*self._changes(), strict=True)
        self._random.choices(changes, weights)[0]()
        self.done += 1

    def settle(self) -> None:
        """Return when the kernel has made all changes."""
        for place, command in list(self._commands.items()):
            stdin = command.popen.stdin
            assert stdin is not None
            with suppress(BrokenPipeError):
                stdin.close()
            try:
                command.popen.wait(30)
            except subprocess.TimeoutExpired as error:
                raise Unavailable(f"ip in {place.name} does not end") from error
            self._commands[place] = self._command(place)

    def _changes(self) -> Sequence[tuple[Callable[[], None], int]]:
        if not self._devices:
            return [(self._add, 1)]
        return [
            (self._add, 24 if len(self._devices) < MOST_DEVICES else 0),
            (self._delete, 12),
            (self._move, 16),
            (self._rename, 12),
            (self._enslave, 16),
            (self._flap, 24),
            (self._address, 16),
            (self._route, 8),
            (self._neighbour, 8),
            (self._mtu, 8),
            (self._namespace, 2),
            (self._end_namespace, 2),
            (self._hold, 1),
            (self._kill, 1),
        ]

    # Devices

    def _add(self) -> None:
        """A pair between two places, or a device on its own."""
        place, other = self._random.choice(self._places), self._random.choice(self._places)
        kind = self._random.choice(("veth", "veth", "veth", "bridge", "ifb", "macvlan", "vxlan"))
        name = self._name()
        if kind == "veth":
            peer = self._name()
            self._ip(
                self._lab.host,
                f"link add {name} netns {place.full} type veth peer name {peer} netns {other.full}",
            )
            self._devices += [(place, name), (other, peer)]
            return
        if kind == "macvlan" and self._devices:
            place, parent = self._device()
            self._ip(place, f"link add {name} link {parent} type macvlan mode bridge")
        elif kind == "vxlan":
            self._ip(place, f"link add {name} type vxlan id {self._names} dstport 4789 dev br0")
        else:
            plain = "ifb" if kind == "macvlan" else kind
            self._ip(place, f"link add {name} type {plain}")
        self._devices.append((place, name))

    def _delete(self) -> None:
        place, name = self._devices.pop(self._random.randrange(len(self._devices)))
        self._ip(place, f"link del dev {name}")

    def _move(self) -> None:
        number = self._random.randrange(len(self._devices))
        place, name = self._devices[number]
        other = self._random.choice([*self._places, *self._passing])
        self._ip(place, f"link set dev {name} netns {other.full}")
        if other in self._places:
            self._devices[number] = (other, name)
        else:
            del self._devices[number]

    def _rename(self) -> None:
        number = self._random.randrange(len(self._devices))
        place, name = self._devices[number]
        new = self._name()
        self._ip(place, f"link set dev {name} down", f"link set dev {name} name {new}")
        self._devices[number] = (place, new)

    def _enslave(self) -> None:
        place, name = self._device()
        to = self._random.choice(("nomaster", "master br0", "master br1"))
        self._ip(place, f"link set dev {name} {to}")

    def _flap(self) -> None:
        place, name = self._device()
        self._ip(place, f"link set dev {name} {self._random.choice(('up', 'up', 'down'))}")

    def _mtu(self) -> None:
        place, name = self._device()
        self._ip(place, f"link set dev {name} mtu {self._random.randrange(1300, 1500)}")

    def _address(self) -> None:
        place, name = self._device()
        verb = self._random.choice(("add", "add", "del"))
        low = self._random.randrange(1, 200)
        address = self._random.choice((f"10.{low}.0.1/24", f"fd00:{low:x}::1/64"))
        self._ip(place, f"addr {verb} {address} dev {name} nodad")

    def _route(self) -> None:
        place, name = self._device()
        verb = self._random.choice(("replace", "replace", "del"))
        low, table = self._random.randrange(1, 250), self._random.choice((254, 100, 101))
        prefix = self._random.choice((f"172.16.{low}.0/24", f"fd01:{low:x}::/64"))
        self._ip(place, f"route {verb} {prefix} dev {name} table {table}")

    def _neighbour(self) -> None:
        place, name = self._device()
        verb = self._random.choice(("replace", "replace", "del"))
        low = self._random.randrange(1, 250)
        mac = f"lladdr 02:00:00:00:00:{low:02x} nud permanent" if verb == "replace" else ""
        self._ip(place, f"neigh {verb} 10.99.0.{low} {mac} dev {name}")

    # Namespaces

    def _namespace(self) -> None:
        if len(self._passing) < MOST_PASSING:
            self._passing.append(self._lab.netns(self._name()))

    def _end_namespace(self) -> None:
        if self._passing:
            place = self._passing.pop(self._random.randrange(len(self._passing)))
            self._lab.delete_netns(place)

    def _hold(self) -> None:
        """A namespace that only a process holds, with one end of a pair."""
        if len(self._holders) >= MOST_PASSING:
            return
        holder = self._lab.spawn(
            self._lab.host,
            ["unshare", "-n", "sh", "-c", "echo ready; exec sleep 600"],
            output=subprocess.PIPE,
        )
        assert holder.popen.stdout is not None
        holder.popen.stdout.readline()
        self._holders.append(holder)
        place, name, peer = self._random.choice(self._places), self._name(), self._name()
        self._ip(
            self._lab.host,
            f"link add {name} netns {place.full} type veth peer name {peer} netns {holder.pid}",
        )
        self._devices.append((place, name))

    def _kill(self) -> None:
        if self._holders:
            self._holders.pop(self._random.randrange(len(self._holders))).stop()

    # Asking the kernel

    def _device(self) -> tuple[Namespace, str]:
        return self._random.choice(self._devices)

    def _name(self) -> str:
        self._names += 1
        return f"d{self._names}"

    def _command(self, place: Namespace) -> Process:
        return self._lab.spawn(place, ["ip", "-force", "-batch", "-"])

    def _ip(self, place: Namespace, *lines: str) -> None:
        stdin = self._commands[place].popen.stdin
        assert stdin is not None
        try:
            stdin.write("".join(f"{line}\n" for line in lines))
            stdin.flush()
        except BrokenPipeError:
            # `ip` ends at a namespace that is gone, even when told to go on.
            self._commands[place].stop()
            self._commands[place] = self._command(place)

"""What a table of the kernel (routes, rules, neighbours) is to the follower of all of them.

Events of one namespace and table arrive in the order of the kernel. During a dump they wait, and
are taken in after it; `take` gets both, also the messages that only belong to the form of a dump
(NLMSG_DONE). A part keeps what it was told, and says what follows from it in `state`: facts on
interfaces and on the node of the namespace, by `LinkTable.set_fact` and `set_root_fact`. Facts of
an interface that is deleted, or moves away, are forgotten without being withdrawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from skydiver.probes.netlink.links import LinkTable


class Part(ABC):
    """One kind of table, in all namespaces (`nsid` as `LinkTable` counts them)."""

    name: ClassVar[str]
    groups: ClassVar[Sequence[int]]
    """RTNLGRP_… numbers of its events."""
    kinds: ClassVar[Sequence[int]]
    """RTM_… numbers of its messages."""
    requests: ClassVar[Sequence[tuple[int, bytes]]]
    """Type and body of the dumps that tell all of it; they are asked inside the namespace."""

    def __init__(self, links: LinkTable, want_dump: Callable[[int], None]) -> None:
        self.links = links
        self.want_dump = want_dump
        """To be called when what is known of a namespace may be wrong."""

    @abstractmethod
    def take(self, nsid: int, datagram: bytes) -> None:
        """Take in the messages of an event. What cannot be decoded is for the follower to count:
        `ValueError`."""

    @abstractmethod
    def begin_dump(self, nsid: int) -> None:
        """From now on `take` tells what there is; nothing is deleted yet."""

    @abstractmethod
    def end_dump(self, nsid: int, *, whole: bool) -> None:
        """What the dump did not tell is gone; nothing is, unless the dump was `whole`."""

    @abstractmethod
    def forget(self, nsid: int) -> None:
        """The namespace is gone, and with it its facts."""

    def link_changed(self, nsid: int, message: Mapping[str, Any]) -> None:  # noqa: B027 may do nothing
        """A link or address event came (see `decode_netlink`); some tables change with it, untold:
        then ask for a dump, which begins after all events that are older."""

    @abstractmethod
    def state(self, enough: Callable[[], bool]) -> bool:
        """Set the facts that changed, until `enough` says so; whether all were set."""

    def due_s(self) -> float | None:
        """When `state` should be called although nothing happens, in seconds from now; None =
        never. For facts that are held back because they change all the time."""
        return None

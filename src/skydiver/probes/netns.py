"""Netns probe: one node per network namespace of the host other than its own.

Reads:  which namespaces exist: mounts in a directory, and processes.
Writes: nodes of type ``netns``; keys ``Name``, ``Path``, ``Inode``, ``Device``.
Joins:  none; the host owns them all.
Needs:  the broker, for those that only processes hold.
"""

from __future__ import annotations

import asyncio

from skydiver.base.settings import NetnsSettings
from skydiver.broker.namespaces import Namespace
from skydiver.graph import EdgeSpec, NodeSpec, Writer
from skydiver.probes.probe import Context, Probe
from skydiver.topology import NodeType, Relation, host_node_id, netns_node_id


class NetnsProbe(Probe[NetnsSettings]):
    name = "netns"

    async def run(self, ctx: Context) -> None:
        def state(namespace: Namespace, writer: Writer = ctx.graph) -> None:
            node = netns_node(ctx.host_id, namespace)
            writer.upsert(node)
            writer.link(
                EdgeSpec(
                    parent=host_node_id(ctx.host_id),
                    child=node.id,
                    metadata={"RelationType": Relation.OWNERSHIP.value},
                )
            )

        def withdraw(namespace: Namespace) -> None:
            node_id = netns_node(ctx.host_id, namespace).id
            ctx.graph.unlink(host_node_id(ctx.host_id), node_id, Relation.OWNERSHIP.value)
            ctx.graph.delete(node_id)

        ctx.namespaces.watch(self.config.run_path)
        unsubscribe = ctx.namespaces.subscribe(added=state, removed=withdraw, changed=state)
        try:
            with ctx.graph.resync() as snapshot:
                for namespace in ctx.namespaces:
                    state(namespace, snapshot)
            await asyncio.Event().wait()
        finally:
            unsubscribe()


def netns_node(host_id: str, namespace: Namespace) -> NodeSpec:
    """The node of a namespace."""
    return NodeSpec(
        id=netns_node_id(host_id, namespace.device, namespace.inode),
        metadata={
            "Name": namespace.name,
            "Type": NodeType.NETNS.value,
            "Path": namespace.path,
            "Inode": namespace.inode,
            "Device": namespace.device,
        },
    )

"""What a group tells of itself, frozen."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ._graph_run import GraphRun
    from ._node import Node
    from ._states import GraphState, NodeState


class NodeMoved(NamedTuple):
    """A node has changed its state."""

    run: GraphRun
    node: Node[Any]
    old: NodeState
    new: NodeState


class GraphMoved(NamedTuple):
    """A graph has been submitted (`old` is None), or has ended."""

    run: GraphRun
    old: GraphState | None
    new: GraphState


class GraphSnapshot(NamedTuple):
    """A picture of a moment: how many nodes there are, and how many in each state."""

    id: Hashable
    state: GraphState
    total: int
    nodes: Mapping[NodeState, int]


class Observers(NamedTuple):
    """Who is told of a group, beside its own callbacks."""

    on_node: Callable[[NodeMoved], object] | None
    on_graph: Callable[[GraphMoved], object] | None
    forget: Callable[[GraphRun], None]

"""The books of a graph at work: what may run, what has ended, and what shall never run.

Synchronous and without side effects: what is to be done about a change is left in queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ._errors import TaskCancelled, TaskSkipped
from ._states import NodeState

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from ._node import Node


class Move(NamedTuple):
    """A change of a node's state."""

    node: Node[Any]
    old: NodeState
    new: NodeState


class Progress:
    """How far the nodes of one graph are.

    Args:
        nodes: In an order in which they could run.
        keep_going: Go on, after a failure, with what does not depend on it.
    """

    def __init__(self, nodes: Sequence[Node[Any]], keep_going: bool) -> None:
        self.nodes = nodes
        self._keep_going = keep_going
        self._dependents: dict[Node[Any], list[Node[Any]]] = {node: [] for node in nodes}
        for node in nodes:
            for dependency in node.dependencies:
                self._dependents[dependency].append(node)
        #: Dependencies of each node that have not succeeded.
        self._missing = {node: len(node.dependencies) for node in nodes}
        #: Nodes that may run and have not been started.
        self.ready = deque(node for node in nodes if not node.dependencies)
        #: Moves that nobody has been told of.
        self.moves: deque[Move] = deque()
        #: Nodes that have not ended.
        self.live = len(nodes)
        #: The errors of the nodes that failed, in the order of failing.
        self.failures: dict[Hashable, BaseException] = {}
        #: True when nothing more may start: after `cancel`, or a failure that stops the rest.
        self.halted = False
        self.cancelled = False

    def move(self, node: Node[Any], new: NodeState) -> None:
        """A node has been queued, or has begun."""
        self.moves.append(Move(node, node.state, new))
        node.state = new

    def succeeded(self, node: Node[Any], value: Any) -> None:
        """A node has ended with a value: those that waited for nothing else are ready."""
        self._end(node, NodeState.SUCCEEDED, value, None)
        if self.halted:
            return
        for dependent in self._dependents[node]:
            self._missing[dependent] -= 1
            if not self._missing[dependent]:
                self.ready.append(dependent)

    def failed(self, node: Node[Any], error: BaseException) -> None:
        """A node has ended with an error: what depends on it never runs."""
        if isinstance(error, asyncio.CancelledError):
            if self.halted:
                self._end(node, NodeState.CANCELLED, None, error)
                return
            cancellation, error = error, TaskCancelled(node.id)
            error.__cause__ = cancellation
        self._end(node, NodeState.FAILED, None, error)
        self.failures[node.id] = error
        below = [*self._dependents[node]]
        while below:
            dependent = below.pop()
            if dependent.state is NodeState.WAITING:
                self._skip(dependent, node, error, dependency=True)
                below.extend(self._dependents[dependent])
        if not self._keep_going and not self.halted:
            self._halt()
            for other in self.nodes:
                if other.state is NodeState.WAITING:
                    self._skip(other, node, error, dependency=False)

    def cancel(self) -> None:
        """Nothing more may run."""
        self.cancelled = True
        self._halt()
        for node in self.nodes:
            if node.state is NodeState.WAITING:
                self._end(node, NodeState.CANCELLED, None, asyncio.CancelledError())

    def _halt(self) -> None:
        self.halted = True
        self.ready.clear()

    def _skip(
        self, node: Node[Any], failed: Node[Any], error: BaseException, *, dependency: bool
    ) -> None:
        why = TaskSkipped(node.id, failed.id, error, dependency=dependency)
        self._end(node, NodeState.SKIPPED, None, why)

    def _end(
        self, node: Node[Any], state: NodeState, value: Any, error: BaseException | None
    ) -> None:
        self.moves.append(Move(node, node.state, state))
        node.end(state, value, error)
        self.live -= 1

"""A submitted graph as its callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from retrypool_async import Pool

from ._callbacks import check_callback, tell
from ._checks import optional_seconds
from ._errors import failure_of, raise_if
from ._graph_work import GraphWork
from ._node import Node, Plan, current
from ._progress import Move
from ._records import GraphMoved, GraphSnapshot, NodeMoved, Observers
from ._states import GraphState, NodeState
from ._waiting import within

if TYPE_CHECKING:
    from datetime import timedelta


class GraphRun(GraphWork):
    """A submitted graph: one group. Await it for the results of all nodes by their ids.

    Awaiting raises `GroupFailed`, with all errors, if nodes failed. As with a task's handle, any
    number of callers may await it; when the last of them is cancelled, so is the group; and
    `wait` never cancels it. Not awaiting it at all is fine.

    Attributes:
        id: As given to the graph.
        state: Where it is in its life.
        nodes: Its nodes by id, each after all that it depends on.
    """

    def __init__(
        self,
        pool: Pool[Any, Any],
        id: Hashable,
        plans: list[Plan],
        keep_going: bool,
        observers: Observers,
    ) -> None:
        super().__init__(pool, plans, keep_going)
        self.id = id
        self.state = GraphState.RUNNING
        self.nodes: Mapping[Hashable, Node[Any]] = MappingProxyType(
            {plan.node.id: plan.node for plan in plans}
        )
        self._observers = observers
        self._ended = asyncio.Event()
        self._awaiters = 0
        self._callbacks: list[Callable[[GraphRun], object]] = []

    def __await__(self) -> Generator[Any, None, dict[Hashable, Any]]:
        return self._outcome().__await__()

    async def _outcome(self) -> dict[Hashable, Any]:
        self._awaiters += 1
        try:
            await self.wait()
        except BaseException:
            if self._awaiters == 1:
                self.cancel()
            raise
        finally:
            self._awaiters -= 1
        return self.result()

    async def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds. Return whether it has ended.

        Never raises the errors of nodes, and cancels nothing.

        Raises:
            RuntimeError: called by a function of this very graph, which would have to end first.
            DeadlockDetected: called without `timeout` by an attempt of the same pool, in vain.
        """
        node = current.get(None)
        if node is not None and self._started.get(node) is asyncio.current_task():
            raise RuntimeError(f"node {node.id!r} cannot wait for the end of its own graph")
        limit = optional_seconds("timeout", timeout)
        # One by one, so that the pool can tell an attempt that waits in vain.
        for other in self.nodes.values() if limit is None else ():
            await other.wait()
        await within(limit, self._ended.wait())
        return self.state.final

    def done(self) -> bool:
        """True once every node has ended."""
        return self.state.final

    def cancelled(self) -> bool:
        """True when it ended by `cancel`."""
        return self.state is GraphState.CANCELLED

    def result(self) -> dict[Hashable, Any]:
        """Return the results of all nodes by their ids.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            GroupFailed: nodes have failed; has the errors of all that did.
            asyncio.CancelledError: it was cancelled.
            KeyboardInterrupt, SystemExit: a node raised it.
        """
        raise_if(self.error())
        return {name: node.result() for name, node in self.nodes.items()}

    def error(self) -> BaseException | None:
        """Return what `result` would raise, also a cancellation; None when it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
        """
        if self.state is GraphState.RUNNING:
            raise asyncio.InvalidStateError(f"group {self.id!r} has not ended")
        if self.state is GraphState.SUCCEEDED:
            return None
        if self.state is GraphState.CANCELLED:
            return asyncio.CancelledError(f"group {self.id!r} was cancelled")
        return failure_of(self.id, self._progress.failures)

    def cancel(self) -> bool:
        """Ask for all of it to end. False when it has ended already.

        Nodes that wait end at once, those that run are cancelled. It ends when they have unwound.
        """
        if self.state.final:
            return False
        if not self._progress.halted:
            self._progress.cancel()
            self._carry_out()
        return True

    def snapshot(self) -> GraphSnapshot:
        """How many nodes there are, and how many in each state."""
        counts = dict.fromkeys(NodeState, 0)
        for node in self.nodes.values():
            counts[node.state] += 1
        return GraphSnapshot(self.id, self.state, len(self.nodes), MappingProxyType(counts))

    def add_done_callback(self, callback: Callable[[GraphRun], object]) -> None:
        """Call `callback(run)` when it has ended, or soon if it has. Errors are logged.

        Raises:
            TypeError: it is not a plain function.
        """
        check_callback("callback", callback)
        if self.state.final:
            asyncio.get_running_loop().call_soon(self._tell, "callback", callback, self)
        else:
            self._callbacks.append(callback)

    def __repr__(self) -> str:
        live, total = self._progress.live, len(self.nodes)
        return f"<GraphRun {self.id!r} {self.state.name}: {live} of {total} nodes live>"

    # -- telling -------------------------------------------------------------------------------

    def _begin(self) -> None:
        move = GraphMoved(self, None, self.state)
        self._tell("on_graph", self._observers.on_graph, move)

    def _moved(self, move: Move) -> None:
        self._tell("on_node", self._observers.on_node, NodeMoved(self, *move))

    def _finish(self) -> None:
        if all(node.state is NodeState.SUCCEEDED for node in self.nodes.values()):
            self.state = GraphState.SUCCEEDED
        elif self._progress.cancelled:
            self.state = GraphState.CANCELLED
        else:
            self.state = GraphState.FAILED
        self._observers.forget(self)
        self._ended.set()
        move = GraphMoved(self, GraphState.RUNNING, self.state)
        self._tell("on_graph", self._observers.on_graph, move)
        for callback in self._callbacks:
            self._tell("callback", callback, self)

    def _tell(self, name: str, callback: Callable[[Any], object] | None, record: Any) -> None:
        if callback is not None:
            tell(f"{name} of group {self.id!r}", callback, record, self._context)

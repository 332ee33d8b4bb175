"""The pool of groups whose tasks and their dependencies are known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeVar

from retrypool_async import Pool, PoolClosed, PoolState, RetryPoolError

from ._callbacks import check_callback
from ._checks import flag, hashable, optional_seconds
from ._errors import DuplicateGroup, GraphError
from ._graph import Graph
from ._graph_run import GraphRun
from ._node import Payload, Plan
from ._records import GraphMoved, NodeMoved, Observers
from ._waiting import within

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType
    from typing import Self

T = TypeVar("T")
R = TypeVar("R")


class IndependentPool(Generic[T, R]):
    """Runs graphs of tasks on a pool, any number of them side by side.

    The pool stays its owner's: its workers, quotas, retries and hooks are in force, it may run
    other tasks as well, and it must outlive this. Groups are taken inside of `async with`;
    leaving the block normally waits for them all, leaving it by an error cancels them.

    Args:
        pool: Runs the tasks.
        on_node: A plain function that is called with `NodeMoved` on every change of a node's state.
        on_graph: The same for groups, with `GraphMoved`, when one begins and when it has ended.
            Both run in the context of the group's submitter; what they raise is logged.
        shutdown_timeout: Seconds that leaving the block normally may wait for groups, before it
            cancels them.

    Raises:
        TypeError, ValueError: naming the argument that is wrong.
    """

    def __init__(
        self,
        pool: Pool[T, R],
        *,
        on_node: Callable[[NodeMoved], object] | None = None,
        on_graph: Callable[[GraphMoved], object] | None = None,
        shutdown_timeout: float | timedelta | None = 60.0,
    ) -> None:
        if not isinstance(pool, Pool):
            raise TypeError(f"pool must be a Pool, got {type(pool).__name__}")
        for name, callback in (("on_node", on_node), ("on_graph", on_graph)):
            if callback is not None:
                check_callback(name, callback)
        self._shutdown_timeout = optional_seconds("shutdown_timeout", shutdown_timeout)
        self._pool = pool
        self._observers = Observers(on_node, on_graph, self._ended)
        self._runs: dict[Hashable, GraphRun] = {}
        self._open = False
        self._unnamed = 0

    def graph(self, id: Hashable = None, *, keep_going: bool = False) -> Graph[T, R]:
        """Return an empty graph, to be described and submitted.

        Args:
            id: Of the group, unique among those that have not ended. Shown in errors and logs, so
                never a secret. None gives "graph-<number>".
            keep_going: After a failure, True goes on with all that does not depend on it; False
                starts nothing more and cancels what runs.

        Raises:
            TypeError: an argument is of the wrong type.
        """
        flag("keep_going", keep_going)
        if id is None:
            self._unnamed += 1
            return Graph(self._launch, f"graph-{self._unnamed}", keep_going)
        return Graph(self._launch, hashable("id", id), keep_going)

    def _launch(self, id: Hashable, plans: list[Plan], keep_going: bool) -> GraphRun:
        if not self._open:
            raise PoolClosed("the IndependentPool takes graphs only inside of its `async with`")
        if self._pool.state is not PoolState.RUNNING:
            raise PoolClosed("the pool is not started, closing or closed")
        if id in self._runs:
            raise DuplicateGroup(id)
        for plan in plans:
            if isinstance(plan.work, Payload):
                try:
                    self._pool.check_options(**plan.work.options)
                except (RetryPoolError, TypeError, ValueError) as error:
                    raise GraphError(f"the pool refuses node {plan.node.id!r}: {error}") from error
        run = GraphRun(self._pool, id, plans, keep_going, self._observers)
        self._runs[id] = run
        try:
            run.start()
        except BaseException:
            del self._runs[id]
            raise
        return run

    def _ended(self, run: GraphRun) -> None:
        del self._runs[run.id]

    @property
    def runs(self) -> Mapping[Hashable, GraphRun]:
        """The groups that have not ended, by id. Not a copy: it changes."""
        return MappingProxyType(self._runs)

    async def join(self) -> None:
        """Wait until no group is left. New ones may still be submitted."""
        while self._runs:
            await next(iter(self._runs.values())).wait()

    async def __aenter__(self) -> Self:
        if self._open:
            raise RuntimeError("the IndependentPool is in use by another `async with`")
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open = False
        try:
            if error is None:
                await within(self._shutdown_timeout, self.join())
        finally:
            for run in list(self._runs.values()):
                run.cancel()
            await self.join()

"""A graph at work: gives nodes to the pool as their dependencies succeed.

What happens is entered into the books (`_progress`), and then `_carry_out` does what follows, in
one loop that is never inside itself. So a callback finds the books complete and may do whatever
it likes with the group, and a long chain needs no deep stack.
"""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from retrypool_async import Pool, PoolClosed, QueueFull, RetryPoolError, SubmitOptions, TaskHandle

from ._errors import GraphError
from ._node import Call, Node, Payload, Plan, current
from ._progress import Move, Progress
from ._states import NodeState

if TYPE_CHECKING:
    from contextvars import Context


class GraphWork(ABC):
    """The part of `GraphRun` that makes things happen."""

    def __init__(self, pool: Pool[Any, Any], plans: list[Plan], keep_going: bool) -> None:
        self._pool = pool
        self._context = copy_context()
        self._work = {plan.node: plan.work for plan in plans}
        self._progress = Progress(tuple(self._work), keep_going)
        #: True while `_carry_out` is at it.
        self._busy = False
        #: What runs: tasks of the pool, and async functions.
        self._started: dict[Node[Any], TaskHandle[Any] | asyncio.Task[Any]] = {}
        #: True once what runs has been cancelled.
        self._stopped = False
        #: Ready nodes that the pool has no room for, and the task that waits for room, while
        #: there are any.
        self._crowded: deque[Node[Any]] = deque()
        self._feeder: asyncio.Task[None] | None = None
        self._over = False

    @abstractmethod
    def _begin(self) -> None:
        """The pool has accepted the graph."""

    @abstractmethod
    def _moved(self, move: Move) -> None:
        """A node has changed its state."""

    @abstractmethod
    def _finish(self) -> None:
        """Every node has ended, and nothing of it is left."""

    # -- what happens --------------------------------------------------------------------------

    def start(self) -> None:
        """Give the pool all that depends on nothing. For the `IndependentPool`'s own use.

        Raises:
            PoolClosed: the pool does not run.
            GraphError: the pool refuses a node; those it has taken are withdrawn, unstarted.
        """
        ready = self._progress.ready
        calls: list[Node[Any]] = []  # begun last: they cannot be taken back
        taken: list[tuple[Node[Any], TaskHandle[Any]]] = []
        self._busy = True  # what is called back meanwhile is seen to at the end
        while ready:
            node = ready.popleft()
            work = self._work[node]
            if isinstance(work, Call):
                calls.append(node)
                continue
            try:
                task = self._submit(node, work)
            except Exception as error:
                for _, task in taken:
                    task.cancel()
                if isinstance(error, RetryPoolError) and not isinstance(error, PoolClosed):
                    raise GraphError(f"the pool refuses node {node.id!r}: {error}") from error
                raise
            if task is not None:
                taken.append((node, task))
        self._begin()
        for node, task in taken:
            self._taken(node, task)
        ready.extend(calls)
        self._busy = False
        self._carry_out()

    def _taken(self, node: Node[Any], task: TaskHandle[Any]) -> None:
        if node.done():  # a callback of the pool's has cancelled the group
            task.cancel()
            return
        node.task = self._started[node] = task
        self._progress.move(node, NodeState.QUEUED)
        task.add_done_callback(partial(self._work_ended, node))

    def _begun(
        self,
        node: Node[Any],
        then: Callable[[TaskHandle[Any]], object] | None,
        task: TaskHandle[Any],
    ) -> object:
        """A worker begins an attempt. `then` is what the user wants called as well."""
        if node.state is NodeState.QUEUED:
            self._progress.move(node, NodeState.RUNNING)
            self._carry_out()
        return None if then is None else then(task)

    def _work_ended(self, node: Node[Any], work: TaskHandle[Any] | asyncio.Task[Any]) -> None:
        del self._started[node]
        if isinstance(work, TaskHandle):
            error = work.error()
        else:
            error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is None:
            self._progress.succeeded(node, work.result())
        else:
            self._progress.failed(node, error)
        self._carry_out()

    # -- what follows --------------------------------------------------------------------------

    def _carry_out(self) -> None:
        """Do what the books leave to be done, until nothing is left."""
        if self._busy:
            return
        self._busy = True
        progress = self._progress
        while not self._over:
            if progress.moves:
                self._tell_moves()
            elif progress.halted and not self._stopped:
                self._stop()
            elif progress.ready:
                self._start(progress.ready.popleft())
            elif self._crowded and self._feeder is None:
                self._feeder = asyncio.get_running_loop().create_task(
                    self._feed(), context=self._context.copy()
                )
                self._feeder.add_done_callback(self._fed)
            elif progress.live or self._feeder is not None:
                break
            else:
                self._over = True
                self._finish()
        self._busy = False

    def _tell_moves(self) -> None:
        moves = self._progress.moves
        while moves:
            self._moved(moves.popleft())

    def _stop(self) -> None:
        """Have everything cancelled that runs."""
        self._stopped = True
        self._crowded.clear()
        if self._feeder is not None:
            self._feeder.cancel()
        for work in list(self._started.values()):
            work.cancel()

    def _start(self, node: Node[Any]) -> None:
        work = self._work[node]
        if isinstance(work, Call):
            self._call(node, work)
            return
        try:
            task = self._submit(node, work)
        except Exception as error:
            self._refused(node, error)
        else:
            if task is not None:
                self._taken(node, task)

    def _submit(self, node: Node[Any], work: Payload) -> TaskHandle[Any] | None:
        """Give the pool a node, or put it in line when there is no room."""
        if not self._crowded:
            submit = partial(self._pool.submit, work.argument(), **self._options(node, work))
            try:
                return self._inside(node).run(submit)
            except QueueFull:
                pass
        self._crowded.append(node)
        return None

    def _refused(self, node: Node[Any], error: Exception) -> None:
        if not node.done():
            self._progress.failed(node, error)

    def _options(self, node: Node[Any], work: Payload) -> SubmitOptions:
        begun = partial(self._begun, node, work.options.get("on_running"))
        return {**work.options, "on_running": begun}

    def _inside(self, node: Node[Any]) -> Context:
        """The submitter's context, with this node as the current one."""
        context = self._context.copy()
        context.run(current.set, node)
        return context

    async def _feed(self) -> None:
        """Give the pool the nodes that it had no room for, as it gets room."""
        while self._crowded:
            node = self._crowded[0]
            work = self._work[node]
            assert isinstance(work, Payload)
            current.set(node)
            try:
                task = await self._pool.enqueue(work.argument(), **self._options(node, work))
            except Exception as error:
                self._refused(node, error)
            else:
                self._taken(node, task)
            if self._crowded:  # it is empty when the group was stopped
                self._crowded.popleft()
            self._carry_out()

    def _fed(self, feeder: asyncio.Task[None]) -> None:
        self._feeder = None
        if feeder.cancelled() and not self._stopped:  # by the ending event loop
            self._progress.cancel()
        self._carry_out()

    def _call(self, node: Node[Any], work: Call) -> None:
        self._progress.move(node, NodeState.RUNNING)
        self._tell_moves()
        if self._progress.halted:  # by an observer
            self._progress.failed(node, asyncio.CancelledError())
            return
        context = self._inside(node)
        try:
            value = context.run(work.function, *[node.result() for node in work.arguments])
        except BaseException as error:
            self._progress.failed(node, error)
            return
        if not inspect.isawaitable(value):
            self._progress.succeeded(node, value)
            return
        coroutine = value if inspect.iscoroutine(value) else _awaiting(value)
        call = asyncio.get_running_loop().create_task(
            coroutine, name=f"node {node.id!r}", context=context
        )
        self._started[node] = call
        call.add_done_callback(partial(self._work_ended, node))


async def _awaiting(value: Awaitable[Any]) -> Any:
    return await value

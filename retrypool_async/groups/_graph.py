"""A graph of tasks as its author describes it, checked before any of it runs."""

from __future__ import annotations

import graphlib
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ._checks import hashable
from ._errors import CycleError, DuplicateTask, GraphError, MissingDependency
from ._graph_run import GraphRun
from ._node import Call, Node, Payload, Plan, is_node

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self, Unpack

    from retrypool_async import SubmitOptions

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

#: A node or the id of one, or several of them. A text is one id.
References = Hashable | Iterable[Hashable]
#: Runs a graph's plans, in an order in which they could run, as the group of an id.
Launch = Callable[[Hashable, list[Plan], bool], GraphRun]


class Graph(Generic[T, R]):
    """Tasks that depend on each other, to be run as one group. Made by `IndependentPool.graph`.

    Add nodes with `task` and `call`, then `submit` it, once. Or use it as a context manager: at the
    end of the block it is submitted and waited for, and failures are raised; when the block
    is left by an error it is not submitted, and when the wait is cancelled, so is the group.

    `after` names the nodes that a new one waits for, `before` those that wait for it; by the
    node or by its id, which may be added later.

    Attributes:
        id: The id of the group.
    """

    def __init__(self, launch: Launch, id: Hashable, keep_going: bool) -> None:
        self.id = id
        self._launch = launch
        self._keep_going = keep_going
        self._plans: dict[Hashable, Plan] = {}
        self._submitted = False

    # -- describing ----------------------------------------------------------------------------

    def task(
        self,
        id: Hashable,
        data: T | Node[T],
        /,
        *,
        after: References = (),
        before: References = (),
        **options: Unpack[SubmitOptions],
    ) -> Node[R]:
        """Add a task for a worker of the pool.

        The worker sees the results of what it depends on as `current_node().results`.

        Args:
            id: Unique in the graph. Shown in errors and logs, so never a secret.
            data: What the worker is given; or a node, to be given its result.
            after, before: The nodes that it waits for, and that wait for it.
            options: As for `Pool.submit`, at the moment that its last dependency succeeds.

        Raises:
            DuplicateTask: the graph has a node of this id.
            MissingDependency: a node of another graph.
            GraphError: the graph was submitted already.
            TypeError: an argument is of the wrong type.
        """
        arguments = (data,) if is_node(data) else ()
        return self._add(id, Payload(data, options), arguments, after, before)

    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[], Awaitable[S]],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[], S],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A], Awaitable[S]],
        a: Node[A],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A], S],
        a: Node[A],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A, B], Awaitable[S]],
        a: Node[A],
        b: Node[B],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A, B], S],
        a: Node[A],
        b: Node[B],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A, B, C], Awaitable[S]],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[A, B, C], S],
        a: Node[A],
        b: Node[B],
        c: Node[C],
        /,
        *,
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[*tuple[A, ...]], Awaitable[S]],
        /,
        *arguments: Node[A],
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    @overload
    def call(
        self,
        id: Hashable,
        function: Callable[[*tuple[A, ...]], S],
        /,
        *arguments: Node[A],
        after: References = (),
        before: References = (),
    ) -> Node[S]: ...
    def call(
        self,
        id: Hashable,
        function: Callable[..., Any],
        /,
        *arguments: Node[Any],
        after: References = (),
        before: References = (),
    ) -> Node[Any]:
        """Add a call of a function with the results of other nodes: glue between tasks.

        It runs in the event loop, in the submitter's context, and holds no worker. What it
        returns is the result of its node; an awaitable is awaited. It is tried once.

        Args:
            id: Unique in the graph. Shown in errors and logs, so never a secret.
            function: Plain or async.
            arguments: The nodes whose results it is called with, in this order.
            after, before: Nodes that it waits for besides, and that wait for it.

        Raises:
            DuplicateTask, MissingDependency, GraphError, TypeError: as `task`.
        """
        if not callable(function):
            raise TypeError(f"function must be callable, got {type(function).__name__}")
        for argument in arguments:
            if not is_node(argument):
                kind = type(argument).__name__
                raise TypeError(f"a function's arguments must be nodes, got {kind}")
        return self._add(id, Call(function, arguments), arguments, after, before)

    def _add(
        self,
        id: Hashable,
        work: Payload | Call,
        arguments: tuple[Node[Any], ...],
        after: References,
        before: References,
    ) -> Node[Any]:
        if self._submitted:
            raise GraphError(f"the graph was submitted already: {id!r} comes too late")
        hashable("id", id)
        if id in self._plans:
            raise DuplicateTask(id)
        node: Node[Any] = Node(id)
        waits_for = (*arguments, *_references(after))
        self._plans[id] = Plan(
            node, work, self._ids(id, waits_for), self._ids(id, _references(before))
        )
        return node

    def _ids(self, id: Hashable, references: Iterable[Hashable]) -> tuple[Hashable, ...]:
        ids: list[Hashable] = []
        for reference in references:
            if is_node(reference):
                plan = self._plans.get(reference.id)
                if plan is None or plan.node is not reference:
                    raise MissingDependency([(id, reference.id)])
                reference = reference.id
            ids.append(reference)
        return tuple(dict.fromkeys(ids))

    # -- checking and running ------------------------------------------------------------------

    def order(self) -> tuple[Node[Any], ...]:
        """Return the nodes so that each comes after all that it depends on. Always the same.

        Raises:
            GraphError: it has no nodes.
            MissingDependency, CycleError: it has no such order.
        """
        sorter = graphlib.TopologicalSorter(self._dependencies())
        try:
            return tuple(self._plans[name].node for name in sorter.static_order())
        except graphlib.CycleError as error:
            circle = error.args[1]  # each goes before the next, and the last is the first
            raise CycleError(circle[:0:-1]) from None

    def _dependencies(self) -> dict[Hashable, list[Hashable]]:
        plans = self._plans
        if not plans:
            raise GraphError(f"graph {self.id!r} has no nodes")
        missing = [
            (task, other)
            for task, plan in plans.items()
            for other in (*plan.after, *plan.before)
            if other not in plans
        ]
        if missing:
            raise MissingDependency(missing)
        dependencies = {task: list(plan.after) for task, plan in plans.items()}
        for task, plan in plans.items():
            for other in plan.before:
                if task not in dependencies[other]:
                    dependencies[other].append(task)
        return dependencies

    def submit(self) -> GraphRun:
        """Start it: every node that waits for nothing is given to the pool at once.

        Never waits. If the pool has no room, nodes wait for it outside.

        Raises:
            GraphError: it has no nodes, was submitted already, or the pool refuses a node as it
                is: raised from what the pool says.
            CycleError, MissingDependency, DuplicateGroup: it cannot be run.
            PoolClosed: the pool, or the `IndependentPool`, does not run.
            In all these cases nothing has run.
        """
        if self._submitted:
            raise GraphError(f"graph {self.id!r} was submitted already; a graph runs once")
        plans = [self._plans[node.id] for node in self.order()]
        for task, dependencies in self._dependencies().items():
            self._plans[task].node.dependencies = tuple(
                self._plans[other].node for other in dependencies
            )
        run = self._launch(self.id, plans, self._keep_going)
        self._submitted = True
        return run

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        run = self.submit()
        try:
            await run.wait()
        except BaseException:
            run.cancel()
            await run.wait()
            raise
        run.result()

    def __repr__(self) -> str:
        return f"<Graph {self.id!r}: {len(self._plans)} nodes>"


def _references(value: Any) -> tuple[Hashable, ...]:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        return (value,)
    return tuple(value)

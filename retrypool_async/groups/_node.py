"""One task of a graph: what it does, what it waits for, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeGuard, TypeVar, cast

from retrypool_async import SubmitOptions, TaskHandle

from ._checks import optional_seconds
from ._errors import raise_if
from ._states import NodeState
from ._waiting import within

if TYPE_CHECKING:
    from datetime import timedelta
    from types import TracebackType

R_co = TypeVar("R_co", covariant=True)

#: The node that is at work. Set in a copy of the submitter's context, per node.
current: ContextVar[Node[Any]] = ContextVar("retrypool_async.groups.current")


class Payload(NamedTuple):
    """Work for a worker: data, or the node whose result is the data."""

    data: Any
    options: SubmitOptions

    def argument(self) -> Any:
        """What the worker is given."""
        return self.data.result() if is_node(self.data) else self.data


class Call(NamedTuple):
    """Work for a function: it is called with the results of these nodes."""

    function: Callable[..., Any]
    arguments: tuple[Node[Any], ...]


class Node(Generic[R_co]):
    """One task of a graph. A reference to it stands for its result, of type `R`.

    Attributes:
        id: Unique in its graph.
        state: Where it is in its life.
        task: The handle that the pool gave for it; None before, and for functions.
        dependencies: The nodes it waits for; known once the graph was submitted.
    """

    __slots__ = ("_ended", "_error", "_traceback", "_value", "dependencies", "id", "state", "task")

    def __init__(self, id: Hashable) -> None:
        self.id = id
        self.state = NodeState.WAITING
        self.task: TaskHandle[Any] | None = None
        self.dependencies: tuple[Node[Any], ...] = ()
        self._value: Any = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self._ended: asyncio.Event | None = None

    def done(self) -> bool:
        """True once it has ended, in whatever way."""
        return self.state.final

    def result(self) -> R_co:
        """Return the value.

        Raises:
            asyncio.InvalidStateError: it has not ended.
            asyncio.CancelledError: it was cancelled with its group.
            TaskSkipped: it never ran, since another node failed.
            Exception: whatever ended it.
        """
        raise_if(self.error())
        return cast("R_co", self._value)

    def error(self) -> BaseException | None:
        """Return what `result` would raise, also a cancellation; None when it succeeded.

        Raises:
            asyncio.InvalidStateError: it has not ended.
        """
        if not self.state.final:
            raise asyncio.InvalidStateError(f"node {self.id!r} has not ended")
        if self._error is None:
            return None
        # Whoever asks may raise it: without a reset its traceback would only grow.
        return self._error.with_traceback(self._traceback)

    async def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait for its end, at most `timeout` seconds. Return whether it has ended.

        Never raises its error, and never cancels it.

        Raises:
            DeadlockDetected: called without `timeout` by an attempt of the same pool, in vain.
        """
        limit = optional_seconds("timeout", timeout)
        if self.task is not None and limit is None:
            await self.task.wait()  # so that the pool can tell an attempt that waits in vain
        if not self.state.final:
            if self._ended is None:
                self._ended = asyncio.Event()
            await within(limit, self._ended.wait())
        return self.state.final

    @property
    def results(self) -> Mapping[Hashable, Any]:
        """The results of the nodes it depends on, by id, once they have all succeeded."""
        return MappingProxyType({node.id: node.result() for node in self.dependencies})

    def __repr__(self) -> str:
        return f"<Node {self.id!r} {self.state.name}>"

    def end(self, state: NodeState, value: Any, error: BaseException | None) -> None:
        """Record its end. For the group's own use."""
        self.state = state
        self._value = value
        self._error = error
        self._traceback = None if error is None else error.__traceback__
        if self._ended is not None:
            self._ended.set()


def is_node(value: object) -> TypeGuard[Node[Any]]:
    """True for a node, of whatever type."""
    return isinstance(value, Node)


class Plan(NamedTuple):
    """A node as its graph describes it: what it does, and the ids it goes after and before."""

    node: Node[Any]
    work: Payload | Call
    after: tuple[Hashable, ...]
    before: tuple[Hashable, ...]


def current_node() -> Node[Any]:
    """Return the node that the calling code is at work for.

    Works in a worker's `run`, in its hooks and callbacks, in functions, and in everything that
    these call or start, since it travels with the context.

    Raises:
        LookupError: the calling code does not work for a node of a graph.
    """
    node = current.get(None)
    if node is None:
        raise LookupError("current_node() was called outside a node of a graph")
    return node

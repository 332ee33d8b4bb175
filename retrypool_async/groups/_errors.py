"""What groups of tasks raise for reasons of their own."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from retrypool_async import RetryPoolError

if TYPE_CHECKING:
    from typing import Self

#: Tasks that the message of a `GroupFailed` names.
FAILURES_SHOWN = 8


class GraphError(RetryPoolError):
    """The graph cannot be run as it is. Nothing of it has run."""


class CycleError(GraphError):
    """Tasks wait for each other in a circle.

    Attributes:
        cycle: Their ids. Each waits for the next, and the last for the first.
    """

    def __init__(self, cycle: Sequence[Hashable]) -> None:
        circle = ", which waits for ".join(repr(each) for each in (*cycle[1:], cycle[0]))
        super().__init__(f"{cycle[0]!r} waits for {circle}")
        self.cycle = tuple(cycle)


class MissingDependency(GraphError):
    """A task is to run after, or before, one that is not in its graph.

    Attributes:
        missing: Pairs of ids: the task, and what it refers to.
    """

    def __init__(self, missing: Sequence[tuple[Hashable, Hashable]]) -> None:
        listing = "; ".join(f"{task!r} refers to {other!r}" for task, other in missing)
        super().__init__(f"not in the graph: {listing}")
        self.missing = tuple(missing)


class DuplicateTask(GraphError):
    """Two tasks of one graph have the same id.

    Attributes:
        id: That id.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"the graph has a task {id!r} already")
        self.id = id


class DuplicateGroup(GraphError):
    """A group of the same id has not ended yet.

    Attributes:
        id: That id.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"a group {id!r} has not ended yet; ids may be used again after the end")
        self.id = id


class GroupFailed(RetryPoolError, ExceptionGroup[Exception]):
    """Tasks of a group have failed. An `ExceptionGroup` of all their errors.

    The message and the representation name the tasks and the kinds of their errors, not what
    these say.

    Attributes:
        group: The id of the group.
        failures: The error of each task that failed, by id, in the order of failing; `exceptions`
            has the errors in the same order.
    """

    def __new__(cls, group: Hashable, failures: Mapping[Hashable, Exception]) -> Self:
        shown = [f"{task!r} ({type(error).__name__})" for task, error in failures.items()]
        if len(shown) > FAILURES_SHOWN:
            shown[FAILURES_SHOWN:] = [f"and {len(shown) - FAILURES_SHOWN} more"]
        return super().__new__(cls, f"in group {group!r}: {', '.join(shown)}", [*failures.values()])

    def __init__(self, group: Hashable, failures: Mapping[Hashable, Exception]) -> None:
        super().__init__(self.message, self.exceptions)
        self.group = group
        self.failures = dict(failures)

    def __repr__(self) -> str:
        return f"<GroupFailed {self.message}>"


class TaskSkipped(RetryPoolError):
    """The task never ran, since another one failed. Raised from that one's error.

    Attributes:
        id: The task.
        failed: The task that failed.
        dependency: True if this one depends on it, be it through others; False if the group
            merely stopped.
    """

    def __init__(
        self, id: Hashable, failed: Hashable, error: BaseException, *, dependency: bool
    ) -> None:
        kind = type(error).__name__
        why = "depends on" if dependency else "was to run in a group that stopped at"
        super().__init__(f"{id!r} never ran: it {why} {failed!r}, which failed ({kind})")
        self.id = id
        self.failed = failed
        self.dependency = dependency
        self.__cause__ = error


class TaskCancelled(RetryPoolError):
    """A task of a group was cancelled, though not by the group: the others cannot rely on it.

    Attributes:
        id: The task.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"{id!r} was cancelled, though its group was not")
        self.id = id


class GroupEnded(RetryPoolError):
    """The group takes no more tasks.

    Attributes:
        id: Of the group.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"group {id!r} takes no more tasks")
        self.id = id


class UnknownGroup(RetryPoolError):
    """There is no such group, or it ended long ago.

    Attributes:
        id: What was asked for.
    """

    def __init__(self, id: Hashable) -> None:
        super().__init__(f"no group {id!r}")
        self.id = id


def failure_of(group: Hashable, failures: Mapping[Hashable, BaseException]) -> BaseException:
    """What a group raises whose tasks have failed so: all of it, or the first exit among it."""
    errors: dict[Hashable, Exception] = {}
    for task, error in failures.items():
        if not isinstance(error, Exception):
            return error  # which no group of exceptions may hold
        errors[task] = error
    return GroupFailed(group, errors)


def raise_if(error: BaseException | None) -> None:
    """Raise it, if there is one."""
    try:
        if error is not None:
            raise error
    finally:
        del error  # its traceback refers to this frame: keep no cycle through it

"""Tasks that ended with an error, kept for a look, for repair, or for another try."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._states import EndReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._attempt import Attempt
    from ._handle import TaskHandle
    from ._past import Move, Times


@dataclass(frozen=True, slots=True)
class DeadTask:
    """What is known of a task that died. Its id is the task's, and never changes."""

    id: int
    data: Any = field(repr=False)
    reason: EndReason
    error: BaseException = field(repr=False)
    attempts: tuple[Attempt, ...] = field(repr=False)
    attempt_count: int
    throttles: int
    history: tuple[Move, ...] = field(repr=False)
    times: Times = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    #: The id of the dead task that this one repeated, or None.
    origin: int | None
    cost: Any = field(repr=False)
    options: Any = field(repr=False)


class DeadTasks:
    """The dead tasks of a pool, the oldest first: a collection by id.

    At most `dead_limit` are kept, the newest; `total` counts every death, `evicted` those that
    were dropped for the limit.
    """

    def __init__(self, limit: int | None, resubmit: Callable[[DeadTask], TaskHandle[Any]]) -> None:
        self._limit = limit
        self._resubmit = resubmit
        self._tasks: OrderedDict[int, DeadTask] = OrderedDict()
        self.total = 0
        self.evicted = 0

    def add(self, task: DeadTask) -> None:
        """Keep a dead task, dropping the oldest beyond the limit. For the pool's own use."""
        self.total += 1
        self._tasks[task.id] = task
        if self._limit is not None and len(self._tasks) > self._limit:
            self._tasks.popitem(last=False)
            self.evicted += 1

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[DeadTask]:
        return iter(list(self._tasks.values()))

    def __contains__(self, id: object) -> bool:
        return id in self._tasks

    def __getitem__(self, id: int) -> DeadTask:
        return self._tasks[id]

    def pull(self, id: int) -> DeadTask:
        """Take a dead task out and return it.

        Raises:
            KeyError: there is none of that id.
        """
        return self._tasks.pop(id)

    def pull_all(self) -> list[DeadTask]:
        """Take all dead tasks out and return them, the oldest first."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        return tasks

    def requeue(self, id: int) -> TaskHandle[Any]:
        """Submit a dead task again, as a new task whose `origin` is this id.

        The dead task stays if the pool does not take the new one.

        Raises:
            KeyError: there is none of that id.
            RetryPoolError: what `submit` raises.
        """
        handle = self._resubmit(self._tasks[id])
        # The new task may have died already, and pushed this one out.
        self._tasks.pop(id, None)
        return handle

    def clear(self) -> None:
        """Forget all dead tasks. The totals stay."""
        self._tasks.clear()

    def reasons(self) -> dict[EndReason, int]:
        """How many of the kept tasks died of what."""
        return dict(Counter(task.reason for task in self._tasks.values()))

    def __repr__(self) -> str:
        return f"<DeadTasks {len(self._tasks)} kept, {self.total} in all>"

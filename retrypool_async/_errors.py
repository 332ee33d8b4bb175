"""The errors the pool raises for its own reasons.

A task that fails raises its *original* exception; the classes here are for what only the pool
can know. All share one base, so `except RetryPoolError` catches whatever this library decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


#: Links that the message of a `DeadlockDetected` spells out.
LINKS_SHOWN = 8


class RetryPoolError(Exception):
    """Base of every error this library raises for reasons of its own."""


class PoolClosed(RetryPoolError):
    """The pool does not take tasks: it is not started, closing, or closed.

    Raised by `submit` at once, and by awaiting a task that a closing pool could not finish.
    """


class QueueFull(RetryPoolError):
    """The queue is at `max_queue`.

    Attributes:
        retry_after: Seconds until room is likely, or None when that cannot be known.
    """

    def __init__(self, size: int, retry_after: float | None = None) -> None:
        super().__init__(
            f"{size} tasks are waiting already; wait with enqueue() or raise max_queue"
        )
        self.size = size
        self.retry_after = retry_after


class QueueTimeout(RetryPoolError, TimeoutError):
    """The task did not start within its `queue_timeout`.

    Attributes:
        reason: What it waited for: "busy", "quota", "cooling", "breaker open", "paused",
            "starting", "no workers", "order", "turn" (others went first), or the state of the
            worker that it may run on: "resetting", "failed", "stuck".
        next_available: Seconds until a worker could have taken it, had nothing else waited, or None
            when that is unknown.
    """

    def __init__(self, reason: str, next_available: float | None = None) -> None:
        when = "" if next_available is None else f"; next available in {next_available:.3g} s"
        super().__init__(f"not started within queue_timeout: {reason}{when}")
        self.reason = reason
        self.next_available = next_available

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a new try makes sense, as for an HTTP `Retry-After`."""
        return self.next_available


class QuotaTimeout(QueueTimeout):
    """Quota alone would have kept the task waiting for longer than the pool's `max_quota_wait`.

    Attributes:
        reason: "quota".
        next_available: Seconds until a worker has quota for it.
    """

    def __init__(self, next_available: float, limit: float) -> None:
        super().__init__("quota", next_available)
        self.args = (f"no quota for another {next_available:.5g} s; max_quota_wait is {limit:g} s",)


class NoWorkers(RetryPoolError):
    """The pool has no worker left that could ever run a task."""


class Unroutable(RetryPoolError):
    """No worker present carries the tags, or is the worker, that the task asks for."""


class CostTooLarge(RetryPoolError):
    """The task costs more than any worker it may run on could ever be granted.

    Attributes:
        dimension: The quota dimension that is exceeded.
        largest: The most that any of those workers could grant.
    """

    def __init__(self, dimension: str, amount: float, largest: float) -> None:
        super().__init__(
            f"cost {dimension}={amount:g} exceeds the largest quota of any worker it may run on "
            f"({largest:g})"
        )
        self.dimension = dimension
        self.amount = amount
        self.largest = largest


class TaskTimeout(RetryPoolError, TimeoutError):
    """The task did not end within its `timeout`, or could not have.

    Attributes:
        attempts: How many attempts counted.
        last_error: What the last attempt raised, or None.
        waiting_for: What it was doing when time ran out.
    """

    def __init__(
        self, message: str, *, attempts: int, last_error: BaseException | None, waiting_for: str
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.last_error = last_error
        self.waiting_for = waiting_for
        self.__cause__ = last_error


class AttemptTimeout(RetryPoolError, TimeoutError):
    """One attempt ran longer than its `attempt_timeout`."""


class ThrottleLimit(RetryPoolError):
    """The service refused the task more than `max_throttles` times, or for too long."""


class WorkerLossLimit(RetryPoolError):
    """The task met more than `max_worker_losses` workers that were lost while running it."""


class SnoozeLimit(RetryPoolError):
    """The task asked to be tried later more than `max_snoozes` times."""


class RetryBudgetExceeded(RetryPoolError):
    """The task failed while as many others were being retried as the pool's `RetryBudget` allows.

    It is raised from the error of its last attempt.
    """


class WorkerRemoved(RetryPoolError):
    """The worker that was asked for, or that a task was pinned to, has been removed."""


class WorkerStartFailed(RetryPoolError):
    """A worker, or every worker of a starting pool, could not open its resource.

    Attributes:
        causes: Pairs of worker name and the error its start raised.
    """

    def __init__(self, causes: Sequence[tuple[str, BaseException]]) -> None:
        listing = "; ".join(f"{name}: {type(error).__name__}" for name, error in causes)
        super().__init__(f"could not start: {listing}")
        self.causes = tuple(causes)


class WorkerCancelled(RetryPoolError):
    """The worker's own code raised `CancelledError` although nobody had cancelled the task.

    An ordinary failure: it is raised from the `CancelledError`, and it may be retried.
    """


class DeadlockDetected(RetryPoolError):
    """An attempt waits for a task of its own pool that could never end before the attempt does.

    Raised inside the attempt, by the wait that made it so.

    Attributes:
        chain: Who waits for whom: triples of a task's id, its worker's name, and the id of the
            task that it waits for, None for room in the queue. The first is the wait that raises.
    """

    def __init__(self, chain: Sequence[tuple[int, str, int | None]]) -> None:
        links = [
            f"task {task} on {worker} waits for {'room' if target is None else f'task {target}'}"
            for task, worker, target in chain
        ]
        if len(links) > LINKS_SHOWN:
            links[LINKS_SHOWN:] = [f"and {len(links) - LINKS_SHOWN} more"]
        super().__init__(
            f"this wait could never end: {', '.join(links)}; "
            "it takes more workers than tasks that wait at once"
        )
        self.chain = tuple(chain)


class PolicyError(RetryPoolError):
    """A function the user supplied (cost, classify, a retry strategy) raised or returned rubbish.

    The task ends with this error, raised from what went wrong.
    """


class InvariantBroken(RetryPoolError):
    """The pool's own books do not balance: a bug in this library. Please report it."""

"""What code running inside an attempt may ask about it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

from ._reports import allowance, settlement

if TYPE_CHECKING:
    from datetime import timedelta

    from ._record import WorkerRef
    from ._task import Task

#: The task of the attempt in progress. Set in a copy of the submitter's context, per attempt.
current: ContextVar[Task | None] = ContextVar("retrypool_async.current", default=None)


class TaskContext:
    """The attempt in progress, as its own code sees it."""

    __slots__ = ("_attempt", "_run", "_task", "_worker")

    def __init__(self, task: Task) -> None:
        self._task = task
        self._run = task.run_count
        self._attempt = task.attempt_count + 1
        self._worker = task.holder.ref

    @property
    def id(self) -> int:
        """The id of the task."""
        return self._task.id

    @property
    def attempt(self) -> int:
        """1 for the first attempt. Runs that do not count (throttles) repeat the number."""
        return self._attempt

    @property
    def worker(self) -> WorkerRef:
        """The worker that this attempt runs on."""
        return self._worker

    @property
    def metadata(self) -> dict[str, Any]:
        """The task's metadata. What is written here shows in the handle and in snapshots."""
        return self._task.engine.metadata_of(self._task)  # type: ignore[no-any-return]

    def remaining(self) -> float | None:
        """Seconds until this attempt is cut off, None when it has no limit."""
        return self._task.engine.remaining(self._task)  # type: ignore[no-any-return]

    def settle(self, /, **used: float | None) -> None:
        """Say how much of each dimension this attempt has really used: `settle(tokens=512)`.

        It counts as if that had been its cost from the start: what was estimated too much is free
        at once for tasks that wait, and what was used beyond the estimate is debited, be there
        room for it or not. Of several calls the last one before the attempt ends holds, for each
        dimension. Without a call, and for None, the estimate stands; so it does, with a warning
        in the log, for anything that is not an amount. May be called from the attempt's thread.
        """
        self._task.engine.hear(self._task, self._run, settlement(used))

    def sync_quota(
        self,
        dimension: str = "requests",
        *,
        remaining: float | None,
        reset_after: float | timedelta | None,
        scope: Literal["worker", "quota"] = "worker",
    ) -> None:
        """Say what the service said is left, as in the headers of a reply.

        Until then no more than `remaining` is taken, counted from now, even where the limits would
        grant it. Answers overtake each other, so while one window lasts the smallest report holds;
        a reset that is later by more than a second begins a new one. What the limits forbid stays
        forbidden. None says nothing, and an odd value does neither, with a warning in the log. May
        be called from the attempt's thread.

        Args:
            dimension: Of what. Nothing follows where no quota of the worker limits it.
            remaining: How much may still be used.
            reset_after: Seconds until the service counts anew; at most the pool's
                `max_retry_after`.
            scope: "worker" for the quotas that this worker has to itself, "quota" for those that
                it shares too, the pool's included.
        """
        engine = self._task.engine
        longest = engine.settings.max_retry_after
        report = allowance(dimension, remaining, reset_after, scope, longest)
        if report is not None:
            engine.hear(self._task, self._run, report)


def current_task() -> TaskContext:
    """Return the attempt that the calling code belongs to.

    Works in `run` and in everything it calls or starts, since it travels with the context.

    Raises:
        LookupError: the calling code does not run inside an attempt.
    """
    task = current.get()
    if task is None:
        raise LookupError("current_task() was called outside an attempt")
    return TaskContext(task)

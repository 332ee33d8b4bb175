"""Why a task has not started, and when it will, in words."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ._rehearsal import Rehearsal
from ._states import FINAL_STATES, TaskState

if TYPE_CHECKING:
    from ._ledger import Ledger
    from ._record import WorkerRecord
    from ._task import Task


def _although_free(ledger: Ledger, record: WorkerRecord, task: Task, now: float) -> str:
    if task.tried_mask & record.bit:
        return "tried already"
    left = ledger.left_to(task)
    if left is not None and left[0] is not record:
        return f"left to {left[0].name} for {left[1] - now:.1f} s"
    return "others go first"


def explain(ledger: Ledger, task: Task, now: float) -> str:
    """Why a task has not started, worker by worker, and when it will; or what became of it."""
    if task.state in FINAL_STATES:
        succeeded = task.state is TaskState.SUCCEEDED
        return "succeeded" if succeeded else f"ended: {task.reason.value}"
    if task.state in (TaskState.RESERVED, TaskState.RUNNING):
        return f"{task.state.name.lower()} on {task.holder.name}"
    why, when = _obstacles(ledger, task, now), _start(ledger, task, now)
    return why if when is None else f"{why}; {when}"


def _start(ledger: Ledger, task: Task, now: float) -> str | None:
    """When and where a waiting task starts; None if nobody knows."""
    forecast = Rehearsal(ledger, now, task).forecast()
    if forecast.start_in is None:
        return None
    ahead = f", {forecast.ahead} before it" if forecast.ahead else ""
    if forecast.worker is None:
        return f"starts in {forecast.start_in:.1f} s at the earliest{ahead}"
    return f"starts in {forecast.start_in:.1f} s on {forecast.worker.name}{ahead}"


def _obstacles(ledger: Ledger, task: Task, now: float) -> str:
    """What stands between a waiting task and each of the workers."""
    if task.state is TaskState.SCHEDULED:
        return f"retry in {task.due - now:.1f} s"
    if ledger.paused:
        return "the pool is paused"
    limit = ledger.concurrency
    if limit is not None and ledger.held >= limit:
        return f"the pool is at its concurrency of {limit}"
    ahead = ledger.sequences.ahead_of(task)
    if ahead is not None:
        return f"task {ahead.id} of its order_key goes first"
    options = task.options
    reasons: list[str] = []
    for record in ledger.roster.workers.values():
        missing = options.require - record.tags
        if options.worker is not None and options.worker != record.id:
            pinned = ledger.roster.workers.get(options.worker)
            why = f"pinned to {options.worker if pinned is None else pinned.name}"
        elif missing and record.worker is not None:  # of one still to be made nobody knows
            why = f"tag {', '.join(sorted(missing))} missing"
        elif task.spent_mask & record.bit:
            why = "its attempts are used up"
        else:
            why, wait = ledger.obstacle(record, task, now)
            if why == "free":
                why = _although_free(ledger, record, task, now)
            elif wait == inf:
                why = "quota too small"
            elif wait:
                why = f"{why} {wait:.1f} s"
        reasons.append(f"{record.name}: {why}")
    if ledger.elastic is not None and options.worker is None:
        why = ledger.elastic.obstacle(ledger.roster, options.require, task.cost, now)
        reasons.append(f"factory: {why}")
    return "; ".join(reasons) if reasons else "the pool has no workers"

"""What follows from a failed attempt, as a value: for the task, and for its worker.

The engine asks policies and writes the answer down as a `Ruling`; the ledger carries it out.
Nobody changes one after that: they are not frozen only because that would cost every failure a
microsecond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._states import AttemptOutcome, EndReason, TaskState


@dataclass(slots=True, kw_only=True, eq=False)
class Ending:
    """The task ends now."""

    reason: EndReason
    #: What awaiting the task raises; None raises `CancelledError`.
    error: BaseException | None
    state: TaskState = TaskState.DEAD


@dataclass(slots=True, kw_only=True, eq=False)
class Again:
    """The task runs again."""

    #: Seconds until it is ready.
    delay: float = 0.0
    #: It goes before all that wait, or back to the place it had; else behind all that wait.
    front: bool = False
    keep_place: bool = False
    #: It goes back to the worker that just ran it, if that may take it at once.
    same_worker: bool = False
    #: It does not go back to that worker before all others have been tried.
    elsewhere: bool = False
    #: How to end it if it could not start again before its deadline, or ever in time.
    else_ending: Ending | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Ruling:
    """The outcome of one attempt and all that follows from it."""

    outcome: AttemptOutcome
    error: BaseException | None
    task: Ending | Again
    #: False when no attempt is spent.
    counted: bool = True
    #: Seconds for which the worker cools, and whether all that share its quotas do.
    cool_for: float | None = None
    cool_scope: Literal["worker", "quota"] = "worker"
    #: False when the service refused without saying for how long.
    hinted: bool = True
    #: What becomes of a worker that is at fault itself.
    worker: Literal["keep", "rebuild", "retire"] = "keep"

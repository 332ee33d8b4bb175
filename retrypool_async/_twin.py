"""The second attempt of a hedged task, as a record of its own.

A worker holds one task, and a task is on one worker. So the hedge of a running task is a task
too: its `Twin`, which waits in line, is promised to a worker, debited and run like any other. It
is known to the ledger and the runners alone. Whatever it comes to is its original's: when the two
are one attempt again, the original has what is left of them.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from ._task import Task

if TYPE_CHECKING:
    from ._attempt import Attempt


class Hedges:
    """What is known of the hedges of one task. A twin shares it with its original."""

    __slots__ = ("due_at", "ended", "number", "twin")

    def __init__(self) -> None:
        #: When the attempt in progress is to be hedged; None when it is not, or has been.
        self.due_at: float | None = None
        #: The hedge of the attempt in progress, from its coming into line to its end.
        self.twin: Twin | None = None
        #: The hedges that have ended while the attempt they were for went on, or won.
        self.ended: list[Attempt] = []
        #: The number of the last of these.
        self.number = 0


class Twin(Task):
    """A hedge. Equal to its original in all that its code and its workers can see of it."""

    __slots__ = ("merged", "original")

    is_hedge = True

    def __init__(self, original: Task, hedges: Hedges, now: float) -> None:
        options = replace(
            original.options,
            is_hedge=True,
            hedge=None,
            # Behind all that wait: a second attempt must not delay anybody's first.
            priority=-inf,
            aging=None,
            # What is about the task, and not about an attempt, is its original's to keep.
            affinity=None,
            order_key=None,
            wait_for_worker=True,
            on_running=None if original.options.on_running is None else _announce_run,
        )
        super().__init__(
            original.engine, original.data, options, original.cost, original.context, now
        )
        self.original = original
        #: True once its attempt is the original's.
        self.merged = False
        self.id = original.id
        self.deadline = original.deadline
        self.run_count = original.run_count
        self.tried_mask = original.tried_mask
        #: Called if it wins.
        self.callbacks = [_tell_callers]
        past = self.begin_past()
        past.hedges = hedges
        past.spending = original.begin_past().spending  # it is the task that spends
        past.uncounted = original.begin_past().uncounted + 1


# What users want called is called with the task that they know.


def _announce_run(twin: Twin) -> object:
    on_running = twin.original.options.on_running
    return None if on_running is None else on_running(twin.original)


def _tell_callers(twin: Twin) -> None:
    twin.original.engine.tell_callers(twin.original)


def twin_of(task: Task) -> Twin | None:
    """The hedge of the attempt that is in progress, if there is one."""
    hedges = None if task.past is None else task.past.hedges
    return None if hedges is None else hedges.twin


def actual(task: Task) -> Task:
    """Whose attempt it is that was begun as this task's."""
    return task.original if isinstance(task, Twin) and task.merged else task

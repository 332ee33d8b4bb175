"""Tasks that run one after the other: those of one `order_key`, in the order of submission."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ._task import Task


class Sequences:
    """For every key, its tasks that have not ended, the first of them in play.

    That one may be waiting, on a worker, or putting off a retry: it keeps its place until it ends
    for good. Those behind it are *parked*: QUEUED, but not in the ready structure.
    """

    def __init__(self) -> None:
        #: By key, whether each has been put in play. A key without tasks is not in here.
        self.lines: dict[Hashable, OrderedDict[Task, bool]] = {}

    def join(self, task: Task) -> None:
        """Take a new task in at the end; the first is in play at once."""
        line = self.lines.setdefault(task.options.order_key, OrderedDict())
        line[task] = not line

    def leave(self, task: Task) -> Task | None:
        """A task has ended. Return the one whose turn has come with that, if any."""
        line = self.lines[task.options.order_key]
        was_first = next(iter(line)) is task
        del line[task]
        if not line:
            del self.lines[task.options.order_key]
            return None
        return next(iter(line)) if was_first else None

    def put_in_play(self, task: Task) -> None:
        """Note that a task is in the ready structure from now on."""
        self.lines[task.options.order_key][task] = True

    def ahead_of(self, task: Task) -> Task | None:
        """The task in play that a parked one waits for; itself when its turn is just coming.

        None for a task that is in play, or in no sequence.
        """
        if task.options.order_key is None:
            return None
        line = self.lines[task.options.order_key]
        return None if line[task] else next(iter(line))

    def parked(self) -> Iterator[Task]:
        """All tasks that are not in play."""
        for line in self.lines.values():
            for task, in_play in line.items():
                if not in_play:
                    yield task

"""What falls due when: one heap for every deadline, retry, cooldown and wake-up of a pool."""

from __future__ import annotations

from enum import Enum, auto
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Any

from ._states import plain_members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._task import Task


@plain_members
class Due(Enum):
    """What an entry of the agenda is about."""

    RETRY = auto()  #: a scheduled task becomes ready
    DEADLINE = auto()  #: a task's `timeout`
    START_BY = auto()  #: a task's `queue_timeout`, or its patience without workers
    HEDGE = auto()  #: a running task is to be hedged
    LIMIT = auto()  #: the `attempt_timeout` of a worker's run
    GRACE = auto()  #: a stopped attempt should have unwound by now
    COOL = auto()  #: a worker has cooled
    RESUME = auto()  #: a worker's, or the pool's, pause ends
    REBUILD = auto()  #: a worker's resource is to be opened again
    SPILL = auto()  #: a task has waited long enough for the worker of its affinity
    PLAN = auto()  #: a worker has quota for a waiting task
    REVIEW = auto()  #: a worker may be missing, or has been idle too long


class Agenda:
    """A heap of (when, what, whom). Entries are never removed early; they are asked if they count.

    Args:
        counts: Tells whether an entry still matters. Others are swept out when they could be
            more than half of the heap.
    """

    def __init__(self, counts: Callable[[Due, Any, float], bool]) -> None:
        self._heap: list[tuple[float, int, Due, Any]] = []
        self._serial = 0
        self._counts = counts
        self._sweep_at = 64
        #: When the first entry falls due; infinite when there is none.
        self.next_at = inf

    def add(self, when: float, what: Due, whom: Any) -> None:
        heap = self._heap
        self._serial += 1
        heappush(heap, (when, self._serial, what, whom))
        if when < self.next_at:
            self.next_at = when
        if len(heap) > self._sweep_at:
            heap[:] = [entry for entry in heap if self._counts(entry[2], entry[3], entry[0])]
            heapify(heap)
            self._sweep_at = 64 + 2 * len(heap)
            self.next_at = heap[0][0] if heap else inf

    def due(self, now: float) -> Iterator[tuple[Due, Any, float]]:
        """Take out and yield what has fallen due and still counts."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, what, whom = heappop(heap)
            self.next_at = heap[0][0] if heap else inf
            if self._counts(what, whom, when):
                yield what, whom, when

    def copy(
        self, counts: Callable[[Due, Any, float], bool], twin_of: Callable[[Due, Any], Any]
    ) -> Agenda:
        """The same entries about the twins of those they are about, where these have one."""
        agenda = Agenda(counts)
        heap = agenda._heap
        for when, serial, what, whom in self._heap:
            twin = None if whom is None else twin_of(what, whom)
            if whom is None or twin is not None:
                heap.append((when, serial, what, twin))
        heapify(heap)
        agenda._serial = self._serial
        agenda._sweep_at = 64 + 2 * len(heap)
        agenda.next_at = heap[0][0] if heap else inf
        return agenda

    def tasks(self, what: Due) -> Iterator[Task]:
        """The tasks of all entries of one kind that count, in no particular order."""
        for when, _, kind, whom in self._heap:
            if kind is what and self._counts(kind, whom, when):
                yield whom

    def __len__(self) -> int:
        return len(self._heap)

"""The idle workers that have no quota for the only tasks that wait, by when they will have some."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._lane import Lane
    from ._record import WorkerRecord

#: Seconds by which somebody may have room before the time that was worked out, for rounding.
SLACK = 0.01


class Waiters:
    """Workers that wait for quota to run the tasks of one lane.

    The time that each is listed under is never too late: what is taken meanwhile only puts it off,
    which shows when it comes. Whatever may bring it forward has all of them looked at anew.
    """

    def __init__(self, lane: Lane, idle: Iterable[WorkerRecord], now: float) -> None:
        self.lane = lane
        self._heap: list[tuple[float, int, WorkerRecord]] = []
        self._serial = 0
        for record in idle:
            self.add(record, now)

    def add(self, record: WorkerRecord, now: float) -> None:
        """Let one wait that has been idle for less than the others."""
        self._serial += 1
        self._list(record, self._serial, now)

    def _list(self, record: WorkerRecord, serial: int, now: float) -> None:
        wait = record.until(self.lane.cost, now)
        if wait < inf:
            heappush(self._heap, (now + wait, serial, record))

    @property
    def next_at(self) -> float | None:
        """When the first of them has room; None when none ever will."""
        return self._heap[0][0] if self._heap else None

    def take_ready(self, mask: int, now: float) -> list[tuple[int, WorkerRecord]]:
        """Take out those of a mask that have room now, the longest idle first; forget others."""
        ready: list[tuple[int, WorkerRecord]] = []
        early: list[tuple[int, WorkerRecord]] = []
        while self._heap and self._heap[0][0] <= now + SLACK:
            _, serial, record = heappop(self._heap)
            if not record.bit & mask:
                continue
            has_room = record.has_room(self.lane.cost, now)
            (ready if has_room else early).append((serial, record))
        self.put_back(early, now)
        return sorted(ready, key=lambda entry: entry[0])

    def put_back(self, entries: Iterable[tuple[int, WorkerRecord]], now: float) -> None:
        """Let those wait on that have found no task."""
        for serial, record in entries:
            self._list(record, serial, now)

"""The ready tasks of one route by what they take: of equal cost, of equal dimensions."""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from ._heads import Heads, Key
from ._states import TaskState
from ._task import ONE_REQUEST

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from ._ready import Route
    from ._task import Cost, Task

_QUEUED = TaskState.QUEUED  # looked up once: it is read several times per task

#: How many lanes an idle route keeps for the next task of the same cost.
SPARE_LANES = 16


class Lane:
    """The ready tasks of one route and one cost."""

    __slots__ = ("cost", "dead", "fifo", "heap", "kind", "listed", "refused_since", "route")

    def __init__(self, kind: Kind, cost: Cost) -> None:
        self.kind = kind
        self.route = kind.route
        self.cost = cost
        self.listed: Key | None = None
        #: Tasks of priority 0 in the order of becoming ready; everything else is in the heap.
        self.fifo: deque[Task] = deque()
        self.heap: list[tuple[Key, Task]] = []
        #: Tasks in here that have ended, at most: they are skipped, and swept when they pile up.
        self.dead = 0
        #: Since when no worker present could ever run its tasks; None while one could.
        self.refused_since: float | None = None

    def push(self, task: Task) -> Key | None:
        """Add a task. Return its key if it may have become the head, None if it is behind."""
        aging = self.route.key.aging
        priority = self._priority(task)
        fifo = self.fifo
        if priority or aging is not None or (fifo and fifo[-1].order > task.order):
            key = (-priority, task.order)
            heappush(self.heap, (key, task))
            return key
        behind = bool(fifo)  # then the lane is listed under a key as small as its first
        fifo.append(task)
        return None if behind else (0.0, task.order)

    def _priority(self, task: Task) -> float:
        aging = self.route.key.aging
        if aging is None:
            return task.options.priority
        # priority + (now - ready) / aging compares the same at every `now`. Rounded, or the last
        # bit of a float would decide between equals, and not who came first.
        return round(task.options.priority - task.ready_at / aging, 9)

    def goes_before(self, task: Task) -> bool:
        """True when something in here comes before a task that is the last to have come."""
        head = self.head_key()
        return head is not None and head[0] <= -self._priority(task) and self.peek() is not task

    def head_key(self) -> Key | None:
        """The key of the first live task, None when there is none."""
        fifo, heap = self.fifo, self.heap
        while fifo and fifo[0].state is not _QUEUED:
            fifo.popleft()
            self.dead -= 1
        while heap and heap[0][1].state is not _QUEUED:
            heappop(heap)
            self.dead -= 1
        if not heap:
            return (0.0, fifo[0].order) if fifo else None
        if fifo and (0.0, fifo[0].order) < heap[0][0]:
            return (0.0, fifo[0].order)
        return heap[0][0]

    def peek(self) -> Task:
        """The first live task. Call only after `head_key` found one."""
        if self.fifo and (not self.heap or (0.0, self.fifo[0].order) < self.heap[0][0]):
            return self.fifo[0]
        return self.heap[0][1]

    def pop(self) -> Task:
        """Remove and return what `peek` shows."""
        fifo, heap = self.fifo, self.heap
        if fifo and (not heap or (0.0, fifo[0].order) < heap[0][0]):
            task = fifo.popleft()
        else:
            task = heappop(heap)[1]
        if len(fifo) + len(heap) <= self.dead:
            self._exhausted()
        return task

    def _exhausted(self) -> None:
        """Nothing waits here any more, so nothing is known of who has quota for the next."""
        self.route.blocked.discard(self.cost)

    def take_all(self) -> list[Task]:
        """Remove and return the live tasks, in no particular order."""
        tasks = list(self)
        self.fifo.clear()
        self.heap.clear()
        self.dead = 0
        self._exhausted()
        return tasks

    def forget(self, task: Task) -> None:
        """Note that a task in here has ended. It keeps its place until it is met or swept."""
        self.dead += 1
        if len(self.fifo) + len(self.heap) <= self.dead:
            self._exhausted()
        if self.dead > 32 and self.dead * 2 > len(self.fifo) + len(self.heap):
            live = [task for task in self.fifo if task.state is _QUEUED]
            self.fifo.clear()
            self.fifo.extend(live)
            self.heap = [entry for entry in self.heap if entry[1].state is _QUEUED]
            heapify(self.heap)
            self.dead = 0

    def emptied(self) -> None:
        lanes = self.route.lanes
        if len(lanes) > SPARE_LANES and self.cost is not ONE_REQUEST:
            lanes.pop(self.cost, None)

    @property
    def waiting(self) -> int:
        """How many live tasks are in here."""
        return len(self.fifo) + len(self.heap) - self.dead

    def __iter__(self) -> Iterator[Task]:
        for task in self.fifo:
            if task.state is _QUEUED:
                yield task
        for _, task in self.heap:
            if task.state is _QUEUED:
                yield task


class Kind:
    """The ready tasks of one route that take from the same dimensions, by their lanes.

    What one of them waits for, the others would take from as well: a worker that is kept from one
    is kept from all, however many costs there are.
    """

    __slots__ = ("_waiting", "heads", "listed", "route", "uses")

    def __init__(
        self, route: Route, uses: frozenset[str], waiting: Counter[frozenset[str]]
    ) -> None:
        self.route = route
        #: The dimensions that its tasks take from.
        self.uses = uses
        self.listed: Key | None = None
        self.heads: Heads[Lane] = Heads()
        #: How many kinds there are by what they use, over all routes, as far as they are listed.
        self._waiting = waiting

    def add(self, lane: Lane, key: Key) -> None:
        """List a lane of this kind, and this kind with it, under a key that may be the first."""
        self.heads.add(lane, key)
        if self.listed is None:
            self._waiting[self.uses] += 1
        self.route.heads.add(self, key)

    def head_key(self) -> Key | None:
        lane = self.heads.first()
        return None if lane is None else lane.listed  # exact: just corrected

    def emptied(self) -> None:
        self._waiting[self.uses] -= 1
        if not self._waiting[self.uses]:
            del self._waiting[self.uses]

"""Tasks that are ready to run, in the order in which they should start.

Tasks that may run on the same workers share a `Route`; within it, tasks of equal cost share a
`Lane`, since where the first of them does not fit, none does. Both levels are kept in a heap by
the task at their head, so finding who is next does not depend on how many tasks wait.

Order: higher priority first, then the time of becoming ready. In a route whose tasks age,
priority grows by 1 for every `aging` seconds of waiting. Submitters that are to share the workers
fairly each have routes of their own, and among equal priorities these take turns (`_shares`).
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from math import floor
from typing import TYPE_CHECKING, NamedTuple

from ._heads import Heads, Key
from ._shares import Shares
from ._states import TaskState
from ._task import ONE_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from ._task import Cost, Task, TaskOptions

_QUEUED = TaskState.QUEUED  # looked up once: it is read several times per task


class RouteKey(NamedTuple):
    """What decides which workers a task may run on, and how its priority grows.

    Hedges have routes of their own, since they are no tasks that wait, and nobody is made for them.
    """

    require: frozenset[str] = frozenset()
    worker: int | None = None
    tried: int = 0
    aging: float | None = None
    lane: Hashable = None
    affinity: Hashable = None
    is_hedge: bool = False


ANY_WORKER = RouteKey()


def wishes(options: TaskOptions, tried: int = 0) -> RouteKey:
    """The route of a task with these options that has tried these workers."""
    if options.common and not tried:
        return ANY_WORKER
    return RouteKey(
        options.require,
        options.worker,
        tried,
        options.aging,
        options.lane,
        options.affinity,
        options.is_hedge,
    )


#: How many lanes an idle route keeps for the next task of the same cost.
SPARE_LANES = 16
#: How many idle routes are kept for the next task with the same wishes.
SPARE_ROUTES = 256


class Lane:
    """The ready tasks of one route and one cost."""

    __slots__ = ("cost", "dead", "fifo", "heap", "listed", "refused_since", "route")

    def __init__(self, route: Route, cost: Cost) -> None:
        self.route = route
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


class Route:
    """The ready tasks that may run on the same workers."""

    __slots__ = (
        "_shares",
        "blocked",
        "heads",
        "key",
        "lanes",
        "listed",
        "mask",
        "share",
        "spill_at",
    )

    def __init__(self, key: RouteKey, shares: Shares) -> None:
        self.key = key
        self._shares = shares
        self.share = shares.of(key.lane)
        self.listed: Key | None = None
        #: The workers its tasks may run on now.
        self.mask = 0
        #: Until when they are left to the worker of their affinity alone; None while not.
        self.spill_at: float | None = None
        self.lanes: dict[Cost, Lane] = {}
        self.heads: Heads[Lane] = Heads()
        #: Costs that no worker free at the last look had quota for, or none that was not held for
        #: what comes earlier: so this tells nothing of a task that goes before all of its cost.
        self.blocked: set[Cost] = set()

    def head_key(self) -> Key | None:
        lane = self.heads.first()
        if lane is None or lane.listed is None:
            return None
        return self.placed(lane.listed)  # exact: just corrected

    def placed(self, key: Key) -> Key:
        """A key of this route, as it compares with those of other routes."""
        shares = self._shares
        return (key[0], shares.next_turn(self.share) if shares.in_use else shares.turn, key[1])

    def emptied(self) -> None:
        """Nothing to do: empty routes are pruned together."""

    def head_priority(self, now: float) -> Key | None:
        """The head's key with its priority as grown by `now`, to compare across routes."""
        lane = self.heads.first()
        return None if lane is None else self.grown(lane, now)

    def grown(self, lane: Lane, now: float) -> Key | None:
        """The key of a lane of this route, with its priority as grown by `now`."""
        key, aging = lane.listed, self.key.aging
        if key is None or aging is None:
            return None if key is None else self.placed(key)
        # Rounded, or the last bit of a float would decide between equals, and not who came first.
        rank = round(key[0] - now / aging, 9)
        if self._shares.in_use:
            # By whole steps, or equal priorities would hardly ever meet, and nobody take turns.
            task = lane.peek()
            rank = -(task.options.priority + floor(round((now - task.ready_at) / aging, 9)))
        return self.placed((rank, key[1]))


class ReadyQueue:
    """Every ready task, by route."""

    def __init__(self, lane_weights: Mapping[Hashable, float] | None = None) -> None:
        self.shares = Shares(lane_weights or {})
        self.any_worker = Route(ANY_WORKER, self.shares)
        #: The lane of tasks without any wishes.
        self.usual = Lane(self.any_worker, ONE_REQUEST)
        self.any_worker.lanes[ONE_REQUEST] = self.usual
        #: What `lone_lane` found, for as long as that holds.
        self._lone: Lane | None = None
        self.routes: dict[RouteKey, Route] = {ANY_WORKER: self.any_worker}
        #: With so many routes the idle ones are forgotten.
        self.prune_at = SPARE_ROUTES
        self.heads: Heads[Route] = Heads()
        #: Routes whose priorities grow; compared afresh at every look, since no order lasts.
        self.aging: list[Route] = []

    def __bool__(self) -> bool:
        """False when nothing waits. May be True for a moment when all that waited has ended."""
        return bool(self.heads.heap or self.aging)

    def lone_lane(self) -> Lane | None:
        """The one lane of tasks without wishes, if nothing else waits and none is blocked.

        Its tasks are all in `fifo`, and the first of them, if there is any, is waiting.
        """
        lane = self._lone
        if lane is None:
            routes = self.heads.heap
            if len(routes) != 1 or self.aging or routes[0][2] is not self.any_worker:
                return None
            lanes = self.any_worker.heads.heap
            if len(lanes) != 1 or self.any_worker.blocked or lanes[0][2].heap:
                return None
            lane = self._lone = lanes[0][2]
        fifo = lane.fifo
        while fifo and fifo[0].state is not _QUEUED:
            fifo.popleft()
            lane.dead -= 1
        return lane

    def line_for(self, cost: Cost) -> deque[Task] | None:
        """Where a task without wishes has only to queue up behind others of its cost.

        None when it would be the first, or when nobody present could ever run it.
        """
        lane = self.usual if cost is ONE_REQUEST else self.any_worker.lanes.get(cost)
        if lane is None or lane.refused_since is not None:
            return None
        return lane.fifo or None

    def changed(self) -> None:
        """Something else may have come to wait, or be blocked."""
        self._lone = None

    def push(self, task: Task, route: Route) -> None:
        """Add a task whose state is QUEUED."""
        lane = route.lanes.get(task.cost)
        if lane is None:
            lane = route.lanes[task.cost] = Lane(route, task.cost)
        key = lane.push(task)
        if key is None:
            return
        self._lone = None
        route.heads.add(lane, key)
        if route.key.aging is None:
            self.heads.add(route, route.placed(key))
        elif route.listed is None:
            route.listed = key
            self.aging.append(route)

    def in_order(self, now: float) -> Iterator[Route]:
        """Yield the routes by the task at their head."""
        if not self.aging:
            yield from self.heads.in_order()
            return
        growing: list[tuple[Key, Route]] = []
        for route in list(self.aging):
            key = route.head_priority(now)
            if key is None:
                self.aging.remove(route)
                route.listed = None
            else:
                growing.append((key, route))
        growing.sort(key=lambda entry: entry[0])
        position = 0
        for route in self.heads.in_order():
            key = route.head_key()
            while position < len(growing) and key is not None and growing[position][0] < key:
                yield growing[position][1]
                position += 1
            yield route
        for _, route in growing[position:]:
            yield route

    def lanes_in_order(self, usable: Callable[[], int], now: float) -> Iterator[Lane]:
        """Yield the lanes that may use one of the `usable()` workers, by the task at their head.

        A route is opened when its head is next, and then takes part lane by lane: what waits
        behind a blocked head does not go before what is more urgent in another route. It is
        left as soon as none of its workers is usable.
        """
        opened: list[tuple[Key, int, Lane, Iterator[Lane]]] = []
        routes = self.in_order(now)
        route = next(routes, None)
        serial = 0
        while (opened or route is not None) and usable():
            while route is not None:
                head = route.head_priority(now)
                if opened and head is not None and opened[0][0] < head:
                    break
                lanes = route.heads.in_order() if route.mask & usable() else iter(())
                lane = next(lanes, None)
                key = None if lane is None else route.grown(lane, now)
                if lane is not None and key is not None:
                    route.blocked.clear()
                    serial += 1
                    heappush(opened, (key, serial, lane, lanes))
                route = next(routes, None)
            if opened:
                _, _, lane, lanes = heappop(opened)
                if not lane.route.mask & usable():
                    continue
                yield lane
                following = next(lanes, None)
                key = None if following is None else following.route.grown(following, now)
                if following is not None and key is not None:
                    serial += 1
                    heappush(opened, (key, serial, following, lanes))

    def prune(self) -> None:
        """Forget the routes on which nothing waits."""
        for key, route in list(self.routes.items()):
            if route.listed is None and route is not self.any_worker:
                del self.routes[key]
        # Growing with those that are left, or many busy routes would be looked through for each.
        self.prune_at = SPARE_ROUTES + 2 * len(self.routes)
        self.shares.prune({route.share for route in self.routes.values()})

    def __iter__(self) -> Iterator[Task]:
        """All ready tasks, in no particular order."""
        for route in self.routes.values():
            for lane in route.lanes.values():
                yield from lane

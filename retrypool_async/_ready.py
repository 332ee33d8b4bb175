"""Tasks that are ready to run, in the order in which they should start.

Tasks that may run on the same workers share a `Route`. Within it, those that take from the same
dimensions share a `Kind`, and of these, those of equal cost a `Lane`, since where the first of them
does not fit, none does. Each level is kept in a heap by the task at its head, so finding who is
next does not depend on how many tasks wait.

Order: higher priority first, then the time of becoming ready. In a route whose tasks age,
priority grows by 1 for every `aging` seconds of waiting. Submitters that are to share the workers
fairly each have routes of their own, and among equal priorities these take turns (`_shares`).
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from math import floor
from typing import TYPE_CHECKING, NamedTuple

from ._heads import Heads, Key
from ._lane import Kind, Lane
from ._shares import Shares
from ._states import TaskState
from ._task import ONE_REQUEST, dimensions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ._task import Cost, Task, TaskOptions

_QUEUED = TaskState.QUEUED  # looked up once: it is read several times per task


class RouteKey(NamedTuple):
    """What decides which workers a task may run on, and how its priority grows."""

    require: frozenset[str] = frozenset()
    worker: int | None = None
    tried: int = 0
    #: Those among the tried that are not to be tried again in later rounds either.
    spent: int = 0
    aging: float | None = None
    lane: Hashable = None
    affinity: Hashable = None


ANY_WORKER = RouteKey()


def wishes(options: TaskOptions, tried: int = 0, spent: int = 0) -> RouteKey:
    """The route of a task with these options that has tried these workers, some for good."""
    if options.common and not tried:
        return ANY_WORKER
    return RouteKey(
        options.require,
        options.worker,
        tried,
        spent,
        options.aging,
        options.lane,
        options.affinity,
    )


#: How many idle routes are kept for the next task with the same wishes.
SPARE_ROUTES = 256


class Route:
    """The ready tasks that may run on the same workers."""

    __slots__ = (
        "_shares",
        "_waiting",
        "blocked",
        "heads",
        "key",
        "kinds",
        "lanes",
        "listed",
        "mask",
        "share",
        "spill_at",
    )

    def __init__(self, key: RouteKey, shares: Shares, waiting: Counter[frozenset[str]]) -> None:
        self.key = key
        self._shares = shares
        self._waiting = waiting
        self.share = shares.of(key.lane)
        self.listed: Key | None = None
        #: The workers its tasks may run on now.
        self.mask = 0
        #: Until when they are left to the worker of their affinity alone; None while not.
        self.spill_at: float | None = None
        self.lanes: dict[Cost, Lane] = {}
        self.kinds: dict[frozenset[str], Kind] = {}
        self.heads: Heads[Kind] = Heads()
        #: Costs that no worker free at the last look had quota for, or none that was not held for
        #: what comes earlier: so this tells nothing of a task that goes before all of its cost.
        self.blocked: set[Cost] = set()

    def lane(self, cost: Cost) -> Lane:
        """The lane of a cost, a new one if there is none."""
        lane = self.lanes.get(cost)
        if lane is None:
            uses = dimensions_of(cost)
            kind = self.kinds.get(uses)
            if kind is None:
                kind = self.kinds[uses] = Kind(self, uses, self._waiting)
            lane = self.lanes[cost] = Lane(kind, cost)
        return lane

    def first(self) -> Lane | None:
        """The lane whose head comes first, None when nothing waits in any."""
        kind = self.heads.first()
        return None if kind is None else kind.heads.first()

    def peek(self) -> Lane:
        """What `first` returns. Call only after `head_key` found one."""
        return self.heads.heap[0][2].heads.heap[0][2]

    def head_key(self) -> Key | None:
        kind = self.heads.first()
        if kind is None or kind.listed is None:
            return None
        return self.placed(kind.listed)  # exact: just corrected

    def placed(self, key: Key) -> Key:
        """A key of this route, as it compares with those of other routes."""
        shares = self._shares
        return (key[0], shares.next_turn(self.share) if shares.in_use else shares.turn, key[1])

    def emptied(self) -> None:
        """Nothing to do: empty routes are pruned together."""

    def head_priority(self, now: float) -> Key | None:
        """The head's key with its priority as grown by `now`, to compare across routes."""
        lane = self.first()
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

    def __init__(self, shares: Shares | None = None) -> None:
        self.shares = shares or Shares({})
        #: The sets of dimensions that waiting tasks take from, each with the number of its kinds.
        self.uses: Counter[frozenset[str]] = Counter()
        self.routes: dict[RouteKey, Route] = {}
        self.any_worker = self.new_route(ANY_WORKER)
        #: The lane of tasks without any wishes.
        self.usual = self.any_worker.lane(ONE_REQUEST)
        #: What `lone_lane` found, for as long as that holds.
        self._lone: Lane | None = None
        #: With so many routes the idle ones are forgotten.
        self.prune_at = SPARE_ROUTES
        self.heads: Heads[Route] = Heads()
        #: Routes whose priorities grow; compared afresh at every look, since no order lasts.
        self.aging: list[Route] = []

    def __bool__(self) -> bool:
        """False when nothing waits. May be True for a moment when all that waited has ended."""
        return bool(self.heads.heap or self.aging)

    def new_route(self, key: RouteKey) -> Route:
        """A route with nothing in it yet."""
        route = self.routes[key] = Route(key, self.shares, self.uses)
        return route

    def lone_lane(self) -> Lane | None:
        """The one lane of tasks without wishes, if nothing else waits and none is blocked.

        Its tasks are all in `fifo`, and the first of them, if there is any, is waiting.
        """
        lane = self._lone
        if lane is None:
            routes = self.heads.heap
            if len(routes) != 1 or self.aging or routes[0][2] is not self.any_worker:
                return None
            kinds = self.any_worker.heads.heap
            if len(kinds) != 1 or self.any_worker.blocked:
                return None
            lanes = kinds[0][2].heads.heap
            if len(lanes) != 1 or lanes[0][2].heap:
                return None
            lane = self._lone = lanes[0][2]
        fifo = lane.fifo
        while fifo and fifo[0].state is not _QUEUED:
            fifo.popleft()
            lane.dead -= 1
        return lane

    def only_lane(self) -> Lane | None:
        """The one lane in which anything waits, whatever its tasks wish for and wait for."""
        if self.aging or len(self.heads.heap) != 1:
            return None
        kinds = self.heads.heap[0][2].heads.heap
        if len(kinds) != 1 or len(kinds[0][2].heads.heap) != 1:
            return None
        return kinds[0][2].heads.heap[0][2]

    def changed(self) -> None:
        """Something else may have come to wait, or be blocked."""
        self._lone = None

    def push(self, task: Task, route: Route) -> None:
        """Add a task whose state is QUEUED."""
        lane = route.lanes.get(task.cost)
        if lane is None:
            lane = route.lane(task.cost)
        task.cost = lane.cost  # one object for all of them: equal costs are told by identity first
        key = lane.push(task)
        if key is None:
            return
        self._lone = None
        lane.kind.add(lane, key)
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

    def lanes_in_order(self, usable: Callable[[frozenset[str]], int], now: float) -> Iterator[Lane]:
        """Yield the lanes that may use a worker, by the task at their head.

        `usable` gives the workers that are left for tasks which take from these dimensions.

        A route is opened when its head is next, and then takes part lane by lane: what waits
        behind a blocked head does not go before what is more urgent in another route. Each of its
        kinds is left as soon as none of its workers is usable.
        """
        opened: list[tuple[Key, int, Lane, Iterator[Lane]]] = []
        serial = 0

        def open_next(lanes: Iterator[Lane]) -> bool:
            nonlocal serial
            lane = next(lanes, None)
            key = None if lane is None else lane.route.grown(lane, now)
            if lane is None or key is None:
                return False
            serial += 1
            heappush(opened, (key, serial, lane, lanes))
            return True

        routes = self.in_order(now)
        route = next(routes, None)
        while (opened or route is not None) and any(map(usable, self.uses)):
            while route is not None:
                head = route.head_priority(now)
                if opened and head is not None and opened[0][0] < head:
                    break
                for kind in route.kinds.values():
                    if route.mask & usable(kind.uses) and open_next(kind.heads.in_order()):
                        route.blocked.clear()
                route = next(routes, None)
            if opened:
                _, _, lane, lanes = heappop(opened)
                if lane.route.mask & usable(lane.kind.uses):
                    yield lane
                    open_next(lanes)

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

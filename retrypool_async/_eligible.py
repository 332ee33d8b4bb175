"""Who may run what: the routes, what has been tried, and the workers that affinities keep to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._books import route_key
from ._patience import Patience
from ._time import later

if TYPE_CHECKING:
    from collections.abc import Collection

    from ._ready import Route, RouteKey
    from ._record import WorkerRecord
    from ._task import Cost, Task

#: With so many places of workers that have gone, those are given to others.
MOST_DEPARTED = 64


class Eligibility(Patience):
    """Knows the workers that a task may go to."""

    __slots__ = ()

    # -- who may run what ------------------------------------------------------------------------

    def _route(self, key: RouteKey, now: float) -> Route:
        routes = self.ready.routes
        route = routes.get(key)
        if route is None:
            if len(routes) >= self.ready.prune_at:
                self.ready.prune()
            route = self.ready.new_route(key)
            self._set_mask(route, now)
        elif key.affinity is not None:
            self._set_mask(route, now)
        return route

    def _set_mask(self, route: Route, now: float) -> None:
        """Work out which workers a route's tasks may go to, as things stand."""
        key = route.key
        route.blocked.clear()
        route.mask = self.roster.eligible(key.require, key.worker) & ~key.tried
        if key.affinity is not None:
            self._keep_to_bound(route, now)

    def _has_untried(self, key: RouteKey, cost: Cost, stalled: Collection[Task] = ()) -> bool:
        """True when a worker that has not been tried can be expected to take such a task.

        Judged against the workers present now, at every change of them: when all that will come
        free have been tried, a new round begins; else a bounced task could wait for ever.
        Workers of stalled attempts will not.
        """
        roster = self.roster
        untried = roster.eligible(key.require, key.worker) & ~key.tried & ~roster.ejected
        for record in roster.of(untried):
            if (
                record.routable
                and record.task not in stalled
                and (not record.quotas or record.affords(cost))
            ):
                return True
        return False

    def _begin_new_rounds(self, now: float, stalled: Collection[Task] = ()) -> None:
        """Forget the tried workers of tasks that nobody else can be expected to take."""
        for key, route in list(self.ready.routes.items()):
            for cost, lane in list(route.lanes.items()) if key.tried != key.spent else ():
                if not self._has_untried(key, cost, stalled):
                    for task in lane.take_all():
                        task.tried_mask = key.spent
                        self.ready.push(task, self._route(route_key(task), now))

    def _forget_departed(self, now: float) -> None:
        """Let workers to come have the places of those that have gone, once there are many.

        Without, the bitmasks of a pool that hires and retires would grow for as long as it lives.
        """
        departed = self.roster.departed
        if departed.bit_count() < MOST_DEPARTED:
            return
        for key, route in list(self.ready.routes.items()):
            for lane in list(route.lanes.values()) if key.tried & departed else ():
                for task in lane.take_all():
                    task.forget(departed)
                    self.ready.push(task, self._route(route_key(task), now))
        for task in self.agenda.tasks(Due.RETRY):
            task.forget(departed)
        for record in self.roster.workers.values():
            if record.task is not None:
                record.task.forget(departed)
        self.roster.vacate()

    def _key_of_round(self, task: Task) -> RouteKey:
        """The route of a task about to wait, in a new round if it has tried all there are."""
        key = route_key(task)
        if key.tried and not self._has_untried(key, task.cost):
            task.tried_mask = key.spent
            key = route_key(task)
        return key

    # -- affinity --------------------------------------------------------------------------------

    def _bind(self, route: Route, record: WorkerRecord, now: float) -> None:
        """A task of an affinity goes to a worker, and those after it are to follow."""
        self.bindings.bind(route.key.affinity, record.id)
        self._set_mask(route, now)

    def _keep_to_bound(self, route: Route, now: float) -> None:
        """Leave a route to the worker that served its affinity last, while that is worth it.

        It is not when that worker is away for longer than tasks wait for it, nor once the first
        task has waited that long; unless it is free at this moment.
        """
        route.spill_at = None
        wait = self.settings.affinity_wait
        record = self.roster.workers.get(self.bindings.worker_of(route.key.affinity))
        if (
            record is None
            or not record.bit & route.mask
            or not record.routable
            or (record.cooling_until > now and record.cooling_until >= now + wait)
        ):
            return
        lane = route.first()
        spill_at = (now if lane is None else lane.peek().ready_at) + wait
        if spill_at > now or self.roster.free & record.bit:
            route.mask = record.bit
            route.spill_at = later(spill_at, now)
            self.agenda.add(route.spill_at, Due.SPILL, route)

    def _release_from_bound(self, route: Route, now: float) -> None:
        """Let a route's tasks go to whoever may run them, if its first has waited long enough."""
        lane = route.first()
        if lane is not None and lane.peek().ready_at + self.settings.affinity_wait > now:
            self._set_mask(route, now)  # another is the first by now
            return
        key = route.key
        route.spill_at = None
        route.blocked.clear()
        route.mask = self.roster.eligible(key.require, key.worker) & ~key.tried

    def left_to(self, task: Task) -> tuple[WorkerRecord, float] | None:
        """The worker that a ready task is left to for its affinity, and until when, if any."""
        route = self.ready.routes[route_key(task)]
        if route.spill_at is None:
            return None
        return next(self.roster.of(route.mask)), route.spill_at

    def _fail_over(self, now: float) -> bool:
        """Some worker has begun to cool: tell whether others may now run what was left to it."""
        failed_over = False
        for route in list(self.ready.routes.values()) if self.bindings else ():
            if route.spill_at is not None:
                self._set_mask(route, now)
                failed_over = failed_over or route.spill_at is None
        return failed_over

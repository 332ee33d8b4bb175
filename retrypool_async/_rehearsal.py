"""The plan, played ahead: the books are copied, and gone on with until a task starts."""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from dataclasses import replace
from heapq import nsmallest
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING, Any

from ._agenda import Due
from ._books import BUSY, QUEUED, RESERVED, RUNNING, SCHEDULED, Effect, route_key
from ._elastic import lanes_by_route
from ._errors import QuotaTimeout
from ._forecast import Forecast
from ._ledger import Ledger
from ._meters import Stage
from ._prospects import UNDER_WAY
from ._ready import ReadyQueue, Route, RouteKey
from ._router import understudy
from ._states import Order, WorkerState
from ._task import Task

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from ._lane import Lane
    from ._quota import Quota
    from ._record import WorkerRecord

#: How far ahead is looked: so many starts, divided among the workers, but `LEAST` in any case. A
#: start takes the longer the more workers there are, so this is some 40 ms of work.
MOST, LEAST = 25_000, 50


class Rehearsal(Ledger):
    """The books of a pool as they stand, to be played on as if nobody did anything any more.

    It is the ledger itself that plays, so what it does is what the pool would do: nothing about
    quotas, turns or priorities is known here. It plays with copies, and nothing of that reaches
    the pool. What only the workers' code could tell is left out: whatever that is at takes no time
    and goes well, so attempts end at the moment they begin, and those in progress end now.

    Args:
        ledger: The books, at a moment when all that can be done is done.
        now: The time.
        target: The waiting task that is asked about, if it is in the books. Its own time limits
            are left out, as they would only say that it does not start at all.
    """

    def __init__(self, ledger: Ledger, now: float, target: Task | None = None) -> None:
        super().__init__(replace(ledger.settings, max_queue=None), understudy(ledger.strategy))
        self.now = self._began = now
        self._stage = Stage(now)
        self._original = ledger
        self._target = target
        self._records: dict[WorkerRecord, WorkerRecord] = {}
        self._tasks: dict[Task, Task] = {}
        self._routes: dict[Route, Route] = {}
        self._starts = 0
        #: Starts to look ahead, moments at which something falls due, and tasks of one lane.
        self._most = max(MOST // (10 + len(ledger.roster.workers)), LEAST)
        #: False when so much waits that some of it was left out.
        self._complete = True
        self._copy_rules()
        self._copy_workers()
        self._copy_line()
        self._copy_others()
        self.agenda = ledger.agenda.copy(self._counts, self._twin)
        self._copy_sequences()

    # -- copying ---------------------------------------------------------------------------------

    def _copy_rules(self) -> None:
        ledger = self._original
        self.concurrency, self.ending = ledger.concurrency, ledger.ending
        self.paused, self.resume_at = ledger.paused, ledger.resume_at
        self.elastic = ledger.elastic  # which is only asked
        self.retries = copy(ledger.retries)
        self.submitted, self.tightened_at = ledger.submitted, ledger.tightened_at
        self._next_order = ledger._next_order
        self._front_order = ledger._front_order
        self._plan_at, self._usual = ledger._plan_at, ledger._usual

    def _copy_workers(self) -> None:
        original = self._original.roster
        quotas: dict[Quota, Quota] = {}
        for record in original.workers.values():
            for quota in record.quotas:
                if quota not in quotas:
                    quotas[quota] = quota.copy(self._stage)
            twin = self._records[record] = copy(record)
            twin.quotas = tuple(quotas[quota] for quota in record.quotas)
            twin.health = None if record.health is None else record.health.copy()
            twin.made = False  # so that nothing is learnt of the factory
            if record.task is not None:
                self._copy_held(record.task, twin)
        self.roster = original.copy(self._records)
        self._holds = self._original._holds.copy(quotas)

    def _copy_held(self, task: Task, holder: WorkerRecord) -> None:
        """What is on a worker has begun, or is about to: here it has."""
        twin = holder.task = self._copy_task(task)
        twin.holder, twin.reserved_at, twin.started_at = holder, task.reserved_at, self.now
        twin.state, holder.state = RUNNING, BUSY
        self.held += 1

    def _copy_task(self, task: Task) -> Task:
        twin = self._tasks[task] = Task(
            None, None, task.options, task.cost, None, task.submitted_at
        )
        twin.id, twin.order, twin.state = task.id, task.order, task.state
        twin.queued_at, twin.ready_at = task.queued_at, task.ready_at
        twin.blocked_at = task.blocked_at
        twin.run_count, twin.tried_mask = task.run_count, task.tried_mask
        twin.deadline = None if task is self._target else task.deadline
        if task.past is not None:
            past = twin.begin_past()
            past.retrying, past.paced = task.past.retrying, task.past.paced
            past.spending = copy(task.past.spending)
        self._copy_binding(task.options.affinity)
        self.live += 1
        return twin

    def _copy_line(self) -> None:
        ready, target = self._original.ready, self._target
        self.ready = ReadyQueue(ready.shares.copy())
        self._copy_route(ready.any_worker)
        for lane in lanes_by_route(ready, self.now):
            if len(self._tasks) >= 2 * self._most:
                self._complete = False
                break
            route = self._copy_route(lane.route)
            for task in _first_of(lane, self._most):
                self.ready.push(self._copy_task(task), route)
            route.lanes[lane.cost].refused_since = lane.refused_since
        if (
            target is not None
            and target.state is QUEUED
            and target not in self._tasks
            and self._original.sequences.ahead_of(target) is None
        ):
            route = self._copy_route(ready.routes[route_key(target)])
            self.ready.push(self._copy_task(target), route)

    def _copy_others(self) -> None:
        """Those that wait for a retry, and those behind others of their order_key."""
        ledger = self._original
        for task in chain(ledger.agenda.tasks(Due.RETRY), ledger.sequences.parked()):
            if len(self._tasks) >= 3 * self._most and task is not self._target:
                self._complete = False
                continue
            twin = self._copy_task(task)
            if task.state is SCHEDULED:
                twin.due = task.due
                self.scheduled += 1

    def _copy_route(self, route: Route) -> Route:
        twin = self._routes.get(route)
        if twin is None:
            twin = self.ready.routes.get(route.key)
            if twin is None:
                twin = self.ready.new_route(route.key)
            twin.mask, twin.spill_at = route.mask, route.spill_at
            twin.blocked = route.blocked.copy()
            self._routes[route] = twin
        return twin

    def _copy_binding(self, affinity: Hashable) -> None:
        worker = self._original.bindings.worker_of(affinity)
        if affinity is not None and worker >= 0:
            self.bindings.bind(affinity, worker)

    def _twin(self, what: Due, whom: Any) -> Any:
        """The one that an entry of the agenda is about in the play; None if there is none."""
        if what is Due.LIMIT or what is Due.GRACE or what is Due.HEDGE:
            return None  # no attempt lasts
        if what is Due.SPILL:
            return None if whom.spill_at is None else self._copy_route(whom)
        if what is Due.START_BY and whom is self._target:
            return None
        return self._tasks.get(whom) or self._records.get(whom)

    def _copy_sequences(self) -> None:
        for key, line in self._original.sequences.lines.items():
            twins = [(self._tasks[task], line[task]) for task in line if task in self._tasks]
            if twins:
                self.sequences.lines[key] = OrderedDict(twins)

    # -- playing ---------------------------------------------------------------------------------

    def submit(self, task: Task, key: RouteKey, now: float) -> None:
        """Accept a task that is in no books yet. Raises what it would raise there."""
        self._copy_binding(key.affinity)
        self._target = task
        super().submit(task, key, now)

    def forecast(self) -> Forecast:
        """Play until the task that is asked about starts."""
        target = self._target
        assert target is not None
        task = self._target = self._tasks.get(target, target)
        if self._has_come_to_it():
            return Forecast(0.0, task.holder.ref, "nothing", 0)
        states = {record.id: record.state for record in self.roster.workers.values()}
        self._end_what_is_under_way()
        if self._has_come_to_it():
            state = states[task.holder.id].name.lower()
            why = state if state in UNDER_WAY else "busy"
            return Forecast(None, None, why, self._ahead())
        if self._awaits_newcomers(task):
            return Forecast(None, None, "starting", self._ahead())
        reasons = self._reasons(task)
        runs_dry = self._play_on(task)
        start_in = self.now - self._began
        if task.has_ended():
            if not isinstance(task.value, QuotaTimeout):
                return Forecast(None, None, "no workers", self._ahead())
            return Forecast(
                start_in + (task.value.retry_after or 0.0), None, "quota", self._ahead()
            )
        if runs_dry:
            return Forecast(None, None, self.outlook(task, self.now)[0], self._ahead())
        if not self._has_come_to_it() or self._ahead() >= self._most or not self._complete:
            return Forecast(start_in, None, "turn", min(self._ahead(), self._most))
        worker = task.holder
        return Forecast(start_in, worker.ref, reasons.get(worker.id, "turn"), self._ahead())

    def _play_on(self, task: Task) -> bool:
        """Let time pass until a task has started or ended. True if nothing more will happen."""
        moments = 0
        while not (self._has_come_to_it() or task.has_ended()):
            if self.agenda.next_at == inf:
                return True
            if max(moments, self._starts) >= self._most:
                return False
            moments += 1
            self.now = self._stage.now = max(self.now, self.agenda.next_at)
            self.tick(self.now)
            self._play_out()
        return False

    def _has_come_to_it(self) -> bool:
        assert self._target is not None
        return self._target.state is RESERVED

    def begin(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """Start an attempt, unless its time is over."""
        has_begun = super().begin(record, task, now)
        self._starts += has_begun
        return has_begun

    def _ahead(self) -> int:
        """The tasks that have started, and those that are promised to a worker."""
        held = (record.task for record in self.roster.workers.values())
        promised = (task for task in held if task is not None and task is not self._target)
        return self._starts + sum(task.state is RESERVED for task in promised)

    def _end_what_is_under_way(self) -> None:
        """Let what the workers' code is at come to its end, as it may at any moment."""
        records = list(self.roster.workers.values())
        opening = [record for record in records if record.state is WorkerState.STARTING]
        resetting = [record for record in records if record.state is WorkerState.RESETTING]
        at_work = [(r.task.reserved_at, r.task.order, r) for r in records if r.task is not None]
        for _, _, record in sorted(at_work, key=lambda entry: entry[:2]):
            self._run(record)
        for record in opening:
            self.opened(record, None, self.now)
        for record in resetting:
            self.attended(record, Order.REBUILD, None, self.now)
        self._play_out()

    def _run(self, record: WorkerRecord) -> None:
        """Let a worker run what it holds, and whatever it is given after that."""
        while (task := record.task) is not None and not self._has_come_to_it():
            if task.state is RUNNING or self.begin(record, task, self.now):
                self.succeed(record, task, None, self.now)

    def _play_out(self) -> None:
        """Do what the engine, the runners and the workers' code would do."""
        while (self.outbox or self.turns) and not self._has_come_to_it():
            if self.turns:
                self.take_turns(self.now)
                continue
            effect, record, detail = self.outbox.popleft()
            if effect is Effect.ASSIGN and record.task is detail:  # else it has been run already
                self._run(record)
            elif effect is Effect.ORDER and detail is Order.CLOSE:
                self.gone(record, self.now)
            elif effect is Effect.ORDER:
                self.attended(record, detail, None, self.now)

    def _awaits_newcomers(self, task: Task) -> bool:
        """True when the factory is about to make a worker that such a task could go to."""
        elastic = self.elastic
        return (
            elastic is not None
            and self.may_come(route_key(task), task.cost)
            and self._missing(elastic, self.now)[0] > 0
        )

    def _reasons(self, task: Task) -> dict[int, str]:
        """What holds a task that waits, should it go to the worker with this id."""
        if task.has_ended():
            return {}
        return {record.id: self._reason(record, task) for record in self._candidates(task)}

    def _reason(self, record: WorkerRecord, task: Task) -> str:
        if task.state is SCHEDULED:
            return "backoff"
        if self.sequences.ahead_of(task) is not None:
            return "order"
        why, wait = self.obstacle(record, task, self.now)
        if self.paused and (self.resume_at is None or (wait or 0.0) <= self.resume_at - self.now):
            return "paused"
        if why == "free":
            left = self.left_to(task)
            return "turn" if left is None or left[0] is record else "affinity"
        return why


def _first_of(lane: Lane, most: int) -> Iterator[Task]:
    """The first tasks of a lane, each of its two parts in its order."""
    waiting = (task for task in lane.fifo if task.state is QUEUED)
    urgent = ((key, task) for key, task in lane.heap if task.state is QUEUED)
    yield from islice(waiting, most)
    for _, task in nsmallest(most, urgent, key=lambda entry: entry[0]):
        yield task

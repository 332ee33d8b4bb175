"""The ledger step by step: what one call decides, and what it leaves to be done."""

from __future__ import annotations

import random
from typing import Any

import pytest

from retrypool_async import (
    AttemptOutcome,
    Bucket,
    EndReason,
    NoWorkers,
    PoolClosed,
    QueueFull,
    Quota,
    TaskState,
    Window,
    WorkerState,
    WorkerWish,
)
from retrypool_async._books import Effect
from retrypool_async._record import WorkerRecord
from retrypool_async._ruling import Again, Ending
from retrypool_async._states import Order, Stop
from retrypool_async._task import Task
from tests.ledger.bench import Bench, new_record

QUEUED, RESERVED, RUNNING = TaskState.QUEUED, TaskState.RESERVED, TaskState.RUNNING
LATE = Ending(reason=EndReason.DEADLINE, error=TimeoutError())


def effects(bench: Bench) -> list[tuple[Effect, Any, Any]]:
    """Empty the outbox."""
    outbox = list(bench.ledger.outbox)
    bench.ledger.outbox.clear()
    return outbox


@pytest.fixture
def bench() -> Any:
    """A ledger whose books must balance at the end."""
    bench = Bench()
    yield bench
    bench.ledger.check()


# -- one step ------------------------------------------------------------------------------------


def test_a_task_is_promised_debited_and_delivered_in_the_step_that_accepts_it(
    bench: Bench,
) -> None:
    """Nothing in between could give its worker or its permit to another."""
    worker = bench.worker(Quota(Window(1, per=60)))
    first, second = bench.submit(), bench.submit()
    assert (first.state, second.state) == (RESERVED, QUEUED)
    assert (worker.state, worker.task) == (WorkerState.RESERVED, first)
    assert worker.quotas[0].left(0.0) == {"requests": 0}
    assert effects(bench) == [(Effect.ASSIGN, worker, first)]


def test_a_promise_is_begun_once_and_only_while_it_is_in_force(bench: Bench) -> None:
    """What a channel still holds says nothing of who holds the task."""
    worker = bench.worker()
    task = bench.submit()
    bench.ledger.pause(worker, None, None, 0.0)
    assert not bench.ledger.begin(worker, task, 0.0)
    bench.ledger.attended(worker, Order.PAUSE, None, 0.0)
    bench.ledger.resume(worker, 0.0)
    bench.ledger.attended(worker, Order.RESUME, None, 0.0)
    assert bench.ledger.begin(worker, task, 0.0)
    assert not bench.ledger.begin(worker, task, 0.0)
    assert task.run_count == 1


def test_a_worker_that_comes_free_is_given_its_next_task_in_the_same_step(bench: Bench) -> None:
    """It is returned, not announced, since the runner asks."""
    worker = bench.worker()
    bench.busy(worker)
    following = bench.submit()
    effects(bench)
    assert bench.succeed(worker) is following
    assert (following.state, effects(bench)) == (RESERVED, [])


def test_a_refused_task_leaves_no_trace() -> None:
    """Neither in the counters nor in the line."""
    bench = Bench(max_queue=1)
    worker = bench.worker(Quota(Window(2, per=60)))
    bench.busy(worker)
    waiting = bench.submit()
    with pytest.raises(QueueFull):
        bench.submit()
    assert (bench.ledger.submitted, bench.ledger.waiting) == (2, 1)
    assert bench.succeed(worker) is waiting
    bench.ledger.check()


def test_every_task_is_settled_once_whatever_comes_after(bench: Bench) -> None:
    """What a late attempt says no longer counts."""
    worker = bench.worker()
    task = bench.busy(worker)
    assert bench.ledger.cancel(task, 0.0)
    bench.tick(2.0)
    assert task.state is TaskState.CANCELLED
    settled = [subject for effect, subject, _ in effects(bench) if effect is Effect.SETTLED]
    assert settled == [task]
    assert worker.state is WorkerState.STUCK
    assert not bench.ledger.cancel(task, 2.0)
    bench.ledger.unwound(worker, 3.0)
    assert effects(bench) == [(Effect.ORDER, worker, Order.RESET)]


def test_a_value_beats_a_stop(bench: Bench) -> None:
    """The attempt was told to stop, and had the answer."""
    worker = bench.worker()
    task = bench.busy(worker)
    bench.ledger.cancel(task, 0.0)
    bench.succeed(worker)
    assert (task.state, worker.state, worker.stop) == (
        TaskState.SUCCEEDED,
        WorkerState.IDLE,
        None,
    )


def test_a_stop_that_is_ignored_is_repeated_ever_more_rarely(bench: Bench) -> None:
    """It may be cleaning up, slowly."""
    worker = bench.worker()
    bench.ledger.cancel(bench.busy(worker), 0.0)
    interrupted: list[float] = []
    while bench.now < 40:
        interrupted += [bench.now for effect, *_ in effects(bench) if effect is Effect.INTERRUPT]
        bench.tick(bench.ledger.agenda.next_at)
    assert interrupted == [0, 2, 6, 14, 30]


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Again(), ["b", "c", "a"]),
        (Again(keep_place=True), ["a", "b", "c"]),
        (Again(front=True), ["a", "b", "c"]),
        (Again(same_worker=True), ["a", "b", "c"]),
        (Ending(reason=EndReason.ATTEMPTS, error=None), ["b", "c"]),
    ],
    ids=["behind all", "its old place", "the front", "the same worker", "the end"],
)
def test_a_ruling_says_where_a_task_goes(
    bench: Bench, plan: Again | Ending, expected: list[str]
) -> None:
    """Relative to those that wait."""
    worker = bench.worker()
    for name in "abc":
        bench.submit(data=name)
    bench.begin(worker)
    bench.fail(worker, plan)
    assert [task.data for task in bench.order(worker, len(expected))] == expected
    assert worker.task is None


def test_a_retry_at_the_front_passes_those_on_other_routes(bench: Bench) -> None:
    """Also when its own lane was emptied by somebody who came later."""
    worker, other = bench.worker(), bench.worker()
    first = bench.submit(data="first")
    bench.begin(worker)
    bench.submit()
    bench.begin(other)
    bench.submit(worker=worker.id, data="pinned")
    bench.submit()
    bench.succeed(other)
    assert bench.fail(worker, Again(front=True)) is first


def test_a_retry_is_not_ready_before_it_is_due(bench: Bench) -> None:
    """It holds no worker meanwhile."""
    worker = bench.worker()
    task = bench.busy(worker)
    bench.fail(worker, Again(delay=1.5))
    assert (task.state, worker.state) == (TaskState.SCHEDULED, WorkerState.IDLE)
    bench.tick(1.4)
    assert task.state is TaskState.SCHEDULED
    bench.tick(1.5)
    assert task.state is RESERVED


def test_all_that_wait_for_a_worker_end_when_it_is_lost_with_one_of_them() -> None:
    """The one that lost it is the first to learn that nobody is left, and not the only one."""
    bench = Bench(no_workers="raise")
    worker = bench.worker(tags="a")
    bench.worker()
    tasks = [bench.submit(require="a") for _ in range(3)]
    bench.begin(worker)
    bench.fail(worker, Again(), outcome=AttemptOutcome.WORKER_LOST, worker="retire")
    assert [task.state for task in tasks] == [TaskState.DEAD] * 3
    assert {task.reason for task in tasks} == {EndReason.NO_WORKERS}


def test_of_retries_that_fall_due_together_the_most_urgent_starts(bench: Bench) -> None:
    """Whichever was scheduled first."""
    worker = bench.worker()
    tasks: list[Task] = []
    for priority in (0.0, 1.0):
        tasks.append(bench.submit(priority=priority))
        bench.begin(worker)
        bench.fail(worker, Again(delay=1.5))
    bench.tick(1.5)
    assert [task.state for task in tasks] == [QUEUED, RESERVED]


def test_of_tasks_whose_turns_come_together_the_most_urgent_starts(bench: Bench) -> None:
    """Whichever order key came up first."""
    busy = bench.worker()
    bench.busy(busy)
    idle = bench.worker()
    for key in "ab":
        bench.submit(order_key=key, worker=busy.id, timeout=1.0)
    tasks = [bench.submit(order_key=key, priority=p) for key, p in (("a", 0.0), ("b", 1.0))]
    bench.tick(1.0)
    bench.ledger.take_turns(1.0)
    assert [task.state for task in tasks] == [QUEUED, RESERVED]
    assert tasks[1].holder is idle


def test_a_bounced_task_sees_every_worker_before_any_twice(bench: Bench) -> None:
    """Then a new round begins."""
    workers = [bench.worker() for _ in range(3)]
    task = bench.submit()
    seen: list[str] = []
    for _ in range(6):
        assert bench.begin(task.holder) is task
        seen.append(task.holder.name)
        bench.fail(task.holder, Again(elsewhere=True))
    names = {worker.name for worker in workers}
    assert (set(seen[:3]), set(seen[3:])) == (names, names)


def test_places_in_the_bitmasks_are_had_again_by_workers_to_come(bench: Bench) -> None:
    """A pool that hires and retires for months must not get slower for it."""
    bench.worker()
    for _ in range(1000):
        newcomer = bench.worker()
        bench.ledger.remove(newcomer, bench.now)
        bench.ledger.gone(newcomer, bench.now)
        bench.ledger.check()
    assert bench.worker().bit.bit_length() <= 100


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("where", ["ready", "scheduled", "running"])
def test_a_task_that_is_done_with_a_worker_may_run_on_another_in_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str, limit: int | None
) -> None:
    """It bounced off it, or spent all attempts there; wherever it is as the place is given away."""
    monkeypatch.setattr("retrypool_async._eligible.MOST_DEPARTED", 1)
    leaves = bench.worker()
    leaves.max_attempts_per_task = limit
    task = bench.submit()
    bench.begin(leaves)
    stays = bench.worker()
    if where != "running":
        bench.busy(stays)
    bench.fail(leaves, Again(elsewhere=True, delay=1.0 if where == "scheduled" else 0.0))
    if where == "running":
        bench.begin(stays)
    bench.ledger.remove(leaves, 0.0)
    bench.ledger.gone(leaves, 0.0)
    newcomer = bench.worker()
    assert newcomer.bit == leaves.bit
    bench.tick(1.0)
    if where == "running":
        bench.fail(stays, Again(elsewhere=True))
    assert task.holder is newcomer
    bench.ledger.check()


def test_a_new_round_begins_when_the_last_untried_worker_leaves(bench: Bench) -> None:
    """Otherwise the task would wait for nobody."""
    tried, untried = bench.worker(), bench.worker()
    bench.busy(untried)
    task = bench.submit()
    bench.begin(tried)
    bench.fail(tried, Again(elsewhere=True))
    assert (task.state, tried.state) == (QUEUED, WorkerState.IDLE)
    bench.ledger.remove(untried, 0.0)
    assert (task.state, task.holder) == (RESERVED, tried)


@pytest.mark.parametrize("scope", ["worker", "quota"])
def test_a_throttle_cools_the_worker_or_all_that_share_its_quota(bench: Bench, scope: str) -> None:
    """The task goes on elsewhere at once."""
    shared = Quota(Window(50, per=1))
    throttled, sharer, stranger = bench.worker(shared), bench.worker(shared), bench.worker()
    task = bench.submit()
    assert bench.begin(throttled) is task
    bench.fail(
        throttled,
        Again(keep_place=True),
        outcome=AttemptOutcome.THROTTLED,
        counted=False,
        cool_for=2.0,
        cool_scope=scope,
    )
    assert task.holder is (stranger if scope == "quota" else sharer)
    assert task.attempt_count == 0
    cooling = {w for w in (throttled, sharer) if w.state is WorkerState.COOLING}
    assert cooling == ({throttled, sharer} if scope == "quota" else {throttled})
    bench.tick(2.0)
    assert throttled.state is WorkerState.IDLE


def test_the_longest_of_several_cooldowns_holds(bench: Bench) -> None:
    """A shorter one that comes later does not end it."""
    worker = bench.worker()
    bench.ledger.cooldown(worker, 5.0, 0.0)
    bench.ledger.cooldown(worker, 2.0, 1.0)
    bench.now = 1.0
    task = bench.submit()
    bench.tick(4.9)
    assert task.state is QUEUED
    bench.tick(5.0)
    assert task.state is RESERVED


def test_the_end_of_a_cooldown_undoes_no_pause(bench: Bench) -> None:
    """Only the operator does."""
    worker = bench.worker()
    bench.ledger.cooldown(worker, 1.0, 0.0)
    bench.ledger.pause(worker, None, None, 0.0)
    bench.ledger.attended(worker, Order.PAUSE, None, 0.0)
    task = bench.submit()
    bench.tick(10.0)
    assert (task.state, worker.wish) == (QUEUED, WorkerWish.PAUSE)


@pytest.mark.parametrize("ends", [False, True])
def test_a_lost_worker_is_rebuilt_or_retired(bench: Bench, ends: bool) -> None:
    """Its task waits, and no attempt is spent."""
    worker = bench.worker()
    task = bench.busy(worker)
    effects(bench)
    bench.fail(
        worker,
        Again(keep_place=True),
        outcome=AttemptOutcome.WORKER_LOST,
        counted=False,
        worker="retire" if ends else "rebuild",
    )
    orders = [detail for effect, _, detail in effects(bench) if effect is Effect.ORDER]
    assert orders == [Order.CLOSE if ends else Order.REBUILD]
    assert task.attempt_count == 0


def test_failed_rebuilds_are_repeated_ever_more_rarely(bench: Bench) -> None:
    """And the first that succeeds puts the worker back to work."""
    worker = bench.worker()
    bench.ledger.broken(worker, OSError(), 0.0)
    tries: list[float] = []
    while len(tries) < 4:
        orders = [detail for effect, _, detail in effects(bench) if effect is Effect.ORDER]
        if orders:
            tries.append(bench.now)
            bench.ledger.attended(worker, Order.REBUILD, OSError(), bench.now)
        bench.tick(bench.ledger.agenda.next_at)
    assert tries == [0, 1, 3, 7]
    bench.ledger.attended(worker, Order.REBUILD, None, bench.now)
    assert worker.state is WorkerState.IDLE


# -- who waits for what --------------------------------------------------------------------------


def test_a_large_task_is_not_overtaken_through_another_worker_of_its_quota(bench: Bench) -> None:
    """Not by a task that may not even run where the large one waits."""
    shared = Quota(Window(5, per=10))
    bench.worker(shared, tags=["a"])
    other = bench.worker(shared)
    bench.busy(other)
    large, small = bench.submit(5, require=["a"]), bench.submit(worker=other.id)
    bench.now = 1.0
    bench.succeed(other)
    assert (large.state, small.state) == (QUEUED, QUEUED)
    bench.tick(10.0)
    assert large.state is RESERVED


@pytest.mark.parametrize("how", ["cancelled", "queue_timeout", "timeout"])
def test_what_a_large_task_held_is_free_as_soon_as_it_ends(bench: Bench, how: str) -> None:
    """Not only at the time at which it would have started."""
    worker = bench.worker(Quota(Window(5, per=3600)))
    bench.busy(worker)
    bench.succeed(worker)
    large = bench.submit(5, **({} if how == "cancelled" else {how: 1.0}))
    small = bench.submit()
    assert small.state is QUEUED
    bench.tick(1.0)
    bench.ledger.cancel(large, bench.now)
    assert small.state is RESERVED


def test_priority_counts_across_routes_when_the_head_of_one_is_blocked(bench: Bench) -> None:
    """What waits behind it is not more urgent for that."""
    worker, other = bench.worker(Quota(Window(3, per=10)), tags=["a"]), bench.worker()
    bench.busy(worker)
    bench.busy(other)
    plain, large = bench.submit(), bench.submit(5, priority=1.0)
    urgent = bench.submit(require=["a"], priority=1.0)
    bench.succeed(worker)
    assert (large.state, urgent.state, plain.state) == (QUEUED, RESERVED, QUEUED)


def test_low_priority_waits_for_all_others(bench: Bench) -> None:
    """Whatever they cost."""
    worker = bench.worker()
    bench.busy(worker)
    bench.submit(data="low", priority=-1.0)
    bench.submit(data="plain")
    bench.submit(2, data="other")
    bench.submit(data="urgent", priority=1.0)
    assert bench.succeed(worker) is not None
    order = [task.data for task in bench.order(worker, 4)]
    assert order == ["urgent", "plain", "other", "low"]


def test_a_place_under_a_concurrency_limit_goes_to_the_first_in_line(bench: Bench) -> None:
    """Also when that is a task for a worker that was idle all along."""
    worker, idle = bench.worker(), bench.worker()
    bench.ledger.set_concurrency(1, 0.0)
    bench.busy(worker)
    pinned, behind = bench.submit(worker=idle.id), bench.submit(worker=worker.id)
    bench.succeed(worker)
    assert (pinned.state, behind.state) == (RESERVED, QUEUED)
    bench.begin(idle)
    bench.fail(idle, Ending(reason=EndReason.ATTEMPTS, error=None), cut_off=True)
    assert behind.state is RESERVED


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_task_that_keeps_its_place_keeps_its_age(bench: Bench, taken_back: bool) -> None:
    """Throttled, or taken back from a worker before it started."""
    worker = bench.worker()
    old = bench.submit(aging=10.0)
    bench.now = 1.0
    young = bench.submit(aging=10.0)
    bench.now = 5.0
    if taken_back:
        bench.ledger.pause(worker, None, None, bench.now)
        bench.ledger.attended(worker, Order.PAUSE, None, bench.now)
        bench.ledger.resume(worker, bench.now)
        bench.ledger.attended(worker, Order.RESUME, None, bench.now)
    else:
        bench.begin(worker)
        bench.fail(worker, Again(keep_place=True))
    assert (old.state, young.state) == (RESERVED, QUEUED)


# -- limits in time ------------------------------------------------------------------------------


def test_a_queue_timeout_outlives_a_promise_that_is_taken_back(bench: Bench) -> None:
    """It fell due while a worker was promised."""
    worker = bench.worker()
    task = bench.submit(queue_timeout=2.0)
    bench.tick(2.0)
    assert task.state is RESERVED
    bench.ledger.pause(worker, None, None, 2.0)
    bench.tick(3.0)
    assert (task.state, task.reason) == (TaskState.DEAD, EndReason.QUEUE_TIMEOUT)


def test_patience_without_workers_ends_retries_too() -> None:
    """A task that has run before waits no longer than a new one."""
    bench = Bench(no_workers=5.0)
    worker = bench.worker()
    task = bench.submit()
    bench.begin(worker)
    bench.ledger.gone(worker, 0.0)
    bench.tick(4.9)
    assert task.state is QUEUED
    bench.tick(5.0)
    assert (task.state, type(task.value)) == (TaskState.DEAD, NoWorkers)


def test_patience_without_workers_starts_anew_whenever_the_last_one_leaves() -> None:
    """The time before somebody came does not count."""
    bench = Bench(no_workers=5.0)
    task = bench.submit()
    bench.now = 1.0
    worker = new_record(bench.ledger)
    bench.ledger.add(worker, bench.now)
    bench.tick(4.0)
    bench.ledger.gone(worker, bench.now)
    bench.tick(8.9)
    assert task.state is QUEUED
    bench.tick(9.0)
    assert task.state is TaskState.DEAD


def test_a_task_that_has_started_outlives_its_queue_timeout_without_workers(bench: Bench) -> None:
    """Where tasks wait for workers, it is the time before the first start that is limited."""
    worker = bench.worker()
    bench.busy(worker)
    task = bench.submit(queue_timeout=2.0)
    assert bench.succeed(worker) is task
    bench.begin(worker)
    bench.tick(1.0)
    bench.ledger.gone(worker, 1.0)
    bench.tick(10.0)
    assert task.state is QUEUED


def test_a_pool_whose_only_worker_is_lost_takes_nothing_more() -> None:
    """From that moment, and not only once the worker has closed."""
    bench = Bench(no_workers="raise")
    worker = bench.worker()
    bench.busy(worker)
    bench.fail(worker, Ending(reason=EndReason.ATTEMPTS, error=None), worker="retire")
    with pytest.raises(NoWorkers):
        bench.submit()


@pytest.mark.parametrize("how", ["fails", "dies", "removed by force"])
def test_a_task_past_its_timeout_is_not_queued_again(bench: Bench, how: str) -> None:
    """Its attempt ended by itself just before it was cut off."""
    worker, _ = bench.worker(), bench.worker()
    task = bench.submit(timeout=3.0)
    bench.begin(worker)
    bench.tick(3.0)
    assert (Effect.OVERDUE, worker, task) in effects(bench)
    if how == "fails":
        bench.fail(worker, Again(keep_place=True))
    elif how == "dies":
        bench.ledger.gone(worker, bench.now)
    else:
        bench.ledger.remove(worker, bench.now, force=True)
        ruling = bench.ledger.stopped_ruling(task, Stop.REMOVE)
        bench.ledger.fail(worker, task, ruling, bench.now)
    assert (task.state, task.reason) == (TaskState.DEAD, EndReason.TIMEOUT)


@pytest.mark.parametrize(("delay", "ends"), [(2.9, False), (3.0, True)])
def test_a_retry_that_could_not_start_in_time_ends_now(
    bench: Bench, delay: float, ends: bool
) -> None:
    """With the ending that the ruling names."""
    worker = bench.worker()
    task = bench.submit(timeout=3.0)
    bench.begin(worker)
    bench.fail(worker, Again(delay=delay, else_ending=LATE))
    assert (task.state is TaskState.DEAD) is ends
    assert task.state is TaskState.SCHEDULED or task.value is LATE.error


def test_attempts_are_overdue_at_their_own_limits(bench: Bench) -> None:
    """One entry of the agenda serves many attempts, and none is cut short by an earlier one's."""
    worker = bench.worker()
    for start in (0.0, 1.0, 2.0):
        bench.tick(start)
        task = bench.submit(attempt_timeout=1.5)
        bench.begin(worker)
        if start < 2.0:
            bench.tick(start + 0.5)
            bench.succeed(worker)
    effects(bench)
    bench.tick(3.4)
    assert effects(bench) == []
    bench.tick(3.5)
    assert effects(bench) == [(Effect.OVERDUE, worker, task)]


# -- quotas --------------------------------------------------------------------------------------


def start_late(bench: Bench, shared: Quota) -> tuple[list[WorkerRecord], list[Task]]:
    """Promise two tasks of one quota of one a second, a second apart, and begin neither."""
    workers = [bench.worker(shared), bench.worker(shared)]
    tasks = [bench.submit(), bench.submit()]
    bench.tick(1.0)
    assert [task.state for task in tasks] == [RESERVED, RESERVED]
    return workers, tasks


def test_a_late_start_does_not_exceed_a_window(bench: Bench) -> None:
    """The permit it was promised has expired, and another has been promised the room."""
    (late, other), (task, following) = start_late(bench, Quota(Window(1, per=1)))
    assert not bench.ledger.begin(late, task, 1.0)
    assert (task.state, late.state) == (QUEUED, WorkerState.IDLE)
    assert bench.ledger.begin(other, following, 1.0)
    bench.tick(2.0)
    assert task.state is RESERVED


@pytest.mark.parametrize("per", [1e-3, 1e-2, 0.1])
@pytest.mark.parametrize("days", [1, 30, 300])
def test_a_wait_too_short_for_the_clock_ends(per: float, days: int) -> None:
    """After days, the clock ticks in steps that are longer than what a small bucket asks for."""
    bench, chance = Bench(), random.Random(1)
    bench.now = days * 86_400 + chance.random()
    worker = bench.worker(Quota(Bucket(3, per=per)))
    for _ in range(100):
        task = bench.submit()
        for _ in range(10):
            if task.state is QUEUED:
                bench.now = max(bench.now, bench.ledger.agenda.next_at)
                bench.ledger.tick(bench.now)
        bench.begin(worker)
        bench.succeed(worker)
        bench.now += chance.random() * per / 6


# -- the end -------------------------------------------------------------------------------------


def test_ending_all_leaves_only_what_runs(bench: Bench) -> None:
    """And tells that to stop."""
    worker, other = bench.worker(), bench.worker()
    running = bench.busy(worker)
    bench.busy(other)
    bench.fail(other, Again(delay=5.0))
    promised, waiting = bench.submit(), bench.submit()
    assert (promised.state, waiting.state) == (RESERVED, QUEUED)
    effects(bench)
    bench.ledger.end_all(PoolClosed("closed"), 0.0)
    assert {promised.reason, waiting.reason} == {EndReason.SHUTDOWN}
    assert (Effect.INTERRUPT, worker, None) in effects(bench)
    assert (running.state, bench.ledger.live) == (RUNNING, 1)
    bench.succeed(worker)
    assert (running.state, bench.ledger.live) == (TaskState.SUCCEEDED, 0)


def test_only_what_cannot_start_in_time_is_hopeless(bench: Bench) -> None:
    """A closing pool ends it at once, and waits for the rest."""
    worker = bench.worker()
    soon = bench.busy(worker)
    bench.fail(worker, Again(delay=1.0))
    late = bench.busy(worker)
    bench.fail(worker, Again(delay=9.0))
    bench.ledger.end_hopeless(5.0, PoolClosed("closing"), 0.0)
    assert (soon.state, late.state) == (TaskState.SCHEDULED, TaskState.CANCELLED)


def test_workers_close_as_they_come_free(bench: Bench) -> None:
    """Those at rest at once, each other after what it is doing."""
    resting, running = bench.worker(), bench.worker()
    bench.busy(running)
    effects(bench)
    bench.ledger.stop_workers(0.0)
    assert effects(bench) == [(Effect.ORDER, resting, Order.CLOSE)]
    bench.succeed(running)
    assert effects(bench) == [(Effect.ORDER, running, Order.CLOSE)]
    for worker in (resting, running):
        bench.ledger.gone(worker, 0.0)
    assert not bench.ledger.roster.workers

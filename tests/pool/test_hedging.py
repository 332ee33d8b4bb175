"""Hedges: a second attempt, on another worker, while the first still runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from retrypool_async import (
    AttemptEnded,
    AttemptFailed,
    AttemptOutcome,
    Bounce,
    Breaker,
    BreakerState,
    CloseReport,
    DeadlockDetected,
    Discard,
    EndReason,
    FailureAction,
    Hedge,
    Hooks,
    Pool,
    Quota,
    RetryBudget,
    RetryPolicy,
    Snooze,
    TaskHandle,
    TaskMoved,
    TaskState,
    TaskTimeout,
    Throttled,
    Window,
    WorkerLost,
    WorkerState,
    current_task,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

Does = Callable[[Any], Any]
TWO = Hedge(after=2)
ONCE = RetryPolicy.fixed(0, attempts=1)


def later(seconds: float, error: BaseException) -> Does:
    """Raises after some seconds."""

    async def does(data: Any) -> Any:
        await asyncio.sleep(seconds)
        raise error

    return does


def pool_of(*does: Does, **options: Any) -> Pool[Any, Any]:
    """A pool of workers a, b, c ...; the first task goes to a."""
    workers = [Probe(name, does=what) for name, what in zip("abcd", does, strict=False)]
    return Pool(workers, **{"debug": True, **options})


def workers_of(pool: Pool[Any, Any]) -> list[Any]:
    return [record.worker for record in pool._engine.ledger.roster.workers.values()]


def runs(task: TaskHandle[Any]) -> list[tuple[Any, ...]]:
    return [(a.worker, a.started, a.ended, a.outcome.name, a.hedge) for a in task.attempts]


# -- the first to succeed --------------------------------------------------------------------------


async def test_a_slow_attempt_is_overtaken_by_its_hedge() -> None:
    """Begun elsewhere after the delay; the first attempt is stopped, and its worker reset."""
    async with pool_of(takes(10), takes(1)) as pool:
        task = pool.submit("x", hedge=TWO)
        assert await task == "x"
        assert now() == 3
        assert runs(task) == [("a", 0, 3, "OUTRUN", False), ("b", 2, 3, "OK", True)]
        assert [a.number for a in task.attempts] == [1, 2]
        assert (task.attempt_count, task.worker, task.times.run) == (1, pool.workers()[1], 3)
        await asyncio.sleep(1)
        a, b = workers_of(pool)
        assert (a.log, b.log) == (["start", "stop", "start"], ["start"])
        assert [worker.served for worker in pool.snapshot().workers] == [0, 1]


async def test_a_hedge_is_stopped_when_the_first_attempt_succeeds() -> None:
    """And its worker reset."""
    async with pool_of(takes(3), takes(10)) as pool:
        task = pool.submit("x", hedge=TWO)
        assert await task == "x"
        assert now() == 3
        assert runs(task) == [("a", 0, 3, "OK", False), ("b", 2, 3, "OUTRUN", True)]
        assert (task.attempt_count, task.worker) == (1, pool.workers()[0])
        await asyncio.sleep(1)
        assert workers_of(pool)[1].log == ["start", "stop", "start"]


async def test_an_attempt_in_time_has_no_hedge() -> None:
    """Not even at the very moment at which it would have been due."""
    async with pool_of(takes(2), takes(1)) as pool:
        task = pool.submit("x", hedge=Hedge(after=2.5))
        await task
        await asyncio.sleep(5)
        assert runs(task) == [("a", 0, 2, "OK", False)]
        assert workers_of(pool)[1].starts == []


async def test_without_the_option_nothing_is_hedged() -> None:
    """However long it takes."""
    async with pool_of(takes(1000), takes(1)) as pool:
        task = pool.submit("x")
        await task
        assert runs(task) == [("a", 0, 1000, "OK", False)]


async def test_there_is_one_hedge_at_a_time_and_one_per_attempt() -> None:
    """Workers that are free for a third attempt do not get one, nor when the second has failed."""
    async with pool_of(takes(20), later(1, OSError()), takes(1), takes(1)) as pool:
        task = pool.submit("x", hedge=TWO)
        await task
        assert now() == 20
        assert runs(task) == [("a", 0, 20, "OK", False), ("b", 2, 3, "ERROR", True)]


async def test_both_may_return_at_the_same_instant() -> None:
    """There is one outcome, and everybody hears it once."""
    ends: list[Any] = []
    async with pool_of(takes(3), takes(1), takes(1)) as pool:
        tasks = [pool.submit(n, hedge=TWO, on_done=ends.append) for n in range(1)]
        tasks[0].add_done_callback(ends.append)
        results = await asyncio.gather(tasks[0], tasks[0])
        assert (results, now()) == ([0, 0], 3)
        await asyncio.sleep(1)
        assert ends == [tasks[0], tasks[0]]
        assert sorted(a.outcome.name for a in tasks[0].attempts) == ["OK", "OUTRUN"]
        assert pool.snapshot().succeeded == 1


async def test_a_loser_that_ignores_being_stopped_holds_up_nobody() -> None:
    """The caller has heard; the worker is set aside until its code ends."""

    async def stubborn(data: Any) -> Any:
        ends = now() + 20
        while now() < ends:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(ends - now())
        return "too late"

    async with pool_of(stubborn, takes(1), stop_grace=5) as pool:
        assert await pool.submit("x", hedge=TWO) == "x"
        assert now() == 3
        await asyncio.sleep(6)
        assert pool.snapshot().workers[0].state is WorkerState.STUCK
        await asyncio.sleep(12)
        assert pool.snapshot().workers[0].state is WorkerState.IDLE
        assert pool.snapshot().succeeded == 1


# -- where, and when -------------------------------------------------------------------------------


async def test_a_hedge_that_finds_no_other_worker_is_not_made() -> None:
    """It is withdrawn with the end of the attempt that it was for."""
    async with pool_of(takes(5)) as pool:
        task = pool.submit("x", hedge=TWO)
        await task
        await asyncio.sleep(5)
        assert runs(task) == [("a", 0, 5, "OK", False)]
        assert len(workers_of(pool)[0].starts) == 1


async def test_a_hedge_goes_only_where_its_task_may() -> None:
    """Tags hold for it too."""
    async with pool_of(takes(10), takes(1), takes(1)) as pool:
        workers = pool.workers()
        pool.set_tags(workers[0], ["gpu"])
        pool.set_tags(workers[2], ["gpu"])
        task = pool.submit("x", require="gpu", hedge=TWO)
        await task
        assert [a.worker for a in task.attempts] == ["a", "c"]


async def test_a_hedge_lets_every_first_attempt_go_before_it() -> None:
    """Even those that are submitted while it waits; it uses what nobody else needs."""
    async with pool_of(takes(20), takes(4)) as pool:
        slow = pool.submit("slow", hedge=TWO, priority=9)
        others = [pool.submit(n) for n in range(2)]  # b is busy until 8
        await asyncio.sleep(7)
        others.append(pool.submit("late", priority=-9))
        assert await slow == "slow"
        assert now() == 16
        assert runs(slow)[1] == ("b", 12, 16, "OK", True)
        assert [task.attempts[0].started for task in others] == [0, 4, 8]


async def test_hedges_go_in_the_order_in_which_they_fell_due() -> None:
    """Whatever the priorities of their tasks."""
    async with pool_of(takes(50), takes(50), takes(5)) as pool:
        busy = [pool.submit(n, hedge=Hedge(after=4 - n), priority=-n) for n in range(2)]
        other = pool.submit("other")
        await asyncio.gather(*busy, other)
        assert [runs(task)[1][1] for task in busy] == [10, 5]


async def test_a_hedge_waits_for_quota_and_uses_it() -> None:
    """Like any attempt; to the instant."""
    async with pool_of(takes(60), takes(1)) as pool:
        pool.set_quota(pool.workers()[1], Quota(Window(1, per=10)))
        first = pool.submit("slow", hedge=Hedge(after=3))
        await pool.submit("uses the window")
        await first
        assert runs(first)[1] == ("b", 10, 11, "OK", True)
        after = pool.submit("next", worker="b")
        await after
        assert after.attempts[0].started == 20


async def test_a_hedge_that_never_starts_costs_nothing() -> None:
    """Not even when it was promised a worker already, in the very turn that it was not needed."""
    async with pool_of(takes(10), takes(1)) as pool:
        pool.set_quota(pool.workers()[1], Quota(Window(1, per=100)))
        task = pool.submit("slow", hedge=TWO)
        await asyncio.sleep(2)
        assert pool.snapshot().tasks[TaskState.RESERVED] == 0  # it is counted once, as running
        task.cancel()
        await task.wait()
        assert workers_of(pool)[1].starts == []
        assert await pool.submit("next", worker="b") == "next"
        assert now() == 3


async def test_a_hedge_that_has_started_is_paid_for() -> None:
    """Its estimate stands, or what it has reported by the time it is stopped."""

    async def reports(data: Any) -> Any:
        if data == "x":
            current_task().settle(requests=1, tokens=30)
            await asyncio.sleep(10)
        return data

    async with pool_of(takes(3), reports) as pool:
        pool.set_quota(pool.workers()[1], Quota(tokens=Window(100, per=50)))
        await pool.submit("x", cost={"tokens": 80}, hedge=TWO)
        assert pool.snapshot().workers[1].quota_left == {"tokens": 70}


async def test_hedges_count_as_attempts_at_once() -> None:
    """With a limit of one there are none."""
    async with pool_of(takes(5), takes(1), concurrency=1) as pool:
        task = pool.submit("x", hedge=TWO)
        await task
        assert len(task.attempts) == 1


async def test_a_hedge_does_not_go_where_a_bounced_task_has_been() -> None:
    """In this round."""
    async with pool_of(fails(OSError()), takes(9), takes(1)) as pool:
        task = pool.submit("x", bounce=True, retry=RetryPolicy.fixed(0), hedge=TWO)
        await task
        assert [(a.worker, a.started) for a in task.attempts] == [("a", 0), ("b", 0), ("c", 2)]


async def test_every_attempt_may_be_hedged() -> None:
    """A retry as well as the first."""
    outcomes = iter([fails(OSError()), takes(9)])
    async with pool_of(lambda data: next(outcomes)(data), takes(1)) as pool:
        task = pool.submit("x", immediate=True, hedge=TWO)
        await task
        assert runs(task) == [
            ("a", 0, 0, "ERROR", False),
            ("a", 0, 3, "OUTRUN", False),
            ("b", 2, 3, "OK", True),
        ]


async def test_the_next_of_an_order_key_starts_when_the_task_has_ended() -> None:
    """By its hedge, too."""
    async with pool_of(takes(9), takes(1)) as pool:
        first = pool.submit("1", order_key="k", hedge=TWO)
        second = pool.submit("2", order_key="k")
        await second
        assert (first.attempts[-1].ended, second.attempts[0].started) == (3, 3)


async def test_a_hedge_neither_follows_an_affinity_nor_moves_it() -> None:
    """It is for one attempt that is slow, and not for what comes after it."""
    outcomes = iter([takes(9), takes(1)])
    async with pool_of(lambda data: next(outcomes)(data), takes(1)) as pool:
        task = pool.submit("x", affinity="k", hedge=TWO)
        await task
        assert task.worker == pool.workers()[1]
        following = pool.submit("y", affinity="k")
        await following
        assert following.worker == pool.workers()[0]


@pytest.mark.parametrize("after", [0, 1e-9])
async def test_a_hedge_may_be_made_at_once(after: float) -> None:
    """Both attempts start together, as far as two workers are free."""
    async with pool_of(takes(3), takes(1)) as pool:
        task = pool.submit("x", hedge=Hedge(after=after))
        await task
        assert now() == pytest.approx(1, abs=1e-6)
        assert task.attempts[1].started == pytest.approx(0, abs=1e-6)


# -- failures --------------------------------------------------------------------------------------


async def test_a_failure_waits_for_the_other_attempt() -> None:
    """The first fails, its hedge goes on as the task's attempt and succeeds."""
    async with pool_of(later(3, OSError()), takes(5)) as pool:
        task = pool.submit("x", hedge=TWO, retry=ONCE)
        await asyncio.sleep(4)
        assert (task.state, task.worker) == (TaskState.RUNNING, pool.workers()[1])
        assert await task == "x"
        assert now() == 7
        assert runs(task) == [("a", 0, 3, "ERROR", False), ("b", 2, 7, "OK", True)]
        assert [a.counted for a in task.attempts] == [False, True]
        assert (task.attempt_count, task.times.run, task.times.queue) == (1, 7, 0)
        assert [move.new.name for move in task.history][-2:] == ["RUNNING", "SUCCEEDED"]


async def test_two_failures_are_one_for_the_policy() -> None:
    """The last decides; the hook and the policy are asked once, about that one."""
    asked: list[AttemptFailed] = []
    hooks = Hooks(on_failure=asked.append)
    async with pool_of(
        later(3, OSError("a")), later(2, ValueError("b")), hooks=hooks, retry=ONCE
    ) as pool:
        task = pool.submit("x", hedge=TWO)
        with pytest.raises(ValueError, match="b") as failure:
            await task
        assert now() == 4
        assert failure.value.__notes__ == ["attempt 1 on b"]
        assert [(f.number, f.worker) for f in asked] == [(1, "b")]
        assert runs(task) == [("a", 0, 3, "ERROR", False), ("b", 2, 4, "ERROR", True)]
        (dead,) = pool.dead
        assert (dead.reason, dead.attempt_count) == (EndReason.ATTEMPTS, 1)
        assert dead.attempts == task.attempts


@pytest.mark.parametrize("hedge_fails_first", [True, False])
async def test_a_retry_follows_when_both_have_failed(hedge_fails_first: bool) -> None:
    """With the wait of a first retry, and a hedge of its own; numbers count every run."""
    first, second = (5, 1) if hedge_fails_first else (3, 3)
    tries = iter([later(first, OSError()), later(second, OSError()), takes(9), takes(1)])
    next_try: Does = lambda data: next(tries)(data)  # noqa: E731
    async with pool_of(next_try, next_try) as pool:
        task = pool.submit("x", hedge=TWO, retry=RetryPolicy.fixed(10, attempts=2))
        await task
        assert task.attempt_count == 2
        assert [(a.number, a.started, a.outcome.name, a.hedge) for a in task.attempts] == [
            (1, 0, "ERROR", False),
            (2, 2, "ERROR", True),
            (3, 15, "OUTRUN", False),
            (4, 17, "OK", True),
        ]
        assert now() == 18


async def test_a_hedge_that_fails_leaves_the_first_attempt_alone() -> None:
    """Its failure is on record, and spends no attempt."""
    seen: list[Any] = []
    hooks = Hooks(on_attempt=seen.append)
    async with pool_of(takes(10), later(1, OSError()), hooks=hooks, retry=ONCE) as pool:
        task = pool.submit("x", hedge=TWO)
        assert await task == "x"
        assert runs(task) == [("a", 0, 10, "OK", False), ("b", 2, 3, "ERROR", True)]
        assert [(e.task, e.attempt.worker, e.attempt.counted) for e in seen] == [
            (task, "b", False),
            (task, "a", True),
        ]
        assert pool.snapshot().workers[1].failed == 1


@pytest.mark.parametrize(
    ("error", "outcome", "state", "log"),
    [
        (Throttled(30), AttemptOutcome.THROTTLED, WorkerState.COOLING, ["start"]),
        (WorkerLost(), AttemptOutcome.WORKER_LOST, WorkerState.IDLE, ["start", "stop", "start"]),
        (Snooze(5), AttemptOutcome.SNOOZED, WorkerState.IDLE, ["start"]),
        (Bounce(), AttemptOutcome.BOUNCED, WorkerState.IDLE, ["start"]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
@pytest.mark.parametrize("who", ["first", "hedge"])
async def test_a_verdict_concerns_the_worker_that_gave_it(
    error: Exception, outcome: AttemptOutcome, state: WorkerState, log: list[str], who: str
) -> None:
    """As always; the task goes on with the other attempt."""
    does = (later(3, error), takes(8)) if who == "first" else (takes(10), later(1, error))
    async with pool_of(*does) as pool:
        task = pool.submit("x", hedge=TWO)
        assert await task == "x"
        assert now() == 10
        at_fault = 0 if who == "first" else 1
        assert task.attempts[at_fault].outcome is outcome
        assert task.throttles == (outcome is AttemptOutcome.THROTTLED)
        assert pool.snapshot().workers[at_fault].state is state
        assert workers_of(pool)[at_fault].log == log


@pytest.mark.parametrize("who", ["first", "hedge"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(Discard("bad data"), EndReason.DISCARDED), (KeyboardInterrupt(), EndReason.FATAL)],
)
async def test_what_is_about_the_task_ends_both(
    error: BaseException, reason: EndReason, who: str
) -> None:
    """Another worker could not do better."""
    does = (later(3, error), takes(50)) if who == "first" else (takes(50), later(1, error))
    async with pool_of(*does) as pool:
        task = pool.submit("x", hedge=TWO)
        await task.wait()
        assert now() == 3
        assert [dead.reason for dead in pool.dead] == [reason]
        assert [a.outcome for a in task.attempts].count(AttemptOutcome.OUTRUN) == 1
        await asyncio.sleep(0)
        assert pool.snapshot().tasks[TaskState.RUNNING] == 0


async def test_a_bounced_task_passes_over_both_workers_that_failed() -> None:
    """As it would have, had they failed one after the other."""
    async with pool_of(later(3, OSError()), later(3, OSError()), takes(6)) as pool:
        pool.submit("y", worker="c")
        task = pool.submit("x", bounce=True, hedge=TWO, retry=RetryPolicy.fixed(0))
        await task
        assert [(a.worker, a.started) for a in task.attempts] == [("a", 0), ("b", 2), ("c", 6)]


async def test_a_new_round_begins_for_a_hedge_as_for_a_retry() -> None:
    """When nobody who has not tried the task is to be expected."""
    async with pool_of(in_turn(OSError(), "a"), takes(9)) as pool:
        task = pool.submit("x", bounce=True, hedge=TWO, retry=RetryPolicy.fixed(0))
        await asyncio.sleep(1)
        pool.pause("b")
        assert await task == "a"
        assert now() == 2


async def test_a_policy_counts_from_the_first_start() -> None:
    """Also when the attempt that began then was not the last to fail."""
    states: list[Any] = []
    retry = RetryPolicy(stop=lambda state: bool(states.append(state)) or True)
    async with pool_of(later(3, OSError()), later(3, OSError()), retry=retry) as pool:
        await pool.submit("x", hedge=TWO).wait()
        assert [(state.start_time, state.attempt_number) for state in states] == [(0, 1)]


async def test_a_failure_of_a_hedge_opens_the_breaker_of_its_worker() -> None:
    """And one that is let try again may do so with a hedge."""
    does = {"b": [later(1, OSError()), takes(1)]}
    breaker = Breaker(failures=1, cooldown=10)
    async with pool_of(
        takes(9), lambda data: does["b"].pop(0)(data), breaker=breaker, max_throttles=None
    ) as pool:
        await pool.submit(1, hedge=TWO)
        assert pool.snapshot().workers[1].breaker is BreakerState.OPEN
        task = pool.submit(2, hedge=TWO)  # at 9; b is out until 13
        await task
        assert runs(task)[1] == ("b", 13, 14, "OK", True)
        assert pool.snapshot().workers[1].breaker is BreakerState.CLOSED


async def test_a_hook_that_drops_is_asked_when_the_last_has_failed() -> None:
    """And then it counts."""
    hooks = Hooks(on_failure=lambda failure: FailureAction.DROP)
    async with pool_of(later(3, OSError()), later(4, OSError()), hooks=hooks) as pool:
        task = pool.submit("x", hedge=TWO)
        await task.wait()
        assert (now(), task.state) == (6, TaskState.DROPPED)


# -- time limits, cancellation ---------------------------------------------------------------------


async def test_the_timeout_of_a_task_ends_both_attempts() -> None:
    """At its time."""
    async with pool_of(takes(50), takes(50)) as pool:
        task = pool.submit("x", hedge=TWO, timeout=7)
        with pytest.raises(TaskTimeout):
            await task
        assert now() == 7
        assert runs(task) == [("a", 0, 7, "TIMEOUT", False), ("b", 2, 7, "OUTRUN", True)]
        await asyncio.sleep(1)
        assert [w.state for w in pool.snapshot().workers] == [WorkerState.IDLE] * 2


async def test_each_attempt_has_a_limit_of_its_own() -> None:
    """The first is cut off, the hedge goes on until its own time is up."""
    async with pool_of(takes(50), takes(50), retry=ONCE) as pool:
        task = pool.submit("x", hedge=TWO, attempt_timeout=5)
        with pytest.raises(TimeoutError, match="on b"):
            await task
        assert now() == 7
        assert runs(task) == [("a", 0, 5, "TIMEOUT", False), ("b", 2, 7, "TIMEOUT", True)]


async def test_a_hedge_that_goes_on_keeps_to_the_timeout_of_the_task() -> None:
    """Also when the first attempt fails at that very moment."""
    async with pool_of(later(5, OSError()), takes(50)) as pool:
        task = pool.submit("x", hedge=TWO, timeout=5)
        with pytest.raises(TaskTimeout):
            await task
        assert now() == 5


async def test_no_hedge_starts_when_the_time_is_up() -> None:
    """It would be in vain."""
    async with pool_of(takes(50), takes(1)) as pool:
        task = pool.submit("x", hedge=Hedge(after=5), timeout=5)
        await task.wait()
        assert now() == 5
        assert workers_of(pool)[1].starts == []


def cleans_up(seconds: float, value: Any = None) -> Does:
    """Stops so many seconds after it is told to; returns a value all the same if it has one."""

    async def does(data: Any) -> Any:
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            await asyncio.sleep(seconds)
            if value is None:
                raise
            return value

    return does


@pytest.mark.parametrize(("first", "hedge"), [(1, 3), (3, 1), (2, 2)])
async def test_a_cancelled_task_ends_when_both_attempts_have_unwound(
    first: float, hedge: float
) -> None:
    """Whichever takes longer."""
    async with pool_of(cleans_up(first), cleans_up(hedge)) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(5)
        assert task.cancel()
        await task.wait()
        assert (now(), task.cancelled()) == (5 + max(first, hedge), True)
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.CANCELLED] * 2


@pytest.mark.parametrize("who", ["first", "hedge"])
async def test_a_value_that_comes_in_spite_of_a_cancellation_counts(who: str) -> None:
    """From either of the two, within the grace."""
    does = [cleans_up(1), cleans_up(3, "value")]
    async with pool_of(*(does if who == "hedge" else does[::-1])) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(5)
        task.cancel()
        assert await task == "value"
        assert now() == 8


async def test_a_cancelled_task_ends_with_its_grace() -> None:
    """However long the code of both goes on."""
    async with pool_of(cleans_up(30), cleans_up(30), stop_grace=4) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(5)
        task.cancel()
        await task.wait()
        assert now() == 9


async def test_an_attempt_that_is_being_stopped_is_not_hedged() -> None:
    """Nobody wants another."""
    async with pool_of(cleans_up(3), takes(1)) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(1)
        task.cancel()
        await task.wait()
        assert (now(), workers_of(pool)[1].starts) == (4, [])


@pytest.mark.real_time
async def test_limits_that_are_reached_in_one_turn_of_the_loop_hold_for_both() -> None:
    """The first is cut off, and the hedge that goes on is just as late."""
    async with pool_of(takes(60), takes(60), retry=ONCE) as pool:
        task = pool.submit("x", hedge=Hedge(after=0.01), attempt_timeout=0.2)
        await asyncio.sleep(0.1)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop comes late to both
        assert await task.wait(5)
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.TIMEOUT] * 2


async def test_a_hedge_that_waits_goes_with_its_cancelled_task() -> None:
    """At once, while the attempt is still unwinding."""
    async with pool_of(cleans_up(2), takes(6)) as pool:
        task = pool.submit("x", hedge=TWO)
        other = pool.submit("y")
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task.wait(), other)
        assert now() == 7
        await asyncio.sleep(5)
        assert len(workers_of(pool)[1].starts) == 1


# -- workers that go, pools that close -------------------------------------------------------------


@pytest.mark.parametrize("gone", ["a", "b"])
async def test_the_other_attempt_goes_on_when_a_worker_is_removed_by_force(gone: str) -> None:
    """Nothing is queued again, and no attempt is spent."""
    async with pool_of(takes(10), takes(8)) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(4)
        await pool.remove(gone, force=True)
        assert await task == "x"
        assert now() == 10
        outcomes = {a.worker: a.outcome.name for a in task.attempts}
        assert outcomes == {"a": "OK", "b": "OK"} | {gone: "SHUTDOWN"}
        assert task.attempt_count == 1


async def test_a_hedge_that_was_promised_a_worker_goes_back_in_line() -> None:
    """As any task does whose worker is paused before the start."""
    async with pool_of(takes(20), takes(1), takes(1)) as pool:
        pool.pause("c")
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(2)
        pool.pause("b")
        await asyncio.sleep(3)
        pool.resume("c")
        await task
        assert runs(task)[1] == ("c", 5, 6, "OK", True)


async def test_a_paused_pool_starts_no_hedge() -> None:
    """Until it goes on."""
    async with pool_of(takes(20), takes(1)) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(1)
        pool.pause(until=9)
        await task
        assert runs(task)[1] == ("b", 10, 11, "OK", True)


@pytest.mark.parametrize(
    ("mode", "seconds", "unfinished"), [("drain", 3, 0), ("running", 3, 0), ("cancel", 2.5, 1)]
)
async def test_a_pool_that_closes(mode: Any, seconds: float, unfinished: int) -> None:
    """Lets hedges go on as it lets attempts, and reports a task once."""
    pool = pool_of(takes(10), takes(1))
    await pool.start()
    task = pool.submit("x", hedge=TWO)
    await asyncio.sleep(2.5)
    report: CloseReport = await pool.close(mode)
    assert (now(), len(report.unfinished), task.done()) == (seconds, unfinished, True)
    if mode == "cancel":
        assert [a.outcome for a in task.attempts] == [AttemptOutcome.SHUTDOWN] * 2


async def test_a_hedge_that_waits_is_nothing_to_report_at_the_close() -> None:
    """It is not a task."""
    pool = pool_of(takes(10))
    await pool.start()
    task = pool.submit("x", hedge=TWO)
    await asyncio.sleep(3)
    report = await pool.close("cancel")
    assert [entry.id for entry in report.unfinished] == [task.id]
    assert pool.snapshot().submitted == pool.snapshot().cancelled == 1


async def test_attempts_that_ignore_a_close_end_their_task_once() -> None:
    """When the grace is over."""
    pool = pool_of(cleans_up(30), cleans_up(30), stop_grace=4)
    await pool.start()
    task = pool.submit("x", hedge=TWO)
    await asyncio.sleep(3)
    closing = asyncio.create_task(pool.close("cancel"))
    await task.wait()
    assert now() == 7
    report = await closing
    assert [entry.id for entry in report.unfinished] == [task.id]
    await asyncio.sleep(60)


# -- what the two attempts see ---------------------------------------------------------------------


async def test_both_attempts_are_the_same_task_to_their_code() -> None:
    """Its id, attempt, metadata, time left and context; what one notes the other reads."""
    tenant: ContextVar[str] = ContextVar("tenant")
    seen: list[tuple[Any, ...]] = []
    names: list[str] = []

    async def look(data: Any) -> Any:
        task = current_task()
        task.metadata.setdefault("looked", []).append(len(seen))
        seen.append((task.id, task.attempt, task.remaining(), tenant.get()))
        names.append(task.worker.name)
        tenant.set("mine")
        await asyncio.sleep(5)
        return data

    async with pool_of(look, look) as pool:
        tenant.set("theirs")
        await pool.submit("first", worker="b", timeout=1).wait()
        seen.clear()
        names.clear()
        task = pool.submit("x", hedge=TWO, attempt_timeout=20, metadata={"k": 1})
        await task
        assert seen == [(task.id, 1, 20, "theirs"), (task.id, 1, 20, "theirs")]
        assert names == ["a", "b"]
        assert task.metadata == {"k": 1, "looked": [0, 1]}


async def test_a_hedge_that_goes_on_is_still_heard() -> None:
    """Its reports concern its own worker, those of the first attempt's late code nobody."""

    async def first(data: Any) -> Any:
        me = current_task()
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            me.settle(tokens=99)
            await asyncio.sleep(1)
            me.settle(tokens=98)
            raise

    async def second(data: Any) -> Any:
        me = current_task()
        await asyncio.sleep(6)
        me.settle(tokens=10)
        assert current_task().attempt == 1
        return data

    async with pool_of(first, second) as pool:
        for ref in pool.workers():
            pool.set_quota(ref, Quota(tokens=Window(100, per=1000)))
        task = pool.submit("x", cost={"tokens": 50}, attempt_timeout=7, hedge=TWO)
        await asyncio.sleep(7.5)
        assert task.worker == pool.workers()[1]
        await task
        assert now() == 8
        left = [worker.quota_left["tokens"] for worker in pool.snapshot().workers]
        assert left == [50, 90]


async def test_callbacks_and_observers_know_one_task() -> None:
    """No event, hook or callback shows anything but its handle."""
    seen: list[Any] = []
    started: list[Any] = []
    hooks = Hooks(on_event=seen.append, on_attempt=seen.append, on_success=seen.append)
    async with pool_of(later(3, OSError()), takes(5), hooks=hooks) as pool:
        subscription = pool.events()
        task = pool.submit("x", hedge=TWO, on_running=started.append)
        await task
        await asyncio.sleep(1)
    events = [event async for event in subscription]
    tasks = [e.task for e in [*seen, *events] if isinstance(e, TaskMoved | AttemptEnded)]
    assert set(tasks) == {task}
    assert started == [task, task]
    moves = [(e.old.name, e.new.name, e.at) for e in events if isinstance(e, TaskMoved)]
    assert moves[-1] == ("RUNNING", "SUCCEEDED", 7)
    assert [move.new for move in task.history] == [
        e.new for e in events if isinstance(e, TaskMoved)
    ]
    ended = [e.attempt for e in seen if isinstance(e, AttemptEnded)]
    assert ended == list(task.attempts)


async def test_a_snapshot_counts_tasks_and_hedges_apart() -> None:
    """Busy workers are running tasks and their hedges."""
    async with pool_of(takes(10), takes(10), max_queue=1) as pool:
        task = pool.submit("x", hedge=TWO)
        await asyncio.sleep(3)
        snapshot = pool.snapshot()
        assert (snapshot.tasks[TaskState.RUNNING], snapshot.hedges) == (1, 1)
        assert [worker.task for worker in snapshot.workers] == [task.id] * 2
        assert snapshot.submitted == 1
        assert task.explain() == "running on a and b"


async def test_a_hedge_that_waits_is_no_task_in_line() -> None:
    """It takes no place in a bounded queue, and nothing is older for it."""
    async with pool_of(takes(10), takes(10), max_queue=1) as pool:
        pool.submit("x", hedge=TWO)
        pool.submit("y")
        await asyncio.sleep(3)
        snapshot = pool.snapshot()
        assert (snapshot.tasks[TaskState.QUEUED], snapshot.oldest_wait, snapshot.hedges) == (
            0,
            0,
            0,
        )
        pool.submit("z")
        assert pool.snapshot().tasks[TaskState.QUEUED] == 1


async def test_no_worker_is_made_for_a_hedge() -> None:
    """But one that is there anyhow is used."""
    made: list[Probe] = []

    def factory() -> Probe:
        made.append(Probe(does=takes(10)))
        return made[-1]

    async with Pool(factory=factory, max_workers=3, debug=True) as pool:
        await pool.submit("x", hedge=TWO)
        assert len(made) == 1
        await asyncio.gather(pool.submit(1), pool.submit(2, hedge=TWO))
        assert len(made) == 2


# -- waiting for others of the pool ----------------------------------------------------------------


async def test_two_attempts_that_wait_in_vain_are_not_both_told() -> None:
    """They hold both workers, and each awaits a child: the younger wait gives way to the other."""

    async def does(data: Any) -> Any:
        if data == "child":
            return "done"
        await asyncio.sleep(3)
        return await pool.submit("child")

    async with pool_of(does, does, retry=ONCE) as pool:
        task = pool.submit("parent", hedge=TWO)
        assert await task == "done"
        assert now() == 5
        assert runs(task) == [("a", 0, 5, "OK", False), ("b", 2, 5, "ERROR", True)]
        assert isinstance(task.attempts[1].error, DeadlockDetected)


class AwaitsItself:
    """An attempt that awaits the outcome of its own task, some seconds after it began."""

    task: TaskHandle[Any]

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        #: When it was told that this is in vain.
        self.told: list[float] = []

    async def __call__(self, data: Any) -> Any:
        await asyncio.sleep(self.seconds)
        try:
            return await self.task
        except DeadlockDetected:
            self.told.append(now())
            return "told"


async def test_who_waits_for_a_hedged_task_hopes_as_long_as_one_attempt_does() -> None:
    """The first attempt waits in vain once its hedge, which did not, has failed."""
    waits = AwaitsItself(3)
    async with pool_of(waits, later(3, OSError()), debug=False) as pool:
        waits.task = pool.submit("x", hedge=TWO)
        assert await waits.task.wait(60)
        assert (waits.task.result(), waits.told) == ("told", [5])


async def test_a_hedge_that_goes_on_waits_as_its_task() -> None:
    """What it began to wait for, it waits for still; in vain, if that is its own task."""
    waits = AwaitsItself(0)
    async with pool_of(later(3, OSError()), waits, debug=False) as pool:
        waits.task = pool.submit("x", hedge=TWO)
        assert await waits.task.wait(60)
        assert (waits.task.result(), waits.told) == ("told", [3])


async def test_a_hedge_that_has_gone_on_is_told_that_it_waits_in_vain() -> None:
    """Though its code still belongs to the hedge that it was."""
    waits = AwaitsItself(3)
    async with pool_of(later(3, OSError()), waits, debug=False) as pool:
        waits.task = pool.submit("x", hedge=TWO)
        assert await waits.task.wait(60)
        assert (waits.task.result(), waits.told) == ("told", [5])


# -- the budget ------------------------------------------------------------------------------------


async def test_hedges_come_out_of_the_retry_budget() -> None:
    """From the moment they are due to their end; without room there is none for that attempt."""
    budget = RetryBudget(0, 1)
    async with pool_of(takes(9), takes(9), takes(1), takes(1), retry_budget=budget) as pool:
        tasks = [pool.submit(n, hedge=Hedge(after=2 + n / 2)) for n in range(2)]
        await asyncio.sleep(2.2)
        assert pool.snapshot().retrying == 1
        await asyncio.gather(*tasks)
        assert [len(task.attempts) for task in tasks] == [2, 1]
        assert pool.snapshot().retrying == 0


async def test_a_hedge_that_takes_over_stays_in_the_budget() -> None:
    """Until its end, and a retry of the task after it needs no second place."""
    async with pool_of(
        later(3, OSError()),
        later(3, OSError()),
        retry=RetryPolicy.fixed(10, attempts=2),
        retry_budget=RetryBudget(0, 1),
    ) as pool:
        task = pool.submit("x", hedge=TWO)
        seen: list[int | None] = []
        for moment in (1, 2.5, 4, 6, 20):
            await asyncio.sleep(moment - now())
            seen.append(pool.snapshot().retrying)
        assert seen == [0, 1, 1, 1, 0]
        assert task.attempt_count == 2


async def test_a_hedge_is_no_task_that_a_budget_would_be_a_share_of() -> None:
    """Two thirds of two tasks is one, whether one of them is hedged or not."""
    budget = RetryBudget(0.67, 0)
    async with pool_of(takes(9), takes(9), later(3, OSError()), retry_budget=budget) as pool:
        pool.submit("slow", hedge=TWO)
        task = pool.submit("fails", worker="c")
        await task.wait()
        assert (now(), pool.snapshot().hedges) == (3, 1)
        assert [dead.reason for dead in pool.dead] == [EndReason.RETRY_BUDGET]


async def test_a_hedge_beyond_the_rate_of_the_budget_is_not_made() -> None:
    """A wave of slow attempts must not become a wave of second ones."""
    budget = RetryBudget(1, rate=0.1)
    async with pool_of(takes(9), takes(9), takes(1), takes(1), retry_budget=budget) as pool:
        tasks = [pool.submit(n, hedge=TWO) for n in range(2)]
        await asyncio.gather(*tasks)
        assert [len(task.attempts) for task in tasks] == [2, 1]


# -- quantiles -------------------------------------------------------------------------------------


async def run_for(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def test_a_quantile_is_taken_from_what_was_seen() -> None:
    """Nothing is hedged before there are enough samples; then what takes longer than most."""
    slow_once = [takes(9)]

    def does(data: float) -> Awaitable[Any]:
        return slow_once.pop()(data) if data == -1 else run_for(data)

    async with pool_of(does, does) as pool:
        hedge = Hedge(quantile=0.9, min_samples=10)
        for length in (5, 1, 2, 3, 4, 6, 8, 7, 10):
            task = pool.submit(length, hedge=hedge)
            await task
            assert len(task.attempts) == 1
        early = pool.submit(30, hedge=hedge)  # the tenth sample; it starts with nine
        await early
        assert len(early.attempts) == 1
        began = now()
        late = pool.submit(12, hedge=hedge)
        await late
        assert late.attempts[1].started - began == 10


async def test_only_tasks_with_a_quantile_are_observed() -> None:
    """And of these all first attempts: what was outrun counts as long as it ran."""
    async with pool_of(run_for, run_for) as pool:
        latencies = pool._engine.ledger.latencies
        await pool.submit(3)
        await pool.submit(3, hedge=Hedge(after=1))
        assert latencies._sorted == []
        hedge = Hedge(quantile=0.5, min_samples=1)
        await pool.submit(4, hedge=hedge)
        assert latencies._sorted == [4]
    tries = iter([takes(2), takes(9), takes(1)])
    does: Does = lambda data: next(tries)(data)  # noqa: E731
    async with pool_of(does, does) as pool:
        latencies = pool._engine.ledger.latencies
        await pool.submit("x", hedge=hedge)
        task = pool.submit("y", hedge=hedge)
        await task
        assert [a.duration for a in task.attempts] == [3, 1]
        assert latencies._sorted == [2, 3]
        tries = iter([later(4, OSError()), takes(9)])
        await pool.submit("z", hedge=hedge)  # the first fails, the hedge goes on
        assert latencies._sorted == [2, 3]


# -- what is asked for -----------------------------------------------------------------------------


async def test_a_pool_may_hedge_by_default() -> None:
    """All but those that may not run twice, or on one worker only, or are given None."""
    async with pool_of(takes(9), takes(1), hedge=TWO) as pool:
        attempts: list[int] = []
        for options in (
            {},
            {"priority": 1},
            {"idempotent": False},
            {"worker": "a"},
            {"hedge": None},
        ):
            task = pool.submit("x", **options)  # type: ignore[arg-type]
            await asyncio.sleep(20)
            attempts.append(len(task.attempts))
            await pool.submit("to have b idle last", worker="b", idempotent=False)
        assert attempts == [2, 2, 1, 1, 1]


async def test_a_dead_task_is_hedged_again_when_it_is_requeued() -> None:
    """It is submitted as it was."""
    async with pool_of(later(3, OSError()), later(1, OSError()), retry=ONCE) as pool:
        await pool.submit("x", hedge=TWO).wait()
        await asyncio.sleep(1)
        workers_of(pool)[0].does, workers_of(pool)[1].does = takes(9), takes(9)
        (dead,) = pool.dead
        again = pool.dead.requeue(dead.id)
        await again
        assert len(again.attempts) == 2


async def test_what_forbids_a_hedge_may_not_be_asked_for_with_one() -> None:
    """At the call, and nothing is submitted."""
    async with pool_of(takes(1), takes(1), hedge=TWO) as pool:
        with pytest.raises(ValueError, match="idempotent"):
            pool.submit("x", hedge=TWO, idempotent=False)
        with pytest.raises(ValueError, match="one worker"):
            pool.submit("x", hedge=TWO, worker="a")
        assert pool.snapshot().submitted == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "after or quantile"),
        ({"after": 1, "quantile": 0.5}, "after or quantile"),
        *(({"after": bad}, "after") for bad in (-1, float("nan"), "1", True)),
        *(({"quantile": bad}, "quantile") for bad in (0, 1, -0.5, 95, float("nan"), "0.9", True)),
        *(
            ({"quantile": 0.9, "min_samples": bad}, "min_samples")
            for bad in (0, -1, 1.5, True, 1001)
        ),
        ({"after": 1, "min_samples": 5}, "min_samples"),
    ],
)
def test_odd_values_are_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    """When the hedge is made."""
    with pytest.raises((TypeError, ValueError), match=named):
        Hedge(**arguments)


@pytest.mark.parametrize("value", [1, 0.5, True, Hedge, "p95"])
async def test_only_a_hedge_is_a_hedge(value: Any) -> None:
    """For the pool and for a task."""
    with pytest.raises(TypeError, match="hedge"):
        Pool(hedge=value)
    async with pool_of(takes(1)) as pool:
        with pytest.raises(TypeError, match="hedge"):
            pool.submit("x", hedge=value)
        with pytest.raises(TypeError, match="idempotent"):
            pool.submit("x", idempotent=1)  # type: ignore[typeddict-item]

"""When a failed task runs again: strategies, and what an attempt knows of itself."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from math import inf, nan
from typing import Any

import pytest
import tenacity
import tenacity.asyncio.retry

from retrypool_async import (
    PolicyError,
    Pool,
    RetryPolicy,
    Snooze,
    TaskTimeout,
    Throttled,
    current_task,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

State = tenacity.RetryCallState


async def starts_of(policy: Any, does: Any = None, **options: Any) -> list[float]:
    """When the attempts of one failing task begin."""
    worker = Probe(does=does or fails(LookupError("x")))
    began = now()
    async with Pool([worker], retry=policy, debug=True) as pool:
        await pool.submit(1, **options).wait()
    return [start - began for start in worker.starts]


# -- what the caller sees --------------------------------------------------------------------------


async def test_the_caller_gets_the_original_exception_with_a_note() -> None:
    """Not a wrapper of ours, and each awaiter the same."""
    error = LookupError("mine")
    worker = Probe("key-7", does=fails(error))
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1)
        for _ in range(2):
            with pytest.raises(LookupError) as failure:
                await task
            assert failure.value is error
    assert error.__notes__ == ["attempt 3 on key-7"]


async def test_the_last_error_is_the_one_that_is_raised() -> None:
    """The others are in the handle, oldest first, with worker and times."""
    errors = [OSError(1), KeyError(2), LookupError(3)]
    worker = Probe("w", does=in_turn(*errors))
    async with Pool([worker], retry=RetryPolicy.fixed(2), debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(LookupError):
            await task
        assert [attempt.error for attempt in task.attempts] == errors
        assert [(x.number, x.worker, x.started) for x in task.attempts] == [
            (1, "w", 0),
            (2, "w", 2),
            (3, "w", 4),
        ]


async def test_three_attempts_with_growing_random_waits_are_the_default() -> None:
    """Within half a second, then one; the waits come from the pool's own random source."""
    runs = []
    for _ in range(2):
        worker = Probe(does=fails())
        async with Pool([worker], rng=random.Random(7), debug=True) as pool:
            began = now()
            await pool.submit(1).wait()
        runs.append([start - began for start in worker.starts])
    assert runs[0] == pytest.approx(runs[1])
    first, second, third = runs[0]
    assert first == 0 <= second <= 0.5
    assert second <= third <= second + 1


# -- tenacity's strategies -------------------------------------------------------------------------

FIVE = tenacity.stop_after_attempt(5)
SECOND = tenacity.wait_fixed(1)


@pytest.mark.parametrize(
    ("wait", "starts"),
    [
        (tenacity.wait_none(), [0, 0, 0, 0, 0]),
        (tenacity.wait_fixed(2), [0, 2, 4, 6, 8]),
        (tenacity.wait_fixed(timedelta(minutes=1)), [0, 60, 120, 180, 240]),
        (tenacity.wait_incrementing(1, 2), [0, 1, 4, 9, 16]),
        (tenacity.wait_exponential(1, max=5), [0, 1, 3, 7, 12]),
        (tenacity.wait_fixed(1) + tenacity.wait_fixed(2), [0, 3, 6, 9, 12]),
        (tenacity.wait_combine(tenacity.wait_fixed(1), lambda s: 2), [0, 3, 6, 9, 12]),
        (tenacity.wait_chain(*map(tenacity.wait_fixed, (1, 2))), [0, 1, 3, 5, 7]),
        (tenacity.wait_chain(lambda s: 1, lambda s: 2), [0, 1, 3, 5, 7]),  # type: ignore[arg-type]
        (
            tenacity.wait_combine(tenacity.wait_chain(lambda s: 1, lambda s: 2), SECOND),  # type: ignore[arg-type]
            [0, 2, 5, 8, 11],
        ),
        *(
            [(tenacity.wait_exception(lambda error: len(error.args) * 4.0), [0, 4, 8, 12, 16])]
            if hasattr(tenacity, "wait_exception")  # younger than the oldest version we allow
            else []
        ),
        (lambda state: state.attempt_number, [0, 1, 3, 6, 10]),
        (lambda state: timedelta(seconds=3), [0, 3, 6, 9, 12]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_wait_strategies_run_on_the_pools_clock(wait: Any, starts: list[float]) -> None:
    """As pure functions; none sleeps, none reads another clock."""
    assert await starts_of(RetryPolicy(wait=wait, stop=FIVE)) == starts


@pytest.mark.parametrize(
    ("wait", "most"),
    [
        (tenacity.wait_random(1, 3), [3, 3, 3, 3]),
        (tenacity.wait_random_exponential(1, max=5), [1, 2, 4, 5]),
        (tenacity.wait_exponential_jitter(1, max=5, jitter=1), [2, 3, 5, 5]),
        (SECOND + tenacity.wait_random(0, 1), [2, 2, 2, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_random_wait_strategies_stay_within_their_bounds(
    wait: Any, most: list[float]
) -> None:
    """However often they are asked."""
    starts = await starts_of(RetryPolicy(wait=wait, stop=FIVE))
    waits = [later - at for at, later in pairwise(starts)]
    assert len(waits) == 4
    assert all(0 <= wait <= limit + 1e-6 for wait, limit in zip(waits, most, strict=True))


@pytest.mark.parametrize(
    ("stop", "starts"),
    [
        (tenacity.stop_after_attempt(1), [0]),
        (tenacity.stop_after_attempt(3), [0, 2, 4]),
        (tenacity.stop_after_delay(5), [0, 2, 4, 6]),
        (tenacity.stop_after_delay(4), [0, 2, 4]),
        (tenacity.stop_before_delay(5), [0, 2, 4]),
        (tenacity.stop_before_delay(4), [0, 2]),
        (tenacity.stop_after_delay(timedelta(seconds=3)), [0, 2, 4]),
        (tenacity.stop_after_attempt(9) | tenacity.stop_after_delay(3), [0, 2, 4]),
        (tenacity.stop_after_attempt(2) & tenacity.stop_after_delay(3), [0, 2, 4]),
        (tenacity.stop_any(tenacity.stop_after_attempt(2), tenacity.stop_never), [0, 2]),
        (lambda state: state.attempt_number == 4, [0, 2, 4, 6]),
        (lambda state: state.idle_for >= 4, [0, 2, 4]),
    ],
)
async def test_stop_strategies_run_on_the_pools_clock(stop: Any, starts: list[float]) -> None:
    """Seconds count from the first attempt's start."""
    assert await starts_of(RetryPolicy(wait=tenacity.wait_fixed(2), stop=stop)) == starts


async def test_stop_after_delay_counts_the_time_that_attempts_take_but_not_the_queue() -> None:
    """Attempts of 3 s and waits of 1 s after 50 s in the queue, until 10 s have passed."""
    worker = Probe()

    async def work(data: object) -> None:
        await asyncio.sleep(50 if data == "first" else 3)
        if data != "first":
            raise LookupError

    worker.does = work
    policy = RetryPolicy(wait=SECOND, stop=tenacity.stop_after_delay(10))
    async with Pool([worker], retry=policy, debug=True) as pool:
        pool.submit("first")
        await pool.submit("second").wait()
    assert worker.starts == [0, 50, 54, 58]


@pytest.mark.parametrize("first", [Throttled(4), Snooze(4)], ids=repr)
async def test_stop_after_delay_counts_from_the_first_attempt_even_if_that_was_not_spent(
    first: Exception,
) -> None:
    """The caller has been waiting since."""
    policy = RetryPolicy(wait=SECOND, stop=tenacity.stop_after_delay(6))
    assert await starts_of(policy, in_turn(first, LookupError())) == [0, 4, 5, 6]


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [
        (tenacity.retry_always, 3),
        (tenacity.retry_never, 1),
        (tenacity.retry_if_exception_type(LookupError), 3),
        (tenacity.retry_if_exception_type((OSError, LookupError)), 3),
        (tenacity.retry_if_exception_type(OSError), 1),
        (tenacity.retry_if_not_exception_type(LookupError), 1),
        (tenacity.retry_unless_exception_type(OSError), 3),
        (tenacity.retry_if_exception(lambda error: error.args == ("x",)), 3),
        (tenacity.retry_if_exception_message("y"), 1),
        (tenacity.retry_if_exception_message(match="[xyz]"), 3),
        (tenacity.retry_if_not_exception_message("x"), 1),
        (tenacity.retry_if_exception_cause_type(OSError), 1),
        (
            tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_exception_message("x"),
            3,
        ),
        (
            tenacity.retry_if_exception_type(LookupError)
            & tenacity.retry_if_exception_message("y"),
            1,
        ),
        (tenacity.retry_all(tenacity.retry_if_exception_type(LookupError)), 3),
        (lambda state: state.attempt_number < 2, 2),
    ],
)
async def test_predicates_on_exceptions_decide(retry: Any, attempts: int) -> None:
    """Of every kind and combination."""
    policy = RetryPolicy(retry=retry, wait=tenacity.wait_none())
    assert len(await starts_of(policy)) == attempts


async def test_a_wait_may_come_out_of_the_error() -> None:
    """3, then 7 seconds. Origin: jd/tenacity#461."""

    class Busy(Exception):
        def __init__(self, after: float) -> None:
            self.after = after

    def wait(state: State) -> float:
        assert state.outcome is not None
        error = state.outcome.exception()
        assert isinstance(error, Busy)
        return error.after

    does = in_turn(Busy(3), Busy(7), "ok")
    assert await starts_of(RetryPolicy(wait=wait), does) == [0, 3, 10]


async def test_strategies_see_one_state_that_lives_as_long_as_the_task() -> None:
    """Attempt, outcome, times and the sleep to come, on the pool's clock."""
    seen: list[tuple[Any, ...]] = []
    states: list[State] = []

    def look(state: State) -> bool:
        states.append(state)
        assert state.outcome is not None
        seen.append(
            (
                state.attempt_number,
                state.seconds_since_start,
                state.idle_for,
                state.upcoming_sleep,
                type(state.outcome.exception()),
                state.outcome.failed,
                state.args,
            )
        )
        return state.attempt_number == 3

    policy = RetryPolicy(wait=tenacity.wait_incrementing(1, 2), stop=look)
    worker = Probe(does=in_turn(OSError(), KeyError(), LookupError()))
    async with Pool([worker], retry=policy, debug=True) as pool:
        await pool.submit("data").wait()
        await pool.submit("other").wait()
    assert seen[:3] == [
        (1, 0, 0, 1, OSError, True, ("data",)),
        (2, 1, 1, 3, KeyError, True, ("data",)),
        (3, 4, 4, 5, LookupError, True, ("data",)),
    ]
    assert states[0] is states[1] is states[2]
    assert states[3] is not states[0]
    assert seen[3][:3] == (1, 0, 0)


async def test_before_sleep_is_told_of_each_wait_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not of the last failure, after which there is none."""
    told: list[float] = []

    def before_sleep(state: State) -> None:
        assert state.next_action is not None
        told.append(state.next_action.sleep)
        raise ZeroDivisionError

    policy = RetryPolicy(wait=tenacity.wait_incrementing(1, 1), before_sleep=before_sleep)
    assert await starts_of(policy) == [0, 1, 3]
    assert told == [1, 2]
    assert "before_sleep" in caplog.text


@pytest.mark.parametrize("kind", [tenacity.Retrying, tenacity.AsyncRetrying])
async def test_a_retrying_object_is_read_for_its_strategies(kind: Any) -> None:
    """By the pool, at submit, and for one task only."""
    retrying = kind(wait=tenacity.wait_fixed(7), stop=tenacity.stop_after_attempt(2))
    worker = Probe(does=fails())
    async with Pool([worker], retry=retrying, debug=True) as pool:
        await pool.submit(1).wait()
        assert now() == 7
        await pool.submit(2, retry=kind(wait=SECOND, stop=FIVE)).wait()
        assert now() == 11
        await pool.submit(3).wait()
        assert now() == 18


async def test_a_retrying_that_never_stops_goes_on_to_the_deadline() -> None:
    """tenacity's own default; a time limit ends it."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=tenacity.Retrying(wait=SECOND), debug=True) as pool:
        with pytest.raises(TaskTimeout):
            await pool.submit(1, timeout=50)
    assert len(worker.starts) == 50


@pytest.mark.parametrize(
    ("policy", "starts"),
    [
        (RetryPolicy.fixed(4), [0, 4, 8]),
        (RetryPolicy.fixed(timedelta(seconds=4), attempts=2), [0, 4]),
        (RetryPolicy.exponential(1, max=3, attempts=5, jitter=0), [0, 1, 3, 6, 9]),
        (RetryPolicy.exponential(0, jitter=0), [0, 0, 0]),
        (RetryPolicy.exponential(10, max=2, jitter=0), [0, 2, 4]),
        (RetryPolicy(wait=SECOND), [0, 1, 2]),
        (RetryPolicy(wait=lambda state: 1e9, stop=tenacity.stop_after_attempt(2)), [0, 86_400]),
        (RetryPolicy(wait=lambda state: inf, stop=tenacity.stop_after_attempt(2)), [0, 86_400]),
        (RetryPolicy(wait=lambda state: -5), [0, 0, 0]),
        (
            RetryPolicy(wait=tenacity.wait_exponential(), stop=tenacity.stop_after_attempt(2)),
            [0, 1],
        ),
    ],
)
async def test_our_own_policies_and_the_bounds_of_a_wait(
    policy: RetryPolicy, starts: list[float]
) -> None:
    """Never below zero, never above a day."""
    assert await starts_of(policy) == starts


async def test_a_thousand_doublings_are_no_overflow() -> None:
    """Neither ours nor tenacity's."""
    for wait in (None, tenacity.wait_exponential()):
        policy = (
            RetryPolicy.exponential(1, max=1, attempts=2000, jitter=0)
            if wait is None
            else RetryPolicy(wait=wait, stop=tenacity.stop_after_attempt(1100))
        )
        worker = Probe(does=fails())
        async with Pool([worker], retry=policy) as pool:
            task = pool.submit(1)
            await task.wait()
            assert task.attempt_count == (2000 if wait is None else 1100)


async def test_jitter_only_shortens() -> None:
    """By up to its share."""
    starts = await starts_of(RetryPolicy.fixed(10, attempts=40, jitter=0.25))
    waits = [later - at for at, later in pairwise(starts)]
    assert all(7.5 - 1e-6 <= wait <= 10 + 1e-6 for wait in waits)
    assert max(waits) - min(waits) > 1


# -- bad policies ----------------------------------------------------------------------------------


async def a_coroutine(state: Any) -> bool:
    """Not a strategy."""
    return True


@pytest.mark.parametrize("part", ["stop", "wait", "retry", "before_sleep"])
@pytest.mark.parametrize("bad", [5, "often", a_coroutine], ids=["number", "text", "coroutine"])
def test_what_is_no_plain_function_is_refused(part: str, bad: Any) -> None:
    """At once, naming the part."""
    with pytest.raises(TypeError, match=part):
        RetryPolicy(**{part: bad})


@pytest.mark.parametrize(
    "predicate",
    [
        tenacity.retry_if_result(lambda value: True),
        tenacity.retry_if_not_result(lambda value: True),
        tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_result(lambda value: True),
        tenacity.retry_all(tenacity.retry_any(tenacity.retry_if_result(lambda value: True))),
        tenacity.asyncio.retry.retry_if_exception(a_coroutine),  # type: ignore[arg-type]
        tenacity.asyncio.retry.retry_if_result(a_coroutine),
        tenacity.retry_if_exception_type(OSError)
        | tenacity.asyncio.retry.retry_if_exception(a_coroutine),  # type: ignore[arg-type]
        tenacity.retry_any(tenacity.retry_if_exception_type(OSError), a_coroutine),  # type: ignore[arg-type]
    ],
)
def test_predicates_that_judge_results_or_must_be_awaited_are_refused(predicate: Any) -> None:
    """However deep they are; also when they come in a Retrying object."""
    with pytest.raises(TypeError):
        RetryPolicy(retry=predicate)
    for kind in (tenacity.Retrying, tenacity.AsyncRetrying):
        with pytest.raises(TypeError):
            Pool([Probe()], retry=kind(retry=predicate))


@pytest.mark.parametrize("part", ["stop", "wait", "retry"])
@pytest.mark.parametrize("problem", [ZeroDivisionError, asyncio.CancelledError, SystemExit])
async def test_a_strategy_that_raises_ends_the_task_and_nothing_else(
    part: str, problem: type[BaseException]
) -> None:
    """With an error that says so, raised from what went wrong."""

    def broken(state: State) -> Any:
        raise problem

    worker = Probe(does=in_turn(LookupError(), "ok"))
    async with Pool([worker], retry=RetryPolicy(**{part: broken}), debug=True) as pool:
        with pytest.raises(PolicyError) as failure:
            await pool.submit(1)
        assert isinstance(failure.value.__cause__, problem)
        assert await pool.submit(2) == "ok"


@pytest.mark.parametrize("rubbish", ["soon", nan, True, [], object(), 1j], ids=repr)
async def test_a_wait_that_is_no_number_ends_the_task_and_nothing_else(rubbish: Any) -> None:
    """It is never taken for zero, which would be a storm."""
    worker = Probe(does=in_turn(LookupError(), "ok"))
    async with Pool([worker], retry=RetryPolicy(wait=lambda s: rubbish), debug=True) as pool:
        with pytest.raises(PolicyError):
            await pool.submit(1)
        assert await pool.submit(2) == "ok"


@pytest.mark.parametrize("part", ["stop", "wait", "retry"])
async def test_a_strategy_that_returns_a_coroutine_ends_the_task(part: str) -> None:
    """It would be true, and never awaited."""
    policy = RetryPolicy(**{part: lambda state: a_coroutine(state)})
    worker = Probe(does=in_turn(LookupError(), "ok"))
    async with Pool([worker], retry=policy, debug=True) as pool:
        with pytest.raises(PolicyError):
            await pool.submit(1)
        assert await pool.submit(2) == "ok"


# -- replaced live ---------------------------------------------------------------------------------


async def test_the_pools_policy_may_be_replaced_live() -> None:
    """For every failure from then on, also of tasks under way; a task's own policy stays."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=RetryPolicy.fixed(10, attempts=9), debug=True) as pool:
        task = pool.submit(1)
        own = pool.submit(2, retry=RetryPolicy.fixed(100, attempts=2))
        await asyncio.sleep(15)
        assert [attempt.started for attempt in task.attempts] == [0, 10]
        pool.retry = tenacity.Retrying(  # type: ignore[assignment]
            wait=tenacity.wait_fixed(1), stop=tenacity.stop_after_attempt(5)
        )
        await task.wait()
        assert [attempt.started for attempt in task.attempts] == [0, 10, 20, 21, 22]
        await own.wait()
        assert now() == 100
        assert isinstance(pool.retry, RetryPolicy)
        with pytest.raises(TypeError):
            pool.retry = 5  # type: ignore[assignment]


async def test_a_policy_that_takes_over_knows_when_the_task_began() -> None:
    """And how long it has been idle, whoever asked for that."""
    idle: list[float] = []

    def stop(state: State) -> bool:
        idle.append(state.idle_for)
        return state.seconds_since_start >= 12  # type: ignore[operator]

    worker = Probe(does=fails())
    async with Pool([worker], retry=RetryPolicy.fixed(5, attempts=9), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        pool.retry = RetryPolicy(wait=tenacity.wait_fixed(5), stop=stop)
        await task.wait()
        assert [attempt.started for attempt in task.attempts] == [0, 5, 10, 15]
    assert idle == [5, 10, 15]


# -- what an attempt knows -------------------------------------------------------------------------


async def test_every_attempt_sees_the_submitters_context_afresh() -> None:
    """What one attempt sets, neither the next nor the submitter sees."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    items: contextvars.ContextVar[list[int]] = contextvars.ContextVar("items")
    seen: list[tuple[str, int]] = []

    async def work(data: object) -> None:
        seen.append((request.get(), current_task().attempt))
        request.set("spoilt")
        await asyncio.sleep(0)
        assert request.get() == "spoilt"
        assert items.get() == [1]
        items.set([2])
        raise LookupError

    workers = [Probe(does=work) for _ in range(2)]
    async with Pool(workers, retry=RetryPolicy.fixed(1), bounce=True, debug=True) as pool:
        request.set("mine")
        items.set([1])
        task = pool.submit(1)
        request.set("another's")
        await task.wait()
    assert seen == [("mine", 1), ("mine", 2), ("mine", 3)]
    assert (request.get(), items.get()) == ("another's", [1])


async def test_each_task_runs_in_the_context_of_its_own_submitter() -> None:
    """On one worker, one after the other, and in tasks that an attempt starts."""
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

    async def inner() -> tuple[str, int]:
        return user.get(), current_task().id

    async def work(data: object) -> tuple[str, int]:
        return await asyncio.create_task(inner())

    async with Pool([Probe(does=work)], debug=True) as pool:

        async def caller(name: str) -> None:
            user.set(name)
            task = pool.submit(name)
            assert await task == (name, task.id)

        await asyncio.gather(*(caller(name) for name in "abc"))
    assert user.get("nobody") == "nobody"


async def test_a_context_variable_can_be_reset_across_awaits_of_one_attempt() -> None:
    """All steps of an attempt run in one context, so that its tokens hold."""
    depth = contextvars.ContextVar("depth", default=0)

    async def work(data: object) -> int:
        token = depth.set(1)
        await asyncio.sleep(1)
        assert depth.get() == 1
        depth.reset(token)
        await asyncio.sleep(1)
        return depth.get()

    async with Pool([Probe(does=work)], debug=True) as pool:
        assert await pool.submit(1) == 0


async def test_attempts_are_numbered_as_they_count() -> None:
    """A refused one repeats its number; a task submitted from an attempt has its own."""
    seen: list[tuple[object, int]] = []
    outcomes = [Throttled(1), LookupError(), Snooze(1), LookupError(), None]

    async def work(data: object) -> None:
        seen.append((data, current_task().attempt))
        if data == "inner":
            return
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        await pool.submit("inner")
        seen.append((data, current_task().attempt))

    workers = [Probe("a", does=work), Probe("b", does=work)]
    async with Pool(workers, retry=RetryPolicy.fixed(0), debug=True) as pool:
        await pool.submit("outer")
    assert seen == [
        ("outer", 1),
        ("outer", 1),
        ("outer", 2),
        ("outer", 2),
        ("outer", 3),
        ("inner", 1),
        ("outer", 3),
    ]


async def test_metadata_is_carried_from_attempt_to_attempt() -> None:
    """The pool's, then the task's, then what attempts write; the given mapping is not touched."""

    async def work(data: object) -> None:
        notes = current_task().metadata
        notes["pages"] = notes.get("pages", 0) + 1
        raise LookupError

    given = {"user": "u", "app": "mine"}
    worker = Probe(does=work)
    async with Pool(
        [worker], metadata={"app": "x", "env": "e"}, retry=RetryPolicy.fixed(0), debug=True
    ) as pool:
        task = pool.submit(1, metadata=given)
        other = pool.submit(2)
        await task.wait()
        await other.wait()
        assert task.metadata == {"app": "mine", "env": "e", "user": "u", "pages": 3}
        assert other.metadata == {"app": "x", "env": "e", "pages": 3}
        assert pool.dead.pull(task.id).metadata["pages"] == 3
    assert given == {"user": "u", "app": "mine"}


async def test_outside_an_attempt_there_is_no_current_task() -> None:
    """Neither in the caller nor after."""
    with pytest.raises(LookupError):
        current_task()
    async with Pool([Probe()], debug=True) as pool:
        await pool.submit(1)
        with pytest.raises(LookupError):
            current_task()


async def test_time_is_accounted_for() -> None:
    """Queue, quota, back-off and run add up to the whole."""
    worker = Probe(does=takes(60))
    async with Pool([worker], retry=RetryPolicy.fixed(3), debug=True) as pool:
        pool.submit(0)
        await asyncio.sleep(0)
        failing = in_turn(ValueError(), "ok")

        async def work(data: object) -> object:
            await asyncio.sleep(2)
            return failing(data)

        task = pool.submit(1)
        await asyncio.sleep(30)
        worker.does = work
        await task
        assert task.times == (60, 0, 3, 4)
        assert sum(task.times) == now()


def test_the_helpers_name_what_is_wrong() -> None:
    """At the call."""
    bad: list[tuple[Callable[[], object], str]] = [
        (lambda: RetryPolicy.fixed(-1), "delay"),
        (lambda: RetryPolicy.fixed(nan), "delay"),
        (lambda: RetryPolicy.fixed(1, attempts=0), "attempts"),
        (lambda: RetryPolicy.fixed(1, jitter=2), "jitter"),
        (lambda: RetryPolicy.exponential(-1), "base"),
        (lambda: RetryPolicy.exponential(max="x"), "max"),  # type: ignore[arg-type]
        (lambda: RetryPolicy.exponential(attempts=1.5), "attempts"),  # type: ignore[arg-type]
    ]
    for call, name in bad:
        with pytest.raises((TypeError, ValueError), match=name):
            call()

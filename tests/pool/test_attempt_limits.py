"""Workers that allow a task only so many attempts: `max_attempts_per_task`."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import nullcontext
from typing import Any

import pytest

from retrypool_async import (
    AttemptTimeout,
    Bounce,
    DeadlockDetected,
    EndReason,
    FailureAction,
    FunctionWorker,
    Hooks,
    Pool,
    Quota,
    ResourceWorker,
    RetryPolicy,
    Snooze,
    TaskHandle,
    TaskState,
    ThreadWorker,
    Throttled,
    Window,
    Worker,
    WorkerLost,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

TEN = RetryPolicy.fixed(0, attempts=10)
SLOWLY = RetryPolicy.fixed(5, attempts=10)


def once(name: str | None = None, does: Any = None, **attributes: Any) -> Probe:
    """A worker that allows a task one attempt, which fails unless said otherwise."""
    return Probe(name, does or fails(ConnectionError), max_attempts_per_task=1, **attributes)


def runs(task: TaskHandle[Any]) -> list[tuple[str, float]]:
    """On which worker each attempt began, and when."""
    return [(attempt.worker, attempt.started) for attempt in task.attempts]


async def ends(task: TaskHandle[Any], error: type[BaseException] = ConnectionError) -> float:
    """When the task ends for want of workers, with the error of its last attempt."""
    with pytest.raises(error) as raised:
        await task
    assert raised.value is task.attempts[-1].error
    assert task.reason is EndReason.NO_WORKER_LEFT
    return now()


async def test_a_task_ends_when_every_worker_has_seen_enough_of_it() -> None:
    """One attempt here, two there, of ten. Origin: BerriAI/litellm#18968."""
    workers = [once("a"), Probe("b", fails(ConnectionError), max_attempts_per_task=2)]
    async with Pool(workers, retry=TEN, debug=True) as pool:
        task = pool.submit(1)
        assert await ends(task) == 0
        assert sorted(name for name, _ in runs(task)) == ["a", "b", "b"]
        assert "attempt 3 on b" in getattr(task.error(), "__notes__", [])
        [dead] = pool.dead
        assert (dead.reason, dead.attempt_count) == (EndReason.NO_WORKER_LEFT, 3)


async def test_it_ends_with_its_last_attempt_and_not_when_a_retry_falls_due() -> None:
    """After 5 s it goes to the other worker; then nobody is left to wait for."""
    async with Pool([once("a"), once("b")], retry=SLOWLY, debug=True) as pool:
        task = pool.submit(1)
        assert await ends(task) == 5
        assert runs(task) == [("a", 0), ("b", 5)]


async def test_other_tasks_have_attempts_of_their_own() -> None:
    """Also a dead task that is submitted again."""
    async with Pool([once("a")], retry=TEN, debug=True) as pool:
        for n in range(3):
            await ends(pool.submit(n))
        [first, *_] = pool.dead
        again = pool.dead.requeue(first.id)
        await ends(again)
        assert runs(again) == [("a", 0)]


async def test_a_limit_outlasts_the_rounds_of_a_bounce() -> None:
    """The second round and those after it are for who has no limit."""
    workers = [once("a"), Probe("b", fails(ConnectionError)), Probe("c", fails(ConnectionError))]
    policy = RetryPolicy.fixed(0, attempts=7)
    async with Pool(workers, retry=policy, bounce=True, debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(ConnectionError):
            await task
        assert task.reason is EndReason.ATTEMPTS
        assert [name for name, _ in runs(task)] == ["a", "b", "c", "b", "c", "b", "c"]
        assert [ref.name for ref in task.tried] == ["a", "b"]


async def test_a_task_waits_for_the_worker_that_is_left_however_long_it_is_away() -> None:
    """Busy, cooling, or paused until somebody resumes it."""
    left = Probe("b")
    async with Pool([once("a"), left], retry=TEN, debug=True) as pool:
        for free_at, obstacle in ((10, None), (30, pool.cooldown), (50, pool.pause)):
            if obstacle is None:
                left.does = in_turn(asyncio.sleep(10), None)
                pool.submit(0, worker="b")
            elif obstacle is pool.pause:
                pool.pause("b", until=20)
            else:
                pool.cooldown("b", 20)
            task = pool.submit(1)
            await settle()
            assert "a: its attempts are used up" in task.explain()
            assert [ref.name for ref in task.tried] == ["a"]
            await task
            assert runs(task)[-1] == ("b", free_at)


@pytest.mark.parametrize(
    ("verdict", "seconds"), [(Throttled(2), 2), (Snooze(2), 2), (WorkerLost(), 0)]
)
async def test_what_spends_no_attempt_counts_here_no_more_than_there(
    verdict: Exception, seconds: float
) -> None:
    """Throttles, snoozes and losses of the worker are not the task's."""
    worker = once("a", in_turn(verdict, verdict, ConnectionError()))
    async with Pool([worker], retry=TEN, debug=True) as pool:
        task = pool.submit(1)
        assert await ends(task) == 2 * seconds
        assert [attempt.counted for attempt in task.attempts] == [False, False, True]


async def test_attempts_that_are_cut_off_or_handed_on_count() -> None:
    """As against the retry policy."""
    slow, handing_on = once("a", takes(60)), once("b", fails(Bounce()))
    async with Pool([slow, handing_on], retry=TEN, debug=True) as pool:
        first = pool.submit(1, attempt_timeout=3, worker="a")
        assert await ends(first, AttemptTimeout) == 3
        second = pool.submit(2, worker="b")
        assert await ends(second, Bounce) == 3


@pytest.mark.parametrize("bounce", [False, True])
async def test_an_immediate_retry_goes_elsewhere_when_its_worker_allows_no_more(
    bounce: bool,
) -> None:
    """At once, and to the front."""
    workers = [Probe("a", fails(ConnectionError), max_attempts_per_task=2), Probe("b")]
    async with Pool(workers, retry=SLOWLY, debug=True) as pool:
        pool.pause("b")
        task = pool.submit(1, immediate=True, bounce=bounce)
        await settle()
        pool.resume("b")
        await task
        assert runs(task) == [("a", 0), ("a", 0), ("b", 0)]


async def test_a_failure_hook_cannot_force_what_a_worker_does_not_allow() -> None:
    """`FORCE_RETRY` overrules the retry policy only."""
    hooks = Hooks(on_failure=lambda failed: FailureAction.FORCE_RETRY)
    async with Pool([once("a"), once("b")], hooks=hooks, debug=True) as pool:
        task = pool.submit(1)
        assert await ends(task) == 0
        assert runs(task) == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("options", [{"worker": "a"}, {"require": "own"}])
async def test_only_workers_that_a_task_may_go_to_are_left_for_it(options: Any) -> None:
    """Those it is not pinned to, or without its tags, are not."""
    async with Pool([once("a", tags={"own"}), Probe("b")], retry=TEN, debug=True) as pool:
        task = pool.submit(1, **options)
        await ends(task)
        assert runs(task) == [("a", 0)]


async def test_a_worker_that_could_never_grant_the_cost_is_not_left_either() -> None:
    """The task could be afforded, so its own error tells more than its cost."""
    small = Probe("b", quota=Quota(tokens=Window(5, per=1)))
    async with Pool([once("a"), small], retry=TEN, debug=True) as pool:
        await ends(pool.submit(1, cost={"tokens": 9}))


async def test_an_affinity_is_bound_anew_when_its_worker_allows_no_more() -> None:
    """The task goes elsewhere at once, and those after it follow."""
    a, b = once("a", in_turn("ok", ConnectionError(), "ok")), Probe("b")
    async with Pool([a, b], retry=TEN, affinity_wait=60, debug=True) as pool:
        tasks: list[TaskHandle[Any]] = []
        for n in range(3):
            tasks.append(pool.submit(n, affinity="chat"))
            await tasks[-1]
        assert [runs(task) for task in tasks] == [[("a", 0)], [("a", 0), ("b", 0)], [("b", 0)]]


async def test_the_next_of_an_order_key_runs_after_one_that_ended_so() -> None:
    """With attempts of its own."""
    worker = once("a", in_turn(ConnectionError(), "ok"))
    async with Pool([worker], retry=TEN, debug=True) as pool:
        first, second = (pool.submit(n, order_key="k") for n in range(2))
        await ends(first)
        assert await second == "ok"


# -- workers that come and go ----------------------------------------------------------------------


async def test_a_worker_that_leaves_may_have_been_the_last() -> None:
    """The task ends then, with the error of the attempt it made."""
    async with Pool([once("a"), Probe("b", takes(60))], retry=TEN, debug=True) as pool:
        pool.submit(0, worker="b", detach=True)
        task = pool.submit(1)
        await asyncio.sleep(3)
        assert task.state is TaskState.QUEUED
        await pool.remove("b", timeout=0, force=True)
        assert await ends(task) == 3


async def test_the_error_of_the_last_attempt_that_counted_is_raised() -> None:
    """Although the one after it was refused by a worker which then left."""
    workers = [once("a"), Probe("b", fails(Throttled(60)))]
    async with Pool(workers, retry=TEN, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(3)
        await pool.remove("b")
        with pytest.raises(ConnectionError):
            await task
        assert [name for name, _ in runs(task)] == ["a", "b"]


@pytest.mark.parametrize("history_limit", [0, 50])
@pytest.mark.parametrize("policy", ["wait", 10])
async def test_a_task_waits_for_another_worker_if_it_was_to(
    policy: Any, history_limit: int
) -> None:
    """`no_workers` holds for it as for any task that nobody may take."""
    async with Pool(
        [once("a")], retry=TEN, no_workers=policy, history_limit=history_limit, debug=True
    ) as pool:
        helped, left = pool.submit(1), pool.submit(2)
        await asyncio.sleep(4)
        assert pool.snapshot().unroutable == 2
        await pool.add(once("b", in_turn("ok", ConnectionError())))
        assert await helped == "ok"
        with nullcontext() if policy == "wait" else pytest.raises(ConnectionError):
            async with asyncio.timeout(60):
                if policy == "wait":
                    assert not await left.wait(30)
                    await pool.add(Probe("c"))
                await left
        assert now() == (34 if policy == "wait" else 14)


async def test_waiting_for_a_worker_may_be_asked_for_by_one_task() -> None:
    """`wait_for_worker` outweighs the pool's `no_workers`."""
    async with Pool([once("a")], retry=TEN, debug=True) as pool:
        task = pool.submit(1, wait_for_worker=True)
        await asyncio.sleep(4)
        await pool.add(Probe("b"))
        await task
        assert runs(task) == [("a", 0), ("b", 4)]


async def test_a_worker_that_was_rebuilt_is_the_same_worker() -> None:
    """A new one of the same name is not."""
    async with Pool([once("a", max_tasks=1)], retry=TEN, no_workers="wait", debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        assert runs(task) == [("a", 0)]
        await pool.remove("a")
        await pool.add(Probe("a"))
        await task
        assert runs(task) == [("a", 0), ("a", 1)]


async def test_a_factory_makes_another_worker_as_long_as_it_may() -> None:
    """Then the task ends, although workers that leave would make room one day."""
    made: list[Probe] = []

    def factory() -> Probe:
        made.append(once(f"w{len(made)}"))
        return made[-1]

    async with Pool(factory=factory, max_workers=3, retry=TEN, debug=True) as pool:
        task = pool.submit(1)
        assert await ends(task) == 0
        assert runs(task) == [("w0", 0), ("w1", 0), ("w2", 0)]


async def test_an_attempt_that_waits_for_a_task_which_only_it_could_run_is_told() -> None:
    """The inner task has used up the other worker, and the outer one keeps the last."""

    class Outer(Worker[Any, Any]):
        name = "outer"

        async def run(self, data: Any, /) -> Any:
            return await pool.submit("inner", retry=SLOWLY)

    async with Pool([Outer(), once("a")], retry=TEN, debug=True) as pool:
        with pytest.raises(DeadlockDetected):
            await pool.submit("outer", worker="outer", retry=RetryPolicy.fixed(0, attempts=1))
        assert now() == 0


# -- how it is said --------------------------------------------------------------------------------


@pytest.mark.real_time
async def test_ready_made_workers_take_it_as_well() -> None:
    """As any other attribute."""

    async def fail(*data: object) -> None:
        raise ConnectionError

    def fail_in_a_thread(data: object) -> None:
        raise ConnectionError

    workers: list[Worker[Any, Any]] = [
        FunctionWorker(fail, max_attempts_per_task=1),
        ResourceWorker(nullcontext, fail, max_attempts_per_task=1),
        ThreadWorker(fail_in_a_thread, max_attempts_per_task=1),
    ]
    for worker in workers:
        async with Pool([worker], retry=TEN, debug=True) as pool:
            with pytest.raises(ConnectionError):
                await pool.submit(1)


async def test_a_task_that_has_ended_so_keeps_nothing_alive() -> None:
    """Neither its frames, nor what ran in them."""

    class Thing:
        pass

    kept: list[weakref.ref[Thing]] = []

    def fail(data: object) -> None:
        thing = Thing()
        kept.append(weakref.ref(thing))
        raise ConnectionError

    async with Pool([once("a", fail), once("b", fail)], retry=TEN, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        pool.dead.clear()
        del task
        gc.collect()
        assert [ref() for ref in kept] == [None, None]

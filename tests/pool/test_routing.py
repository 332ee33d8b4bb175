"""Who gets which task, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from retrypool_async import (
    Candidate,
    LeastRecentlyUsed,
    MostQuota,
    NoWorkers,
    Pool,
    Quota,
    RetryPolicy,
    RoundRobin,
    TaskState,
    Unroutable,
    Window,
    WorkerRemoved,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

# -- strategies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [None, LeastRecentlyUsed()])
async def test_idle_workers_take_turns(strategy: LeastRecentlyUsed | None) -> None:
    """Nine tasks one after another over three workers. Origin: vladkens/twscrape#175."""
    workers = [Probe() for _ in range(3)]
    async with Pool(workers, strategy=strategy, debug=True) as pool:
        for n in range(9):
            await pool.submit(n)
    assert [len(worker.starts) for worker in workers] == [3, 3, 3]


async def test_the_longest_idle_worker_is_the_one_whose_work_ended_first() -> None:
    """Not the one that started first."""
    a, b = Probe("a", does=takes(5)), Probe("b", does=takes(2))
    async with Pool([a, b], debug=True) as pool:
        pool.submit(0)
        pool.submit(0)
        await asyncio.sleep(6)
        task = pool.submit(1)
        await task
        assert task.attempts[0].worker == "b"


async def test_a_retry_without_delay_goes_to_the_longest_idle_worker() -> None:
    """Not straight back to the one that has just failed it."""
    a, b = Probe("a", does=in_turn(ValueError(), "again")), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1)
        await task
        assert [attempt.worker for attempt in task.attempts] == ["a", "b"]


async def test_round_robin_goes_by_id() -> None:
    """In the order of ids, going on after the last, also when workers come and go."""
    workers = [Probe(n) for n in "abc"]
    strategy = RoundRobin()
    async with Pool(workers, strategy=strategy, debug=True) as pool:
        assert pool.strategy is strategy

        async def next_workers(count: int) -> str:
            names = ""
            for n in range(count):
                task = pool.submit(n)
                await task
                names += task.attempts[0].worker
            return names

        assert await next_workers(5) == "abcab"
        await pool.remove("c")
        assert await next_workers(3) == "aba"
        await pool.add(Probe("d"))
        assert await next_workers(4) == "bdab"


async def test_round_robin_passes_over_a_worker_that_is_busy() -> None:
    """And comes back to it in the next round."""
    a, b, c = Probe("a"), Probe("b", does=takes(5)), Probe("c")
    async with Pool([a, b, c], strategy=RoundRobin(), debug=True) as pool:
        for n in range(6):
            pool.submit(n)
            await settle()
        await asyncio.sleep(5)
        assert [len(worker.starts) for worker in (a, b, c)] == [3, 1, 2]


async def test_most_quota_prefers_the_worker_with_the_larger_share_left() -> None:
    """Until they are level."""
    small = Probe("small", quota=Quota(Window(4, per=60)))
    large = Probe("large", quota=Quota(Window(8, per=60)))
    async with Pool([small, large], strategy=MostQuota(), debug=True) as pool:
        for n in range(6):
            await pool.submit(n)
    assert (len(small.starts), len(large.starts)) == (2, 4)


async def test_most_quota_looks_at_the_scarcest_dimension() -> None:
    """Plenty of requests do not help a worker that is out of tokens."""
    a = Probe("a", quota=Quota(requests=Window(100, per=60), tokens=Window(100, per=60)))
    b = Probe("b", quota=Quota(requests=Window(10, per=60), tokens=Window(100, per=60)))
    async with Pool([a, b], strategy=MostQuota(), debug=True) as pool:
        await pool.submit(0, worker="a", cost={"tokens": 60})
        for n in range(6):
            await pool.submit(n)
    assert (len(a.starts), len(b.starts)) == (1, 6)


async def test_most_quota_prefers_a_worker_without_limits() -> None:
    """Among equals it is the longest idle."""
    limited = Probe("limited", quota=Quota(Window(9, per=60)))
    free = [Probe(), Probe()]
    async with Pool([limited, *free], strategy=MostQuota(), debug=True) as pool:
        for n in range(9):
            await pool.submit(n)
    assert len(limited.starts) == 1
    assert [len(worker.starts) for worker in free] == [4, 4]


async def test_a_strategy_of_the_users_own_decides() -> None:
    """It is offered workers that are free and have quota, longest idle first."""
    offered: list[list[str]] = []

    class Heaviest:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            offered.append([worker.name for worker in workers])
            return max(workers, key=lambda worker: worker.weight)

    workers = [
        Probe("light", weight=1),
        Probe("heavy", weight=9, quota=Quota(Window(2, per=60))),
        Probe("busy", weight=99, does=takes(5)),
        Probe("cooling", weight=99),
    ]
    async with Pool(workers, strategy=Heaviest(), debug=True) as pool:
        pool.cooldown("cooling", 60)
        tasks = [pool.submit(n) for n in range(4)]
        for task in tasks:
            await task
        assert [task.attempts[0].worker for task in tasks] == ["busy", "heavy", "light", "heavy"]
    assert offered[0] == ["light", "heavy", "busy"]
    assert all("cooling" not in names for names in offered)


async def test_a_strategy_can_read_what_it_needs_of_each_worker() -> None:
    """Identity, attributes, record and the share of quota left."""
    read: list[tuple[Any, ...]] = []

    class Reading:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            first = workers[0]
            read.append(
                (first.name, first.tags, first.weight, first.tier, first.served, first.failed)
            )
            read.append((isinstance(first.id, int), first.quota_share(now), now))
            return first

    worker = Probe("w", tags={"x"}, weight=2.5, tier=3, quota=Quota(Window(4, per=60)))
    worker.does = in_turn("ok", ValueError(), "ok")
    async with Pool([worker], strategy=Reading(), debug=True) as pool:
        await pool.submit(1)
        await asyncio.sleep(5)
        await pool.submit(2, retry=RetryPolicy.fixed(1))
    assert read[0::2] == [
        ("w", {"x"}, 2.5, 3, 0, 0),
        ("w", {"x"}, 2.5, 3, 1, 0),
        ("w", {"x"}, 2.5, 3, 1, 1),
    ]
    assert read[1::2] == [(True, 1.0, 0), (True, 0.75, 5), (True, 0.5, 6)]


def raises(error: type[BaseException]) -> Callable[[list[Candidate]], Candidate]:
    """A choice that is none."""

    def choose(workers: list[Candidate]) -> Candidate:
        raise error

    return choose


@pytest.mark.parametrize(
    "choose",
    [
        raises(ZeroDivisionError),
        raises(asyncio.CancelledError),
        raises(SystemExit),
        lambda workers: "nobody",
        lambda workers: None,
        lambda workers: workers,
        lambda workers: workers[0].name,
        lambda workers: workers.clear(),
        lambda workers: workers.pop(),
    ],
    ids=["error", "cancel", "exit", "text", "none", "list", "name", "clears", "pops"],
)
async def test_a_broken_strategy_does_not_stop_the_router(
    choose: Callable[[Any], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The longest idle worker is taken instead, and the log says why."""

    class Broken:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            return choose(workers)  # type: ignore[no-any-return]

    workers = [Probe(), Probe()]
    async with Pool(workers, strategy=Broken(), debug=True) as pool:
        for n in range(4):
            assert await pool.submit(n) == n
    assert [len(worker.starts) for worker in workers] == [2, 2]
    assert "Broken" in caplog.text


async def test_a_strategy_that_names_a_worker_of_yesterday_is_overruled() -> None:
    """It may only choose among those it is offered."""
    remembered: list[Candidate] = []

    class Stale:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            remembered.append(workers[0])
            return remembered[0]

    a, b = Probe("a", does=takes(5)), Probe("b")
    async with Pool([a, b], strategy=Stale(), debug=True) as pool:
        pool.submit(1)
        await pool.submit(2)
        assert b.starts == [0]
        await pool.join()
        await pool.remove("a")
        await pool.submit(3)
    assert len(b.starts) == 2


# -- tags and pins ---------------------------------------------------------------------------------


async def test_a_task_goes_only_to_workers_that_carry_all_its_tags() -> None:
    """One tag may be given as a plain string."""
    both, one, none = Probe("both", tags={"gpu", "eu"}), Probe("one", tags=["gpu"]), Probe("none")
    async with Pool([both, one, none], debug=True) as pool:
        for n in range(4):
            await pool.submit(n, require={"gpu", "eu"})
        for n in range(4):
            await pool.submit(n, require="gpu")
    assert (len(both.starts), len(one.starts), none.starts) == (6, 2, [])


async def test_a_tag_that_nobody_carries_is_refused_or_waited_for() -> None:
    """At submit; with wait_for_worker it starts when such a worker joins. Origin: dask#9587."""
    async with Pool([Probe(tags={"cpu"})], debug=True) as pool:
        with pytest.raises(Unroutable, match="gpu"):
            pool.submit(1, require="gpu")
        waiting = pool.submit(1, require="gpu", wait_for_worker=True)
        await asyncio.sleep(5)
        assert pool.snapshot().unroutable == 1
        await pool.add(Probe(tags=("gpu", "cpu")))
        await waiting
        assert now() == 5
        assert pool.snapshot().unroutable == 0


async def test_a_pinned_task_waits_for_its_worker_and_blocks_nobody() -> None:
    """The plain task starts on the other worker at once. Origin: vladkens/twscrape#138."""
    a, b = Probe("a", does=takes(4)), Probe("b", does=takes(4))
    async with Pool([a, b], debug=True) as pool:
        pool.submit(0, worker="b")
        pinned = pool.submit(1, worker="b")
        plain = pool.submit(2)
        await plain
        await pinned
    assert (a.starts, b.starts) == ([0], [0, 4])


async def test_a_pin_is_a_name_an_id_or_a_ref() -> None:
    """All mean the same worker."""
    a, b = Probe("a"), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        ref = pool.workers()[1]
        for pin in ("b", ref.id, ref):
            await pool.submit(1, worker=pin)
        with pytest.raises(Unroutable):
            pool.submit(1, worker="nobody")
        with pytest.raises(Unroutable):
            pool.submit(1, worker="a", require="gpu")
    assert (a.starts, len(b.starts)) == ([], 3)


async def test_a_pin_holds_through_failures_cooldowns_and_pauses() -> None:
    """It is no preference: an idle worker beside it is never used."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(1), bounce=True, debug=True) as pool:
        task = pool.submit(1, worker="a")
        await asyncio.sleep(0.5)
        pool.cooldown("a", 10)
        await asyncio.sleep(5)
        pool.pause("a")
        await asyncio.sleep(20)
        pool.resume("a")
        assert await task == "ok"
    assert (a.starts, b.starts) == ([0, 25.5], [])


async def test_a_pin_names_a_worker_and_not_whoever_bears_its_name_later() -> None:
    """When its worker goes, the task ends; a namesake that joins is another."""
    a = Probe("a", does=takes(5))
    async with Pool([a, Probe("b")], debug=True) as pool:
        pool.submit(0, worker="a")
        waiting = pool.submit(1, worker="a")
        await pool.remove("a")
        with pytest.raises(WorkerRemoved):
            await waiting
        await pool.add(Probe("a"))
        assert await pool.submit(2, worker="a") == 2


@pytest.mark.parametrize("costs", ["equal", "all different"])
async def test_any_number_of_tasks_stuck_on_one_worker_do_not_delay_another(costs: str) -> None:
    """Its quota is used up; the other is free. Origin: celery/celery PR#10291."""
    a, b = Probe("a", quota=Quota(Window(1, per=60), tokens=Window(1000, per=60))), Probe("b")
    async with Pool([a, b], max_queue=100, debug=True) as pool:
        await pool.submit(0, worker="a")
        for n in range(50):
            pool.submit(n, worker="a", cost={"tokens": n if costs == "all different" else 1})
        pinned = pool.submit("x", worker="b")
        plain = pool.submit("y")
        await pinned
        await plain
        assert now() == 0
        await pool.close("cancel")


# -- order -----------------------------------------------------------------------------------------


async def test_equal_tasks_run_in_the_order_of_submission() -> None:
    """Also among tasks with different wishes."""
    order: list[object] = []
    worker = Probe("w", tags={"t"}, does=order.append, quota=Quota(tokens=Window(9e9, per=1)))
    wishes: list[dict[str, Any]] = [
        {},
        {"require": "t"},
        {"worker": "w"},
        {"cost": {"tokens": 5}},
        {"aging": 10},
    ]
    async with Pool([worker], debug=True) as pool:
        for n in range(25):
            pool.submit(n, **wishes[n * 3 % 5])
        await pool.join()
    assert order == list(range(25))


async def test_higher_priority_goes_first() -> None:
    """Any number will do; equal ones keep their order, and what runs goes on."""
    order: list[object] = []

    async def work(data: object) -> None:
        order.append(data)
        await asyncio.sleep(1)

    async with Pool([Probe("w", does=work, tags={"t"})], debug=True) as pool:
        pool.submit("first")
        await settle()
        for data, priority in (("c", 0), ("e", -1), ("a", 7), ("b", 0.5), ("d", 0), ("f", -1.5)):
            pool.submit(data, priority=priority, require="t" if data in "ace" else ())
        await pool.join()
    assert order == ["first", *"abcdef"]


async def test_a_task_that_goes_before_all_is_not_held_up_by_what_is_held_for_others() -> None:
    """What is kept for a large task is kept from those behind it, and from nobody else."""
    workers = [Probe(name="one"), Probe(name="two")]
    async with Pool(workers, quota=Quota(Window(3, per=10)), debug=True) as pool:
        await pool.submit("first")
        large = pool.submit("large", cost=3)
        small = pool.submit("small")
        urgent = pool.submit("urgent", priority=1)
        await pool.join()
    starts = [handle.attempts[0].started for handle in (urgent, large, small)]
    assert starts == [0, 10, 20]


async def test_waiting_raises_a_priority() -> None:
    """A low task passes a stream of high ones within 11 s. Origin: taskcluster#9131."""
    order: list[tuple[object, float]] = []

    async def work(data: object) -> None:
        order.append((data, now()))
        await asyncio.sleep(1)

    async with Pool([Probe(does=work)], debug=True) as pool:
        pool.submit("first")
        pool.submit("low", aging=10)
        never = pool.submit("lowest")
        for n in range(20):
            pool.submit(n, priority=1)
            await asyncio.sleep(0.9)
        assert dict(order)["low"] == 10
        assert never.state is TaskState.QUEUED
        await pool.join()


async def test_workers_that_come_and_go_do_not_disturb_the_line() -> None:
    """A task that a removed worker had to give up goes back to its place, before later equals."""
    order: list[int] = []
    async with Pool([Probe("w", does=takes(1))], debug=True) as pool:
        tasks = [
            pool.submit(n, priority=priority, on_running=lambda task: order.append(task.data))
            for n, priority in enumerate([0, 0, 5, 0, 5])
        ]
        await asyncio.sleep(0.5)
        await pool.add(Probe("x", does=takes(1)))
        await asyncio.sleep(0.1)
        pool.pause("x")
        pool.pause("w")
        pool.resume("w")
        await pool.remove("x", force=True)
        await pool.join()
        assert {task.attempt_count for task in tasks} == {1}
    assert order == [0, 2, 2, 4, 1, 3]


async def test_a_retry_takes_its_place_by_the_time_it_became_ready() -> None:
    """One that fails at once does not starve the rest. Origin: cofin/litestar-queues#105."""
    order: list[object] = []

    async def work(data: object) -> None:
        order.append(data)
        await asyncio.sleep(0.01)
        if data == 0:
            raise ValueError

    policy = RetryPolicy.fixed(0, attempts=100)
    async with Pool([Probe(does=work)], retry=policy, debug=True) as pool:
        for n in range(6):
            pool.submit(n)
        await pool.join()
    assert order[:7] == [0, 1, 2, 3, 4, 5, 0]
    assert order.count(0) == 100


async def test_a_retry_keeps_its_priority() -> None:
    """Behind its equals, before the rest."""
    order: list[object] = []
    failures = [ValueError()]

    def does(data: object) -> None:
        order.append(data)
        if data == "a" and failures:
            raise failures.pop()

    async with Pool([Probe(does=does)], retry=RetryPolicy.fixed(0), debug=True) as pool:
        for data, priority in (("first", 0), ("low", 0), ("a", 5), ("b", 5)):
            pool.submit(data, priority=priority)
        await pool.join()
    assert order == ["first", "a", "b", "a", "low"]


async def test_a_waiting_retry_holds_no_worker() -> None:
    """It comes back on whoever is free when it falls due. Origin: celery/celery#2541."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b")
    async with Pool([a, b], retry=RetryPolicy.fixed(5), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        assert task.state is TaskState.SCHEDULED
        a.does = takes(45)
        pool.submit(2, worker="a")
        await task
        assert now() == 5
    assert b.starts == [5]


# -- workers that come and go ----------------------------------------------------------------------


async def test_work_that_waits_goes_to_workers_that_join() -> None:
    """Nine of ten tasks of 10 s start when nine workers are added. Origin: dask/dask#3264."""
    first = Probe(does=takes(10))
    others = [Probe(does=takes(10)) for _ in range(9)]
    async with Pool([first], debug=True) as pool:
        handles = [pool.submit(n) for n in range(10)]
        await asyncio.sleep(5)
        for worker in others:
            await pool.add(worker)
        for handle in handles:
            await handle
        assert now() == 15
    assert [worker.starts for worker in others] == [[5]] * 9


@pytest.mark.parametrize("policy", ["raise", "wait", "dead", 3.0])
async def test_when_the_last_worker_goes_the_policy_decides(policy: Any) -> None:
    """For tasks that wait as for those to come."""
    async with Pool([Probe("w", does=takes(1))], no_workers=policy, debug=True) as pool:
        pool.submit(0)
        waiting = pool.submit(1)
        await pool.remove("w")
        if policy == "wait":
            await pool.add(Probe())
            assert await waiting == 1
            return
        with pytest.raises(NoWorkers):
            await waiting
        assert now() == (3 if policy == 3.0 else 0)
        assert waiting.state is TaskState.DEAD


async def test_without_workers_a_task_is_refused_or_waits() -> None:
    """Refused at once by default, else it starts when one joins. Origin: twscrape#48."""
    async with Pool([], debug=True) as pool:
        with pytest.raises(NoWorkers):
            pool.submit(1)
        waiting = pool.submit(1, wait_for_worker=True)
        await asyncio.sleep(5)
        await pool.add(Probe())
        await waiting
        assert now() == 5
    async with Pool([], no_workers="wait", debug=True) as pool:
        waiting = pool.submit(1)
        await asyncio.sleep(5)
        await pool.add(Probe())
        await waiting
        assert now() == 10


@pytest.mark.parametrize("joins_after", [2, 4])
async def test_patience_without_workers_is_bounded(joins_after: float) -> None:
    """Three seconds, for a new task."""
    async with Pool([], no_workers=3, debug=True) as pool:
        waiting = pool.submit(1)
        await asyncio.sleep(joins_after)
        await pool.add(Probe())
        if joins_after < 3:
            assert await waiting == 1
        else:
            with pytest.raises(NoWorkers):
                await waiting
            assert waiting.attempts == ()


@pytest.mark.parametrize("policy", ["raise", "dead", 3.0])
async def test_a_retry_that_finds_no_worker_left_ends_too(policy: Any) -> None:
    """It has been started before, and waits no longer than a new one."""
    worker = Probe("w", does=fails())
    async with Pool([worker], no_workers=policy, retry=RetryPolicy.fixed(10), debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        await pool.remove("w")
        assert await task.wait(timeout=60)
        assert isinstance(task.error(), NoWorkers)
        assert now() <= 13


async def test_the_soonest_of_two_cooling_workers_takes_the_task() -> None:
    """Waiting is not an attempt. Origin: BerriAI/litellm#3646."""
    a, b = Probe("a"), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        pool.cooldown("a", 30)
        pool.cooldown("b", 12)
        handle = pool.submit(1)
        await handle
        assert len(handle.attempts) == 1
    assert (a.starts, b.starts) == ([], [12])


async def test_a_cooling_worker_is_never_used_whatever_the_strategy_prefers() -> None:
    """One submit a second for 15 s, and none before that. Origin: litellm PR#34836."""

    class PrefersHeavy:
        def choose(self, workers: Sequence[Candidate], now: float) -> Candidate:
            return max(workers, key=lambda worker: worker.weight)

    heavy, light = Probe("heavy", weight=200), Probe("light", weight=1)
    async with Pool([heavy, light], strategy=PrefersHeavy(), debug=True) as pool:
        pool.cooldown("heavy", 15)
        for n in range(15):
            await pool.submit(n)
            await asyncio.sleep(1)
        await pool.submit(15)
    assert light.starts == list(range(15))
    assert heavy.starts == [15]


# -- the limit on all workers together -------------------------------------------------------------


async def test_concurrency_one_runs_everything_in_order() -> None:
    """One attempt at a time over all workers, until the limit is lifted."""
    workers = [Probe(does=takes(1)) for _ in range(3)]
    async with Pool(workers, concurrency=1, debug=True) as pool:
        for handle in [pool.submit(n) for n in range(4)]:
            await handle
        assert now() == 4
        pool.concurrency = None
        for handle in [pool.submit(n) for n in range(3)]:
            await handle
        assert now() == 5


async def test_concurrency_may_be_changed_while_tasks_run() -> None:
    """A lower limit interrupts nothing; a higher one starts what waits."""
    workers = [Probe(does=takes(2)) for _ in range(4)]
    async with Pool(workers, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(8)]
        await asyncio.sleep(1)
        pool.concurrency = 1
        await asyncio.sleep(2)
        assert sum(task.state is TaskState.RUNNING for task in tasks) == 1
        pool.concurrency = 3
        await settle()
        assert sum(task.state is TaskState.RUNNING for task in tasks) == 3
        await pool.join()
        assert now() == 6


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_place_that_comes_free_goes_to_any_worker(limit: int) -> None:
    """Not only to the one that left it."""
    workers = [Probe(name, does=takes(1)) for name in "abcd"]
    async with Pool(workers, concurrency=limit, debug=True) as pool:
        tasks = [pool.submit(name, worker=name) for name in "abcd"]
        for task in tasks:
            assert await task.wait(timeout=60)
        assert now() == 4 / limit


async def test_a_failing_worker_under_concurrency_one_lets_the_next_task_go() -> None:
    """While it backs off."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b", does=in_turn("b1", "b2"))
    async with Pool([a, b], concurrency=1, retry=RetryPolicy.fixed(5), debug=True) as pool:
        first, second = pool.submit(1, worker="a"), pool.submit(2, worker="b")
        assert await second == "b1"
        assert now() == 0
        assert await first == "ok"
        assert now() == 5


# -- changing tags ---------------------------------------------------------------------------------


async def test_tags_may_change_while_tasks_wait_and_run() -> None:
    """What waits is judged anew at once; what runs goes on to its end."""
    a, b = Probe("a", does=takes(5), tags={"red"}), Probe("b", does=takes(5))
    async with Pool([a, b], debug=True) as pool:
        tasks = [pool.submit(n, require="red") for n in range(2)]
        await asyncio.sleep(1)
        pool.set_tags("b", ["red", "blue"])
        pool.set_tags("a", ())
        assert [await task for task in tasks] == [0, 1]
        assert [task.worker.name for task in tasks if task.worker] == ["a", "b"]
        assert now() == 6
        with pytest.raises(Unroutable):
            pool.submit(1, require=["red", "green"])


async def test_a_promised_task_moves_when_its_worker_loses_the_tag() -> None:
    """It has not started, so nothing is lost."""
    a, b = Probe("a", tags={"red"}), Probe("b", tags={"red"})
    async with Pool([a, b], debug=True) as pool:
        task = pool.submit(1, require="red")
        assert task.state is TaskState.RESERVED
        pool.set_tags("a", "blue")
        await task
        assert (len(a.starts), len(b.starts)) == (0, 1)


async def test_a_task_that_nobody_may_run_any_more_meets_the_policy() -> None:
    """As when the last worker of a tag is removed; an immediate retry does not stay either."""
    a = Probe("a", does=takes(5), tags={"red"})
    async with Pool([a, Probe("b")], debug=True) as pool:
        pool.submit(0, worker="a")
        task = pool.submit(1, require="red")
        pool.set_tags("a", ())
        with pytest.raises(Unroutable):
            await task

    async def fails_slowly(data: Any) -> None:
        await asyncio.sleep(1)
        raise ValueError

    policy = RetryPolicy.fixed(0)
    async with Pool(
        [Probe("a", does=fails_slowly, tags={"red"})], retry=policy, debug=True
    ) as pool:
        task = pool.submit(1, require="red", immediate=True)
        await settle()
        pool.set_tags("a", ())
        with pytest.raises(Unroutable):
            await task
        assert task.attempt_count == 1

"""Pools with a factory: growing with the work, shrinking when idle, replacing what is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from retrypool_async import (
    CloseReport,
    CostTooLarge,
    Pool,
    PoolClosed,
    QueueTimeout,
    Quota,
    RetryPolicy,
    Throttled,
    ThrottleLimit,
    Unroutable,
    Window,
    Worker,
    WorkerLost,
    WorkerMoved,
    WorkerRemoved,
    WorkerStartFailed,
    WorkerState,
)
from retrypool_async.testing import collect, settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


class Factory:
    """Makes probes, one for each call, and keeps them with the times at which they were made."""

    def __init__(self, make: Callable[[int], Worker[Any, Any]] | None = None) -> None:
        self.make = make or (lambda number: Probe(does=takes(10)))
        self.made: list[Any] = []
        self.at: list[float] = []

    def __call__(self) -> Worker[Any, Any]:
        self.at.append(now())
        worker = self.make(len(self.at) - 1)
        self.made.append(worker)
        return worker

    @property
    def closed(self) -> list[bool]:
        return [worker.log[-1] == "stop" for worker in self.made]


class Slow(Probe):
    """Takes a while to open."""

    seconds = 5.0

    async def on_start(self) -> None:
        await asyncio.sleep(self.seconds)
        await super().on_start()


class Broken(Probe):
    """Cannot be opened."""

    async def on_start(self) -> None:
        raise ConnectionError("refused")


def elastic(factory: Any, least: int = 1, most: int = 3, **options: Any) -> Pool[Any, Any]:
    options.setdefault("idle_timeout", 60)
    return Pool(factory=factory, min_workers=least, max_workers=most, debug=True, **options)


def states(pool: Pool[Any, Any]) -> list[str]:
    return [worker.state.name for worker in pool.snapshot().workers]


async def until(time: float) -> None:
    await asyncio.sleep(time - now())
    await settle()


# -- what is accepted ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"min_workers": 1}, ValueError, "min_workers"),
        ({"max_workers": 1}, ValueError, "max_workers"),
        ({"factory": 3}, TypeError, "factory"),
        ({"factory": Probe, "min_workers": -1}, ValueError, "min_workers"),
        ({"factory": Probe, "min_workers": 1.5}, TypeError, "min_workers"),
        ({"factory": Probe, "max_workers": 0}, ValueError, "max_workers"),
        ({"factory": Probe, "max_workers": True}, TypeError, "max_workers"),
        ({"factory": Probe, "min_workers": 3, "max_workers": 2}, ValueError, "max_workers"),
        ({"factory": Probe, "idle_timeout": -1}, ValueError, "idle_timeout"),
        ({"factory": Probe, "idle_timeout": None}, TypeError, "idle_timeout"),
    ],
)
def test_wrong_bounds_are_refused_at_the_call(
    options: dict[str, Any], error: type[Exception], what: str
) -> None:
    """Naming the option."""
    with pytest.raises(error, match=what):
        Pool([], **options)


@pytest.mark.parametrize(
    ("bounds", "opened", "grown"),
    [
        ({}, 1, 1),
        ({"min_workers": 2}, 2, 2),
        ({"max_workers": 2}, 1, 2),
        ({"min_workers": 0}, 0, 1),
    ],
)
async def test_bounds_that_are_not_given(bounds: dict[str, Any], opened: int, grown: int) -> None:
    """At least one worker, and no more than the least."""
    async with Pool(factory=Factory(), debug=True, **bounds) as pool:
        assert len(pool.workers()) == opened
        for n in range(5):
            pool.submit(n)
        assert len(pool.workers()) == grown


@pytest.mark.parametrize("kind", ["class", "function", "coroutine function", "returns a coroutine"])
async def test_a_factory_is_anything_that_gives_a_worker(kind: str) -> None:
    """Called without arguments, and awaited if need be."""

    async def opens() -> Probe:
        await asyncio.sleep(1)
        return Probe()

    kinds: dict[str, Any] = {
        "class": Probe,
        "function": lambda: Probe(),
        "coroutine function": opens,
        "returns a coroutine": lambda: opens(),
    }
    async with elastic(kinds[kind]) as pool:
        assert await pool.submit(1) == 1
        assert now() == ("coroutine" in kind)


# -- starting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "given", "made"), [(0, 0, 0), (2, 0, 2), (3, 2, 1), (1, 2, 0)])
async def test_the_pool_starts_with_the_least_number_of_workers(
    least: int, given: int, made: int
) -> None:
    """Those given by hand count, and start() returns when all are open."""
    factory = Factory(lambda number: Slow())
    async with elastic(factory, least, 4, workers=[Probe() for _ in range(given)]) as pool:
        assert len(factory.made) == made
        assert states(pool) == ["IDLE"] * (given + made)
        assert [worker.made for worker in pool.snapshot().workers] == [False] * given + [
            True
        ] * made
        assert now() == (5 if made else 0)


async def test_a_start_that_fails_holds_up_no_other() -> None:
    """It is made up for in the background."""
    factory = Factory(lambda number: Broken() if number == 1 else Probe())
    async with elastic(factory, 3) as pool:
        await settle()
        assert now() == 0
        assert states(pool) == ["IDLE", "IDLE"]
        snapshot = pool.snapshot().factory
        assert snapshot is not None
        assert (snapshot.failures, snapshot.error, snapshot.next_start) == (1, "ConnectionError", 1)
        await until(1)
        assert states(pool) == ["IDLE"] * 3
        snapshot = pool.snapshot().factory
        assert snapshot is not None
        assert (snapshot.failures, snapshot.error, snapshot.next_start) == (0, None, None)
    assert factory.at == [0, 0, 0, 1]


def returns(what: Any) -> Callable[[], Any]:
    return lambda: what


def raises() -> Worker[Any, Any]:
    raise OSError("no display")


async def hangs() -> Worker[Any, Any]:
    await asyncio.sleep(1000)
    return Probe()


class Plain(Worker[Any, Any]):
    def run(self, data: Any, /) -> Any:  # type: ignore[override]
        return data


@pytest.mark.parametrize(
    ("factory", "cause"),
    [
        (Broken, ConnectionError),
        (raises, OSError),
        (hangs, TimeoutError),
        (lambda: Slow(seconds=1000), TimeoutError),
        (returns(None), TypeError),
        (returns(Plain), TypeError),
        (Plain, TypeError),
        (lambda: Probe(quota=3), TypeError),
        (lambda: Probe("given"), ValueError),
    ],
)
async def test_when_all_fail_the_pool_says_why(
    factory: Any, cause: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """And leaves nothing behind."""
    given = Broken("given")
    with pytest.raises(WorkerStartFailed) as raised:
        async with elastic(factory, 3, workers=[given], start_timeout=7):
            pytest.fail("started")
    causes = dict(raised.value.causes)
    assert isinstance(causes.pop("given"), ConnectionError)
    assert len(causes) == 2 or cause is not ValueError
    assert all(isinstance(error, cause) for error in causes.values())
    assert now() == (7 if cause is TimeoutError else 0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_one_object_is_never_two_workers() -> None:
    """A factory that gives the same again fails to start it; what is there goes on."""
    worker = Probe()
    async with elastic(returns(worker), 2) as pool:
        await settle()
        assert len(pool.workers()) == 1
        assert pool.snapshot().factory.error == "ValueError"
        assert await pool.submit(1) == 1
    assert worker.log == ["start", "stop"]


async def test_a_pool_whose_workers_all_failed_goes_on_trying() -> None:
    """Ever more rarely, up to once a minute, one at a time; tasks wait meanwhile."""
    factory = Factory(lambda number: Broken() if number < 11 else Probe())
    pool = elastic(factory, 3, 5)
    with pytest.raises(WorkerStartFailed):
        await pool.start()
    await settle()
    assert factory.at == [0, 0, 0]
    task = pool.submit(1)
    assert task.explain() == "factory: failing (ConnectionError), next start in 1.0 s"
    await until(63)
    assert factory.at == [0, 0, 0, 1, 3, 7, 15, 31, 63]
    assert task.explain() == "factory: failing (ConnectionError), next start in 60.0 s"
    assert await task == 1
    assert now() == 243
    await settle()
    assert factory.at[9:] == [123, 183, 243, 243, 243]
    assert states(pool) == ["IDLE"] * 3
    await pool.close()


async def test_an_idle_pool_does_not_wake_up() -> None:
    """Nothing polls, not even a factory: the clock jumps to the end."""
    factory = Factory()
    async with elastic(factory, 1, 3) as pool:
        await pool.submit(1)
        await asyncio.sleep(1000)
        loop = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]


# -- growing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 2, 3, 9])
async def test_the_pool_grows_with_the_tasks_that_wait(tasks: int) -> None:
    """One worker for each, up to the most; and no more while those are starting."""
    factory = Factory(lambda number: Slow(does=takes(10)))
    async with elastic(factory, 0, 3) as pool:
        handles = [pool.submit(n) for n in range(tasks)]
        assert states(pool) == ["STARTING"] * min(tasks, 3)
        await until(1)
        assert len(factory.at) == min(tasks, 3)
        await asyncio.gather(*handles)
        assert len(factory.at) == min(tasks, 3)
        assert now() == 5 + 10 * -(-tasks // 3)


async def test_a_worker_that_will_take_the_task_is_not_doubled() -> None:
    """Given workers that are opening count, and so does one that is being reset."""
    factory = Factory()
    given = Slow("given", does=in_turn(Exception, 0))

    async def resets() -> None:
        await asyncio.sleep(3)

    given.on_reset = resets  # type: ignore[method-assign]
    pool = elastic(factory, 0, 3, workers=[given])
    opening = asyncio.create_task(pool.start())
    await settle()
    pool.submit(1, attempt_timeout=0, retry=ONE)
    await until(1)
    assert factory.at == []
    await opening
    await pool.close()


async def test_a_worker_that_is_opening_but_paused_is_no_help() -> None:
    """Its operator may leave it so for ever."""
    factory = Factory()
    pool = elastic(factory, 0, 3, workers=[Slow("given")])
    opening = asyncio.create_task(pool.start())
    await settle()
    pool.pause("given")
    await pool.submit(1)
    assert factory.at == [0]
    await opening
    await pool.close()


async def test_workers_are_made_only_for_tasks_they_could_take() -> None:
    """Not for a pool at rest, a full one, a pin, or a tag they do not have."""
    factory = Factory(lambda number: Probe(does=takes(10), tags="made"))
    given = Probe("given", does=takes(10), tags=("given", "both"))
    async with elastic(factory, 2, 9, workers=[given], no_workers="wait") as pool:
        assert len(pool.workers()) == 2
        blocked = [pool.submit(n, worker="given") for n in range(3)]
        blocked += [pool.submit(n, require="given") for n in range(3)]
        blocked += [pool.submit(n, require=("made", "both")) for n in range(3)]
        await settle()
        assert len(pool.workers()) == 2
        pool.pause()
        for n in range(3):
            pool.submit(n)
        await settle()
        assert len(pool.workers()) == 2
        pool.concurrency = 3
        pool.resume()
        assert len(pool.workers()) == 3  # one runs already, and one more was there
        pool.concurrency = None
        assert len(pool.workers()) == 4
        for task in blocked:
            task.cancel()


async def test_the_first_worker_shows_which_tags_they_have() -> None:
    """Until then any task may hope; from then on it is refused as by any pool."""
    factory = Factory(lambda number: Probe(tags="cpu"))
    async with elastic(factory, 0) as pool:
        task = pool.submit(1, require="gpu")
        with pytest.raises(Unroutable, match="gpu"):
            await task
        assert len(factory.at) == 1
        with pytest.raises(Unroutable, match="gpu"):
            pool.submit(1, require="gpu")
        assert await pool.submit(1, require="cpu") == 1
        await asyncio.sleep(61)
        assert pool.workers() == []
        with pytest.raises(Unroutable, match="gpu"):  # it has not forgotten
            pool.submit(1, require="gpu")
        task = pool.submit(1, require="cpu")
        assert task.explain() == "worker-1: starting; factory: enough are starting"


async def test_a_factory_of_several_kinds_goes_on_until_the_kind_is_there() -> None:
    """Each kind it has made may be hoped for."""
    kinds = ("cpu", "gpu", "cpu", "cpu")
    factory = Factory(lambda number: Probe(tags=kinds[number % 4], does=takes(5)))
    async with elastic(factory, 2, 8) as pool:
        tasks = [pool.submit(n, require="gpu") for n in range(2)]
        await asyncio.gather(*tasks)
        assert now() == 5
        assert len(factory.at) == 6


async def test_a_worker_being_made_may_have_any_tags() -> None:
    """So a task that needs one waits for it, even if no further worker may come."""

    async def make() -> Probe:
        await asyncio.sleep(2)
        return Probe(tags="gpu")

    pool = elastic(make, 1, 1)
    opening = asyncio.create_task(pool.start())
    await settle()
    assert await pool.submit(1, require="gpu") == 1
    await opening
    await pool.close()


async def test_a_cost_that_only_new_workers_afford_is_waited_for() -> None:
    """And one that they do not is refused, once that is known."""
    factory = Factory(lambda number: Probe(quota=Quota(tokens=Window(100, per=1))))
    given = Probe("given", quota=Quota(tokens=Window(10, per=1)))
    async with elastic(factory, 1, workers=[given]) as pool:
        assert await pool.submit(1, cost={"tokens": 50}) == 1
        assert len(factory.at) == 1
        with pytest.raises(CostTooLarge):
            pool.submit(1, cost={"tokens": 500})


async def test_dimensions_are_unknown_until_a_worker_is_made() -> None:
    """So nothing is refused for them; then they are those of the workers made so far."""
    factory = Factory(lambda number: Probe(quota=Quota(tokens=Window(100, per=1))))
    async with elastic(factory, 0, quota=Quota(Window(9, per=1))) as pool:
        assert await pool.submit(1, cost={"tokens": 50}) == 1
        await asyncio.sleep(61)
        assert pool.workers() == []
        with pytest.raises(ValueError, match="tokns"):
            pool.submit(1, cost={"tokns": 50})
        assert await pool.submit(1, cost={"tokens": 50}) == 1


async def test_a_quota_of_the_pool_is_no_reason_to_grow() -> None:
    """As many as it admits, each at the moment when it does."""
    factory = Factory(lambda number: Probe(does=takes(100)))
    async with elastic(factory, 0, 9, quota=Quota(Window(2, per=10))) as pool:
        for n in range(5):
            pool.submit(n)
        await settle()
        assert len(factory.at) == 2
        await until(9.9)
        assert len(factory.at) == 2
        await until(10)
        assert len(factory.at) == 4
        await until(30)
    assert factory.at == [0, 0, 10, 10, 20]


async def test_behind_a_large_task_nobody_grows() -> None:
    """What waits for the pool's quota holds it; those behind could not start either."""
    factory = Factory(lambda number: Probe(does=takes(100)))
    async with elastic(factory, 1, 9, quota=Quota(Window(10, per=10))) as pool:
        pool.submit(0, cost=5)
        pool.submit(1, cost=8)
        for n in range(3):
            pool.submit(n)
        await until(9.9)
        assert len(factory.at) == 1
        await until(10)
        assert len(factory.at) == 4  # 8 of 10, and two of the small ones
    factory = Factory()
    async with elastic(factory, 0, 9, quota=Quota(Window(10, per=10))) as pool:
        for cost in (4, 4, 4, 1, 1):
            pool.submit(cost, cost=cost)
        await settle()
        assert len(factory.at) == 2  # the third is in the way of the small ones


async def test_a_pinned_task_holds_the_pools_quota_from_new_workers_as_well() -> None:
    """It is first in line, though no new worker could take it."""
    factory = Factory(lambda number: Probe(does=takes(1)))
    async with elastic(factory, 1, 9, quota=Quota(Window(10, per=10))) as pool:
        await pool.submit(0, cost=5)
        pool.submit(1, cost=8, worker="worker-0", priority=1)
        for n in range(3):
            pool.submit(n)
        await until(9.9)
        assert len(factory.at) == 1


async def test_a_quota_that_all_from_the_factory_share_is_no_reason_either() -> None:
    """One worker may have it for itself; the second shows that it is shared."""
    account = Quota(Window(1, per=10))
    factory = Factory(lambda number: Probe(does=takes(1), quota=account))
    async with elastic(factory, 1, 9) as pool:
        await asyncio.gather(pool.submit(0), pool.submit(1))
        assert now() == 11
        await asyncio.gather(*[pool.submit(n) for n in range(5)])
        assert now() == 61
        assert factory.at == [0, 0]


@pytest.mark.parametrize("whose", ["the pool's", "the factory's"])
async def test_nobody_is_made_to_call_a_service_that_refused_the_account(whose: str) -> None:
    """It would be refused as well; as soon as the wait is over, one is made again."""
    account = Quota(Window(100, per=1))

    def make(number: int) -> Probe:
        does = in_turn(Throttled(20, scope="quota"), "ok") if number == 0 else takes(50)
        return Probe(does=does, quota=None if whose == "the pool's" else account)

    factory = Factory(make)
    options = {"quota": account} if whose == "the pool's" else {}
    async with elastic(factory, 2, 9, idle_timeout=1000, **options) as pool:
        first = pool.submit(0, worker="worker-0")
        await settle()
        tasks = [pool.submit(n) for n in range(4)]
        await until(19.9)
        assert len(factory.at) == 2
        await asyncio.gather(first, *tasks)
    assert factory.at == [0, 0, 20, 20, 20]


async def test_a_quota_of_its_own_is_a_reason_to_grow() -> None:
    """A new worker brings a new one; so does one that cools."""
    factory = Factory(lambda number: Probe(does=takes(1), quota=Quota(Window(1, per=1000))))
    async with elastic(factory, 1, 3) as pool:
        await pool.submit(0)
        await pool.submit(1)
        pool.cooldown("worker-1", 3000)
        await pool.submit(2)
        assert factory.at == [0, 1, 2]
        last = pool.submit(3)
        await settle()
        assert "worker-0: quota 997.0 s" in last.explain()
        assert "factory: at max_workers (3)" in last.explain()
        await last
        assert now() == 1001
        assert len(factory.at) == 3


async def test_workers_given_by_hand_count_and_are_never_refused() -> None:
    """They fill the pool for the factory; one that could not open leaves its place to it."""
    factory = Factory()
    given = [Probe(does=takes(10)), Probe(does=takes(10)), Broken()]
    async with elastic(factory, 1, 3, workers=given) as pool:
        for n in range(9):
            pool.submit(n)
        await settle()
        assert len(factory.at) == 1
        await pool.add(Probe(does=takes(10)))
        assert len(pool.workers()) == 5
        await pool.remove("worker-0", force=True)
        await settle()
        assert len(factory.at) == 1


async def test_a_failing_submission_leaves_no_worker_behind() -> None:
    """queue_timeout=0 asks for a worker that is there now."""
    factory = Factory()
    async with elastic(factory, 0, 3) as pool:
        with pytest.raises(QueueTimeout, match="starting"):
            await pool.submit(1, queue_timeout=0)
        assert factory.at == []


# -- tasks and the workers to come ---------------------------------------------------------------


@pytest.mark.parametrize("policy", ["raise", "dead", 1.0])
async def test_tasks_wait_for_a_worker_that_may_still_be_made(policy: Any) -> None:
    """Whatever no_workers says: there is no worker, and yet there is."""
    factory = Factory(lambda number: Slow())
    async with elastic(factory, 0, 1, no_workers=policy) as pool:
        assert await pool.submit(1) == 1
        waiting = [pool.submit(n) for n in range(2)]
        await pool.remove(pool.workers()[0])
        assert await asyncio.gather(*waiting) == [0, 1]
        assert len(factory.at) == 2


async def test_a_hint_that_is_too_long_is_fatal_only_if_no_other_worker_may_come() -> None:
    """A worker that may be made is another worker."""
    factory = Factory(lambda number: Probe(does=fails(Throttled(100)) if number == 0 else None))
    async with elastic(factory, 1, 2, max_retry_after=10) as pool:
        assert await pool.submit(1) == 1
        assert now() == 0
    factory = Factory(lambda number: Probe(does=fails(Throttled(100))))
    async with elastic(factory, 1, 2, max_retry_after=10) as pool:
        with pytest.raises(ThrottleLimit):
            await pool.submit(1)
        assert len(factory.at) == 2


async def test_a_pin_ends_with_its_worker() -> None:
    """Another from the factory is another worker."""
    async with elastic(Factory(), 1, 3) as pool:
        pool.submit(0)
        pinned = pool.submit(1, worker="worker-0")
        await pool.remove("worker-0", force=True)
        with pytest.raises(WorkerRemoved):
            await pinned


# -- shrinking -----------------------------------------------------------------------------------


async def test_idle_workers_go_the_longest_idle_first() -> None:
    """Each exactly `idle_timeout` after its last task, down to the least number."""
    factory = Factory(lambda number: Probe(does=lambda data: asyncio.sleep(data)))
    async with elastic(factory, 1, 4, idle_timeout=30) as pool:
        for seconds in (4, 3, 2, 1):
            pool.submit(seconds)
        gone = []
        async with collect(pool) as events:
            await asyncio.sleep(200)
        for event in events:
            if isinstance(event, WorkerMoved) and event.new is WorkerState.STOPPED:
                gone.append((event.worker.name, event.at))
        assert gone == [("worker-3", 31), ("worker-2", 32), ("worker-1", 33)]
        assert factory.closed == [False, True, True, True]
        assert await pool.submit(0) is None


async def test_of_those_equally_idle_as_many_stay_as_must() -> None:
    """They fall due at one moment."""
    factory = Factory()
    async with elastic(factory, 2, 4, idle_timeout=30) as pool:
        await asyncio.gather(*[pool.submit(n) for n in range(4)])
        await asyncio.sleep(100)
        assert [worker.name for worker in pool.workers()] == ["worker-2", "worker-3"]


async def test_a_worker_that_is_still_opening_frees_no_other() -> None:
    """Who knows whether it will open; and once open it is idle from then on."""
    factory = Factory(lambda number: Slow(seconds=5) if number else Probe(does=takes(1)))
    async with elastic(factory, 1, 2, idle_timeout=2) as pool:
        await asyncio.gather(pool.submit(0), pool.submit(1))
        await until(4.9)
        assert states(pool) == ["IDLE", "STARTING"]
        await until(5)
        assert states(pool) == ["IDLE"]
        await until(100)
        assert [worker.name for worker in pool.workers()] == ["worker-1"]
    async with elastic(factory, 0, 2, idle_timeout=2) as pool:
        task = pool.submit(0)
        await until(101)
        task.cancel()
        await until(106.9)
        assert states(pool) == ["IDLE"]
        await until(107)
        assert states(pool) == []


async def test_a_worker_that_works_is_not_idle() -> None:
    """Its time begins anew after every task."""
    factory = Factory(lambda number: Probe(does=takes(1)))
    async with elastic(factory, 0, 1, idle_timeout=5) as pool:
        for _ in range(10):
            await pool.submit(1)
            await asyncio.sleep(4.5)
        assert len(factory.at) == 1
        await until(10 * 5.5 - 4.5 + 5)
        assert pool.workers() == []


@pytest.mark.parametrize("least", [0, 1])
async def test_no_idle_time_keeps_no_worker(least: int) -> None:
    """What it has to do is done first."""
    factory = Factory(lambda number: Probe(does=takes(1)))
    async with elastic(factory, least, 3, idle_timeout=0) as pool:
        await asyncio.gather(*[pool.submit(n) for n in range(9)])
        assert now() == 3
        await settle()
        assert len(pool.workers()) == least
        assert len(factory.at) == 3


async def test_workers_given_by_hand_stay() -> None:
    """However idle they are; those from the factory go for them."""
    factory = Factory()
    async with elastic(factory, 1, 3, workers=[Probe("given", does=takes(10))]) as pool:
        await asyncio.gather(*[pool.submit(n) for n in range(3)])
        await asyncio.sleep(1000)
        assert [worker.name for worker in pool.workers()] == ["given"]
        pool.pause("given")
        task = pool.submit(1)
        await settle()
        assert len(pool.workers()) == 2
        await task


async def test_a_worker_that_waiting_work_needs_does_not_go() -> None:
    """A pin, a pool at rest, a quota: it goes at once when the work has gone."""
    factory = Factory(lambda number: Probe(quota=Quota(Window(1, per=1000))))
    async with elastic(factory, 0, 2, idle_timeout=10) as pool:
        await pool.submit(0)
        await pool.submit(1)
        pinned = pool.submit(2, worker="worker-0")
        await until(500)
        assert [worker.name for worker in pool.workers()] == ["worker-0"]
        pool.pause()
        pinned.cancel()
        await settle()
        assert pool.workers() == []
        waiting = pool.submit(3)
        pool.resume()
        await waiting
        pool.pause()
        waiting = pool.submit(4)
        await until(900)
        assert len(pool.workers()) == 1
        waiting.cancel()
        await settle()
        assert pool.workers() == []
        pool.resume()


async def test_an_operators_pause_is_not_undone() -> None:
    """A paused worker is never let go, counts against the most, and makes room for nobody."""
    factory = Factory()
    async with elastic(factory, 1, 2, idle_timeout=5) as pool:
        pool.pause("worker-0")
        task = pool.submit(1)
        await settle()
        assert len(pool.workers()) == 2
        pool.pause("worker-1")
        await task
        await asyncio.sleep(100)
        waiting = pool.submit(2)
        await settle()
        assert states(pool) == ["IDLE", "IDLE"]
        assert waiting.explain() == (
            "worker-0: paused; worker-1: paused; factory: at max_workers (2)"
        )
        pool.resume("worker-0")
        await waiting
        await asyncio.sleep(5)
        await settle()
        assert [worker.name for worker in pool.workers()] == ["worker-1"]


async def test_a_quota_outside_of_the_factory_outlives_its_workers() -> None:
    """Closing a worker and making another never fills it up."""
    account = Quota(Window(1, per=100))
    factory = Factory(lambda number: Probe(quota=account))
    async with elastic(factory, 0, 1, idle_timeout=5) as pool:
        await pool.submit(0)
        await until(50)
        assert pool.workers() == []
        await pool.submit(1)
        assert now() == 100
    assert factory.at == [0, 50]


# -- replacing -----------------------------------------------------------------------------------


async def test_a_lost_worker_is_replaced_at_once() -> None:
    """Its task goes to the next."""
    lost = WorkerLost(rebuild=False)
    factory = Factory(lambda number: Probe(does=fails(lost) if number < 2 else None))
    async with elastic(factory, 1, 1) as pool:
        assert await pool.submit(1) == 1
        assert now() == 0
        assert [worker.name for worker in pool.workers()] == ["worker-2"]
    assert factory.made[0].log == ["start", "remove", "stop"]


async def test_a_worker_that_cannot_be_rebuilt_is_replaced() -> None:
    """It is rebuilt at once; if that fails, it counts as a start that failed."""

    class Once(Probe):
        async def on_start(self) -> None:
            await super().on_start()
            if self.log.count("start") > 1:
                raise OSError("gone")

    factory = Factory(lambda number: Once(does=fails(WorkerLost()) if number == 0 else None))
    async with elastic(factory, 1, 1) as pool:
        assert await pool.submit(1) == 1
        assert now() == 1
        assert [worker.name for worker in pool.workers()] == ["worker-1"]
    assert factory.made[0].log == ["start", "stop", "start", "remove"]


class Deaf(Probe):
    """Ignores being stopped for some seconds."""

    seconds = 50.0

    async def run(self, data: Any, /) -> Any:
        end = now() + self.seconds
        while now() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(end - now())
        return data


async def test_a_stuck_worker_is_replaced_and_goes_when_its_code_ends() -> None:
    """It is out of the count from then on."""
    factory = Factory(lambda number: Deaf() if number == 0 else Probe())
    async with elastic(factory, 1, 1, stop_grace=5) as pool:
        task = pool.submit(1, attempt_timeout=10, retry=RetryPolicy.fixed(0, attempts=2))
        await until(14.9)
        assert states(pool) == ["RESETTING"]
        assert await task == 1
        assert now() == 15
        assert states(pool) == ["STUCK", "IDLE"]
        await until(50)
        assert [worker.name for worker in pool.workers()] == ["worker-1"]
    assert factory.made[0].log == ["start", "remove", "stop"]


async def test_stuck_workers_are_not_replaced_without_end() -> None:
    """No more of them than there may be workers: what they hold is held."""
    factory = Factory(lambda number: Deaf(seconds=1000))
    async with elastic(factory, 2, 2, stop_grace=5) as pool:
        for n in range(20):
            pool.submit(n, attempt_timeout=10, retry=ONE)
        await until(500)
        assert states(pool) == ["STUCK"] * 4
        report = await pool.close("cancel")
    assert len(report.stuck) == 4
    await asyncio.sleep(2000)


@pytest.mark.parametrize("how", ["factory", "on_start"])
async def test_a_start_that_cannot_be_stopped_is_replaced(how: str) -> None:
    """After its limit and the grace; it counts as one that failed."""

    async def deaf() -> None:
        await Deaf(seconds=100).run(None)

    class DeafStart(Probe):
        async def on_start(self) -> None:
            await deaf()

    calls: list[float] = []

    async def factory() -> Probe:
        calls.append(now())
        if len(calls) > 1:
            return Probe()
        if how == "factory":
            await deaf()
        return DeafStart()

    pool = elastic(factory, 1, 1, start_timeout=10, stop_grace=5)
    with pytest.raises(WorkerStartFailed):
        await pool.start()
    assert now() == 15
    assert await pool.submit(1) == 1
    assert calls == [0, 16]
    assert states(pool) == ["STUCK", "IDLE"]
    await until(100)
    assert states(pool) == ["IDLE"]
    assert (await pool.close()).stuck == ()


@pytest.mark.parametrize(("least", "left"), [(1, 2), (3, 3)])
async def test_a_removed_worker_is_replaced_only_below_the_least_number(
    least: int, left: int
) -> None:
    """Its operator did not want it."""
    factory = Factory()
    async with elastic(factory, least, 3) as pool:
        await asyncio.gather(*[pool.submit(n) for n in range(3)])
        await pool.remove("worker-1")
        await settle()
        assert len(pool.workers()) == left
        assert "worker-1" not in [worker.name for worker in pool.workers()]


async def test_never_more_workers_than_allowed_even_while_one_closes() -> None:
    """Its resource is in use until it is closed."""

    class Closing(Probe):
        async def on_stop(self) -> None:
            await asyncio.sleep(3)
            await super().on_stop()

    factory = Factory(lambda number: Closing())
    async with elastic(factory, 1, 1) as pool:
        removal = asyncio.create_task(pool.remove("worker-0"))
        await settle()
        task = pool.submit(1)
        await until(2.9)
        assert len(pool.workers()) == 1
        await task
        assert factory.at == [0, 3]
        await removal


async def test_a_worker_removed_while_it_is_made_never_opens() -> None:
    """Also if the factory does not listen."""
    made = Probe()

    async def factory() -> Probe:
        if made.log:
            return Probe()
        made.log.append("made")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(2)
        return made

    async with elastic(factory, 0, 1) as pool:
        task = pool.submit(1)
        await until(1)
        await pool.remove("worker-0")
        assert now() == 3
        assert await task == 1
        assert pool.snapshot().factory.failures == 0
    assert made.log == ["made"]


# -- closing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [0, 1])
async def test_a_drain_may_still_grow(least: int) -> None:
    """What was accepted gets the workers that it needs."""
    factory = Factory(lambda number: Slow(does=takes(10)))
    pool = elastic(factory, least, 3)
    await pool.start()
    tasks = [pool.submit(n) for n in range(3)]
    report = await pool.close()
    assert report == CloseReport((), (), (), 15)
    assert [task.result() for task in tasks] == [0, 1, 2]
    assert all(factory.closed)


async def test_a_drain_waits_for_the_next_start_of_a_failing_factory() -> None:
    """As it waits for a worker that cools."""
    factory = Factory(lambda number: Probe() if number else Broken())
    pool = elastic(factory, 0, 3)
    await pool.start()
    task = pool.submit(1)
    await settle()
    report = await pool.close(timeout=5)
    assert report.unfinished == ()
    assert task.result() == 1
    assert now() == 1


async def test_a_drain_ends_what_no_worker_will_come_for_in_time() -> None:
    """The next start of a failing factory is known."""
    factory = Factory(lambda number: Broken())
    pool = elastic(factory, 0, 3)
    await pool.start()
    task = pool.submit(1)
    await until(8)
    report = await pool.close(timeout=5)
    assert now() == 8
    assert [entry.id for entry in report.unfinished] == [task.id]


@pytest.mark.parametrize("mode", ["running", "cancel"])
@pytest.mark.parametrize("turns", range(12))
async def test_a_close_while_the_pool_grows_leaves_nothing(mode: Any, turns: int) -> None:
    """At any moment between the submit and the start of the attempt."""

    async def make() -> Probe:
        await asyncio.sleep(0)
        worker = Slow(seconds=0)
        made.append(worker)
        return worker

    made: list[Probe] = []
    pool = elastic(make, 0, 3)
    await pool.start()
    tasks = [pool.submit(n) for n in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    report = await pool.close(mode)
    assert report.stuck == ()
    assert report.failed_teardowns == ()
    assert now() == 0
    assert pool.workers() == []
    for worker in made:
        assert worker.log.count("start") == worker.log.count("stop")
    for task in tasks:
        assert task.done()
        error = task.error()
        assert error is None or isinstance(error, PoolClosed)


@pytest.mark.parametrize("turns", range(10))
async def test_a_cancelled_start_leaves_nothing(turns: int) -> None:
    """The block is never entered, and what was begun is closed."""
    factory = Factory(lambda number: Slow(seconds=0))

    async def enter() -> None:
        async with elastic(factory, 3, 3):
            await asyncio.sleep(1000)

    entering = asyncio.create_task(enter())
    for _ in range(turns):
        await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    for worker in factory.made:
        assert worker.log.count("start") == worker.log.count("stop")


async def test_a_closed_pool_starts_afresh() -> None:
    """With nothing remembered, of failures neither."""
    factory = Factory(lambda number: Probe() if number else Broken())
    pool = elastic(factory, 1, 1)
    with pytest.raises(WorkerStartFailed):
        await pool.start()
    await pool.close()
    await pool.start()
    assert await pool.submit(1) == 1
    await pool.close()
    assert factory.at == [0, 0]


# -- seen from outside ---------------------------------------------------------------------------


async def test_growing_and_shrinking_are_seen() -> None:
    """In events, snapshots and explanations; a worker has its own name once it is made."""

    async def make() -> Probe:
        await asyncio.sleep(2)
        return Slow("browser", does=takes(1))

    async with elastic(make, 0, 2, idle_timeout=9, name="browsers") as pool:
        async with collect(pool) as events:
            task = pool.submit(1)
            assert task.explain() == "worker-0: starting; factory: enough are starting"
            factory = pool.snapshot().factory
            assert factory is not None
            assert (factory.min_workers, factory.max_workers) == (0, 2)
            await until(3)
            assert [ref.name for ref in pool.workers()] == ["browser"]
            assert pool.workers()[0].id == 0
            await task
            await until(18)
        moves = [
            (event.worker.name, event.old.name, event.new.name, event.at)
            for event in events
            if isinstance(event, WorkerMoved)
        ]
        assert moves == [
            ("browser", "STARTING", "IDLE", 7),
            ("browser", "IDLE", "RESERVED", 7),
            ("browser", "RESERVED", "BUSY", 7),
            ("browser", "BUSY", "IDLE", 8),
            ("browser", "IDLE", "RESETTING", 17),
            ("browser", "RESETTING", "STOPPED", 17),
        ]


async def test_map_feeds_as_many_workers_as_there_may_be() -> None:
    """Its window follows the most, not those that are there at first."""
    factory = Factory(lambda number: Probe(does=takes(1)))
    async with elastic(factory, 0, 40) as pool:
        results = [result async for result in pool.map(range(80))]
        assert results == list(range(80))
        assert now() == 2
        assert len(factory.at) == 40


async def test_a_factory_may_use_the_pool() -> None:
    """It is called outside of every step, in a context of its own."""
    looked: list[int] = []

    def make() -> Worker[Any, Any]:
        looked.append(len(pool.snapshot().workers))
        return Probe(does=takes(1))

    pool: Pool[Any, Any] = elastic(make, 1, 2)
    async with pool:
        assert await asyncio.gather(pool.submit(1), pool.submit(2)) == [1, 2]
    assert looked == [1, 2]

"""The ends of a pool: what finishes, what is stopped, who hears, and that nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import Any

import anyio
import pytest

from retrypool_async import (
    EndReason,
    Pool,
    PoolClosed,
    PoolState,
    Quota,
    RetryPolicy,
    TaskHandle,
    TaskState,
    Unroutable,
    Window,
    WorkerStartFailed,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


async def started(pool: Pool[Any, Any]) -> Pool[Any, Any]:
    await pool.start()
    return pool


async def test_a_producer_held_back_by_a_full_queue_hears_of_the_close_at_once() -> None:
    """At 0.5, and the close ends within its limit."""
    pool = await started(Pool([Probe(does=takes(5))], max_queue=1, debug=True))
    before = asyncio.all_tasks()

    async def produce() -> None:
        for n in range(1000):
            await pool.enqueue(n)

    producer = asyncio.ensure_future(produce())
    await asyncio.sleep(0.5)
    closing = asyncio.ensure_future(pool.close(timeout=1))
    with pytest.raises(PoolClosed):
        await producer
    assert now() == 0.5
    await closing
    assert now() == pytest.approx(1.4)
    assert not [task for task in asyncio.all_tasks() if task not in before]


async def test_a_cancelling_close_ends_everything_with_pool_closed() -> None:
    """Running, queued and on a paused worker; one worker is still opening."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(3)
            await super().on_start()

    workers = [Probe(f"w{n}", does=takes(100)) for n in range(3)]
    paused = Probe("paused", does=takes(100))
    pool = await started(Pool([*workers, paused], stop_timeout=10, debug=True))
    slow = Slow("slow")
    await pool.add(slow, wait=False)
    pool.pause("paused")
    callers = [asyncio.ensure_future(pool.submit(n)) for n in range(6)]
    await asyncio.sleep(1)
    report = await pool.close("cancel")
    for caller in callers:
        with pytest.raises(PoolClosed):
            await caller
    assert len(report.unfinished) == 6
    assert {left.reason for left in report.unfinished} == {EndReason.SHUTDOWN}
    assert report.stuck == ()
    assert slow.log.count("start") == slow.log.count("stop")


@pytest.mark.parametrize("how", ["close", "remove"])
async def test_a_worker_that_is_still_opening_holds_up_neither_close_nor_removal(how: str) -> None:
    """Its on_start is interrupted, like an attempt would be."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(1000)

    slow = Slow("slow")
    limits = {"start_timeout": 500.0, "stop_timeout": 10.0, "stop_grace": 5.0}
    pool = await started(Pool([Probe("a")], debug=True, **limits))  # type: ignore[arg-type]
    await pool.add(slow, wait=False)
    await asyncio.sleep(1)
    if how == "remove":
        await pool.remove("slow", force=True)
        assert now() <= 16
        assert [ref.name for ref in pool.workers()] == ["a"]
    report = await pool.close("cancel")
    assert now() <= 16
    assert report.stuck == ()


async def test_attempts_stopped_by_the_close_are_not_retried() -> None:
    """Two calls in all."""
    workers = [Probe(does=takes(100)) for _ in range(2)]
    pool = await started(Pool(workers, retry=RetryPolicy.fixed(0), debug=True))
    tasks = [pool.submit(n) for n in range(2)]
    await asyncio.sleep(1)
    await pool.close("cancel")
    assert now() == 1
    assert sum(len(worker.starts) for worker in workers) == 2
    assert [(task.cancelled(), task.attempt_count) for task in tasks] == [(True, 0)] * 2
    assert len(pool.dead) == 0


async def test_closing_twice_in_turn_or_together_is_one_closing() -> None:
    """All get the one report, and late submits hear at once."""
    pool = await started(Pool([Probe(does=takes(3))], debug=True))
    pool.submit(1)
    reports = await asyncio.gather(*(pool.close() for _ in range(3)))
    assert now() == 3
    assert all(report is reports[0] for report in reports)
    assert await pool.close("cancel") is reports[0]
    for refused in (pool.submit, pool.add):
        with pytest.raises(PoolClosed):
            result = refused(Probe())
            await result
    with pytest.raises(PoolClosed):
        await pool.enqueue(1)


async def test_each_task_hears_of_the_close_by_an_error_of_its_own() -> None:
    """With a note of the attempt only where one had run."""
    pool = await started(Pool([Probe("w", does=takes(100))], debug=True))
    running, queued = pool.submit(1), pool.submit(2)
    await asyncio.sleep(1)
    await pool.close("cancel")
    errors = [running.error(), queued.error()]
    assert [type(error) for error in errors] == [PoolClosed, PoolClosed]
    assert errors[0] is not errors[1]
    assert getattr(errors[1], "__notes__", []) == []


async def test_the_state_of_a_pool_follows_it_through_its_life() -> None:
    """New, running, closing, closed; and running again."""
    pool = Pool([Probe("w", does=takes(5))], debug=True)
    states = [pool.state]
    for _ in range(2):
        await pool.start()
        states.append(pool.state)
        pool.submit(1)
        closing = pool.request_close()
        states.append(pool.state)
        assert closing is not None
        await closing
        states.append(pool.state)
    again = [PoolState.RUNNING, PoolState.CLOSING, PoolState.CLOSED]
    assert states == [PoolState.NEW, *again, *again]


async def test_closing_a_pool_that_never_ran_does_nothing() -> None:
    """And it may still be started."""
    pool = Pool([Probe()], debug=True)
    report = await pool.close()
    assert (report.unfinished, report.stuck, report.seconds) == ((), (), 0)
    async with pool:
        assert await pool.submit(1) == 1


async def test_right_after_the_close_nothing_of_the_pool_is_left() -> None:
    """No task, no timer, however it was used."""
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    pool = await started(
        Pool([Probe(max_age=50), Probe(does=fails())], retry=RetryPolicy.fixed(500), debug=True)
    )
    pool.submit(1, timeout=1000)
    pool.submit(2, attempt_timeout=100, queue_timeout=70)
    pool.submit(3, priority=1, aging=30)
    pool.pause(until=400)
    await asyncio.sleep(1)
    pool.resume()
    await asyncio.sleep(1)
    await pool.close("cancel")
    assert asyncio.all_tasks() == before
    timers = [t for t in loop._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
    assert timers == []


@pytest.mark.parametrize("obstacle", ["cooling", "paused", "pool paused", "no quota", "backoff"])
async def test_a_close_does_not_wait_for_what_cannot_run_in_time(obstacle: str) -> None:
    """Five tasks that could start in an hour hear at once."""
    quota = Quota(Window(1, per=3600)) if obstacle == "no quota" else None
    worker = Probe("w", quota=quota)
    retry = RetryPolicy.fixed(3600)
    pool = await started(Pool([worker], retry=retry, debug=True))
    if obstacle == "cooling":
        pool.cooldown("w", 3600)
    elif obstacle == "paused":
        pool.pause("w")
    elif obstacle == "pool paused":
        pool.pause()
    elif obstacle == "no quota":
        await pool.submit(0)
    else:
        worker.does = fails()
    tasks = [pool.submit(n, wait_for_worker=True) for n in range(5)]
    await asyncio.sleep(1)
    report = await pool.close(timeout=2)
    # Quota may come back early, by a refund: that is waited for.
    assert now() == pytest.approx(2.8 if obstacle == "no quota" else 1)
    for task in tasks:
        with pytest.raises(PoolClosed):
            await task
    assert [left.data for left in report.unfinished] == [0, 1, 2, 3, 4]


async def test_a_drain_without_a_limit_waits_for_retries_and_cooldowns() -> None:
    """As long as there is an end to them."""
    worker = Probe("w", does=in_turn(ValueError(), "ok"))
    pool = await started(Pool([worker], retry=RetryPolicy.fixed(100), debug=True))
    task = pool.submit(1)
    await asyncio.sleep(1)
    pool.cooldown("w", 200)
    report = await pool.close()
    assert (now(), await task, report.unfinished) == (201, "ok", ())


async def test_a_running_task_cannot_submit_into_a_closing_pool() -> None:
    """It hears PoolClosed inside, and the close goes on."""
    heard: list[type] = []

    async def work(data: object) -> str:
        await asyncio.sleep(2)
        try:
            await pool.submit("child")
        except PoolClosed as closed:
            heard.append(type(closed))
        return "parent"

    pool = await started(Pool([Probe(does=work), Probe(does=work)], debug=True))
    task = pool.submit(1)
    await asyncio.sleep(1)
    await pool.close()
    assert (now(), await task, heard) == (2, "parent", [PoolClosed])


async def test_every_worker_is_closed_although_one_fails_to() -> None:
    """Both layers of each resource, and the report names the one."""
    log: list[str] = []

    class Layered(Probe):
        async def on_start(self) -> None:
            self.stack = contextlib.AsyncExitStack()
            for layer in ("outer", "inner"):
                await self.stack.enter_async_context(self.layer(layer))

        @contextlib.asynccontextmanager
        async def layer(self, name: str) -> Any:
            try:
                yield
            finally:
                log.append(f"{self.name} {name}")
                if (self.name, name) == ("b", "inner"):
                    raise OSError(self.name)

        async def on_stop(self) -> None:
            await self.stack.aclose()

    pool = await started(Pool([Layered(name) for name in "abc"], debug=True))
    await pool.submit(1)
    report = await pool.close()
    assert sorted(log) == [f"{name} {layer}" for name in "abc" for layer in ("inner", "outer")]
    assert [(name, str(error)) for name, error in report.failed_teardowns] == [("b", "b")]


async def test_a_teardown_that_hangs_is_bounded_and_reported() -> None:
    """Within stop_timeout; the others are closed at once."""

    class Hangs(Probe):
        async def on_stop(self) -> None:
            await asyncio.sleep(1000)

    a, b = Hangs("a"), Probe("b")
    pool = await started(Pool([a, b], stop_timeout=4, stop_grace=1, debug=True))
    report = await pool.close()
    assert now() == 4
    assert [(name, type(error)) for name, error in report.failed_teardowns] == [("a", TimeoutError)]
    assert report.stuck == ()
    assert b.log == ["start", "stop"]


@pytest.mark.parametrize("kind", ["native", "scope"])
async def test_a_closer_that_is_cancelled_does_not_stop_the_closing(kind: str) -> None:
    """Another gets the report."""
    worker = Probe(does=takes(5))
    pool = await started(Pool([worker], debug=True))
    pool.submit(1)
    if kind == "native":
        closing = asyncio.ensure_future(pool.close())
        await asyncio.sleep(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert now() == 1
    else:
        with anyio.move_on_after(1):
            await pool.close()
    report = await pool.close()
    assert (now(), report.unfinished) == (5, ())
    assert worker.log == ["start", "stop"]


async def test_a_pool_left_in_a_cancelled_scope_is_closed_all_the_same() -> None:
    """The scope's cancellation reaches neither the clean-up of attempts nor on_stop."""
    worker = Probe()

    async def work(data: object) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            worker.log.append("cleaned")

    worker.does = work
    with anyio.move_on_after(1):
        async with Pool([worker], debug=True) as pool:
            task = pool.submit(1)
            await asyncio.sleep(50)
    assert now() == 3
    assert worker.log == ["start", "cleaned", "stop"]
    assert isinstance(task.error(), PoolClosed)


async def test_a_start_that_is_cancelled_closes_what_had_opened() -> None:
    """Every on_start that returned has its on_stop."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(5)
            await super().on_start()

    quick, slow = Probe("quick"), Slow("slow")
    with anyio.move_on_after(1):
        async with Pool([quick, slow], debug=True):
            pytest.fail("the start was cancelled")
    await asyncio.sleep(20)
    assert quick.log == ["start", "stop"]
    assert slow.log.count("start") == slow.log.count("stop")


async def test_when_all_workers_fail_to_start_the_pool_is_closed_and_can_be_started_again() -> None:
    """The body is not entered."""

    class Flaky(Probe):
        broken = True

        async def on_start(self) -> None:
            if self.broken:
                raise OSError
            await super().on_start()

    worker = Flaky("w")
    pool = Pool([worker], debug=True)
    with pytest.raises(WorkerStartFailed) as failed:
        async with pool:
            pytest.fail("nothing had started")
    assert [(name, type(cause)) for name, cause in failed.value.causes] == [("w", OSError)]
    worker.broken = False
    async with pool:
        assert await pool.submit(1) == 1
    assert worker.log == ["start", "stop"]


async def test_entering_a_running_pool_again_is_an_error_that_harms_nobody() -> None:
    """The one who opened it goes on using it."""
    async with Pool([Probe(does=takes(1))], debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(RuntimeError, match="running"):
            async with pool:
                pytest.fail("entered twice")
        assert await task == 1
        assert await pool.submit(2) == 2


@pytest.mark.parametrize("call", ["remove", "paused", "join", "drain"])
async def test_an_attempt_cannot_wait_for_its_own_end(call: str) -> None:
    """It is told so at once, instead of waiting for itself for ever."""

    async def work(data: object) -> str:
        if call in ("remove", "paused"):
            pool.pause("w")
            waiting = getattr(pool, call)("w")
        else:
            waiting = getattr(pool, call)()
        with pytest.raises(RuntimeError):
            await waiting
        pool.resume()
        return "ended"

    async with Pool([Probe("w", does=work)], debug=True) as pool:
        assert await pool.submit(1, timeout=10) == "ended"
        assert now() == 0


async def test_a_task_started_by_an_attempt_may_close_the_pool_after_it() -> None:
    """It inherits the attempt's context, but the attempt has ended."""
    helpers: list[asyncio.Task[None]] = []

    async def later() -> None:
        await asyncio.sleep(1)
        await pool.close()

    async def work(data: object) -> str:
        helpers.append(asyncio.ensure_future(later()))
        return "ended"

    pool = await started(Pool([Probe(does=work)], debug=True))
    assert await pool.submit(1) == "ended"
    await helpers[0]
    assert now() == 1


async def test_join_returns_although_tasks_fail_and_the_workers_live_on() -> None:
    """Nine results, one error."""

    def work(data: int) -> int:
        if data == 3:
            raise ValueError
        return data

    async with Pool([Probe(does=work) for _ in range(2)], retry=ONE, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(10)]
        await pool.join()
        assert [task.data for task in tasks if task.error() is not None] == [3]
        assert await pool.submit(10) == 10


async def test_a_producer_whose_tasks_all_fail_comes_to_its_end() -> None:
    """Each task raises its own error."""

    def work(data: int) -> None:
        raise ValueError(data)

    workers = [Probe(does=work) for _ in range(2)]
    async with Pool(workers, retry=ONE, max_queue=2, debug=True) as pool:
        tasks: list[TaskHandle[Any]] = [await pool.enqueue(n) for n in range(20)]
        await pool.join()
        assert [str(task.error()) for task in tasks] == [str(n) for n in range(20)]


async def test_enqueue_holds_a_fast_producer_to_the_pace_of_the_workers() -> None:
    """Never more than max_queue wait."""
    most = 0
    async with Pool([Probe(does=takes(1))], max_queue=10, debug=True) as pool:
        for n in range(100):
            await pool.enqueue(n)
            most = max(most, pool.snapshot().tasks[TaskState.QUEUED])
        assert now() == 89
    assert most == 10


async def test_waiters_that_give_up_leave_nothing_in_a_full_pool() -> None:
    """Queue timeouts, cancelled producers, cancelled joins."""
    worker = Probe(does=takes(1000))
    pool = await started(Pool([worker], max_queue=1, debug=True))
    pool.submit(0)
    for n in range(200):
        task = pool.submit(n, queue_timeout=0.001 if n % 2 else 0)
        await task.wait()
        producer = asyncio.ensure_future(pool.enqueue(n))
        blocked = [asyncio.ensure_future(pool.enqueue(n)) for _ in range(2)]
        joiner = asyncio.ensure_future(pool.join())
        await settle()
        for waiting in (*blocked, joiner):
            waiting.cancel()
        (await producer).cancel()
        await settle()
    engine = pool._engine
    assert engine._conditions == []
    assert engine.ledger.waiting == 0
    assert len(engine.ledger.agenda._heap) < 100
    await pool.close("cancel")


async def test_work_in_flight_is_never_lost_to_the_garbage_collector() -> None:
    """A hundred attempts wait for a future that only their own frames hold."""
    gates: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()

    async def work(data: int) -> int:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gates.add(gate)
        await gate
        return data

    async with Pool([Probe(does=work) for _ in range(100)]) as pool:
        tasks = [pool.submit(n) for n in range(100)]
        for _ in range(5):
            await settle()
            gc.collect()
        assert len(gates) == 100
        for gate in list(gates):
            gate.set_result(None)
        assert [await task for task in tasks] == list(range(100))


async def test_the_shutdown_timeout_bounds_leaving_the_block() -> None:
    """What is left is stopped by then; zero stops at once; None waits."""
    for limit, expected in ((2.0, 1.8), (0.0, 0.0), (None, 5.0)):
        began = now()
        async with Pool([Probe(does=takes(5))], shutdown_timeout=limit, debug=True) as pool:
            task = pool.submit(1)
            await settle()
        assert now() - began == pytest.approx(expected)
        assert task.cancelled() is (limit is not None)


@pytest.mark.parametrize(("timeout", "ends"), [(10, 9.6), (1000, 985.6)])
async def test_a_task_that_hangs_leaves_time_to_clean_up(timeout: float, ends: float) -> None:
    """The last tenth, or what `stop_grace` and `stop_timeout` make if that is less."""

    class Slow(Probe):
        async def on_stop(self) -> None:
            await asyncio.sleep(0.3)
            await super().on_stop()

    async def hang(_: object) -> None:
        try:
            await asyncio.sleep(10_000)
        finally:
            await asyncio.sleep(0.3)

    workers = [Slow("hangs", does=hang), Slow("idle")]
    pool = await started(Pool(workers, stop_grace=5, stop_timeout=10, debug=True))
    pool.submit(1, worker="hangs")
    report = await pool.close(timeout=timeout)
    assert now() == pytest.approx(ends)
    assert report.stuck == ()
    assert [worker.log for worker in workers] == [["start", "stop"]] * 2


async def test_the_report_lists_what_was_lost_by_id_with_data_and_attempts() -> None:
    """One that had run, one in its back-off, one that never started."""

    def work(data: str) -> Any:
        if data == "fails":
            raise ValueError
        return asyncio.sleep(100)

    retry = RetryPolicy.fixed(50)
    pool = await started(Pool([Probe(does=work)], retry=retry, debug=True))
    for data in ("fails", "runs", "waits"):
        pool.submit(data)
    await asyncio.sleep(1)
    report = await pool.close("cancel")
    assert [(u.id, u.data, len(u.attempts), u.reason) for u in report.unfinished] == [
        (1, "fails", 1, EndReason.SHUTDOWN),
        (2, "runs", 1, EndReason.SHUTDOWN),
        (3, "waits", 0, EndReason.SHUTDOWN),
    ]


@pytest.mark.timeout(5)
@pytest.mark.parametrize("removed", ["a", "b"])
async def test_enqueue_does_not_wait_for_room_with_workers_that_are_gone(removed: str) -> None:
    """Although no room comes of it, where none may wait at all."""
    workers = [Probe("a", does=takes(9), tags={"gpu"}), Probe("b", does=takes(9))]
    async with Pool(workers, max_queue=0, debug=True) as pool:
        for ref in pool.workers():
            pool.submit(1, worker=ref)
        producer = asyncio.ensure_future(pool.enqueue(2, require="gpu"))
        await asyncio.sleep(1)
        await pool.remove(removed, force=True)
        if removed == "a":
            with pytest.raises(Unroutable):
                await producer
            assert now() == 1
        else:
            await producer
            assert now() == 9


async def test_a_free_worker_that_may_not_take_it_does_not_spin_enqueue() -> None:
    """The queue is full of tasks for a busy worker; another is free but of no use."""
    workers = [Probe("a", does=takes(5)), Probe("b", quota=Quota(Window(1, per=100)))]
    async with Pool(workers, max_queue=1, debug=True) as pool:
        await pool.submit(0, worker="b")
        pool.submit(1, worker="a")
        pool.submit(2, worker="a")
        third = await pool.enqueue(3, worker="a")
        assert now() == 5
        assert await third == 3
        assert now() == 15


async def test_producers_held_back_go_on_in_their_order() -> None:
    """One that gives up in the very turn of its room passes it on."""
    order: list[int] = []
    worker = Probe(does=lambda data: asyncio.sleep(1, order.append(data)))
    async with Pool([worker], max_queue=1, debug=True) as pool:
        tasks = [pool.submit(0), pool.submit(1)]
        producers = [asyncio.ensure_future(pool.enqueue(n)) for n in range(2, 8)]
        await settle()
        tasks[0].add_done_callback(lambda _: producers[0].cancel())
        await asyncio.wait(producers)
        await pool.join()
        assert now() == 7
    assert order == [0, 1, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("call", ["start", "add"])
async def test_whoever_waits_for_a_worker_to_open_hears_that_the_pool_closes(call: str) -> None:
    """At once, and by the right name."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(20)

    slow = Slow("slow")
    pool = Pool([Probe("a"), slow] if call == "start" else [Probe("a")], debug=True)
    if call == "start":
        waiting = asyncio.ensure_future(pool.start())
    else:
        await pool.start()
        waiting = asyncio.ensure_future(pool.add(slow))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    await pool.close("cancel")
    with pytest.raises(PoolClosed):
        await waiting
    assert now() == 1


@pytest.mark.parametrize(
    ("options", "remove"),
    [
        ({"max_queue": 0}, False),
        ({"quota": Quota(Window(1, per=1000))}, False),
        ({"no_workers": "dead"}, True),
        ({"no_workers": "raise"}, True),
    ],
    ids=["full", "limited", "dead without workers", "no workers"],
)
async def test_closed_is_said_before_anything_else(options: dict[str, Any], remove: bool) -> None:
    """Whatever other reason there is to refuse a task, or to take it."""
    async with Pool([Probe("w")], debug=True, **options) as pool:
        await pool.submit(1)
        if remove:
            await pool.remove("w")
        closing = pool.request_close()
        for _ in range(2):  # while it closes, and after
            with pytest.raises(PoolClosed):
                pool.submit(2)
            with pytest.raises(PoolClosed):
                await pool.enqueue(2)
            assert closing is not None
            await closing
        assert pool.snapshot().submitted == 1

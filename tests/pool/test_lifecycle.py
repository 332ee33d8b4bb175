"""Workers and pools from their start to their end, and what callers hear of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import textwrap
import weakref

import anyio
import pytest

from retrypool_async import (
    AttemptTimeout,
    Pool,
    PoolClosed,
    PoolState,
    QueueFull,
    ResourceWorker,
    RetryPolicy,
    TaskState,
    ThreadWorker,
    Worker,
    WorkerCancelled,
    WorkerRemoved,
    WorkerStartFailed,
    WorkerState,
)
from tests.pool.probe import Probe, fails, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


# -- workers -------------------------------------------------------------------------------------


async def test_a_worker_that_fails_to_start_does_not_block_the_others() -> None:
    """One hangs, one raises, one works."""

    class Hangs(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(1000)

    class Raises(Probe):
        async def on_start(self) -> None:
            raise OSError("no")

    async with Pool([Hangs("a"), Raises("b"), Probe("c")], start_timeout=1, debug=True) as pool:
        assert now() == 1
        states = [(w.name, w.state, w.error) for w in pool.snapshot().workers]
        assert states == [
            ("a", WorkerState.FAILED, "TimeoutError"),
            ("b", WorkerState.FAILED, "OSError"),
            ("c", WorkerState.IDLE, None),
        ]
        assert await pool.submit(1) == 1
    pool = Pool([Raises("a"), Raises("b")])
    with pytest.raises(WorkerStartFailed, match="a: OSError; b: OSError"):
        await pool.start()
    await pool.close()


async def test_a_worker_takes_nothing_before_it_is_open() -> None:
    """`add` waits for that, or does not."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(5)

    late, later = Slow("late", does=takes(1)), Slow("later", does=takes(1))
    async with Pool([Probe("a", does=takes(1))], debug=True) as pool:
        for n in range(20):
            pool.submit(n)
        await pool.add(late, wait=False)
        assert now() == 0
        await pool.add(later)
        assert now() == 5
        await pool.join()
    assert late.starts[0] == later.starts[0] == 5


async def test_an_add_that_is_cancelled_leaves_nothing_behind() -> None:
    """The half-open worker is closed and gone."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(5)
            await super().on_start()

    worker = Slow("w")
    async with Pool([Probe("a")], debug=True) as pool:
        with anyio.move_on_after(1):
            await pool.add(worker)
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert [ref.name for ref in pool.workers()] == ["a"]
    assert worker.log == ["remove"]  # it never opened, so there was nothing to close


async def test_a_resource_is_rebuilt_between_tasks() -> None:
    """After so many runs, and after the run that crosses an age."""
    worker = Probe(max_tasks=3)
    async with Pool([worker], debug=True) as pool:
        for task in [pool.submit(n) for n in range(10)]:
            await task
    assert worker.log.count("start") == 4
    aging = Probe(does=takes(4), max_age=10)
    async with Pool([aging], debug=True) as pool:
        for task in [pool.submit(n) for n in range(4)]:
            await task
    assert aging.log.count("start") == 2


async def test_a_rebuild_that_fails_is_tried_again_ever_more_rarely() -> None:
    """At 0, 1, 3 and 7 seconds; the state says so meanwhile."""
    opened = []

    class Flaky(Probe):
        async def on_start(self) -> None:
            opened.append(now())
            if len(opened) in (2, 3, 4):
                raise OSError

    async with Pool([Flaky("a", max_tasks=1)], debug=True) as pool:
        await pool.submit(1)
        await asyncio.sleep(0.5)
        assert pool.snapshot().workers[0].state is WorkerState.FAILED
        await pool.submit(2)
    assert opened[:5] == [0, 0, 1, 3, 7]


async def test_a_rebuild_may_go_on_failing_for_years() -> None:
    """Once a minute; the wait does not grow until it fits no number."""
    opens = 0

    class Dark(Probe):
        async def on_start(self) -> None:
            nonlocal opens
            opens += 1
            if 1 < opens <= 1101:
                raise OSError

    async with Pool([Dark(max_tasks=1)]) as pool:
        await pool.submit(1)
        await pool.submit(2)
        assert now() == 1 + 2 + 4 + 8 + 16 + 32 + 1094 * 60


@pytest.mark.parametrize("end", ["close", "remove"])
async def test_a_worker_told_to_go_before_it_began_does_not_open_first(end: str) -> None:
    """A stop that comes before the first step of its task is not lost."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(20)

    pool = Pool([Probe("a")], debug=True)
    await pool.start()
    ref = await pool.add(Slow("slow"), wait=False)
    if end == "remove":
        await pool.remove(ref)
        assert now() == 0
    report = await pool.close()
    assert report.stuck == ()
    assert now() == 0


async def test_pausing_lets_the_attempt_end_and_runs_each_hook_once() -> None:
    """Cooling down does not end a pause."""
    worker = Probe("w", does=takes(3))
    async with Pool([worker], debug=True) as pool:
        pool.submit(1)
        await asyncio.sleep(1)
        pool.pause("w", reason="maintenance")
        waiting = pool.submit(2)
        await pool.paused("w")
        assert now() == 3
        pool.cooldown("w", 2)
        await asyncio.sleep(4)
        assert waiting.state is TaskState.QUEUED
        assert pool.snapshot().workers[0].pause_reason == "maintenance"
        await asyncio.sleep(3)
        pool.resume("w")
        await waiting
        assert now() == 13
        pool.pause(until=5)
        await pool.submit(3)
        assert now() == 21
    assert worker.log == ["start", "pause", "resume", "stop"]


async def test_removing_waits_for_the_attempt_or_takes_the_task_along() -> None:
    """By force the task runs elsewhere, with no attempt spent."""
    a, b = Probe("a", does=takes(3)), Probe("b", does=takes(3))
    async with Pool([a, b], debug=True) as pool:
        first, second = pool.submit(1), pool.submit(2)
        await asyncio.sleep(1)
        await pool.remove("a")
        assert now() == 3
        await first
        await second
        third = pool.submit(3)
        await asyncio.sleep(1)
        await pool.add(Probe("c", does=takes(3)))
        await pool.remove("b", force=True)
        assert now() == 4
        await third
        assert (now(), third.attempt_count, len(third.attempts)) == (7, 1, 2)
        with pytest.raises(WorkerRemoved):
            pool.pause("b")
    assert b.log == ["start", "remove", "stop"]


async def test_a_resource_opened_in_a_task_group_is_closed_by_the_same_task() -> None:
    """on_start, run and on_stop share one asyncio task."""

    class Grouped(Worker[int, int]):
        async def on_start(self) -> None:
            self.group = await anyio.create_task_group().__aenter__()

        async def on_stop(self) -> None:
            await self.group.__aexit__(None, None, None)

        async def run(self, data: int, /) -> int:
            return data

    async with Pool([Grouped()], debug=True) as pool:
        assert await pool.submit(1) == 1


async def test_a_resource_worker_opens_and_closes_a_context_manager() -> None:
    """Entered once, left once."""
    log: list[str] = []

    class Resource:
        async def __aenter__(self) -> str:
            log.append("open")
            return "resource"

        async def __aexit__(self, *error: object) -> None:
            log.append("close")

    async def call(resource: str, data: int) -> str:
        return f"{resource} {data}"

    async with Pool([ResourceWorker(Resource, call)], debug=True) as pool:
        assert await pool.submit(7) == "resource 7"
    assert log == ["open", "close"]


@pytest.mark.real_time
async def test_a_thread_worker_stays_busy_until_its_thread_ends() -> None:
    """The caller hears on time; the function is never run twice at once."""
    import threading

    release, inside = threading.Event(), []

    def work(data: int) -> int:
        inside.append(data)
        release.wait(5)
        return data

    async with Pool([ThreadWorker(work, name="t")], retry=ONE, debug=True) as pool:
        task = pool.submit(1, attempt_timeout=0.05)
        with pytest.raises(AttemptTimeout):
            await task
        following = pool.submit(2)
        assert inside == [1]
        release.set()
        assert await following == 2


# -- stopping attempts ---------------------------------------------------------------------------


async def test_code_that_ignores_its_stop_delays_nobody() -> None:
    """The caller hears at the limit; the worker is stuck until its code ends, then reset."""

    async def stubborn(data: object) -> object:
        for _ in range(10):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3)
        return data

    worker = Probe("w", does=stubborn)
    async with Pool([worker], stop_grace=5, retry=ONE, debug=True) as pool:
        with pytest.raises(AttemptTimeout):
            await pool.submit(1, attempt_timeout=2)
        assert now() == 2
        await asyncio.sleep(6)
        assert pool.snapshot().workers[0].state is WorkerState.STUCK
        worker.does = None
        assert await pool.submit(2) == 2
    assert worker.log == ["start", "stop", "start", "stop"]


async def test_clean_up_within_the_grace_is_not_disturbed() -> None:
    """One interruption, not one on every turn of the loop."""
    cleaned = []

    async def work(data: object) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            cleaned.append(now())

    async with Pool([Probe(does=work)], stop_grace=5, debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        assert task.cancel()
        await task.wait()
        assert (now(), cleaned) == (3, [3])
        assert task.cancelled()


async def test_a_cancellation_of_the_workers_own_is_an_ordinary_failure() -> None:
    """And what is left of it does not hit the next task."""

    async def work(data: int) -> int:
        task = asyncio.current_task()
        assert task is not None
        if data == 1:
            raise asyncio.CancelledError
        if data < 4:
            task.cancel()
        if data != 3:
            await asyncio.sleep(0)
        return data

    async with Pool([Probe(does=work)], retry=ONE, debug=True) as pool:
        tasks = [pool.submit(n) for n in (1, 2, 3, 4)]
        for task in tasks[:2]:
            with pytest.raises(WorkerCancelled):
                await task
        assert [await task for task in tasks[2:]] == [3, 4]


# -- handles -------------------------------------------------------------------------------------


async def test_the_last_awaiter_takes_the_task_along_unless_detached() -> None:
    """As with an asyncio task; `wait` never does."""

    async def give_up(call: object) -> None:
        waiter = asyncio.ensure_future(call)  # type: ignore[call-overload]
        await asyncio.sleep(1)
        waiter.cancel()
        await asyncio.sleep(1)

    async with Pool([Probe(does=takes(10))], debug=True) as pool:
        shared, detached, waited = pool.submit(1), pool.submit(2, detach=True), pool.submit(3)
        other = asyncio.ensure_future(shared)
        await give_up(shared)
        assert not shared.done()
        other.cancel()
        await asyncio.sleep(1)
        assert shared.cancelled()
        await give_up(detached)
        await give_up(waited.wait())
        assert not detached.done()
        assert not await waited.wait(timeout=1)
        assert await detached == 2
        assert await waited == 3


async def test_many_awaiters_raise_one_error_whose_traceback_does_not_grow() -> None:
    """Each gets the outcome."""
    lengths = set()
    async with Pool([Probe(does=fails())], retry=ONE, debug=True) as pool:
        task = pool.submit(1)
        for _ in range(5):
            with pytest.raises(ValueError, match="attempt") as failure:
                await task
            lengths.add(len(failure.traceback))
    assert len(lengths) == 1


async def test_reached_tells_of_states_now_past_and_never() -> None:
    """Without polling."""
    async with Pool([Probe(does=takes(3))], debug=True) as pool:
        first, second = pool.submit(1), pool.submit(2)
        assert await second.reached(TaskState.RUNNING)
        assert now() == 3
        assert await first.reached(TaskState.QUEUED)
        second.cancel()
        assert not await second.reached(TaskState.SUCCEEDED)


async def test_finished_tasks_leave_no_cycles() -> None:
    """The garbage collector finds nothing, neither of successes nor of failures."""
    async with Pool([Probe(does=lambda d: fails()(d) if d else d)], retry=ONE) as pool:
        await pool.submit(0)
        gc.collect()
        gc.disable()
        try:
            for n in range(50):
                await pool.submit(n % 2).wait()
            pool.dead.clear()
            assert gc.collect() == 0
        finally:
            gc.enable()


async def test_an_error_that_nobody_reads_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """At the death, without the error's text; never at garbage collection."""
    with caplog.at_level(logging.INFO, "retrypool_async"):
        async with Pool([Probe(does=fails(ValueError("sk-1")))], retry=ONE) as pool:
            pool.submit(1)
            await pool.join()
            assert len(pool.dead) == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "sk-1" not in caplog.text


async def test_history_is_bounded_and_keeps_both_ends() -> None:
    """The first and the newest."""
    policy = RetryPolicy.fixed(0, attempts=100)
    async with Pool([Probe(does=fails())], history_limit=10, retry=policy, debug=True) as pool:
        task = pool.submit(1)
        await task.wait()
        assert [attempt.number for attempt in task.attempts] == [1, *range(92, 101)]
        assert len(task.history) == 10


# -- map -----------------------------------------------------------------------------------------


async def test_map_is_lazy_in_order_and_holds_back_both_sides() -> None:
    """The source is never read far ahead; leaving early cancels what is under way."""
    read = []

    def source() -> object:
        for n in range(1_000_000):
            read.append(n)
            yield n

    workers = [Probe(does=lambda d: asyncio.sleep(d % 3, result=d)) for _ in range(4)]
    async with Pool(workers, max_queue=2, debug=True) as pool:
        got = []
        async for value in pool.map(source(), window=10):  # type: ignore[arg-type]
            got.append(value)
            assert len(read) <= len(got) + 11
            if value == 30:
                break
        assert got == list(range(31))
        await pool.join()
        values = [value async for value in pool.map(range(30), ordered=False)]
        assert sorted(values) == list(range(30))
        assert values != sorted(values)


async def test_map_raises_the_first_error_or_yields_it_in_place() -> None:
    """As asked."""
    worker = Probe(does=lambda d: fails()(d) if d == 2 else d)
    async with Pool([worker], retry=ONE, debug=True) as pool:
        values = [v async for v in pool.map(range(4), return_exceptions=True)]
        assert [type(value) for value in values] == [int, int, ValueError, int]
        with pytest.raises(ValueError, match="attempt"):
            [v async for v in pool.map(range(4))]
        handles = [h async for h in pool.as_completed(range(4))]
        assert sum(handle.error() is not None for handle in handles) == 1


# -- closing -------------------------------------------------------------------------------------


async def test_drain_finishes_everything_and_refuses_what_comes_late() -> None:
    """The late submit hears at once."""
    pool = Pool([Probe(does=takes(1))], debug=True)
    await pool.start()
    tasks = [pool.submit(n) for n in range(3)]
    await asyncio.sleep(0.5)
    closing = asyncio.ensure_future(pool.close())
    await asyncio.sleep(0.5)
    with pytest.raises(PoolClosed):
        pool.submit(9)
    report = await closing
    assert (now(), report.unfinished, report.seconds) == (3, (), 2.5)
    assert [await task for task in tasks] == [0, 1, 2]
    assert await pool.close() is report


async def test_a_drain_that_runs_out_of_time_stops_what_is_left_and_reports_it() -> None:
    """In time to be over at the limit, and not at once."""
    pool = Pool([Probe(does=lambda d: asyncio.sleep(d, result=d)) for _ in range(2)], debug=True)
    await pool.start()
    short, long = pool.submit(2), pool.submit(60)
    await asyncio.sleep(0.5)
    report = await pool.close(timeout=5)
    assert now() == 5
    assert await short == 2
    with pytest.raises(PoolClosed):
        await long
    assert [(left.id, left.data) for left in report.unfinished] == [(2, 60)]


async def test_mode_running_ends_the_waiting_and_a_second_close_may_be_stricter() -> None:
    """Both callers return together."""
    pool = Pool([Probe(does=takes(30))], debug=True)
    await pool.start()
    running, waiting = pool.submit(1), pool.submit(2)
    await asyncio.sleep(1)
    first = asyncio.ensure_future(pool.close("running"))
    await asyncio.sleep(1)
    with pytest.raises(PoolClosed):
        await waiting
    report = await pool.close("cancel")
    assert (await first) is report
    assert now() == 2
    with pytest.raises(PoolClosed):
        await running
    assert len(report.unfinished) == 2


async def test_everybody_who_waits_hears_of_the_end() -> None:
    """Producers at a full queue, joiners, awaiters, listeners."""
    pool = Pool([Probe(does=takes(100))], max_queue=1, debug=True)
    await pool.start()
    events = pool.events()
    pool.submit(0)
    waiting = pool.submit(0)
    with pytest.raises(QueueFull):
        pool.submit(0)
    producers = [asyncio.ensure_future(pool.enqueue(n)) for n in range(3)]
    joiner = asyncio.ensure_future(pool.join())
    await asyncio.sleep(1)
    await pool.close("cancel")
    assert now() == 1
    for producer in producers:
        with pytest.raises(PoolClosed):
            await producer
    with pytest.raises(PoolClosed):
        await waiting
    await joiner
    assert [event async for event in events]


async def test_stuck_workers_and_failed_teardowns_are_reported() -> None:
    """And the close is bounded all the same."""

    class Breaks(Probe):
        async def on_stop(self) -> None:
            raise OSError

    async def stubborn(data: object) -> None:
        while now() < 50:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    pool = Pool([Breaks("broken"), Probe("stuck", does=stubborn)], debug=True)
    await pool.start()
    task = pool.submit(1, worker="stuck")
    await asyncio.sleep(1)
    report = await pool.close("cancel", timeout=3)
    assert now() == pytest.approx(4)
    assert report.stuck == ("stuck",)
    assert pool.state is PoolState.CLOSED  # for everybody but that worker
    assert [(name, type(error)) for name, error in report.failed_teardowns] == [("broken", OSError)]
    assert [left.id for left in report.unfinished] == [task.id]
    await asyncio.sleep(200)


async def test_closing_from_inside_an_attempt_is_refused_and_can_be_requested() -> None:
    """It would wait for itself. Then the pool starts again, with a clean state."""

    async def work(data: object) -> str:
        with pytest.raises(RuntimeError, match="request_close"):
            await pool.close()
        pool.request_close()
        with pytest.raises(PoolClosed):
            pool.submit(2)
        return "ended"

    worker = Probe(does=work)
    pool = Pool([worker], debug=True)
    await pool.start()
    assert await pool.submit(1) == "ended"
    await pool.close()
    worker.does = None
    async with pool:
        assert await pool.submit(3) == 3


async def test_leaving_the_block_by_an_error_cancels() -> None:
    """The error goes on."""
    with pytest.raises(KeyError):
        async with Pool([Probe(does=takes(100))], debug=True) as pool:
            task = pool.submit(1)
            await asyncio.sleep(1)
            raise KeyError
    assert now() == 1
    assert isinstance(task.error(), PoolClosed)


async def test_a_thousand_pools_leave_nothing() -> None:
    """Opened, used, closed."""
    for _ in range(200):
        async with Pool([Probe()]) as pool:
            await pool.submit(1)
    assert len(asyncio.all_tasks()) == 1


def test_one_pool_serves_two_loops_one_after_the_other() -> None:
    """Made at import time, run twice, also after a loop that ended with the pool open."""
    pool: Pool[object, object] = Pool([Probe(does=takes(0))])

    async def use() -> None:
        async with pool:
            await pool.submit(1)

    async def abandon() -> None:
        await pool.start()
        pool.submit(1)

    asyncio.run(use())
    asyncio.run(abandon())
    asyncio.run(use())


@pytest.mark.parametrize("mode", ["", "-X dev"])
def test_ctrl_c_ends_the_program_and_closes_every_resource(mode: str) -> None:
    """Within two seconds, without a warning."""
    program = textwrap.dedent(
        """
        import asyncio, os, signal
        from retrypool_async import Pool, Worker

        class Slow(Worker):
            async def on_stop(self):
                await asyncio.sleep(0)
                print("closed")
            async def run(self, data, /):
                await asyncio.sleep(60)

        async def main():
            async with Pool([Slow() for _ in range(4)]) as pool:
                for n in range(8):
                    pool.submit(n)
                loop = asyncio.get_running_loop()
                loop.call_later(0.2, os.kill, os.getpid(), signal.SIGINT)
                await asyncio.sleep(60)

        asyncio.run(main())
        """
    )
    done = subprocess.run(
        [sys.executable, *mode.split(), "-c", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.split() == ["closed"] * 4
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert "destroyed" not in done.stderr
    assert "never" not in done.stderr


@pytest.mark.parametrize("kind", ["returns", "waits", "fails"])
async def test_an_idle_worker_keeps_nothing_of_its_last_task_alive(kind: str) -> None:
    """Neither what was submitted nor what came back."""

    class Thing:
        pass

    async def work(data: object) -> object:
        if kind == "waits":
            await asyncio.sleep(1)
        if kind == "fails":
            raise ValueError
        return Thing()

    async with Pool([Probe(does=work)], retry=ONE, dead_limit=0) as pool:
        data = Thing()
        task = pool.submit(data)
        await task.wait()
        left = [weakref.ref(data)]
        if task.error() is None:
            left.append(weakref.ref(task.result()))
        del data, task
        await asyncio.sleep(0)
        assert [ref() for ref in left] == [None] * len(left)

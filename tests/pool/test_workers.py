"""The lives of workers: hooks, pauses, removals, losses, and the ready-made kinds."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from typing import Any

import anyio
import pytest

from retrypool_async import (
    AttemptOutcome,
    AttemptTimeout,
    FunctionWorker,
    Pool,
    Quota,
    ResourceWorker,
    RetryPolicy,
    TaskState,
    TaskTimeout,
    ThreadWorker,
    Throttled,
    Verdict,
    Window,
    Worker,
    WorkerLost,
    WorkerMoved,
    WorkerRemoved,
    WorkerStartFailed,
    WorkerState,
    WorkerWish,
    current_task,
)
from retrypool_async._worker import Traits
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


def state_of(pool: Pool[Any, Any], name: str) -> WorkerState:
    return next(w.state for w in pool.snapshot().workers if w.name == name)


# -- hooks ---------------------------------------------------------------------------------------


async def test_each_hook_of_a_worker_is_called_once_per_event() -> None:
    """Start, pause, resume, remove, stop: in this order, whatever is asked twice."""
    worker = Probe("w")
    async with Pool([worker, Probe("other")], debug=True) as pool:
        for _ in range(2):
            pool.pause("w")
        await settle()
        await pool.paused("w")
        for _ in range(2):
            pool.resume("w")
        await settle()
        pool.pause()
        pool.resume()
        await pool.submit(1, worker="w")
        await asyncio.gather(pool.remove("w"), pool.remove("w"))
        with pytest.raises(WorkerRemoved):
            await pool.remove("w")
    assert worker.log == ["start", "pause", "resume", "remove", "stop"]


async def test_a_workers_hooks_and_a_tasks_callbacks_may_call_the_pool() -> None:
    """They submit and await, look, add and remove: nothing is locked meanwhile."""
    answers: list[Any] = []

    class Caller(Probe):
        async def on_start(self) -> None:
            answers.append(await pool.submit("start", worker="server"))

        async def on_pause(self) -> None:
            answers.append(await pool.submit("pause"))

        async def on_remove(self) -> None:
            answers.append([ref.name for ref in pool.free_workers()])
            await pool.add(Probe("heir"))

    pool = Pool([Probe("server")], debug=True)
    async with pool:
        await pool.add(Caller("caller"))
        pool.pause("caller")
        await pool.paused("caller")
        await pool.remove("caller")
        first = pool.submit("first", on_queued=lambda _: answers.append(pool.submit("second")))
        assert await first == "first"
        assert await answers.pop() == "second"
        assert [ref.name for ref in pool.workers()] == ["server", "heir"]
    assert answers == ["start", "pause", ["server"]]


async def test_a_pause_undone_before_it_took_effect_calls_no_hook() -> None:
    """The attempt in progress goes on, and so does the worker."""
    worker = Probe("w", does=takes(3))
    async with Pool([worker], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(2)]
        await asyncio.sleep(1)
        pool.pause("w")
        await asyncio.sleep(1)
        pool.resume("w")
        for task in tasks:
            await task
        assert now() == 6
        pool.pause("w")
        await asyncio.sleep(100)
        pool.resume("w")
        await pool.submit(3)
        assert now() == 109
    assert worker.log == ["start", "pause", "resume", "stop"]


@pytest.mark.parametrize("hook", ["on_pause", "on_resume", "on_remove"])
@pytest.mark.parametrize("trouble", ["raises", "hangs", "cancels"])
async def test_a_bad_hook_of_a_worker_harms_nobody(hook: str, trouble: str) -> None:
    """What was asked for happens all the same, within stop_timeout."""

    async def bad(self: object) -> None:
        if trouble == "raises":
            raise ZeroDivisionError
        if trouble == "cancels":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(1000)

    worker = type("Bad", (Probe,), {hook: bad})("w")
    async with Pool([worker], stop_timeout=3, debug=True) as pool:
        pool.pause("w")
        await pool.paused("w")
        await settle()
        pool.resume("w")
        assert await pool.submit(1) == 1
        await pool.remove("w")
        assert pool.workers() == []
        assert now() == (3 if trouble == "hangs" else 0)
    assert worker.log[-1] == "stop"


async def test_no_hook_runs_while_an_attempt_does() -> None:
    """The resource is never used by two at once."""

    class Strict(Probe):
        inside = False

        async def use(self) -> None:
            assert not self.inside
            self.inside = True
            try:
                await asyncio.sleep(0.1)
            finally:
                self.inside = False

        on_start = on_stop = on_pause = on_resume = on_remove = on_reset = use

        async def run(self, data: Any, /) -> Any:
            await self.use()
            return data

    worker = Strict("w", max_tasks=3)
    async with Pool([worker, Strict("o", max_tasks=2)], debug=True) as pool:
        tasks = [pool.submit(n) for n in range(20)]
        for turn in range(10):
            pool.pause("w") if turn % 2 else pool.resume("w")
            tasks[turn].cancel()
            await asyncio.sleep(0.07)
        pool.resume("w")
        await pool.remove("w", force=True)
        for task in tasks:
            await task.wait()
        assert {task.state for task in tasks} <= {TaskState.SUCCEEDED, TaskState.CANCELLED}


# -- pausing -------------------------------------------------------------------------------------


async def test_a_paused_pool_takes_tasks_and_keeps_their_order() -> None:
    """A deadline runs on meanwhile."""
    order: list[int] = []
    async with Pool([Probe(does=order.append)], debug=True) as pool:
        pool.pause()
        tasks = []
        for n in range(5):
            tasks.append(pool.submit(n, timeout=3 if n == 2 else None))
            await asyncio.sleep(1)
        with pytest.raises(TaskTimeout):
            await tasks[2]
        assert (now(), tasks[2].ended_at) == (5, 5)
        await asyncio.sleep(5)
        pool.resume()
        await pool.join()
        assert now() == 10
    assert order == [0, 1, 3, 4]


async def test_a_pool_paused_until_a_time_resumes_then_and_not_before() -> None:
    """A later pause replaces the time of an earlier one."""
    async with Pool([Probe("w")], debug=True) as pool:
        pool.pause(until=5)
        pool.pause(until=8)
        await pool.submit(1)
        assert now() == 8
        pool.pause("w", until=2)
        pool.pause("w")
        task = pool.submit(2)
        await asyncio.sleep(10)
        assert task.state is TaskState.QUEUED
        pool.resume("w")
        await task
        assert now() == 18


async def test_an_operators_pause_outlives_everything_automatic() -> None:
    """A reset, a rebuild, a cooldown: the worker stays paused."""
    worker = Probe("w", does=takes(100))
    async with Pool([worker, Probe("o")], retry=ONE, debug=True) as pool:
        task = pool.submit(1, worker="w", attempt_timeout=2)
        await asyncio.sleep(1)
        pool.pause("w", reason="captcha")
        await task.wait()
        pool.cooldown("w", 5)
        pool.clear_cooldown("w")
        await asyncio.sleep(100)
        [w] = [w for w in pool.snapshot().workers if w.name == "w"]
        assert (w.wish, w.state, w.pause_reason) == (WorkerWish.PAUSE, WorkerState.IDLE, "captcha")
        assert [ref.name for ref in pool.free_workers()] == ["o"]


async def test_a_task_promised_to_a_worker_that_is_paused_goes_elsewhere_at_once() -> None:
    """Or waits, keeping its place; its quota is given back."""
    quota = Quota(Window(1, per=1000))
    a, b = Probe("a", quota=quota), Probe("b")
    async with Pool([a, b], debug=True) as pool:
        task = pool.submit(1)
        assert task.state is TaskState.RESERVED
        pool.pause("a")
        assert await task == 1
        assert (a.starts, b.starts) == ([], [0])
        assert pool.snapshot().workers[0].quota_left == {"requests": 1}


async def test_a_worker_that_failed_to_start_gets_another_try_by_resume() -> None:
    """And serves from then on."""

    class Flaky(Probe):
        broken = True

        async def on_start(self) -> None:
            if self.broken:
                raise OSError
            await super().on_start()

    worker = Flaky("w")
    async with Pool([worker, Probe("o")], debug=True) as pool:
        assert state_of(pool, "w") is WorkerState.FAILED
        worker.broken = False
        pool.resume("w")
        await settle()
        assert state_of(pool, "w") is WorkerState.IDLE
        assert await pool.submit(1, worker="w") == 1
    assert worker.log == ["start", "stop"]


# -- removing, losing, replacing -------------------------------------------------------------------


async def test_a_worker_removed_while_idle_or_paused_goes_at_once() -> None:
    """Its resource is closed when `remove` returns."""
    a, b = Probe("a"), Probe("b")
    async with Pool([a, b, Probe("c")], debug=True) as pool:
        pool.pause("b")
        await settle()
        for name, worker in (("a", a), ("b", b)):
            await pool.remove(name)
            assert worker.log[-2:] == ["remove", "stop"]
        assert now() == 0


async def test_a_removal_with_a_limit_takes_the_task_along_when_it_is_over() -> None:
    """The code goes on, stuck; the task runs elsewhere at once, and the late value is dropped."""

    async def stubborn(data: object) -> object:
        while now() < 20:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(20 - now())
        return "late"

    a = Probe("a", does=stubborn)
    async with Pool([a], debug=True) as pool:
        task = pool.submit(1)
        await pool.add(Probe("b", does=takes(1)))
        await asyncio.sleep(1)
        await pool.remove("a", timeout=2)
        assert now() == 3
        assert await task == 1
        assert (now(), task.attempt_count) == (4, 1)
        outcomes = [attempt.outcome for attempt in task.attempts]
        assert outcomes == [AttemptOutcome.SHUTDOWN, AttemptOutcome.OK]
        await asyncio.sleep(20)
        assert [ref.name for ref in pool.workers()] == ["b"]
    assert a.log == ["start", "remove", "stop"]


async def test_a_task_survives_the_removal_of_every_worker_it_ran_on() -> None:
    """No attempt is spent, and a new worker may take an old one's name."""

    def slow_end(data: object) -> Any:
        async def work() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                await asyncio.sleep(3)

        return work()

    old = Probe("w1", does=slow_end)
    workers = [old, Probe("w2", does=takes(100)), Probe("w3", does=takes(100))]
    async with Pool(workers, no_workers="wait", debug=True) as pool:
        task = pool.submit(1)
        await asyncio.sleep(1)
        removal = asyncio.ensure_future(pool.remove("w1", force=True))
        await asyncio.sleep(1)
        new = Probe("w1", does=takes(10))
        ref = await pool.add(new)
        await removal
        assert now() == 4
        for name in ("w2", "w3"):
            assert task.worker is not None
            await asyncio.sleep(1)
            await pool.remove(name, force=True)
        assert await task == 1
        assert task.attempt_count == 1
        assert task.worker == ref
    assert old.log == ["start", "remove", "stop"]
    assert new.log == ["start", "stop"]


async def test_a_revoked_key_leaves_for_good_and_a_refused_one_comes_back() -> None:
    """One task, three workers, one attempt that counts."""

    class Revoked(Exception):
        pass

    class Key(Probe):
        def classify(self, error: Exception) -> Verdict | None:
            return WorkerLost(rebuild=False) if isinstance(error, Revoked) else None

    workers = [
        Key("a", does=fails(Revoked())),
        Key("b", does=in_turn(Throttled(30), "b")),
        Key("c", does=takes(1)),
    ]
    async with Pool(workers, retry=ONE, debug=True) as pool:
        events = pool.events()
        task = pool.submit(1)
        assert await task == 1
        assert (task.attempt_count, task.throttles, task.worker and task.worker.name) == (1, 1, "c")
        assert [ref.name for ref in pool.workers()] == ["b", "c"]
        assert state_of(pool, "b") is WorkerState.COOLING
        assert await pool.submit(2, worker="b") == "b"
        assert now() == 30
    moves = [e async for e in events if isinstance(e, WorkerMoved)]
    assert [m.at for m in moves if m.new is WorkerState.COOLING] == [0]
    assert workers[0].log == ["start", "remove", "stop"]


async def test_an_ordinary_error_does_not_cost_a_worker_its_place() -> None:
    """Nor its resource."""
    worker = Probe("w", does=in_turn(ValueError(), ValueError(), "ok"))
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        assert await pool.submit(1) == "ok"
    assert worker.log == ["start", "stop"]


async def test_a_newcomer_is_checked_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding many takes time in proportion, and what others have become is their own affair."""
    checked: list[object] = []
    check = Traits.__init__

    def noted(self: Traits, worker: object) -> None:
        checked.append(worker)
        check(self, worker)

    monkeypatch.setattr(Traits, "__init__", noted)
    workers = [Probe(f"w{number}") for number in range(20)]
    async with Pool([Probe("first")], debug=True) as pool:
        checked.clear()
        for worker in workers:
            await pool.add(worker)
        assert checked == workers
        for again, wrong in ((workers[3], "given twice"), (Probe("w3"), "two workers are named")):
            with pytest.raises(ValueError, match=wrong):
                await pool.add(again)
        removal = asyncio.create_task(pool.remove("w3"))
        await asyncio.sleep(0)
        await pool.add(Probe("w3"))
        await removal


async def test_a_worker_that_cannot_be_added_is_not_there() -> None:
    """It raised, or took too long; its name is free again."""

    class Bad(Probe):
        async def on_start(self) -> None:
            if self.does is None:
                raise OSError
            await asyncio.sleep(1000)

    async with Pool([Probe("a")], start_timeout=5, debug=True) as pool:
        with pytest.raises(WorkerStartFailed, match="w: OSError"):
            await pool.add(Bad("w"))
        await settle()
        with pytest.raises(WorkerStartFailed, match="w: TimeoutError"):
            await pool.add(Bad("w", does=print))
        assert now() == 5
        await settle()
        await pool.add(Probe("w"))
        assert [ref.name for ref in pool.workers()] == ["a", "w"]
        assert [ref.id for ref in pool.workers()] == [0, 3]


async def test_a_worker_removed_while_it_is_being_added_ends_the_wait() -> None:
    """The one who added it hears that it did not start."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(20)

    async with Pool([Probe("a")], debug=True) as pool:
        adding = asyncio.ensure_future(pool.add(Slow("slow")))
        await asyncio.sleep(1)
        await pool.remove("slow", force=True)
        with pytest.raises((WorkerRemoved, WorkerStartFailed)):
            await adding
        assert now() == 1
        assert [ref.name for ref in pool.workers()] == ["a"]


async def test_a_worker_that_was_removed_may_come_back() -> None:
    """The same object, under a new id, with its resource opened anew."""
    worker = Probe("w")
    async with Pool([worker], no_workers="wait", debug=True) as pool:
        await pool.remove("w")
        task = pool.submit(1)
        await asyncio.sleep(5)
        ref = await pool.add(worker)
        assert (await task, now(), ref.id) == (1, 5, 1)
    assert worker.log == ["start", "remove", "stop", "start", "stop"]


async def test_waiting_for_a_pause_ends_with_the_worker() -> None:
    """However that comes to its end."""
    worker = Probe("w", does=takes(100))
    async with Pool([worker, Probe("o")], no_workers="wait", debug=True) as pool:
        pool.submit(1, worker="w")
        await asyncio.sleep(1)
        pool.pause("w")
        waiting = asyncio.ensure_future(pool.paused("w"))
        await asyncio.sleep(1)
        await pool.remove("w", force=True)
        await waiting
        assert now() == 2


async def test_a_worker_is_found_by_reference_id_and_name() -> None:
    """All three name the same one."""
    async with Pool([Probe("a"), Probe("b")], debug=True) as pool:
        ref = await pool.add(Probe("c"))
        for who in (ref, ref.id, "c"):
            task = pool.submit(1, worker=who)
            await task
            assert task.worker == ref


async def test_pool_hooks_may_steer_the_workers() -> None:
    """A hook that pauses, cools, adds or removes sees its wish done."""
    async with Pool([Probe("a"), Probe("b")], debug=True) as pool:
        adding: list[asyncio.Task[Any]] = []

        def steer(ended: Any) -> None:
            if ended.attempt.worker == "a" and not adding:
                pool.pause("a")
                pool.cooldown("b", 5)
                adding.append(asyncio.ensure_future(pool.add(Probe("c"))))

        pool.hooks.on_attempt = steer
        await pool.submit(1)
        await adding[0]
        assert await pool.submit(2, worker="c") == 2
        assert await pool.submit(3, worker="b") == 3
        assert now() == 5
        assert [ref.name for ref in pool.free_workers()] == ["c", "b"]


# -- ready-made kinds ------------------------------------------------------------------------------


async def test_a_function_worker_takes_whatever_can_be_awaited() -> None:
    """A function, a partial of one, an object with an async call."""

    async def add(left: int, right: int) -> int:
        await asyncio.sleep(1)
        return left + right

    class Adds:
        async def __call__(self, data: int) -> int:
            return data + 1

    async with Pool(
        [FunctionWorker(functools.partial(add, 1), name="p"), FunctionWorker(Adds(), name="o")],
        debug=True,
    ) as pool:
        assert await pool.submit(2, worker="p") == 3
        assert await pool.submit(2, worker="o") == 3


async def test_a_resource_worker_opens_anew_after_a_cut_off_attempt() -> None:
    """Nobody meets the half of another's conversation. Attributes are those of any worker."""
    opened: list[int] = []
    closed: list[int] = []

    @contextlib.asynccontextmanager
    async def session() -> Any:
        number = len(opened)
        opened.append(number)
        async with anyio.create_task_group():
            yield number
        closed.append(number)

    async def call(session: int, data: float) -> int:
        await asyncio.sleep(data)
        return session

    worker = ResourceWorker(session, call, name="s", tags={"gpu"}, quota=Quota(Window(9, per=1)))
    async with Pool([worker], retry=ONE, debug=True) as pool:
        assert await pool.submit(0, require="gpu") == 0
        with pytest.raises(AttemptTimeout):
            await pool.submit(5, attempt_timeout=1)
        assert await pool.submit(0) == 1
    assert (opened, closed) == ([0, 1], [0, 1])


async def test_a_resource_that_fails_to_open_is_not_closed() -> None:
    """It was never open."""

    @contextlib.asynccontextmanager
    async def session() -> Any:
        raise OSError
        yield

    async def call(session: None, data: int) -> int:
        return data

    with pytest.raises(WorkerStartFailed) as failed:
        async with Pool([ResourceWorker(session, call, name="s")], debug=True):
            pytest.fail("nothing had started")
    assert [type(cause) for _, cause in failed.value.causes] == [OSError]


async def test_a_group_left_open_in_on_start_serves_the_attempts() -> None:
    """A listener in it runs on between tasks, and ends with the worker."""
    heard: list[int] = []

    class Listening(Worker[int, int]):
        async def on_start(self) -> None:
            self.send, receive = anyio.create_memory_object_stream[int](10)
            self.group = await anyio.create_task_group().__aenter__()
            self.group.start_soon(self.listen, receive)

        async def listen(self, receive: Any) -> None:
            async with receive:
                async for item in receive:
                    heard.append(item)

        async def on_stop(self) -> None:
            self.send.close()
            await self.group.__aexit__(None, None, None)

        async def run(self, data: int, /) -> int:
            await self.send.send(data)
            return data

    async with Pool([Listening(), Listening()], debug=True) as pool:
        assert [value async for value in pool.map(range(6))] == list(range(6))
        assert (await pool.close()).failed_teardowns == ()
    assert sorted(heard) == list(range(6))


async def test_a_group_of_the_resource_that_fails_takes_only_its_worker_along() -> None:
    """The listener of one worker dies: that one is rebuilt, the other goes on."""
    opened: list[str] = []

    class Listening(Probe):
        async def on_start(self) -> None:
            opened.append(f"{self.name} {now():g}")
            self.group = await anyio.create_task_group().__aenter__()
            if self.name == "a" and len(opened) < 3:
                self.group.start_soon(self.die)

        async def die(self) -> None:
            await asyncio.sleep(5)
            raise OSError

        async def on_stop(self) -> None:
            with contextlib.suppress(BaseExceptionGroup):
                await self.group.__aexit__(None, None, None)

    async with Pool([Listening("a"), Listening("b")], debug=True) as pool:
        for at in range(1, 12):
            assert await pool.submit(at) == at
            await asyncio.sleep(at - now())
        assert sorted(ref.name for ref in pool.workers()) == ["a", "b"]
    assert opened[:2] == ["a 0", "b 0"]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
@pytest.mark.parametrize("awaits", [True, False])
async def test_an_exit_raised_by_a_worker_ends_its_task_and_nothing_else(
    fatal: type[BaseException], awaits: bool
) -> None:
    """It is not retried, the caller gets it, the next task runs on the same worker."""

    async def work(data: object) -> None:
        if awaits:
            await asyncio.sleep(1)
        raise fatal

    worker = Probe(does=work)
    async with Pool([worker], retry=RetryPolicy.fixed(0), debug=True) as pool:
        task = pool.submit(1)
        with pytest.raises(fatal):
            await task
        assert len(task.attempts) == 1
        worker.does = None
        assert await pool.submit(2) == 2
        assert len(pool.dead) == 1
    assert worker.log == ["start", "stop"]


@pytest.mark.parametrize("how", ["raises", "cancels itself", "awaits a cancelled task", "scope"])
async def test_cancellations_of_the_workers_own_never_kill_it(how: str) -> None:
    """Each is one failed attempt; nineteen more tasks find the worker as it was."""

    async def work(data: object) -> object:
        if how == "raises":
            raise asyncio.CancelledError
        if how == "cancels itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
        if how == "awaits a cancelled task":
            inner = asyncio.ensure_future(asyncio.sleep(10))
            inner.cancel()
            await inner
        with anyio.CancelScope() as scope:
            scope.cancel()
            await asyncio.sleep(1)
        raise ValueError

    worker = Probe(does=work)
    async with Pool([worker], retry=ONE, debug=True) as pool:
        for _ in range(20):
            task = pool.submit(1)
            await task.wait()
            assert task.attempts[0].outcome is AttemptOutcome.ERROR
        worker.does = None
        assert await pool.submit(2) == 2
    assert worker.log == ["start", "stop"]


@pytest.mark.real_time
async def test_a_thread_worker_runs_in_one_thread_of_its_own_in_the_callers_context() -> None:
    """Values and errors come back, also of its own limits on time; `current_task` works."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")

    def work(data: str) -> tuple[str, str, int]:
        if data == "bad":
            raise ValueError(data)
        return threading.current_thread().name, request.get(), current_task().id

    async with Pool([ThreadWorker(work, name="t", tags="slow")], retry=ONE, debug=True) as pool:
        request.set("mine")
        name, seen, task_id = await pool.submit("a", require="slow")
        assert (seen, task_id) == ("mine", 1)
        assert name.startswith("retrypool")
        assert name != threading.current_thread().name
        with pytest.raises(ValueError, match="bad"):
            await pool.submit("bad")
        assert (await pool.submit("b"))[0] == name


@pytest.mark.real_time
async def test_a_stuck_thread_does_not_hold_up_the_close() -> None:
    """It is named in the report, and its late end breaks nothing."""
    release = threading.Event()

    def work(data: int) -> None:
        release.wait(10)

    pool = Pool([ThreadWorker(work, name="t")], stop_grace=0.05, stop_timeout=0.05, debug=True)
    await pool.start()
    task = pool.submit(1)
    await asyncio.sleep(0.01)
    report = await pool.close("cancel")
    assert report.stuck == ("t",)
    assert task.done()
    release.set()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.01)

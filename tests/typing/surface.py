"""What type checkers must see of the public surface. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from datetime import UTC, time, timedelta
from random import Random
from typing import Any, assert_type

from retrypool_async import (
    Attempt,
    AttemptEnded,
    AttemptFailed,
    Breaker,
    BreakerMoved,
    BreakerState,
    Bucket,
    CloseReport,
    Daily,
    DeadTask,
    DeadTasks,
    EndReason,
    Event,
    FactorySnapshot,
    FailureAction,
    Forecast,
    FunctionWorker,
    Hooks,
    Move,
    Pool,
    PoolState,
    Quota,
    RandomChoice,
    ResourceWorker,
    RetryBudget,
    RetryPolicy,
    RoutingOptions,
    Snapshot,
    Subscription,
    TaskContext,
    TaskHandle,
    TaskMoved,
    TaskState,
    ThreadWorker,
    Throttled,
    Tiered,
    Times,
    Unfinished,
    Verdict,
    Weighted,
    Window,
    Worker,
    WorkerMoved,
    WorkerRef,
    WorkersMissing,
    WorkerSnapshot,
    WorkerState,
    current_task,
)
from retrypool_async.groups import (
    BlockingPool,
    Graph,
    GraphMoved,
    GraphRun,
    GraphSnapshot,
    Group,
    GroupFailed,
    GroupPool,
    GroupSnapshot,
    IndependentPool,
    Node,
    NodeMoved,
    NodeState,
    current_group,
    current_node,
)
from retrypool_async.simulate import (
    Answer,
    Percentiles,
    Report,
    Scenario,
    WorkerReport,
    simulate,
    workers_needed,
)


class Text(Worker[int, str]):
    quota = Quota(requests=Window(60, per=60), tokens=[Window(100, per=1)])

    async def run(self, number: int, /) -> str:
        return str(number)

    def classify(self, error: Exception) -> Verdict | None:
        return Throttled(retry_after=5)

    async def check(self) -> bool:
        return True


async def double(data: int) -> float:
    return data * 2.0


def blocking(data: bytes) -> int:
    return len(data)


class Connection:
    async def send(self, data: str) -> bool:
        return bool(data)


def connect() -> AbstractAsyncContextManager[Connection]:
    raise NotImplementedError


async def call(connection: Connection, data: str) -> bool:
    return await connection.send(data)


async def submitting() -> None:
    async with Pool([Text()], retry=RetryPolicy.fixed(1), cost=lambda data: data) as pool:
        assert_type(pool, Pool[int, str])
        breaker = Breaker(failures=3, cooldown=timedelta(minutes=1))
        assert_type(breaker.cooldown, float)
        budget = RetryBudget(ratio=0.5, rate=10)
        Pool([Text()], classify=Text().classify, breaker=breaker, retry_budget=budget)
        handle = pool.submit(1, cost={"tokens": 5}, bounce=True, require="gpu")
        assert_type(handle, TaskHandle[str])
        assert_type(await handle, str)
        assert_type(await pool.enqueue(1, priority=2), TaskHandle[str])
        assert_type(handle.result(), str)
        assert_type(handle.attempts, tuple[Attempt, ...])
        assert_type(handle.history, tuple[Move, ...])
        assert_type(handle.worker, WorkerRef | None)
        assert_type(handle.tried, tuple[WorkerRef, ...])
        assert_type(await handle.wait(1), bool)
        assert_type(pool.map([1, 2]), AsyncGenerator[str, None])
        assert_type(
            pool.map([1], return_exceptions=True), AsyncGenerator[str | BaseException, None]
        )
        async for ended in pool.as_completed([1]):
            assert_type(ended, TaskHandle[str])
        assert_type(pool.snapshot(), Snapshot)
        assert_type(await pool.add(Text()), WorkerRef)
        assert_type(pool.submit_threadsafe(1, priority=2), Future[str])
        pool.check_options(timeout=5, bounce=True)
        pool.submit("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def new_text() -> Text:
    return Text()


def elastic() -> None:
    assert_type(Pool(factory=Text), Pool[int, str])
    assert_type(Pool(factory=new_text, min_workers=0, max_workers=3), Pool[int, str])
    assert_type(Pool([Text()], factory=lambda: Text(), idle_timeout=9), Pool[int, str])
    factory = Pool(factory=Text).snapshot().factory
    assert_type(factory, FactorySnapshot | None)


async def handles(handle: TaskHandle[str]) -> None:
    assert_type(handle.done(), bool)
    assert_type(handle.error(), BaseException | None)
    assert_type(handle.exception(), BaseException | None)
    assert_type(handle.state, TaskState)
    assert_type(handle.times, Times)
    assert_type(handle.metadata, dict[str, Any])
    assert_type(await handle.reached(TaskState.RUNNING), bool)
    handle.add_done_callback(lambda done: assert_type(done, TaskHandle[str]))


async def operating(pool: Pool[int, str]) -> None:
    ref = pool.workers()[0]
    for worker in (ref, ref.id, ref.name):
        pool.pause(worker, until=timedelta(minutes=1), reason="captcha")
        pool.resume(worker)
        pool.cooldown(worker, 5)
        await pool.remove(worker, force=True, timeout=3)
    pool.set_quota(ref, Quota(Window(1, per=timedelta(seconds=1))))
    pool.set_quota(ref, Quota(Daily(1000, at=time(7, 30), tz=UTC)))
    assert_type(Quota(Window(60, per=60, used=9)).export(), dict[str, Any])
    Quota(Bucket(60, per=60)).restore({})
    pool.set_quota(ref, None)
    pool.set_tags(ref, {"gpu"})
    await pool.wait_until(lambda snapshot: snapshot.succeeded > 3)
    report = await pool.close("running", timeout=5)
    assert_type(report, CloseReport)
    assert_type(report.unfinished, tuple[Unfinished, ...])
    await pool.close("later")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await pool.add(FunctionWorker(double))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def watching(pool: Pool[int, str]) -> None:
    events = pool.events()
    assert_type(events, Subscription)
    async for event in events:
        assert_type(event, Event)
        if isinstance(event, TaskMoved):
            assert_type(event.new, TaskState)
        elif isinstance(event, WorkerMoved):
            assert_type(event.new, WorkerState)
        elif isinstance(event, BreakerMoved):
            assert_type(event.new, BreakerState)
        else:
            assert_type(event, WorkersMissing)
            assert_type(event.at, float)
    forecast = pool.forecast({"tokens": 5}, require="gpu", priority=2)
    assert_type(forecast, Forecast)
    assert_type(forecast.start_in, float | None)
    assert_type(forecast.worker, WorkerRef | None)
    options: RoutingOptions = {"worker": "a", "lane": 1}
    assert_type(pool.forecast(**options).ahead, int)
    assert_type(events.dropped, int)
    snapshot = pool.snapshot()
    assert_type(snapshot.workers, tuple[WorkerSnapshot, ...])
    assert_type(snapshot.workers[0].breaker, BreakerState | None)
    assert_type(snapshot.workers[0].metadata, Mapping[str, Any])
    assert_type(snapshot.tasks[TaskState.QUEUED], int)
    assert_type(snapshot.retrying, int | None)
    assert_type(pool.state, PoolState)
    assert_type(pool.dead, DeadTasks)
    assert_type(pool.dead.pull(1), DeadTask)
    assert_type(pool.dead.reasons(), dict[EndReason, int])
    assert_type([dead.id for dead in pool.dead], list[int])


def inside() -> None:
    context = current_task()
    assert_type(context, TaskContext)
    assert_type(context.remaining(), float | None)
    assert_type(context.attempt, int)
    context.settle(tokens=512, pages=None)
    context.sync_quota(remaining=3, reset_after=timedelta(seconds=9))
    context.sync_quota("tokens", remaining=None, reset_after=None, scope="quota")
    context.settle(tokens="512")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def workers() -> None:
    assert_type(FunctionWorker(double, name="a"), FunctionWorker[int, float])
    assert_type(ThreadWorker(blocking), ThreadWorker[bytes, int])
    assert_type(ResourceWorker(connect, call), ResourceWorker[Connection, str, bool])
    assert_type(ThreadWorker(blocking).max_attempts_per_task, int | None)
    assert_type(Pool([FunctionWorker(double)]), Pool[int, float])
    Pool([FunctionWorker(double, weight=2, tier=1)], strategy=Tiered(Weighted()))
    Pool([FunctionWorker(double)], strategy=RandomChoice(Random(1)))
    Pool([FunctionWorker(double)], lane_weights={"gold": 2, None: 0.5}).submit(
        1, order_key=1, affinity="a", lane=("a", 1)
    )
    Tiered(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def hooks(pool: Pool[int, str]) -> None:
    def died(dead: DeadTask) -> Any:
        return dead.id

    async def attempted(ended: AttemptEnded) -> None:
        assert_type(ended.attempt, Attempt)

    def decide(failed: AttemptFailed) -> FailureAction | None:
        return FailureAction.DROP if isinstance(failed.error, KeyError) else None

    Hooks(on_dead=died, on_attempt=attempted, on_failure=decide, on_worker=lambda moved: moved.at)
    pool.hooks.on_success = lambda moved: moved.task
    pool.hooks.on_failure = None
    pool.hooks.on_dead = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]


async def groups(pool: Pool[int, str]) -> None:
    async with BlockingPool(pool, Text, max_groups=2, max_workers=None) as blocking:
        assert_type(blocking, BlockingPool[int, str])
        assert_type(await blocking.submit("a", 1, priority=2), str)
        group = blocking.group("a")
        assert_type(group, Group[int, str])
        assert_type(await group.submit(2), str)
        assert_type(await group, None)
        assert_type(await group.wait(1), bool)
        assert_type(group.unfinished, tuple[TaskHandle[str], ...])
        assert_type(blocking.snapshot(), tuple[GroupSnapshot, ...])
        async with current_group().lend():
            pass
        blocking.submit("a", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with GroupPool(pool, Text, must_succeed=True) as grouped:
        assert_type(grouped.groups, tuple[Group[int, str], ...])


async def shout(text: str) -> bytes:
    return text.upper().encode()


def repeat(text: str, times: int) -> list[str]:
    return [text] * times


def join(*texts: str) -> str:
    return "".join(texts)


def nothing() -> None: ...


async def graphs(pool: Pool[int, str]) -> None:
    def moved(move: NodeMoved) -> None:
        assert_type(move.new, NodeState)

    async with (
        IndependentPool(pool, on_node=moved, on_graph=lambda move: move.run) as independent,
        independent.graph("g", keep_going=True) as graph,
    ):
        assert_type(independent, IndependentPool[int, str])
        assert_type(graph, Graph[int, str])
        text = graph.task("a", 1, after="z", timeout=5)
        assert_type(text, Node[str])
        length = graph.call("b", len, text)
        assert_type(length, Node[int])
        assert_type(graph.task("c", length, before=[text, 7]), Node[str])
        assert_type(graph.call("d", shout, text), Node[bytes])
        assert_type(graph.call("e", repeat, text, length), Node[list[str]])
        assert_type(graph.call("f", join, *[text, text]), Node[str])
        assert_type(graph.call("g", nothing, after=length), Node[None])
        assert_type(
            graph.call("h", lambda one, two: (one, two), text, length), Node[tuple[str, int]]
        )
        graph.task("x", "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        graph.task("x", text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        graph.call("x", repeat, length, text)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
        assert_type(text.result(), str)
        assert_type(text.task, TaskHandle[Any] | None)
        assert_type(graph.order(), tuple[Node[Any], ...])
        run = graph.submit()
        assert_type(run, GraphRun)
        assert_type(await run, dict[Hashable, Any])
        assert_type(await run.wait(1), bool)
        assert_type(run.nodes, Mapping[Hashable, Node[Any]])
        assert_type(run.snapshot(), GraphSnapshot)
        assert_type(independent.runs, Mapping[Hashable, GraphRun])
    assert_type(current_node().results, Mapping[Hashable, Any])


def failures(error: GroupFailed, moved: GraphMoved) -> None:
    assert_type(error.failures, dict[Hashable, Exception])
    assert_type(error.exceptions, tuple[Exception | ExceptionGroup[Exception], ...])
    assert_type(moved.run, GraphRun)


def capacity() -> None:
    scenario = Scenario.of({"arrivals": {"tasks": 1}, "workers": [{"name": "a", "latency": 1}]})
    assert_type(scenario.resized("a", 2), Scenario)
    report = simulate(Scenario.read("scenario.toml"))
    assert_type(report, Report)
    assert_type(report.wait, Percentiles | None)
    assert_type(report.outcomes, Mapping[str, int])
    assert_type(report.kinds[0].workers, tuple[WorkerReport, ...])
    answer = workers_needed(scenario)
    assert_type(answer, Answer)
    assert_type(answer.workers, int | None)
    assert_type(answer.trials[0].report, Report | None)

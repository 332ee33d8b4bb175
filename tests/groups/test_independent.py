"""Graphs of tasks: checked whole, run in order, and ended whole."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
import weakref
from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from retrypool_async import Hooks, Pool, PoolClosed, RetryPolicy, TaskState, Unroutable
from retrypool_async.groups import (
    CycleError,
    DuplicateGroup,
    DuplicateTask,
    Graph,
    GraphError,
    GraphMoved,
    GraphRun,
    GraphState,
    GroupFailed,
    IndependentPool,
    MissingDependency,
    Node,
    NodeMoved,
    NodeState,
    TaskCancelled,
    TaskSkipped,
    current_node,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)

W, Q, R, S, F, C, X = (
    NodeState.WAITING,
    NodeState.QUEUED,
    NodeState.RUNNING,
    NodeState.SUCCEEDED,
    NodeState.FAILED,
    NodeState.CANCELLED,
    NodeState.SKIPPED,
)


def states(run: GraphRun) -> dict[Hashable, NodeState]:
    return {node.id: node.state for node in run.nodes.values()}


class Diary(Probe):
    """Writes down when each node's work begins. Data is how long it takes; below 0, it fails."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(does=self.work, **attributes)
        self.began: dict[Hashable, float] = {}

    async def work(self, data: float) -> Hashable:
        node = current_node()
        self.began[node.id] = now()
        await asyncio.sleep(abs(data))
        if data < 0:
            raise ValueError
        return node.id


def diaries(number: int) -> list[Diary]:
    """Workers that share one diary."""
    workers = [Diary() for _ in range(number)]
    for worker in workers:
        worker.began = workers[0].began
    return workers


# -- the order of things ------------------------------------------------------------------------


async def test_roots_start_at_once_and_each_node_when_its_last_dependency_succeeds() -> None:
    """Siblings side by side, however the nodes were added."""
    diary, *others = diaries(4)
    async with Pool([diary, *others]) as pool, IndependentPool(pool) as graphs:
        async with graphs.graph() as graph:
            graph.task("end", 1.0, after=["slow", "quick"])
            quick = graph.task("quick", 1.0, after="root")
            graph.task("slow", 5.0, after=["root", "other"])
            graph.task("root", 1.0)
            graph.task("other", 2.0)
            graph.task("next", 1.0, after=quick)
        assert diary.began == {"root": 0, "other": 0, "quick": 1, "slow": 2, "next": 2, "end": 7}


async def test_before_is_after_the_other_way_round() -> None:
    """Both may be used in one graph: 2 before 1, 3 before 1, 4 before 2 and 3."""
    diary, other = diaries(2)
    async with Pool([diary, other]) as pool, IndependentPool(pool) as graphs:
        async with graphs.graph() as graph:
            graph.task(1, 1.0)
            graph.task(2, 1.0, before=1)
            graph.task(3, 1.0, before=[1])
            graph.task(4, 1.0, before=(2, 3))
            graph.task(5, 1.0, after=1)
        assert diary.began == {4: 0, 2: 1, 3: 1, 1: 2, 5: 3}


async def test_groups_run_side_by_side() -> None:
    """Each in its own order, with ids of its own."""
    diary, other = diaries(2)
    async with Pool([diary, other]) as pool, IndependentPool(pool) as graphs:
        runs: list[GraphRun] = []
        for name in ("a", "b"):
            graph = graphs.graph(name)
            first = graph.task(1, 1.0)
            graph.task(2, 2.0, after=first)
            runs.append(graph.submit())
        assert dict(graphs.runs) == {"a": runs[0], "b": runs[1]}
        for run in runs:
            assert await run == {1: 1, 2: 2}
        assert now() == 3
        assert dict(graphs.runs) == {}


def test_a_graph_tells_its_order_which_is_always_the_same() -> None:
    """Each after all that it depends on."""
    graph = IndependentPool(Pool[float, Any]()).graph()
    graph.task("d", 0.0, after=["b", "c"])
    for name in ("c", "b"):
        graph.task(name, 0.0, after="a")
    graph.task("a", 0.0, after=())
    graph.task("z", 0.0)
    assert [node.id for node in graph.order()] == ["a", "z", "c", "b", "d"]


async def test_a_chain_of_functions_needs_no_deep_stack() -> None:
    """Ten thousand of them."""
    async with Pool([Probe()]) as pool, IndependentPool(pool) as graphs:
        async with graphs.graph() as graph:
            node = graph.call(0, lambda: 0)
            for number in range(1, 10_000):
                node = graph.call(number, lambda before: before + 1, node)
        assert node.result() == 9_999


# -- what is refused ----------------------------------------------------------------------------


def cycle(graph: Graph[float, Any]) -> None:
    graph.task("root", 1.0)
    for number, after in ((1, 3), (2, 1), (3, 2)):
        graph.task(number, 1.0, after=[after])


def cycle_of_both_directions(graph: Graph[float, Any]) -> None:
    graph.task("a", 1.0, before="b", after="b")
    graph.task("b", 1.0)


def itself(graph: Graph[float, Any]) -> None:
    graph.task("a", 1.0, after="a")


def missing(graph: Graph[float, Any]) -> None:
    graph.task(1, 1.0, after=99)
    graph.task(2, 1.0, after=1, before=["x", 1])


def foreign(graph: Graph[float, Any]) -> None:
    graph.task("root", 1.0)
    other = IndependentPool(Pool[float, Any]()).graph().task("root", 1.0)
    graph.task("mine", other)


def twice(graph: Graph[float, Any]) -> None:
    graph.task("a", 1.0)
    graph.call("a", list[int])


def empty(graph: Graph[float, Any]) -> None: ...


def wrong_option_far_below(graph: Graph[float, Any]) -> None:
    first = graph.task("first", 1.0)
    graph.task("second", 1.0, after=first, timeout=-1)


def unroutable_root(graph: Graph[float, Any]) -> None:
    graph.call("function", lambda: pytest.fail("ran"))
    graph.task("first", 1.0)
    graph.task("second", 1.0, require="gpu")


@pytest.mark.parametrize(
    ("describe", "error", "message"),
    [
        (cycle, CycleError, "1 waits for 3, which waits for 2, which waits for 1"),
        (cycle_of_both_directions, CycleError, "'a' waits for 'b', which waits for 'a'"),
        (itself, CycleError, "'a' waits for 'a'"),
        (missing, MissingDependency, "not in the graph: 1 refers to 99; 2 refers to 'x'"),
        (foreign, MissingDependency, "not in the graph: 'mine' refers to 'root'"),
        (twice, DuplicateTask, "the graph has a task 'a' already"),
        (empty, GraphError, "graph 'g' has no nodes"),
        (
            wrong_option_far_below,
            GraphError,
            "the pool refuses node 'second': timeout must be at least 0, got -1",
        ),
        (unroutable_root, GraphError, "the pool refuses node 'second': no worker"),
    ],
)
async def test_a_wrong_graph_is_refused_whole(
    describe: Callable[[Graph[float, Any]], None], error: type[GraphError], message: str
) -> None:
    """Before anything of it runs, with the nodes named. Its id stays free."""
    probe = Probe()
    told: list[object] = []
    async with (
        Pool([probe], debug=True) as pool,
        IndependentPool(pool, on_graph=told.append, on_node=told.append) as graphs,
    ):
        with pytest.raises(error) as raised:
            async with graphs.graph("g") as graph:
                describe(graph)
        assert str(raised.value).startswith(message)
        await pool.join()
        assert (probe.starts, told, dict(graphs.runs)) == ([], [], {})
        async with graphs.graph("g") as graph:
            graph.task("well", 1.0)


async def test_a_refused_graph_may_be_mended() -> None:
    """By what was missing."""
    async with Pool([Probe()]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        graph.task("b", 2, after="a")
        with pytest.raises(MissingDependency) as raised:
            graph.submit()
        assert raised.value.missing == (("b", "a"),)
        graph.task("a", 1)
        assert await graph.submit() == {"a": 1, "b": 2}


async def test_a_graph_runs_once_and_does_not_change_then() -> None:
    """What is added late could never run in order."""
    async with Pool([Probe()]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph("g")
        graph.task("a", 1)
        run = graph.submit()
        with pytest.raises(GraphError, match="submitted already"):
            graph.submit()
        with pytest.raises(GraphError, match="'b' comes too late"):
            graph.task("b", 1)
        assert await run == {"a": 1}


async def test_a_group_of_an_id_in_use_is_refused() -> None:
    """Until that one has ended."""
    async with Pool([Probe(does=takes(1))]) as pool, IndependentPool(pool) as graphs:

        def one() -> Graph[Any, Any]:
            graph = graphs.graph(("job", 7))
            graph.task("a", 1)
            return graph

        run = one().submit()
        with pytest.raises(DuplicateGroup) as raised:
            one().submit()
        assert raised.value.id == ("job", 7)
        await run
        assert await one().submit() == {"a": 1}


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda graphs: graphs.graph([]), "id"),
        (lambda graphs: graphs.graph("g", keep_going=1), "keep_going"),
        (lambda graphs: graphs.graph().task([], 1), "id"),
        (lambda graphs: graphs.graph().call("a", 1), "function"),
        (lambda graphs: graphs.graph().call("a", len, "b"), "arguments"),
        (lambda graphs: IndependentPool(graphs), "pool"),
        (lambda graphs: IndependentPool(Pool(), on_node=1), "on_node"),
        (lambda graphs: IndependentPool(Pool(), on_graph=asyncio.sleep), "on_graph"),
        (lambda graphs: IndependentPool(Pool(), shutdown_timeout=-1), "shutdown_timeout"),
        (lambda graphs: IndependentPool(Pool(), shutdown_timeout=True), "shutdown_timeout"),
    ],
)
def test_bad_arguments_are_refused_by_name(
    call: Callable[[IndependentPool[Any, Any]], object], field: str
) -> None:
    """At the call."""
    with pytest.raises((TypeError, ValueError), match=field):
        call(IndependentPool(Pool()))


async def test_graphs_are_taken_only_while_both_pools_are_open() -> None:
    """`PoolClosed` says which is not."""

    def submit(graphs: IndependentPool[Any, Any], problem: str) -> None:
        graph = graphs.graph()
        graph.task("a", 1)
        with pytest.raises(PoolClosed, match=problem):
            graph.submit()

    pool = Pool([Probe()])
    graphs = IndependentPool(pool)
    submit(graphs, "async with")
    async with graphs:
        submit(graphs, "not started")
        with pytest.raises(RuntimeError, match="in use"):
            async with graphs:
                pass
    async with pool, graphs:
        pass
    submit(graphs, "async with")


# -- results ------------------------------------------------------------------------------------


async def test_a_worker_sees_the_results_of_what_its_node_depends_on() -> None:
    """In the submitter's context, and so do the pool's hooks."""
    language: ContextVar[str] = ContextVar("language")
    seen: list[Any] = []

    def work(data: str) -> str:
        seen.append((current_node().id, dict(current_node().results), language.get()))
        return data.upper()

    hooks = Hooks(on_success=lambda moved: seen.append(current_node()))
    async with Pool([Probe(does=work)], hooks=hooks) as pool, IndependentPool(pool) as graphs:
        language.set("French")
        async with graphs.graph() as graph:
            a = graph.task("a", "x")
            b = graph.task("b", "y", before=["c"])
            c = graph.task("c", "z", after=a)
        french = ("c", {"a": "X", "b": "Y"}, "French")
        assert seen == [("a", {}, "French"), a, ("b", {}, "French"), b, french, c]
    with pytest.raises(LookupError, match="current_node"):
        current_node()


async def test_functions_get_results_and_give_some() -> None:
    """Plain and async ones, and awaitables; a node may also be another's data."""

    async def joined(*parts: str) -> str:
        await asyncio.sleep(1)
        return "-".join(parts)

    async with Pool([Probe(does=takes(1)) for _ in range(2)]) as pool:
        async with IndependentPool(pool) as graphs, graphs.graph() as graph:
            a = graph.task("a", "a")
            b = graph.call("b", str.upper, a)
            ab = graph.call("ab", joined, a, b)
            again = graph.task("again", ab)
            submitted = graph.call("submitted", pool.submit, again)
            graph.call("late", lambda: log.append(now()), after=[submitted], before=())
            log: list[float] = []
        assert submitted.result() == "a-A"
        assert log == [4]
        assert (b.task, again.task is None) == (None, False)


async def test_a_function_runs_in_the_submitters_context() -> None:
    """With its node as the current one; what it sets there stays there."""
    language: ContextVar[str] = ContextVar("language", default="none")

    async def read(_: object) -> tuple[str, Hashable]:
        await asyncio.sleep(1)
        return language.get(), current_node().id

    async with Pool([Probe()]) as pool, IndependentPool(pool) as graphs:
        language.set("French")
        async with graphs.graph() as graph:
            first = graph.call("first", lambda: language.set("German") and None)
            second = graph.call("second", read, first)
        assert second.result() == ("French", "second")


async def test_submit_options_are_in_force_for_each_node() -> None:
    """Also the callbacks, of which the group needs one for itself."""
    log: list[Any] = []
    workers = [Probe("a", does=takes(5)), Probe("b", does=takes(5))]
    async with Pool(workers) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        node = graph.task(
            1,
            "x",
            worker="b",
            metadata={"user": 7},
            on_running=lambda task: log.append(("running", task.metadata)),
            on_done=lambda task: log.append(("done", task.state)),
        )
        await graph.submit()
        assert log == [("running", {"user": 7}), ("done", TaskState.SUCCEEDED)]
        assert node.task is not None
        assert node.task.worker == pool.workers()[1]


# -- failures -----------------------------------------------------------------------------------


async def test_a_failure_stops_the_group() -> None:
    """What runs is cancelled, what waits never runs, and each says why."""
    diary, *others = diaries(3)
    workers = [diary, *others]
    async with Pool(workers, retry=ONE) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph("g")
        graph.task("bad", -1.0)
        graph.task("below", 1.0, after="bad")
        graph.task("far below", 1.0, after="below")
        graph.task("beside", 9.0)
        graph.task("after beside", 1.0, after="beside")
        graph.task("done", 0.5)
        run = graph.submit()
        with pytest.raises(GroupFailed) as raised:
            await run
        assert now() == 1
        assert raised.value.group == "g"
        assert list(raised.value.failures) == ["bad"]
        assert isinstance(raised.value.failures["bad"], ValueError)
        assert states(run) == {
            "bad": F,
            "beside": C,
            "done": S,
            "below": X,
            "after beside": X,
            "far below": X,
        }
        assert set(diary.began) == {"bad", "beside", "done"}
        for name, dependency in (("below", True), ("far below", True), ("after beside", False)):
            error = run.nodes[name].error()
            assert isinstance(error, TaskSkipped)
            assert (error.id, error.failed, error.dependency) == (name, "bad", dependency)
            assert error.__cause__ is raised.value.failures["bad"]
        assert isinstance(run.nodes["beside"].error(), asyncio.CancelledError)
        task = run.nodes["bad"].task
        assert task is not None
        assert [dead.id for dead in pool.dead] == [task.id]


async def test_keep_going_runs_all_that_does_not_depend_on_a_failure() -> None:
    """Then raises all that failed, in the order of failing."""
    diary, *others = diaries(3)
    async with Pool([diary, *others], retry=ONE) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph(keep_going=True)
        graph.task("bad", -2.0)
        graph.task("worse", -1.0)
        graph.task("good", 3.0)
        graph.task("below both", 1.0, after=["bad", "worse"])
        graph.task("below good", 1.0, after="good")
        run = graph.submit()
        with pytest.raises(GroupFailed) as raised:
            await run
        assert now() == 4
        assert list(raised.value.failures) == ["worse", "bad"]
        assert raised.value.exceptions == tuple(raised.value.failures.values())
        assert run.snapshot() == (
            run.id,
            GraphState.FAILED,
            5,
            {W: 0, Q: 0, R: 0, S: 2, F: 2, X: 1, C: 0},
        )
        below = run.nodes["below both"].error()
        assert isinstance(below, TaskSkipped)
        assert below.failed == "worse"


async def test_failures_are_a_group_of_exceptions_that_keeps_their_secrets() -> None:
    """It can be taken apart; its text has the ids and kinds, not what the errors say."""
    steps = {number: [ValueError, KeyError][number % 2](f"secret {number}") for number in range(10)}
    workers = [Probe(does=lambda data: fails(steps[data])(data)) for _ in range(10)]
    async with Pool(workers, retry=ONE) as pool, IndependentPool(pool) as graphs:
        caught: list[type[BaseException]] = []
        try:
            async with graphs.graph("g", keep_going=True) as graph:
                for number in range(10):
                    graph.task(number, number)
                graph.task("below", 1, after=[0])
        except* ValueError as some:
            caught += [type(error) for error in some.exceptions]
        except* KeyError as others:
            caught += [type(error) for error in others.exceptions]
        assert caught == [ValueError] * 5 + [KeyError] * 5

        graph = graphs.graph("h", keep_going=True)
        for number in range(10):
            graph.task(number, number)
        below = graph.task("below", 1, after=[0])
        run = graph.submit()
        await run.wait()
        error = run.error()
        assert isinstance(error, GroupFailed)
        shown = f"{error} {error!r} {below.error()} {below.error()!r} {run!r} {below!r}"
        assert "in group 'h': 0 (ValueError), 1 (KeyError)" in shown
        assert "7 (KeyError), and 2 more" in shown
        assert "secret" not in shown


async def test_an_error_that_is_asked_for_again_and_again_does_not_grow() -> None:
    """Its traceback is that of the failure, and what raised it last."""
    async with Pool([Probe(does=fails())], retry=ONE) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph(keep_going=True)
        nodes = [graph.task(1, 1), graph.call(2, lambda: fails()(1)), graph.task(3, 1, after=2)]
        await graph.submit().wait()

        def length(node: Node[Any]) -> int:
            with pytest.raises((ValueError, TaskSkipped)) as raised:
                node.result()
            return len(traceback.extract_tb(raised.value.__traceback__))

        for node in nodes:
            assert length(node) == length(node)


@pytest.mark.parametrize("exit", [KeyboardInterrupt, SystemExit])
async def test_an_exit_raised_by_a_node_is_raised_itself(exit: type[BaseException]) -> None:
    """No group of exceptions can hold it."""
    async with Pool([Probe(does=fails(exit))]) as pool, IndependentPool(pool) as graphs:
        with pytest.raises(exit):
            async with graphs.graph() as graph:
                graph.task("a", 1)
                graph.call("b", lambda: pytest.fail("ran"), after="a")


async def test_retries_are_the_pools() -> None:
    """Dependents wait for the attempt that succeeds."""
    flaky = Probe(does=in_turn(OSError(), OSError(), "a", "b"))
    moves: list[Any] = []
    async with (
        Pool([flaky], retry=RetryPolicy.fixed(5, attempts=3)) as pool,
        IndependentPool(
            pool, on_node=lambda move: moves.append((move.node.id, move.new))
        ) as graphs,
    ):
        graph = graphs.graph()
        graph.task(1, "x", before=[2])
        graph.task(2, "y")
        assert await graph.submit() == {1: "a", 2: "b"}
        assert now() == 10
        assert moves == [(1, Q), (1, R), (1, S), (2, Q), (2, R), (2, S)]


async def test_a_task_cancelled_by_others_fails_its_node() -> None:
    """For those below it is a failure like any other."""
    async with Pool([Probe(does=takes(9))]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        node = graph.task("a", 1)
        below = graph.task("b", 1, after=node)
        run = graph.submit()
        assert node.task is not None
        node.task.cancel()
        await run.wait()
        error = run.error()
        assert isinstance(error, GroupFailed)
        assert isinstance(error.failures["a"], TaskCancelled)
        assert below.state is X


@pytest.mark.parametrize("kind", ["plain", "async", "cancels itself"])
async def test_a_function_that_fails_fails_its_node(kind: str) -> None:
    """Once: it is not tried again."""
    calls: list[str] = []

    def plain() -> None:
        calls.append(kind)
        raise ZeroDivisionError

    async def later() -> None:
        await asyncio.sleep(1)
        plain()

    async def cancels_itself() -> None:
        calls.append(kind)
        raise asyncio.CancelledError

    function = {"plain": plain, "async": later, "cancels itself": cancels_itself}[kind]
    async with Pool([Probe()]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        bad = graph.call("bad", function)
        below = graph.task("below", 1, after=bad)
        run = graph.submit()
        with pytest.raises(GroupFailed):
            await run
        assert calls == [kind]
        assert (bad.state, below.state) == (F, X)


async def test_what_the_pool_refuses_later_fails_its_node() -> None:
    """A worker that was there at the start may be gone when its node is ready."""
    workers = [Probe("a", does=takes(1), tags={"gpu"}), Probe("b", does=takes(1))]
    async with Pool(workers) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        graph.task("first", 1, worker="b")
        graph.task("second", 1, after=["first"], require="gpu")
        run = graph.submit()
        await pool.remove("a")
        with pytest.raises(GroupFailed) as raised:
            await run
        assert isinstance(raised.value.failures["second"], Unroutable)


# -- cancelling ---------------------------------------------------------------------------------


async def test_cancel_ends_what_waits_at_once_and_what_runs_when_it_has_unwound() -> None:
    """Tasks and functions alike; awaiting raises `CancelledError` then."""
    log: list[Any] = []

    async def unwinds(name: str) -> None:
        try:
            await asyncio.sleep(9)
        finally:
            await asyncio.sleep(2)
            log.append((name, now()))

    async with Pool([Probe(does=unwinds)]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph("g")
        graph.task("runs", "task")
        graph.task("queued", "queued")
        graph.call("function", lambda: unwinds("function"))
        graph.task("waits", 1, after="runs")
        run = graph.submit()
        await asyncio.sleep(1)
        assert run.snapshot().nodes == {W: 1, Q: 1, R: 2, S: 0, F: 0, X: 0, C: 0}
        assert run.cancel()
        assert states(run) == {"runs": R, "function": R, "queued": C, "waits": C}
        assert (run.state, run.done(), run.cancelled()) == (GraphState.RUNNING, False, False)
        with pytest.raises(asyncio.InvalidStateError):
            run.result()
        with pytest.raises(asyncio.InvalidStateError):
            run.nodes["runs"].result()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert (sorted(log), now()) == ([("function", 3), ("task", 3)], 3)
        assert set(states(run).values()) == {C}
        assert (run.done(), run.cancelled(), run.cancel()) == (True, True, False)


async def test_a_value_returned_in_spite_of_a_cancellation_counts() -> None:
    """For its node, and for the group if no other was cut short; no more nodes start of it."""

    async def stubborn(data: str) -> str:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            return data
        return "late"

    async with Pool([Probe(does=stubborn)]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        node = graph.task("a", "value")
        function = graph.call("f", lambda: stubborn("other"))
        run = graph.submit()
        await settle()
        run.cancel()
        assert await run == {"a": "value", "f": "other"}

        graph = graphs.graph()
        node = graph.task("a", "value")
        function = graph.call("f", lambda: pytest.fail("ran"), after=node)
        run = graph.submit()
        await settle()
        run.cancel()
        await run.wait()
        assert (node.state, function.state, run.state) == (S, C, GraphState.CANCELLED)


async def test_the_last_awaiter_that_is_cancelled_takes_the_group_along() -> None:
    """As with a task's handle; `wait` takes nothing along."""
    async with Pool([Probe(does=takes(9))]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        graph.task("a", 1)
        run = graph.submit()
        awaiters = [asyncio.ensure_future(wait) for wait in (run, run, run.wait())]
        await settle()
        for awaiter in awaiters[1:]:
            awaiter.cancel()
        await settle()
        assert not run.done()
        awaiters[0].cancel()
        await run.wait()
        assert run.cancelled()
        await asyncio.gather(*awaiters, return_exceptions=True)


async def test_a_group_whose_function_cancels_it_still_waits_for_that_function() -> None:
    """Its coroutine is not left unstarted."""
    async with Pool([Probe(does=takes(9))]) as pool, IndependentPool(pool) as graphs:

        def ends_it() -> Any:
            assert graphs.runs["g"].cancel()
            return asyncio.sleep(5)

        graph = graphs.graph("g")
        graph.task("a", 1)
        node = graph.call("f", ends_it)
        graph.task("b", 1, after=["a", node])
        run = graph.submit()
        await run.wait()
        assert (now(), run.state, node.state) == (0, GraphState.CANCELLED, C)


# -- telling ------------------------------------------------------------------------------------


async def test_observers_are_told_of_every_move_at_its_time() -> None:
    """A node runs when a worker begins it, not when the pool takes it."""
    log: list[Any] = []

    def on_node(move: NodeMoved) -> None:
        assert move.node.state is move.new
        log.append((now(), move.node.id, move.old, move.new))

    def on_graph(move: GraphMoved) -> None:
        log.append((now(), move.run.id, move.old, move.new))

    async with (
        Pool([Probe(does=takes(2))], retry=ONE) as pool,
        IndependentPool(pool, on_node=on_node, on_graph=on_graph) as graphs,
    ):
        graph = graphs.graph("g")
        graph.task(1, 1)
        graph.task(2, 1)
        graph.call(3, lambda: fails()(1), after=[1, 2])
        graph.task(4, 1, after=3)
        run = graph.submit()
        run.add_done_callback(lambda ended: log.append((now(), ended.state)))
        await run.wait()
        run.add_done_callback(lambda ended: log.append("soon"))
        await settle()
    assert log == [
        (0, "g", None, GraphState.RUNNING),
        (0, 1, W, Q),
        (0, 2, W, Q),
        (0, 1, Q, R),
        (2, 1, R, S),
        (2, 2, Q, R),
        (4, 2, R, S),
        (4, 3, W, R),
        (4, 3, R, F),
        (4, 4, W, X),
        (4, "g", GraphState.RUNNING, GraphState.FAILED),
        (4, GraphState.FAILED),
        "soon",
    ]


async def test_callbacks_that_raise_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Each is logged, with the pool's secrets masked."""

    def breaks(_: object) -> None:
        raise ZeroDivisionError("hunter2")

    async with (
        Pool([Probe()], secrets=["hunter2"]) as pool,
        IndependentPool(pool, on_node=breaks, on_graph=breaks) as graphs,
    ):
        graph = graphs.graph("g")
        graph.task(1, 1)
        run = graph.submit()
        run.add_done_callback(breaks)
        with pytest.raises(TypeError, match="plain function"):
            run.add_done_callback(asyncio.sleep)
        assert await run == {1: 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 6
    assert "callback of group 'g' raised" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_callbacks_may_submit_and_cancel_groups() -> None:
    """The books are complete when they are called."""
    ended: list[Hashable] = []

    def on_graph(move: GraphMoved) -> None:
        if move.old is None:
            return
        ended.append(move.run.id)
        if move.run.id == "first":
            assert dict(graphs.runs) == {}
            graph = graphs.graph("second")
            graph.task("a", 1)
            graph.submit()

    def on_node(move: NodeMoved) -> None:
        if move.run.id == "second" and move.new is R:
            move.run.cancel()

    async with Pool([Probe(does=takes(1))]) as pool:
        async with IndependentPool(pool, on_graph=on_graph, on_node=on_node) as graphs:
            graph = graphs.graph("first")
            graph.task("a", 1)
            await graph.submit()
            await graphs.join()
        assert (ended, now()) == (["first", "second"], 1)


async def test_a_function_does_not_run_in_a_group_that_an_observer_cancels() -> None:
    """When it is told that the function is about to begin."""

    def on_node(move: NodeMoved) -> None:
        if move.new is R:
            move.run.cancel()

    async with Pool([Probe()]) as pool, IndependentPool(pool, on_node=on_node) as graphs:
        graph = graphs.graph()
        node = graph.call("f", lambda: pytest.fail("ran"))
        await graph.submit().wait()
        assert node.state is C


@pytest.mark.parametrize("max_queue", [None, 0])
@pytest.mark.parametrize("number", range(1, 5))
async def test_a_group_may_be_cancelled_by_the_pools_callbacks_in_the_midst_of_a_start(
    number: int, max_queue: int | None
) -> None:
    """Whatever the pool takes then is withdrawn, and nothing more is given to it."""
    probe = Probe()
    accepted = 0

    def on_queued(_: object) -> None:
        nonlocal accepted
        accepted += 1
        if accepted == number:
            graphs.runs["g"].cancel()

    async with (
        Pool([probe], max_queue=max_queue, debug=True) as pool,
        IndependentPool(pool) as graphs,
    ):
        graph = graphs.graph("g")
        for root in range(2):
            graph.task(root, 1, on_queued=on_queued)
        function = graph.call("f", lambda: None)
        for below in range(2, 4):
            graph.task(below, 1, on_queued=on_queued, after=function)
        run = graph.submit()
        await run.wait()
        assert run.cancelled()
        assert len(probe.starts) < number
        assert accepted <= max(number, 2)


@pytest.mark.parametrize("max_queue", [None, 0])
async def test_a_cost_function_may_cancel_a_group_and_fail(max_queue: int | None) -> None:
    """The node that it was called for has ended by then, and ends once."""

    def cost(data: str) -> float:
        if data == "cancels":
            graphs.runs["g"].cancel()
            return -1
        return 1

    async with (
        Pool([Probe(does=takes(1))], cost=cost, max_queue=max_queue) as pool,
        IndependentPool(pool) as graphs,
    ):
        graph = graphs.graph("g")
        graph.task(1, "x")
        graph.task(2, "x")
        graph.task(3, "cancels", after=1)
        run = graph.submit()
        await run.wait()
        assert states(run) == {1: S, 2: C, 3: C}


async def test_a_node_can_be_waited_for() -> None:
    """Whether it is a task, a function, or never runs; its error is not raised."""
    async with Pool([Probe(does=takes(1))], retry=ONE) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph(keep_going=True)
        task = graph.task("task", 1)
        function = graph.call("function", lambda: asyncio.sleep(2), after="task")
        bad = graph.call("bad", lambda: fails()(1), after=function)
        never = graph.task("never", 1, after=bad)
        run = graph.submit()

        async def ended(node: Node[Any]) -> float:
            await node.wait()
            return now()

        waits = [ended(node) for node in (never, bad, function, task)]
        assert await asyncio.gather(*waits) == [3, 3, 3, 1]
        assert run.done()


# -- room and ends ------------------------------------------------------------------------------


async def test_a_graph_wider_than_the_pools_queue_waits_for_room() -> None:
    """Those that are ready first go first, and no node is refused."""
    diary = Diary()
    async with Pool([diary], max_queue=0) as pool, IndependentPool(pool) as graphs:
        async with graphs.graph() as graph:
            for number in range(5):
                graph.task(number, 1.0)
            graph.task("below 0", 1.0, after=0)
            graph.task("below 4", 1.0, after=4)
        assert diary.began == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, "below 0": 5, "below 4": 6}


def stop_waiting_for_room() -> None:
    """As an event loop does that is ending."""
    for task in asyncio.all_tasks():
        if "_feed" in repr(task.get_coro()):
            task.cancel()


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda pool, run, fail: run.cancel(), GraphState.CANCELLED),
        (lambda pool, run, fail: fail.set(), GraphState.FAILED),
        (lambda pool, run, fail: pool.request_close("cancel"), GraphState.FAILED),
        (
            lambda pool, run, fail: asyncio.ensure_future(pool.remove("a", force=True)),
            GraphState.FAILED,
        ),
        (lambda pool, run, fail: stop_waiting_for_room(), GraphState.CANCELLED),
    ],
    ids=["cancelled", "failed", "pool closed", "worker removed", "loop ending"],
)
async def test_a_group_that_waits_for_room_ends_at_once(
    end: Callable[[Any, Any, asyncio.Event], Any], state: GraphState
) -> None:
    """And nothing of it is left when it has."""
    fail = asyncio.Event()

    async def bad() -> None:
        await fail.wait()
        raise ZeroDivisionError

    workers = [Probe("a", does=takes(9))]
    async with Pool(workers, max_queue=0) as pool, IndependentPool(pool) as graphs:
        pool.submit("the only place")
        graph = graphs.graph()
        for name in ("first", "second"):
            graph.task(name, 1)
        graph.call("bad", bad)
        before = asyncio.all_tasks()
        run = graph.submit()
        left: list[str] = []
        run.add_done_callback(lambda _: left.extend(map(repr, asyncio.all_tasks() - before)))
        await asyncio.sleep(1)
        assert list(states(run).values()) == [W, W, R]
        end(pool, run, fail)
        await run.wait()
        assert (now(), run.state) == (1, state)
        assert not [task for task in left if "_feed" in task or "bad" in task]
        pool.request_close("cancel")


@pytest.mark.parametrize("mode", ["drain", "running", "cancel"])
@pytest.mark.parametrize("at", [0, 1, 1.5, 4])
async def test_a_group_ends_with_its_pool(mode: Any, at: float) -> None:
    """Nodes that run may finish, where the pool lets them; no more are taken."""
    diary, other = diaries(2)
    async with Pool([diary, other]) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        for number in range(6):
            graph.task(number, 1.0, after=range(max(0, number - 2), number))
        run = graph.submit()
        await asyncio.sleep(at)
        await pool.close(mode)
        assert run.done()
        assert run.state is GraphState.FAILED
        error = run.error()
        assert isinstance(error, GroupFailed)
        assert {type(each) for each in error.exceptions} == {PoolClosed}


async def test_leaving_the_block_waits_for_all_groups() -> None:
    """And raises nothing of theirs: it is their handles that do."""
    async with Pool([Probe(does=takes(2))], retry=ONE) as pool:
        async with IndependentPool(pool) as graphs:
            for number in range(3):
                graph = graphs.graph()
                graph.task(1, number)
                graph.call(2, lambda: fails()(1), after=1)
                graph.submit()
        assert now() == 6


@pytest.mark.parametrize("timeout", [3, timedelta(seconds=3)])
async def test_leaving_the_block_is_bounded(timeout: Any) -> None:
    """What has not ended by then is cancelled."""
    async with Pool([Probe(does=takes(60))]) as pool:
        async with IndependentPool(pool, shutdown_timeout=timeout) as graphs:
            graph = graphs.graph()
            graph.task(1, 1)
            run = graph.submit()
        assert (now(), run.state) == (3, GraphState.CANCELLED)


async def test_leaving_the_block_by_an_error_or_a_cancellation_cancels_all_groups() -> None:
    """And waits until they have unwound."""

    async def unwinds(_: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)

    runs: list[GraphRun] = []

    async def use(pool: Pool[Any, Any], error: Exception | None) -> None:
        async with IndependentPool(pool) as graphs:
            for _ in range(2):
                graph = graphs.graph()
                graph.task(1, 1)
                runs.append(graph.submit())
            await asyncio.sleep(1)
            if error is not None:
                raise error

    async with Pool([Probe(does=unwinds)]) as pool:
        with pytest.raises(ZeroDivisionError):
            await use(pool, ZeroDivisionError())
        assert now() == 2
        user = asyncio.create_task(use(pool, None))
        await asyncio.sleep(3)
        user.cancel()
        with pytest.raises(asyncio.CancelledError):
            await user
        assert now() == 6
        assert [run.state for run in runs] == [GraphState.CANCELLED] * 4


async def test_the_short_form_runs_nothing_when_its_block_raises() -> None:
    """A graph that is half described is no graph."""
    probe = Probe()
    async with Pool([probe]) as pool, IndependentPool(pool) as graphs:
        with pytest.raises(ZeroDivisionError):
            async with graphs.graph() as graph:
                graph.task(1, 1)
                raise ZeroDivisionError
        await pool.join()
        assert probe.starts == []


async def test_the_short_form_cancels_its_group_when_it_is_cancelled() -> None:
    """And is left when that has unwound."""
    log: list[float] = []

    async def unwinds(_: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            log.append(now())

    async with Pool([Probe(does=unwinds)]) as pool, IndependentPool(pool) as graphs:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5), graphs.graph() as graph:
                graph.task(1, 1)
        assert (log, now(), dict(graphs.runs)) == ([6], 6, {})


async def test_an_ended_group_is_kept_by_nobody() -> None:
    """Not by the pool, and not by the group's own pool."""
    async with Pool([Probe()], retry=ONE) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        graph.task("a", 1)
        graph.call("b", lambda: asyncio.sleep(1), after="a")
        run = graph.submit()
        await run
        kept = weakref.ref(run)
        del graph, run
        gc.collect()
        assert kept() is None


@pytest.mark.timeout(60)
async def test_many_groups_of_tangled_tasks_keep_their_order() -> None:
    """5 groups of 100 on 10 workers, each task after the previous one to three."""
    workers = diaries(10)
    log: dict[tuple[Hashable, int], tuple[float, float]] = {}

    async def work(data: tuple[int, int]) -> None:
        began = now()
        await asyncio.sleep(data[1] * 7 % 10 / 1000)
        log[data] = (began, now())

    for worker in workers:
        worker.does = work
    async with Pool(workers) as pool, IndependentPool(pool) as graphs:
        runs: list[GraphRun] = []
        for group in range(5):
            graph: Any = graphs.graph(group)
            for n in range(100):
                graph.task(n, (group, n), after=range(max(0, n - 1 - n % 3), n))
            runs.append(graph.submit())
        for run in runs:
            await run
    assert len(log) == 500
    for (group, n), (began, _) in log.items():
        for before in range(max(0, n - 1 - n % 3), n):
            assert log[group, before][1] <= began


async def test_waiting_for_a_graph_or_a_node_is_bounded_if_asked() -> None:
    """Nothing is cancelled by that."""
    async with Pool(diaries(1)) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        first = graph.task("first", 5)
        second = graph.task("second", 5, after=first)
        run = graph.submit()
        for waits in (run, first, second):
            assert not await waits.wait(1)
            with pytest.raises(TypeError, match="timeout must be in seconds"):
                await waits.wait("1")  # type: ignore[arg-type]
        assert now() == 3
        assert await first.wait(9)
        assert await run.wait(9)
        assert now() == 10


async def test_a_function_cannot_wait_for_the_end_of_its_own_graph() -> None:
    """It would never come. Others may, also from a task that the function has started."""
    async with Pool(diaries(1)) as pool, IndependentPool(pool) as graphs:
        graph = graphs.graph()
        heard: list[asyncio.Task[bool]] = []

        async def waits(call: Callable[[], Awaitable[object]]) -> None:
            heard.append(asyncio.create_task(run.wait()))
            with pytest.raises(RuntimeError, match="its own graph"):
                await call()

        graph.call("awaits", lambda: waits(lambda: run._outcome()))
        graph.call("joins", lambda: waits(graphs.join))
        run = graph.submit()
        assert set(await run) == {"awaits", "joins"}
        assert all(await asyncio.gather(*heard))

"""Graphs of tasks that are known beforehand: T22 to T32, T39."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Hashable

import pytest

from retrypool_async import DeadTask, Hooks, Pool, RetryPolicy
from retrypool_async.groups import (
    CycleError,
    GraphMoved,
    GraphState,
    GroupFailed,
    IndependentPool,
    MissingDependency,
    NodeMoved,
    NodeState,
    TaskSkipped,
)
from tests.pool.probe import Probe, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_a_graph_of_one_task_runs_it() -> None:
    """T22: and whoever waits has its result."""
    worker = Probe("w")
    async with Pool([worker], debug=True) as pool, IndependentPool(pool) as groups:
        graph = groups.graph("group1")
        graph.task(1, "data")
        assert await graph.submit() == {1: "data"}
    assert worker.starts == [0]


async def test_tasks_run_in_the_order_of_their_dependencies() -> None:
    """T23: of 3 after 2, 1, and 2 after 1, described in this order."""
    order: list[Hashable] = []
    worker = Probe("w", does=order.append)
    async with Pool([worker], debug=True) as pool, IndependentPool(pool) as groups:
        graph = groups.graph("group1")
        graph.task(3, 3, after=2)
        graph.task(1, 1)
        graph.task(2, 2, after=1)
        await graph.submit()
    assert order == [1, 2, 3]


async def test_groups_run_side_by_side_each_in_its_order() -> None:
    """T24: 1 and 3 after 1 in one; 2 and 4 after 2 in another."""
    starts: dict[int, float] = {}

    async def work(data: int) -> None:
        starts[data] = now()
        await asyncio.sleep(1)

    workers = [Probe(does=work) for _ in range(2)]
    async with Pool(workers, debug=True) as pool, IndependentPool(pool) as groups:
        for group, first, second in (("group1", 1, 3), ("group2", 2, 4)):
            graph = groups.graph(group)
            graph.task(first, first)
            graph.task(second, second, after=first)
            graph.submit()
        await groups.join()
    assert starts == {1: 0, 2: 0, 3: 1, 4: 1}


async def test_waiting_for_a_group_tells_of_its_failure() -> None:
    """T25: by the error of the task that failed. In Go the wait reports success."""
    error = ValueError("no")
    moves: list[NodeMoved] = []
    pool = Pool([Probe("w", does=in_turn(error))], retry=ONE, debug=True)
    async with pool, IndependentPool(pool, on_node=moves.append) as groups:
        graph = groups.graph("group1")
        graph.task(1, 1)
        run = graph.submit()
        with pytest.raises(GroupFailed) as failure:
            await run
    assert failure.value.failures == {1: error}
    assert [move.node.id for move in moves if move.new is NodeState.FAILED] == [1]


async def test_five_hundred_tasks_wait_each_for_their_own_dependencies() -> None:
    """T26: 5 groups of 100 tasks of 0 to 9 ms, each after the three before it; ten workers."""
    rng = random.Random(26)
    ended: dict[tuple[str, int], float] = {}
    runs: Counter[tuple[str, int]] = Counter()

    async def work(data: tuple[str, int]) -> None:
        group, number = data
        runs[data] += 1
        assert all((group, n) in ended for n in range(max(0, number - 3), number))
        await asyncio.sleep(rng.randrange(10) / 1000)
        ended[data] = now()

    pool = Pool([Probe(does=work) for _ in range(10)])
    async with pool, IndependentPool(pool) as groups:

        async def caller(name: str) -> None:
            graph = groups.graph(name)
            for n in range(100):
                graph.task(n, (name, n), after=list(range(max(0, n - 3), n)))
            await graph.submit()

        await asyncio.gather(*(caller(f"group{n}") for n in range(5)))
    assert len(runs) == 500
    assert set(runs.values()) == {1}


async def test_a_cycle_is_refused_and_named() -> None:
    """T27: 1 after 3, 2 after 1, 3 after 2. Nothing runs."""
    worker = Probe("w")
    async with Pool([worker], debug=True) as pool, IndependentPool(pool) as groups:
        graph = groups.graph("group1")
        for task, dependency in ((1, 3), (2, 1), (3, 2)):
            graph.task(task, task, after=dependency)
        with pytest.raises(CycleError) as refusal:
            graph.submit()
        assert set(refusal.value.cycle) == {1, 2, 3}
    assert worker.starts == []


async def test_a_missing_dependency_is_refused_and_named() -> None:
    """T28: 1 after 99, 2 after 1. Nothing runs."""
    worker = Probe("w")
    async with Pool([worker], debug=True) as pool, IndependentPool(pool) as groups:
        graph = groups.graph("group1")
        graph.task(1, 1, after=99)
        graph.task(2, 2, after=1)
        with pytest.raises(MissingDependency) as refusal:
            graph.submit()
        assert refusal.value.missing == ((1, 99),)
    assert worker.starts == []


async def test_workers_grow_with_the_tasks_that_are_ready() -> None:
    """T29: ten tasks of 100 ms on one to five workers are done in 200 ms."""
    pool = Pool(factory=lambda: Probe(does=takes(0.1)), min_workers=1, max_workers=5, debug=True)
    async with pool, IndependentPool(pool) as groups:
        assert len(pool.workers()) == 1
        graph = groups.graph("group1")
        for n in range(10):
            graph.task(n, n)
        await graph.submit()
        assert len(pool.workers()) == 5
        assert now() == pytest.approx(0.2)


async def test_a_groups_begin_and_end_are_told_once_each() -> None:
    """T30: three groups of 1, and 2 after 1."""
    moves: list[GraphMoved] = []
    pool = Pool([Probe("w")], debug=True)
    async with pool, IndependentPool(pool, on_graph=moves.append) as groups:
        for n in range(3):
            graph = groups.graph(f"group{n}")
            graph.task(1, 1)
            graph.task(2, 2, after=1)
            graph.submit()
        await groups.join()
    told = Counter(move.new for move in moves)
    assert told == {GraphState.RUNNING: 3, GraphState.SUCCEEDED: 3}
    assert len({move.run.id for move in moves}) == 3


async def test_dependents_of_a_failed_task_never_run_and_say_why() -> None:
    """T31, T32: 1 fails, and 2 is after 1. Each of failure, death and end is told once."""
    dead: list[DeadTask] = []
    nodes: list[NodeMoved] = []
    graphs: list[GraphMoved] = []
    worker = Probe("w", does=in_turn(ValueError()))
    pool = Pool([worker], retry=ONE, hooks=Hooks(on_dead=dead.append), debug=True)
    async with pool, IndependentPool(pool, on_node=nodes.append, on_graph=graphs.append) as groups:
        graph = groups.graph("group1")
        first = graph.task(1, 1)
        second = graph.task(2, 2, after=first)
        run = graph.submit()
        await run.wait()
        assert isinstance(second.error(), TaskSkipped)
        assert pool.dead.pull(dead[0].id).data == 1
        assert dict(groups.runs) == {}
    ends = Counter(move.new for move in nodes if move.new.final)
    assert ends == {NodeState.FAILED: 1, NodeState.SKIPPED: 1}
    assert [move.new for move in graphs] == [GraphState.RUNNING, GraphState.FAILED]
    assert len(dead) == 1
    assert worker.starts == [0]


async def test_a_hundred_chains_leave_nothing_behind() -> None:
    """T39: 100 groups of ten tasks with a payload each, all at once."""
    ended: list[Hashable] = []

    def note(move: GraphMoved) -> None:
        if move.new.final:
            ended.append(move.run.id)

    pool = Pool([Probe(does=len) for _ in range(24)])
    async with pool, IndependentPool(pool, on_graph=note) as groups:
        for g in range(100):
            graph = groups.graph(g)
            for n in range(10):
                graph.task(n, bytearray(1000), after=[n - 1] if n else [])
            graph.submit()
        await groups.join()
        assert sorted(ended) == list(range(100))
        assert dict(groups.runs) == {}
        assert pool.snapshot().succeeded == 1000

"""Random graphs with random failures, ended at random moments, against what must always hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from retrypool_async import Pool, RetryPolicy
from retrypool_async.groups import (
    Graph,
    GraphMoved,
    GraphRun,
    GraphState,
    GroupFailed,
    IndependentPool,
    NodeMoved,
    NodeState,
    TaskSkipped,
    current_node,
)
from retrypool_async.testing import run_virtual
from tests.pool.probe import Probe

Intervention = Literal[
    "nothing", "cancel", "await", "task", "error", "drain", "running", "close", "remove"
]

#: Every way from the beginning to an end.
LIVES = {
    NodeState.SUCCEEDED: [
        (NodeState.QUEUED, NodeState.RUNNING, NodeState.SUCCEEDED),
        (NodeState.RUNNING, NodeState.SUCCEEDED),
    ],
    NodeState.FAILED: [
        (NodeState.QUEUED, NodeState.RUNNING, NodeState.FAILED),
        (NodeState.QUEUED, NodeState.FAILED),
        (NodeState.RUNNING, NodeState.FAILED),
        (NodeState.FAILED,),
    ],
    NodeState.SKIPPED: [(NodeState.SKIPPED,)],
    NodeState.CANCELLED: [
        (NodeState.QUEUED, NodeState.RUNNING, NodeState.CANCELLED),
        (NodeState.QUEUED, NodeState.CANCELLED),
        (NodeState.RUNNING, NodeState.CANCELLED),
        (NodeState.CANCELLED,),
    ],
}


@dataclass(frozen=True)
class Step:
    """One node: how it does its work, for how long, and how often it fails before it succeeds."""

    kind: Literal["task", "plain", "async"]
    seconds: int
    failures: int
    unwinding: int | None  # seconds; None: not at all
    after: frozenset[int]
    before: frozenset[int]

    async def work(self) -> Hashable:
        for _ in range(self.seconds):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                if self.unwinding is not None:
                    await asyncio.sleep(self.unwinding)
                    raise
        return self.outcome()

    def outcome(self) -> Hashable:
        node = current_node()
        assert all(dependency.state is NodeState.SUCCEEDED for dependency in node.dependencies)
        assert set(node.results.values()) == {other.id for other in node.dependencies}
        tried[node.id] += 1
        if tried[node.id] <= self.failures:
            raise ValueError(node.id)
        return node.id


tried: Counter[Hashable] = Counter()


@st.composite
def graphs(draw: st.DrawFn) -> list[Step]:
    """Edges lead from smaller to larger numbers in a random order, so there is no cycle."""
    size = draw(st.integers(1, 8))
    rank = draw(st.permutations(range(size)))
    steps: list[Step] = []
    for node in range(size):
        others = st.sampled_from(range(size))
        linked = draw(st.frozensets(others, max_size=3))
        steps.append(
            Step(
                kind=draw(st.sampled_from(["task", "task", "plain", "async"])),
                seconds=draw(st.integers(0, 3)),
                failures=draw(st.sampled_from([0, 0, 0, 0, 1, 9])),
                unwinding=draw(st.sampled_from([0, 0, 1, None])),
                after=frozenset(other for other in linked if rank[other] < rank[node]),
                before=frozenset(other for other in linked if rank[other] > rank[node]),
            )
        )
    return steps


def describe(graph: Graph[Step, Hashable], steps: list[Step]) -> None:
    for number, step in enumerate(steps):
        if step.kind == "task":
            graph.task(number, step, after=step.after, before=step.before)
        else:
            function = step.outcome if step.kind == "plain" else step.work
            graph.call(number, function, after=step.after, before=step.before)  # type: ignore[misc]


async def intervene(what: Intervention, pool: Pool[Any, Any], run: GraphRun) -> None:
    if what == "cancel":
        run.cancel()
    elif what == "await":
        with suppress(TimeoutError, GroupFailed):
            async with asyncio.timeout(0):
                await run
    elif what == "task":
        for node in run.nodes.values():
            if node.task is not None and node.task.cancel():
                break
    elif what == "remove":
        for ref in pool.workers()[:1]:
            await pool.remove(ref, force=True)
    elif what == "error":
        raise ZeroDivisionError
    elif what != "nothing":
        await pool.close("cancel" if what == "close" else what)


async def live(
    steps: list[Step],
    workers: int,
    max_queue: int | None,
    keep_going: bool,
    what: Intervention,
    at: float,
) -> None:
    tried.clear()
    moves: list[NodeMoved] = []
    turns: list[GraphMoved] = []
    probes = [Probe(does=Step.work) for _ in range(workers)]
    pool = Pool(
        probes,
        retry=RetryPolicy.fixed(1, attempts=2),
        max_queue=max_queue,
        stop_grace=5,
        debug=True,
    )
    async with pool:
        with suppress(ZeroDivisionError):
            async with IndependentPool(
                pool, on_node=moves.append, on_graph=turns.append
            ) as independent:
                graph = independent.graph(keep_going=keep_going)
                describe(graph, steps)
                run = graph.submit()
                await asyncio.sleep(at)
                await intervene(what, pool, run)
                await run.wait()
        assert run.done()
        assert not independent.runs
        tasks = pool.snapshot().tasks
        assert not any(count for state, count in tasks.items() if not state.final)
        check(run, moves, turns, keep_going, what)


def check(
    run: GraphRun,
    moves: list[NodeMoved],
    turns: list[GraphMoved],
    keep_going: bool,
    what: Intervention,
) -> None:
    assert [(turn.old, turn.new) for turn in turns] == [
        (None, GraphState.RUNNING),
        (GraphState.RUNNING, run.state),
    ]
    ended: set[Hashable] = set()
    lives: dict[Hashable, list[NodeState]] = {name: [] for name in run.nodes}
    for move in moves:
        lives[move.node.id].append(move.new)
        if move.new in (NodeState.QUEUED, NodeState.RUNNING):  # never before what it depends on
            assert ended.issuperset(other.id for other in move.node.dependencies)
        if move.new is NodeState.SUCCEEDED:
            ended.add(move.node.id)
    failed = {node.id for node in run.nodes.values() if node.state is NodeState.FAILED}
    for node in run.nodes.values():
        assert tuple(lives[node.id]) in LIVES[node.state]  # ends once, and never leaves its end
        if node.state is NodeState.SUCCEEDED:
            assert node.result() == node.id
        if node.state is NodeState.SKIPPED:
            error = node.error()
            assert isinstance(error, TaskSkipped)
            assert error.failed in failed
            assert error.dependency or not keep_going
    succeeded = all(node.state is NodeState.SUCCEEDED for node in run.nodes.values())
    assert succeeded == (run.state is GraphState.SUCCEEDED)
    error = run.error()
    if run.state is GraphState.FAILED:
        assert isinstance(error, GroupFailed)
        assert set(error.failures) == failed != set()
    if what == "nothing":
        assert run.state is not GraphState.CANCELLED
        if keep_going:  # whatever could run has run
            for node in run.nodes.values():
                assert node.state is not NodeState.CANCELLED
                if all(other.state is NodeState.SUCCEEDED for other in node.dependencies):
                    assert node.state in (NodeState.SUCCEEDED, NodeState.FAILED)


@settings(max_examples=300, deadline=None)
@given(
    steps=graphs(),
    workers=st.integers(1, 3),
    max_queue=st.sampled_from([None, None, 0, 1]),
    keep_going=st.booleans(),
    what=st.sampled_from(Intervention.__args__),  # type: ignore[attr-defined]
    at=st.sampled_from([0, 0.5, 1, 2, 3.5, 6]),
)
def test_a_graph_keeps_its_order_and_leaves_nothing_whatever_happens(
    steps: list[Step],
    workers: int,
    max_queue: int | None,
    keep_going: bool,
    what: Intervention,
    at: float,
) -> None:
    """Each node ends once, none begins before what it depends on, and all failures are told."""
    run_virtual(live(steps, workers, max_queue, keep_going, what, at))

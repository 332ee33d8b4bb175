"""Faults of the group pool, the independent pool and the blocking pool."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

import pytest

from retrypool_async import EndReason, FailureAction, Hooks, Pool, RetryPolicy, Unroutable
from retrypool_async.groups import (
    BlockingPool,
    GraphMoved,
    GroupFailed,
    GroupPool,
    IndependentPool,
    NodeMoved,
    NodeState,
    TaskSkipped,
    current_group,
)
from retrypool_async.testing import settle
from tests.pool.probe import Probe, fails, in_turn, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


# -- groups that are ended by hand -----------------------------------------------------------------


async def test_every_hook_sees_the_metadata_of_pool_group_and_task() -> None:
    """F-69b, F-69l: one mapping, whichever hook it is."""
    seen: dict[str, Any] = {}

    def note(name: str, answer: FailureAction | None = None) -> Any:
        def hook(record: Any) -> FailureAction | None:
            seen[name] = record.task.metadata
            return answer

        return hook

    hooks = Hooks(
        on_attempt=note("attempt"),
        on_failure=note("failure", FailureAction.FORCE_RETRY),
        on_success=note("success"),
    )
    worker = Probe(does=in_turn(ValueError(), "ok"))
    async with (
        Pool(metadata={"of": "pool"}, hooks=hooks, debug=True) as pool,
        GroupPool(pool, lambda: worker) as groups,
    ):
        await groups.submit("g", 1, metadata={"page": 3})
        await settle()
    expected = {"of": "pool", "group": "g", "page": 3}
    assert seen == {"attempt": expected, "failure": expected, "success": expected}


# -- graphs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [False, True])
async def test_the_end_of_a_graph_is_told_with_all_its_tasks(bad: bool) -> None:
    """F-72: those that ran, and those that never did."""
    told: list[dict[Hashable, NodeState]] = []

    def note(move: GraphMoved) -> None:
        if move.new.final:
            told.append({node.id: node.state for node in move.run.nodes.values()})

    worker = Probe(does=fails() if bad else None)
    async with Pool([worker], retry=ONE) as pool, IndependentPool(pool, on_graph=note) as graphs:
        graph = graphs.graph("g")
        graph.task("first", 1)
        graph.task("second", 2, after="first")
        await graph.submit().wait()
    ends = (NodeState.FAILED, NodeState.SKIPPED) if bad else (NodeState.SUCCEEDED,) * 2
    assert told == [{"first": ends[0], "second": ends[1]}]


async def test_a_task_that_the_pool_refuses_late_fails_once_and_frees_the_groups_id() -> None:
    """F-79: as when its worker has left between the first task and the second."""
    failed: list[NodeMoved] = []

    def note(move: NodeMoved) -> None:
        if move.new is NodeState.FAILED:
            failed.append(move)

    workers = [Probe("a", does=takes(1), tags={"gpu"}), Probe("b", does=takes(1))]
    async with Pool(workers) as pool, IndependentPool(pool, on_node=note) as graphs:
        graph = graphs.graph("g")
        graph.task(1, 1, worker="b")
        graph.task(2, 2, after=1, require="gpu")
        last = graph.task(3, 3, after=2)
        run = graph.submit()
        await pool.remove("a")
        with pytest.raises(GroupFailed):
            await run
        assert [(move.node.id, type(move.node.error())) for move in failed] == [(2, Unroutable)]
        assert isinstance(last.error(), TaskSkipped)
        again = graphs.graph("g")
        again.task(1, 1)
        assert await again.submit() == {1: 1}


# -- tasks that start and await tasks --------------------------------------------------------------


async def test_waiting_for_groups_ends_with_the_last_of_them() -> None:
    """F-84: neither before the only task of half a second has ended, nor never."""
    async with (
        Pool(debug=True) as pool,
        BlockingPool(pool, lambda: Probe(does=takes(0.5))) as groups,
    ):
        groups.submit("a", 1)
        await groups.join()
        assert now() == 0.5
        groups.submit("a", 1)
        await groups.group("a")
        await groups.join()
        assert now() == 1


async def test_a_task_can_be_waited_for_however_and_whenever_it_ended() -> None:
    """F-89, F-97: in time or long after its group has gone; a failed one is among the dead."""
    async with Pool(retry=ONE, debug=True) as pool:
        worker = Probe(does=in_turn("ok", LookupError(), "late"))
        async with BlockingPool(pool, lambda: worker) as groups:
            good = groups.submit("a", 1)
            await groups.group("a")
            bad = groups.submit("b", 2)
            with pytest.raises(LookupError):
                await bad
            await groups.join()
            for _ in range(2):
                assert await good == "ok"
                with pytest.raises(LookupError):
                    await bad
            assert pool.dead.reasons() == {EndReason.ATTEMPTS: 1}
            assert pool.dead[bad.id].data == 2


async def test_what_is_told_of_a_task_is_told_when_it_is_true() -> None:
    """F-96: nothing of one that is refused; the start of one that waited, when it starts."""
    told: list[tuple[str, int, float]] = []

    def note(what: str) -> Any:
        return lambda task: told.append((what, task.data, now()))

    options: dict[str, Any] = {"on_queued": note("queued"), "on_running": note("running")}
    async with (
        Pool(debug=True) as pool,
        BlockingPool(pool, lambda: Probe(does=takes(1))) as groups,
    ):
        groups.submit("a", 1, **options)
        groups.submit("b", 2, **options)
        with pytest.raises(ValueError, match="timeout"):
            groups.submit("b", 3, timeout=-1, **options)
    assert told == [("queued", 1, 0), ("queued", 2, 0), ("running", 1, 0), ("running", 2, 1)]


async def test_what_a_failed_group_did_not_run_is_reported_and_not_run_by_its_namesake() -> None:
    """F-98b: the next group of that id runs its own tasks, each once."""
    runs: list[str] = []

    async def work(data: str) -> None:
        runs.append(data)
        await asyncio.sleep(1)
        if data == "bad":
            assert current_group().id == "a"
            raise ValueError

    async with (
        Pool(retry=ONE, debug=True) as pool,
        BlockingPool(pool, lambda: Probe(does=work), max_workers=1) as groups,
    ):
        groups.submit("a", "bad")
        left = [groups.submit("a", f"waiting {n}") for n in range(2)]
        group = groups.group("a")
        await group.wait()
        assert group.unfinished == tuple(left)
        assert all(task.cancelled() for task in left)
        groups.submit("a", "new")
        await groups.join()
    assert runs == ["bad", "new"]

"""Graphs on pools that do more than run tasks: that grow, and that tell a wait in vain."""

from __future__ import annotations

import pytest

from retrypool_async import DeadlockDetected, Pool, RetryPolicy
from retrypool_async.groups import IndependentPool
from tests.pool.probe import Probe, now, takes

ONE = RetryPolicy.fixed(0, attempts=1)


async def test_a_graph_grows_an_elastic_pool_to_its_width_and_leaves_it_to_shrink() -> None:
    """The pool sees ready nodes as it sees any other waiting tasks."""

    def worker() -> Probe:
        return Probe(does=takes(1))

    async with Pool(
        factory=worker, min_workers=1, max_workers=4, idle_timeout=10, debug=True
    ) as pool:
        async with IndependentPool(pool) as graphs, graphs.graph() as graph:
            root = graph.task("root", 0)
            for number in range(4):
                graph.task(number, number, after=root)
        assert (now(), len(pool.workers())) == (2, 4)
        await pool.wait_until(lambda snapshot: len(snapshot.workers) == 1, interval=1)
        assert now() == pytest.approx(12, abs=1)


async def test_a_worker_that_waits_for_a_graph_of_its_own_full_pool_is_told() -> None:
    """The node could only run on the worker that waits for it."""

    async def waits_for_a_graph(pool: Pool[object, object]) -> None:
        async with IndependentPool(pool) as graphs:
            graph = graphs.graph()
            node = graph.task("child", None)
            graph.submit()
            assert node.task is not None
            await node.task

    worker = Probe(does=lambda pool: waits_for_a_graph(pool) if pool is not None else None)
    async with Pool([worker], retry=ONE, debug=True) as pool:
        with pytest.raises(DeadlockDetected):
            await pool.submit(pool)
    assert now() == 0

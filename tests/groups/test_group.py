"""Many groups, each with workers of its own from its first task to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrypool_async import Pool, PoolClosed, RetryPolicy, TaskHandle, TaskState
from retrypool_async.groups import (
    GroupEnded,
    GroupFailed,
    GroupMoved,
    GroupPool,
    GroupState,
    UnknownGroup,
    current_group,
)
from retrypool_async.testing import run_virtual, settle
from tests.groups.desk import ONE, Desk, nap
from tests.pool.probe import now

Groups = GroupPool[Any, Any]


@asynccontextmanager
async def grouped(
    factory: Callable[[], Any] = Desk, *, retry: RetryPolicy = ONE, **options: Any
) -> AsyncIterator[Groups]:
    """Groups on a pool of their own, which keeps no worker of them."""
    async with Pool(retry=retry, debug=True) as pool:
        async with GroupPool(pool, factory, **options) as groups:
            yield groups
        assert pool.workers() == []


async def fails() -> None:
    """A task that fails after a second."""
    await nap(1)
    raise ValueError


# -- ending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended_at", [0, 2, 4])
async def test_a_group_ends_when_it_was_ended_and_all_its_tasks_are_done(ended_at: float) -> None:
    """Before, between or after them: not with one of several, and not later than the last."""
    async with grouped(max_workers=2) as groups:
        for seconds in (1, 2, 3):
            groups.submit("a", lambda seconds=seconds: nap(seconds))
        group = groups.group("a")
        asyncio.get_running_loop().call_later(ended_at, group.end)
        await group.wait()
        assert now() == 4
        assert group.state is GroupState.SUCCEEDED
        group.end()  # again: nothing happens
        with pytest.raises(GroupEnded):
            group.submit(nap)
        with pytest.raises(GroupEnded):
            groups.submit("a", nap)
        assert groups.group("a") is group


async def test_a_group_that_is_not_ended_keeps_its_workers() -> None:
    """Though it has nothing to do; the others wait."""
    async with grouped(max_groups=1) as groups:
        await groups.submit("a", nap)
        other = groups.submit("b", nap)
        await asyncio.sleep(5)
        assert (other.state, groups.group("b").state) == (TaskState.QUEUED, GroupState.WAITING)
        assert await groups.submit("a", nap) == 7
        groups.group("a").end()
        assert await other == 8


async def test_a_group_that_waits_may_be_ended_and_takes_nothing_more() -> None:
    """It is waited for like any other."""
    async with grouped(max_groups=1) as groups:
        groups.submit("a", nap)
        groups.submit("b", nap)
        groups.group("b").end()
        with pytest.raises(GroupEnded):
            groups.submit("b", nap)
        groups.group("a").end()
        await groups.join()
        assert now() == 2


async def test_the_tasks_of_an_ended_group_may_submit_what_they_still_need() -> None:
    """From outside, nobody may."""
    async with grouped(max_workers=2) as groups:

        async def parent() -> float:
            await nap(1)
            return await current_group().submit(nap)

        task = groups.submit("a", parent)
        groups.group("a").end()
        assert await task == 2


async def test_groups_are_waited_for_one_by_one_or_all_together() -> None:
    """What is left to wait for is no secret."""
    async with grouped() as groups:
        for seconds in (1, 2, 3):
            groups.submit(seconds, lambda seconds=seconds: nap(seconds))
            groups.group(seconds).end()
        await groups.group(2)
        assert (now(), [group.id for group in groups.groups]) == (2, [3])
        await groups.join()
        assert (now(), groups.groups) == (3, ())
        with pytest.raises(UnknownGroup):
            groups.group(4)


async def test_leaving_the_block_is_bounded() -> None:
    """A task that hangs does not keep the block from ending: its group is cancelled."""
    async with grouped(shutdown_timeout=5) as groups:
        hangs = groups.submit("a", lambda: nap(1000))
        group = groups.group("a")
    assert (now(), group.state, hangs.cancelled()) == (5, GroupState.CANCELLED, True)


async def test_leaving_the_block_ends_all_groups_and_waits_for_them() -> None:
    """Leaving it by an error cancels them."""
    async with grouped() as groups:
        task = groups.submit("a", nap)
    assert task.result() == 1
    with pytest.raises(PoolClosed):
        groups.submit("a", nap)
    with pytest.raises(ZeroDivisionError):
        async with grouped() as groups:
            task = groups.submit("a", nap)
            await settle()
            raise ZeroDivisionError
    assert task.cancelled()
    assert groups.group("a").cancelled()


async def test_no_worker_is_made_for_a_task_that_one_is_coming_for() -> None:
    """Those who are opening count, whatever has the tasks counted anew."""
    async with grouped(max_workers=3) as groups:
        for _ in range(5):
            groups.submit("a", nap)
        assert len(groups.pool.workers()) == 3
        groups.max_workers = None
        assert len(groups.pool.workers()) == 5


@pytest.mark.parametrize("mode", ["drain", "running", "cancel"])
async def test_a_pool_that_closes_ends_every_group_with_pool_closed(mode: Any) -> None:
    """Not with a cancellation, which whoever awaits one would take for his own."""
    async with Pool(retry=ONE) as pool, GroupPool(pool, Desk, max_groups=1) as groups:
        for name in ("at work", "in line"):
            for _ in range(2):
                groups.submit(name, nap)
        await settle()
        await pool.close(mode)
        ended = ["in line"] if mode == "drain" else ["at work", "in line"]
        for name in ended:
            group = groups.group(name)
            with pytest.raises(PoolClosed, match="closed before group"):
                await group
            assert group.cancelled()
        with pytest.raises(PoolClosed):
            groups.submit("late", nap)


async def test_waiting_for_a_group_is_bounded_if_asked() -> None:
    """In seconds or a `timedelta`; the group knows nothing of it."""
    async with grouped() as groups:
        groups.submit("a", lambda: nap(9))
        group = groups.group("a")
        assert not await group.wait(1)
        assert not await group.wait(timedelta(seconds=1))
        with pytest.raises(TypeError, match="timeout must be in seconds"):
            await group.wait("1")  # type: ignore[arg-type]
        group.end()
        assert now() == 2
        assert await group.wait()


# -- who works when --------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "ends"), [(None, 2), (2, 6), (1, 10)])
async def test_groups_have_workers_to_themselves_and_pass_them_on(
    most: int | None, ends: float
) -> None:
    """Five groups of four tasks, two workers each: who opened stays open."""
    Desk.opened = Desk.closed = 0
    async with grouped(max_groups=most, max_workers=2) as groups:
        handles: dict[int, list[TaskHandle[Any]]] = {}
        for number in range(5):
            handles[number] = [groups.submit(number, nap) for _ in range(4)]
            groups.group(number).end()
        await groups.join()
        assert now() == ends
        assert Desk.opened == 2 * (most or 5)
        for tasks in handles.values():
            assert len({task.worker for task in tasks}) == 2
        if most is None:
            used = [{task.worker for task in tasks} for tasks in handles.values()]
            assert len(set().union(*used)) == 10
    assert Desk.closed == Desk.opened


async def test_complete_groups_go_before_those_that_may_still_grow() -> None:
    """Otherwise the order is that of their first tasks."""
    order: list[Any] = []

    def on_group(move: GroupMoved) -> None:
        if move.new is GroupState.RUNNING:
            order.append(move.group.id)

    async with grouped(max_groups=1, on_group=on_group) as groups:
        for name in "abcde":
            groups.submit(name, nap)
        for name in "eca":
            groups.group(name).end()
        await asyncio.sleep(2.5)
        assert order == ["a", "c", "e"]
        await asyncio.sleep(1)
        groups.group("b").end()
    assert order == ["a", "c", "e", "b", "d"]


# -- failing ---------------------------------------------------------------------------------------


async def test_a_failed_task_is_its_own_business() -> None:
    """The group goes on, and succeeds; the handle has the error, the snapshot counts it."""
    async with grouped() as groups:
        bad, good = groups.submit("a", fails), groups.submit("a", nap)
        with pytest.raises(ValueError, match="attempt"):
            await bad
        assert await good == 2
        snapshot = groups.group("a").snapshot()
        assert (snapshot.id, snapshot.state, snapshot.submitted) == ("a", GroupState.RUNNING, 2)
        assert {state: count for state, count in snapshot.tasks.items() if count} == {
            TaskState.DEAD: 1,
            TaskState.SUCCEEDED: 1,
        }
        assert snapshot.workers == tuple(groups.pool.workers())
        assert groups.snapshot() == (snapshot,)
        groups.group("a").end()
        await groups.group("a")


async def test_a_group_that_must_succeed_fails_with_its_first_task() -> None:
    """The rest is cancelled and handed over; its id stays taken, and says why."""
    told: list[GroupMoved] = []
    async with grouped(must_succeed=True, max_workers=2, on_group=told.append) as groups:
        bad = groups.submit("a", fails)
        rest = [groups.submit("a", lambda: nap(5)) for _ in range(3)]
        group = groups.group("a")
        with pytest.raises(GroupFailed) as raised:
            await group
        assert now() == 1
        assert raised.value.group == "a"
        assert raised.value.failures == {bad.id: bad.error()}
        assert group.unfinished == tuple(rest)
        assert [move.new for move in told] == [
            GroupState.WAITING,
            GroupState.RUNNING,
            GroupState.FAILED,
        ]
        with pytest.raises(GroupEnded) as refused:
            groups.submit("a", nap)
        assert isinstance(refused.value.__cause__, GroupFailed)
        assert await groups.submit("b", nap) == 2


async def test_only_the_final_outcome_of_a_task_counts() -> None:
    """A retry neither fails a group nor ends it."""
    async with grouped(must_succeed=True, retry=RetryPolicy.fixed(2)) as groups:

        async def fails_at_first() -> float:
            if now() < 4:
                raise ValueError
            return now()

        task = groups.submit("a", fails_at_first)
        groups.group("a").end()
        await groups.group("a")
        assert (task.result(), task.attempt_count) == (4, 3)


async def test_callbacks_may_submit_and_look() -> None:
    """They are told when the books are complete."""
    async with grouped(max_groups=1) as groups:

        def follow_up(group: Any) -> None:
            assert group.snapshot().tasks[TaskState.SUCCEEDED] == 1
            groups.submit("b", nap)
            groups.group("b").end()

        groups.submit("a", nap)
        groups.group("a").add_done_callback(follow_up)
        groups.group("a").end()
        await groups.join()
        assert now() == 2


@pytest.mark.parametrize("id", [0, "", (), False])
async def test_any_hashable_but_none_is_an_id(id: Any) -> None:
    """Zero is zero."""
    async with grouped() as groups:
        assert await groups.submit(id, nap) == 1
        assert groups.group(id).id == id
        with pytest.raises(TypeError, match="group"):
            groups.submit(None, nap)


def test_must_succeed_is_true_or_false() -> None:
    """Nothing else."""
    with pytest.raises(TypeError, match="must_succeed"):
        GroupPool(Pool(), Desk, must_succeed=1)  # type: ignore[arg-type]


plans = st.lists(
    st.tuples(
        st.integers(0, 4),  # the group
        st.sampled_from([0, 0.5, 1, 3]),  # how long the task takes
        st.sampled_from([0, 0, 1]),  # seconds to pass before
        st.sampled_from(["go", "go", "go", "fail", "end", "cancel"]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    plan=plans,
    max_groups=st.none() | st.integers(1, 3),
    most=st.none() | st.integers(1, 3),
    must_succeed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_whatever_happens_every_task_and_group_ends_once(
    plan: list[Any], max_groups: int | None, most: int | None, must_succeed: bool, seed: int
) -> None:
    """No task runs twice, and no two groups share a worker at one time."""

    async def main() -> None:
        ends: list[Any] = []
        runs: list[int] = []

        def on_group(move: GroupMoved) -> None:
            if move.new.final:
                ends.append(move.group.id)
            running = [group for group in groups.groups if group.state is GroupState.RUNNING]
            assert max_groups is None or len(running) <= max_groups

        async def work(number: int, seconds: float, fail: bool) -> None:
            runs.append(number)
            assert current_group().state is GroupState.RUNNING
            workers = [set(other.snapshot().workers) for other in groups.groups]
            assert len(set().union(*workers)) == sum(map(len, workers))
            assert most is None or all(len(crew) <= most for crew in workers)
            await nap(seconds)
            if fail:
                raise ValueError

        async with grouped(
            max_groups=max_groups, max_workers=most, must_succeed=must_succeed, on_group=on_group
        ) as groups:
            handles: list[TaskHandle[Any]] = []
            seen: set[Any] = set()
            for number, (name, seconds, pause, what) in enumerate(plan):
                await asyncio.sleep(pause)
                try:
                    handles.append(
                        groups.submit(
                            name,
                            lambda number=number, seconds=seconds, what=what: work(
                                number, seconds, what == "fail"
                            ),
                        )
                    )
                except GroupEnded:
                    continue
                seen.add(name)
                if what == "end":
                    groups.group(name).end()
                elif what == "cancel":
                    groups.group(name).cancel()
        assert sorted(ends) == sorted(seen)
        assert len(set(runs)) == len(runs)
        assert all(handle.done() for handle in handles)
        for name in seen:
            error = groups.group(name).error()
            assert error is None or isinstance(error, GroupFailed | asyncio.CancelledError)
            assert must_succeed or not isinstance(error, GroupFailed)

    run_virtual(main, seed=seed)

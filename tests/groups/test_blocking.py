"""Tasks that submit tasks of their own group and wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrypool_async import (
    DeadlockDetected,
    Pool,
    PoolClosed,
    RetryPolicy,
    TaskHandle,
    TaskState,
    WorkerLost,
    WorkerRemoved,
    WorkerStartFailed,
)
from retrypool_async.groups import (
    BlockingPool,
    GroupEnded,
    GroupFailed,
    GroupMoved,
    GroupState,
    UnknownGroup,
    current_group,
)
from retrypool_async.testing import run_virtual, settle
from tests.groups.desk import ONE, Desk, lent, nap
from tests.pool.probe import now

Groups = BlockingPool[Any, Any]


@asynccontextmanager
async def blocking(
    factory: Callable[[], Any] = Desk, *, retry: RetryPolicy = ONE, **options: Any
) -> AsyncIterator[Groups]:
    """Groups on a pool of their own, which keeps no worker of them."""
    async with Pool(retry=retry, debug=True) as pool:
        async with BlockingPool(pool, factory, **options) as groups:
            yield groups
        assert pool.workers() == []


async def chain(links: int, log: list[int] | None = None, *, lend: bool = False) -> int:
    """A task that waits for a chain of so many further ones."""
    await nap(1)
    length = 1
    if links > 1:
        async with lent() if lend else nullcontext():
            length += await current_group().submit(lambda: chain(links - 1, log, lend=lend))
    if log is not None:
        log.append(links)
    return length


# -- growing ---------------------------------------------------------------------------------------


async def test_a_chain_ends_from_its_far_end() -> None:
    """Each link has a worker of its own, made when it is submitted."""
    async with blocking() as groups:
        log: list[int] = []
        assert await groups.submit("a", lambda: chain(3, log)) == 3
        assert (log, now()) == ([1, 2, 3], 3)
        await groups.group("a")
        assert groups.groups == ()


@pytest.mark.parametrize(("most", "ends"), [(None, 1), (3, 1), (2, 2), (1, 3)])
async def test_workers_are_made_for_tasks_that_wait_up_to_the_limit(
    most: int | None, ends: float
) -> None:
    """Three tasks at once run side by side if they may."""
    async with blocking(max_workers=most) as groups:
        for _ in range(3):
            groups.submit("a", nap)
        assert len(groups.group("a").snapshot().workers) == min(most or 3, 3)
        await groups.join()
        assert now() == ends


async def test_a_wide_fan_passes_through_the_one_worker_that_is_left() -> None:
    """The parent waits for ten children, two workers in all."""
    async with blocking(max_workers=2) as groups:

        async def parent() -> list[float]:
            children = [current_group().submit(nap) for _ in range(10)]
            return await asyncio.gather(*children)

        assert await groups.submit("a", parent) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


async def test_children_go_before_tasks_that_have_not_begun() -> None:
    """What was begun is finished first, the deepest before all; a given priority wins."""
    async with blocking(max_workers=2) as groups:
        started: list[str] = []

        async def leaf(name: str) -> None:
            started.append(name)
            await nap(1)

        async def parent() -> None:
            await nap(0.5)
            group = current_group()
            children = [group.submit(lambda name=name: leaf(name)) for name in ("c1", "c2")]
            urgent = group.submit(lambda: leaf("urgent"), priority=9)
            await asyncio.gather(*children, urgent)

        groups.submit("a", parent)
        for name in ("r1", "r2", "r3"):
            groups.submit("a", lambda name=name: leaf(name))
        await groups.join()
        assert started == ["r1", "urgent", "c1", "c2", "r2", "r3"]


async def test_limits_may_be_changed_while_groups_run() -> None:
    """More groups and workers begin at once, fewer when what they do has ended."""
    async with blocking(max_workers=1) as groups:
        for name in ("a", "b"):
            for _ in range(4):
                groups.submit(name, nap)
        await asyncio.sleep(0.5)
        assert [group.state for group in groups.groups] == [GroupState.RUNNING, GroupState.WAITING]
        groups.max_groups = 2
        groups.max_workers = 2
        await asyncio.sleep(0.7)
        assert [len(group.snapshot().workers) for group in groups.groups] == [2, 2]
        groups.max_groups = groups.max_workers = 1
        await groups.join()
        assert (groups.max_groups, groups.max_workers) == (1, 1)
        # One task of a is done at 1; two of b, and another of a, at 1.5, when two workers leave.
        assert now() == 3.5
        await settle()
        assert len(groups.pool.workers()) == 1


# -- groups ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "ends"), [(1, 20), (3, 8), (None, 2)])
async def test_groups_wait_for_their_turn_in_order(most: int | None, ends: float) -> None:
    """Every task runs once, and workers stay open from one group to the next."""
    Desk.opened = Desk.closed = 0
    async with blocking(max_groups=most, max_workers=2) as groups:
        logs: list[list[int]] = [[] for _ in range(10)]
        moves: list[tuple[Any, GroupState]] = []
        for number, log in enumerate(logs):
            groups.submit(number, lambda log=log: chain(2, log))
            group = groups.group(number)
            group.add_done_callback(lambda group: moves.append((group.id, group.state)))
        await groups.join()
        assert now() == ends
        assert logs == [[1, 2]] * 10
        moves.sort()
        assert moves == [(number, GroupState.SUCCEEDED) for number in range(10)]
        assert Desk.opened == 2 * (most or 10)
    assert Desk.closed == Desk.opened


async def test_a_group_tells_of_its_life() -> None:
    """Created, given workers, ended; then the id is free for another group."""
    told: list[tuple[Any, ...]] = []

    def on_group(move: GroupMoved) -> None:
        told.append((move.group.id, move.old, move.new, now()))

    async with blocking(on_group=on_group) as groups:
        for name in ("a", "b"):
            groups.submit(name, nap)
        first = groups.group("a")
        assert not first.done()
        with pytest.raises(asyncio.InvalidStateError):
            first.result()
        assert await first.wait(0.5) is False
        assert await first.wait() is True
        assert (first.done(), first.cancelled(), first.error()) == (True, False, None)
        assert await first is None
        groups.submit("a", nap)
        assert groups.group("a") is not first
        await groups.join()
    waiting, running, succeeded = GroupState.WAITING, GroupState.RUNNING, GroupState.SUCCEEDED
    assert told == [
        ("a", None, waiting, 0),
        ("a", waiting, running, 0),
        ("b", None, waiting, 0),
        ("a", running, succeeded, 1),
        ("b", waiting, running, 1),
        ("a", None, waiting, 1),
        ("b", running, succeeded, 2),
        ("a", waiting, running, 2),
        ("a", running, succeeded, 3),
    ]


async def test_options_and_metadata_reach_the_task() -> None:
    """Those of a group that waits as well."""
    async with blocking() as groups:
        ended: list[int] = []
        groups.submit("a", nap)
        task = groups.submit(
            "b", nap, metadata={"x": 1}, timeout=60, on_done=lambda task: ended.append(task.id)
        )
        assert task.metadata == {"x": 1, "group": "b"}
        with pytest.raises(UnknownGroup):
            groups.group("c")
        assert await task == 2
        assert ended == [task.id]


# -- failing ---------------------------------------------------------------------------------------


async def test_a_failure_ends_the_group_and_cancels_the_rest() -> None:
    """Once, with all that was cut short; the next group gets the workers."""
    told: list[tuple[Any, GroupState]] = []

    def on_group(move: GroupMoved) -> None:
        if move.new.final:
            told.append((move.group.id, move.new))

    async with blocking(max_workers=3, on_group=on_group) as groups:

        async def fails() -> None:
            await nap(1)
            raise ValueError("secret")

        problem = groups.submit("a", fails)
        running, other = groups.submit("a", lambda: nap(9)), groups.submit("a", fails)
        waiting = groups.submit("a", nap)
        following = groups.submit("b", nap)
        group = groups.group("a")
        with pytest.raises(GroupFailed) as raised:
            await group
        assert raised.value.failures == {problem.id: problem.error()}
        assert repr(raised.value) == "<GroupFailed in group 'a': 1 (ValueError)>"
        assert group.unfinished == (running, other, waiting)
        assert [task.state for task in group.unfinished] == [TaskState.CANCELLED] * 3
        assert await following == 2
        assert told == [("a", GroupState.FAILED), ("b", GroupState.SUCCEEDED)]
        with pytest.raises(GroupEnded):
            group.submit(nap)
        assert not group.cancel()


async def test_a_retry_is_no_failure() -> None:
    """Only the last attempt decides."""
    async with blocking(retry=RetryPolicy.fixed(2)) as groups:

        async def fails_at_first() -> float:
            if now() < 4:
                raise ValueError
            return now()

        assert await groups.submit("a", fails_at_first) == 4
        await groups.group("a")


async def test_a_failing_group_takes_nothing_from_its_own_tasks() -> None:
    """One that ignores its cancellation cannot bring the group back to life."""
    async with blocking() as groups:
        refused: list[BaseException] = []

        async def stubborn() -> None:
            try:
                await nap(9)
            except asyncio.CancelledError:
                try:
                    current_group().submit(nap)
                except GroupEnded as error:
                    refused.append(error)

        async def fails() -> None:
            raise KeyError

        groups.submit("a", stubborn)
        groups.submit("a", fails)
        with pytest.raises(GroupFailed):
            await groups.group("a")
        assert len(refused) == 1


@pytest.mark.parametrize("at", [0, 0.5, 1, 1.5, 2.5, 3.5])
@pytest.mark.parametrize("lend", [True, False])
@pytest.mark.parametrize("how", ["cancel", "close", "leave", "remove"])
async def test_nothing_is_left_whenever_it_is_ended(how: str, lend: bool, at: float) -> None:
    """No task, no worker, nobody waiting: the leak check of every test looks as well."""
    async with Pool(retry=ONE, debug=True) as pool:
        waiters: list[asyncio.Future[Any]] = []
        with suppress(ZeroDivisionError):
            async with BlockingPool(pool, Desk, max_workers=4) as groups:
                for name in ("a", "b"):
                    groups.submit(name, lambda: chain(3, lend=lend))
                    groups.submit(name, nap)
                held = groups.groups
                waiters = [asyncio.ensure_future(group.wait()) for group in held]
                await asyncio.sleep(at)
                if how == "cancel":
                    for group in held:
                        group.cancel()
                elif how == "close":
                    await pool.close("cancel")
                elif how == "leave":
                    raise ZeroDivisionError
                else:
                    for ref in pool.workers():
                        with suppress(WorkerRemoved):
                            await pool.remove(ref, force=True)
        assert await asyncio.gather(*waiters) == [True, True]
        assert all(group.done() for group in held)
        assert pool.workers() == []
        if how == "remove":
            assert [group.error() for group in held] == [None, None]
        elif at < 3:
            assert held[1].cancelled()


async def test_callbacks_that_raise_change_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """They are plain functions, so there is nothing to wait for; they may submit."""

    def raises(_: object) -> None:
        raise ZeroDivisionError

    async with blocking(on_group=raises) as groups:
        groups.submit("a", nap)
        group = groups.group("a")
        group.add_done_callback(raises)
        group.add_done_callback(lambda _: groups.submit("b", nap))
        await group
        assert await groups.group("b").wait()
        called: list[object] = []
        group.add_done_callback(called.append)
        await settle()
        assert called == [group]
    assert caplog.text.count("ZeroDivisionError") >= 3


async def test_a_callback_may_cancel_the_group_it_is_told_of() -> None:
    """When it is created, when it gets its workers, and when it has ended."""
    for state in (GroupState.WAITING, GroupState.RUNNING, GroupState.CANCELLED):

        def on_group(move: GroupMoved, state: GroupState = state) -> None:
            if move.new is state:
                move.group.cancel()

        async with blocking(on_group=on_group) as groups:
            task = groups.submit("a", nap)
            group = groups.group("a")
            group.cancel()
            await group.wait()
            assert (task.cancelled(), group.cancelled()) == (True, True)


# -- workers that fail -----------------------------------------------------------------------------


async def test_a_factory_that_fails_at_first_fails_the_group() -> None:
    """And the next one has its chance."""
    made: list[Desk] = []

    def factory() -> Desk:
        if not made:
            made.append(Desk())
            raise OSError
        return Desk()

    async with blocking(factory) as groups:
        task = groups.submit("a", nap)
        assert task.cancelled()
        with pytest.raises(GroupFailed) as raised:
            await groups.group("a")
        assert isinstance(raised.value.failures["factory"], OSError)
        assert await groups.submit("b", nap) == 1


@pytest.mark.parametrize("wrong", [None, object(), nap()])
async def test_a_factory_that_makes_no_worker_fails_the_group(wrong: Any) -> None:
    """Also one that is async."""
    async with blocking(lambda: wrong) as groups:
        groups.submit("a", nap)
        with pytest.raises(GroupFailed) as raised:
            await groups.group("a")
        assert "must return a Worker" in str(raised.value.failures["factory"])
    if asyncio.iscoroutine(wrong):
        wrong.close()


@pytest.mark.parametrize("broken", [1, 2])
async def test_workers_that_do_not_open_fail_a_group_that_has_no_other(broken: int) -> None:
    """With another it goes on, one by one."""
    made: list[Desk] = []

    class Broken(Desk):
        async def on_start(self) -> None:
            await asyncio.sleep(2)
            raise OSError

    def factory() -> Desk:
        made.append(Broken() if len(made) < broken else Desk())
        return made[-1]

    async with blocking(factory, max_workers=2) as groups:
        tasks = [groups.submit("a", nap) for _ in range(3)]
        group = groups.group("a")
        await group.wait()
        if broken == 1:
            assert [task.result() for task in tasks] == [1, 2, 3]
        else:
            error = group.error()
            assert isinstance(error, GroupFailed)
            assert isinstance(error.exceptions[0], WorkerStartFailed)
            assert now() == 2


async def test_any_number_of_groups_may_fail_for_want_of_a_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One after the other, and none inside another."""
    broken = False

    class Broken(Desk):
        async def on_start(self) -> None:
            await asyncio.sleep(1)
            raise OSError

    def factory() -> Desk:
        nonlocal broken
        if broken:
            raise OSError
        broken = True
        return Broken()

    async with blocking(factory) as groups:
        for number in range(1000):
            groups.submit(number, nap)
        held = groups.groups
        await groups.join()
        assert {group.state for group in held} == {GroupState.FAILED}
        assert now() == 1
    assert "RecursionError" not in caplog.text


async def test_workers_are_reset_as_they_wish() -> None:
    """By their own `on_reset`, or else closed and opened: once each, also if that fails."""
    calls: list[str] = []

    class Plain(Desk):
        async def on_start(self) -> None:
            calls.append("open")
            if calls.count("open") == 2:
                raise OSError

        async def on_stop(self) -> None:
            calls.append("close")

    class Own(Desk):
        async def on_reset(self) -> None:
            calls.append("reset")

    for factory, expected in (
        (Plain, ["open", "close", "open", "open", "close"]),
        (Own, ["reset"]),
    ):
        calls.clear()
        async with blocking(
            factory, retry=RetryPolicy.fixed(0, attempts=2), max_workers=1
        ) as groups:
            began = now()

            async def slow_at_first(began: float = began) -> None:
                await nap(9 if now() == began else 0)

            await groups.submit("a", slow_at_first, attempt_timeout=1)
        assert calls == expected


async def test_a_worker_that_is_lost_for_good_is_replaced() -> None:
    """Its task moves on, with no attempt spent."""
    async with blocking(max_workers=1) as groups:
        runs: list[float] = []

        async def unlucky() -> float:
            runs.append(now())
            await nap(1)
            if len(runs) < 3:
                raise WorkerLost(rebuild=False)
            return now()

        assert await groups.submit("a", unlucky) == 3
        assert runs == [0, 1, 2]


# -- waiting with the limit reached ----------------------------------------------------------------


async def test_a_chain_longer_than_the_limit_is_told_at_once() -> None:
    """Not hung. The group fails with the chain of who waits for whom."""
    async with blocking(max_workers=2) as groups:
        root = groups.submit("a", lambda: chain(3))
        with pytest.raises(GroupFailed) as raised:
            await groups.group("a")
        (error,) = raised.value.exceptions
        assert isinstance(error, DeadlockDetected)
        assert [(task, target) for task, _, target in error.chain] == [(2, 3), (1, 2)]
        assert root.cancelled()
        assert now() == 2


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_a_chain_of_any_length_ends_when_its_links_lend_their_worker(most: int) -> None:
    """One desk is enough, and never used by two: it would say so."""
    Desk.opened = 0
    async with blocking(max_workers=most) as groups:
        assert await groups.submit("a", lambda: chain(9, lend=True)) == 9
        assert now() == 9
        assert Desk.opened == min(most, 2)


async def test_a_lender_has_its_worker_back_when_the_borrower_has_ended() -> None:
    """Whoever that is; meanwhile the lender waits, though what it waited for is done."""
    async with blocking(max_workers=1) as groups:

        async def lender() -> float:
            async with lent():
                assert await current_group().submit(nap) == 1
                await settle()  # now the other has begun
            return now()

        first = groups.submit("a", lender)
        groups.submit("a", lambda: nap(5))
        assert await first == 6


async def test_lending_is_for_attempts_of_the_group_and_once_at_a_time() -> None:
    """Else nothing is lent."""
    async with blocking(max_workers=1) as groups:

        async def twice() -> str:
            async with lent():
                with pytest.raises(RuntimeError, match="lent already"):
                    async with current_group().lend():
                        pass
                await current_group().submit(nap)
            async with lent():
                await current_group().submit(nap)
            return "done"

        task = groups.submit("a", twice)
        with pytest.raises(RuntimeError, match="only an attempt"):
            async with groups.group("a").lend():
                pass
        assert await task == "done"


async def test_a_lender_that_is_stopped_stops_the_borrower_first() -> None:
    """Its worker is reset only after both have let go of it; the borrower runs again."""
    async with blocking(max_workers=1, retry=RetryPolicy.fixed(0, attempts=2)) as groups:
        log: list[str] = []

        async def borrower() -> str:
            try:
                await nap(5)
            except asyncio.CancelledError:
                await nap(1)
                log.append(f"borrower stopped at {now():g}")
                raise
            return "done"

        children: list[TaskHandle[Any]] = []

        async def lender() -> None:
            if children:
                return
            children.append(current_group().submit(borrower, detach=True))
            try:
                async with lent():
                    await children[0]
            finally:
                log.append(f"lender stopped at {now():g}")

        task = groups.submit("a", lender, attempt_timeout=2)
        assert await children_of(children) == "done"
        await task
        assert log == ["borrower stopped at 3", "lender stopped at 3"]


async def children_of(children: list[TaskHandle[Any]]) -> Any:
    await asyncio.sleep(1)
    return await children[0]


async def test_a_worker_that_a_borrower_spoilt_is_rebuilt_before_anybody_has_it_again() -> None:
    """The child is cut off on the lent worker, so the lender cannot go on with it."""
    Desk.opened = 0
    async with blocking(max_workers=1, retry=RetryPolicy.fixed(0)) as groups:
        runs: list[float] = []

        async def lender() -> float:
            runs.append(now())
            if len(runs) == 1:
                async with lent():
                    await current_group().submit(lambda: nap(9), attempt_timeout=2)
            return now()

        task = groups.submit("a", lender)
        assert await task == 2
        assert runs == [0, 2]
        assert [attempt.outcome.name for attempt in task.attempts] == ["WORKER_LOST", "OK"]
        assert task.attempt_count == 1
        assert Desk.opened == 2


async def test_a_borrower_that_ignores_being_stopped_keeps_the_worker_from_everybody() -> None:
    """The lender ends on time, but nobody gets its worker before the borrower's code has ended."""
    async with blocking(max_workers=1) as groups:

        async def stubborn() -> None:
            while now() < 20:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(20 - now())

        async def lender() -> None:
            child = current_group().submit(stubborn)
            async with lent():
                await child.wait()

        groups.submit("a", lender)
        group = groups.group("a")
        await asyncio.sleep(1)
        group.cancel()
        await group.wait()
        assert now() == 6
        assert await groups.submit("b", nap) == 21


async def test_a_borrower_that_waits_for_the_lender_is_stopped() -> None:
    """The lender is told, since it waits to have its worker back."""
    async with blocking(max_workers=1) as groups:
        told: list[BaseException] = []

        async def borrower() -> None:
            await lending.wait()

        async def lender() -> None:
            child = current_group().submit(borrower, detach=True)
            try:
                async with lent():
                    await settle()
            except DeadlockDetected as error:
                told.append(error)
                child.cancel()

        lending = groups.submit("a", lender)
        await lending
        await groups.join()
        assert len(told) == 1


Forest = list[Any]
trees: Any = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=10)


@settings(max_examples=100, deadline=None)
@given(
    forest=st.lists(st.lists(trees, min_size=1, max_size=3), min_size=1, max_size=3),
    most=st.none() | st.integers(1, 4),
    max_groups=st.none() | st.integers(1, 2),
    lend=st.booleans(),
    seed=st.integers(0, 99),
)
def test_random_trees_end_or_are_told(
    forest: Forest, most: int | None, max_groups: int | None, lend: bool, seed: int
) -> None:
    """Those that lend always end. A hang would stop the virtual clock, which its loop reports."""

    async def node(children: Forest) -> int:
        await nap(1)
        handles = [current_group().submit(lambda child=child: node(child)) for child in children]
        async with lent() if lend and handles else nullcontext():
            return 1 + sum(await asyncio.gather(*handles))

    def size(tree: Forest) -> int:
        return 1 + sum(map(size, tree))

    async def main() -> None:
        async with blocking(max_workers=most, max_groups=max_groups) as groups:
            roots: list[tuple[TaskHandle[Any], int]] = []
            for number, grove in enumerate(forest):
                for tree in grove:
                    task = groups.submit(number, lambda tree=tree: node(tree))
                    roots.append((task, size(tree)))
            for group in groups.groups:
                await group.wait()
                failed = group.error()
                if failed is not None:
                    assert isinstance(failed, GroupFailed)
                    assert {type(error) for error in failed.exceptions} == {DeadlockDetected}
                    assert not lend
            for task, expected in roots:
                if task.state is TaskState.SUCCEEDED:
                    assert task.result() == expected

    run_virtual(main, seed=seed)


@settings(max_examples=100, deadline=None)
@given(
    forest=st.lists(trees, min_size=1, max_size=3),
    most=st.integers(1, 3),
    attempt_timeout=st.none() | st.sampled_from([1.5, 2, 3, 4.5]),
    cancel_at=st.none() | st.sampled_from([0.5, 1, 2, 2.5, 3]),
    seed=st.integers(0, 99),
)
def test_a_lent_worker_is_never_used_by_two(
    forest: Forest, most: int, attempt_timeout: float | None, cancel_at: float | None, seed: int
) -> None:
    """Whatever is cut off or cancelled meanwhile: the desk would raise SystemExit."""

    async def node(children: Forest) -> None:
        await nap(1)
        group = current_group()
        handles = [
            group.submit(lambda child=child: node(child), attempt_timeout=attempt_timeout)
            for child in children
        ]
        async with lent():
            await asyncio.gather(*handles)
        await nap(0.5)

    async def main() -> None:
        policy = RetryPolicy.fixed(0.5, attempts=2)
        async with blocking(max_workers=most, retry=policy) as groups:
            for tree in forest:
                groups.submit("a", lambda tree=tree: node(tree))
            group = groups.group("a")
            await group.wait(cancel_at)
            group.cancel()
            await group.wait()
            error = group.error()
            assert error is None or isinstance(error, GroupFailed | asyncio.CancelledError)

    run_virtual(main, seed=seed)


# -- refusing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_groups": 0}, "max_groups"),
        ({"max_groups": True}, "max_groups"),
        ({"max_workers": -1}, "max_workers"),
        ({"max_workers": 1.5}, "max_workers"),
        ({"factory": Desk()}, "factory"),
        ({"pool": Desk}, "pool"),
        ({"on_group": nap}, "on_group"),
        ({"on_group": 1}, "on_group"),
        ({"shutdown_timeout": -1}, "shutdown_timeout"),
        ({"shutdown_timeout": 10**400}, "shutdown_timeout"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], named: str) -> None:
    """At once, by name."""
    arguments = {"pool": Pool(), "factory": Desk, **options}
    with pytest.raises((TypeError, ValueError), match=named):
        BlockingPool(**arguments)


async def test_wrong_submits_are_refused() -> None:
    """And leave no group behind."""
    async with blocking() as groups:
        for option in ({"worker": 1}, {"require": "x"}, {"wait_for_worker": False}):
            with pytest.raises(ValueError, match=next(iter(option))):
                groups.submit("a", nap, **option)  # type: ignore[arg-type]
        for wrong in (None, []):
            with pytest.raises(TypeError, match="group"):
                groups.submit(wrong, nap)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="metadata"):
            groups.submit("a", nap, metadata=1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="callback"):
            groups.submit("b", nap)
            groups.group("b").add_done_callback(nap)
        assert [group.id for group in groups.groups] == ["b"]
    with pytest.raises(PoolClosed):
        groups.submit("a", nap)


async def test_what_could_wait_for_ever_is_refused_inside_a_task() -> None:
    """Another group may need the workers of this one; so may the end of any."""
    async with blocking(max_groups=2) as groups:
        other = groups.submit("b", lambda: nap(3))

        async def asks() -> str:
            with pytest.raises(RuntimeError, match="own group"):
                groups.submit("b", nap)
            with pytest.raises(RuntimeError, match="wait for a group"):
                await groups.group("b").wait()
            with pytest.raises(RuntimeError, match="wait for all"):
                await groups.join()
            assert await groups.submit("a", nap) == 1
            return "own"

        assert await groups.submit("a", asks) == "own"
        with pytest.raises(LookupError):
            current_group()
        await other

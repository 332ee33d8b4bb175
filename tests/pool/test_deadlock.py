"""An attempt that waits for tasks of its own pool never hangs: it gets them, or hears why not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrypool_async import (
    DeadlockDetected,
    Pool,
    Quota,
    RetryPolicy,
    TaskHandle,
    TaskState,
    Window,
    WorkerStartFailed,
)
from retrypool_async._waits import Outlook, Wait
from retrypool_async.testing import run_virtual, settle
from tests.pool.probe import Probe, now

ONE = RetryPolicy.fixed(0, attempts=1)


def staff(*names: str, **attributes: Any) -> list[Probe]:
    """Workers whose tasks are functions to be called."""
    return [Probe(name, does=lambda task: task(), **attributes) for name in names]


async def nap(seconds: float = 1) -> float:
    """A task that waits for nobody."""
    await asyncio.sleep(seconds)
    return now()


async def test_a_task_on_the_only_worker_cannot_wait_for_another() -> None:
    """It hears at once, with the chain; the child is cancelled like that of any lost caller."""
    async with Pool(staff("a"), retry=ONE, debug=True) as pool:
        children: list[TaskHandle[Any]] = []

        async def parent() -> None:
            children.append(pool.submit(nap))
            await children[0]

        task = pool.submit(parent)
        with pytest.raises(DeadlockDetected) as raised:
            await task
        assert raised.value.chain == ((1, "a", 2),)
        assert str(raised.value).startswith(
            "this wait could never end: task 1 on a waits for task 2;"
        )
        assert children[0].cancelled()
        assert now() == 0


async def test_an_attempt_may_catch_it_and_go_on() -> None:
    """It is an error like any other, and others may use the worker afterwards."""
    async with Pool(staff("a"), debug=True) as pool:

        async def parent() -> str:
            try:
                return await pool.submit(nap)
            except DeadlockDetected:
                return "alone"

        assert await pool.submit(parent) == "alone"
        assert await pool.submit(nap) == 1


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5])
async def test_a_chain_needs_as_many_workers_as_it_is_long(workers: int) -> None:
    """With fewer, the wait that takes the last of them is told, and names all before it."""
    async with Pool(staff(*"abcde"[:workers]), retry=ONE, debug=True) as pool:

        async def link(left: int) -> int:
            return 1 + await pool.submit(lambda: link(left - 1)) if left else 1

        task = pool.submit(lambda: link(3))
        if workers >= 4:
            assert await task == 4
            return
        with pytest.raises(DeadlockDetected) as raised:
            await task
        assert raised.value.chain == tuple(
            (number, "abc"[number - 1], number + 1) for number in range(workers, 0, -1)
        )


async def gathers(pool: Pool[Any, Any]) -> None:
    await asyncio.gather(pool.submit(nap), pool.submit(nap))


async def group_of_tasks(pool: Pool[Any, Any]) -> None:
    async def child() -> None:
        await pool.submit(nap)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
    except* DeadlockDetected as errors:
        raise errors.exceptions[0] from None


async def maps(pool: Pool[Any, Any], **options: Any) -> None:
    async for _ in pool.map([nap, nap], **options):
        pass


async def completes(pool: Pool[Any, Any]) -> None:
    async for _ in pool.as_completed([nap, nap]):
        pass


async def enqueues(pool: Pool[Any, Any]) -> None:
    pool.submit(nap)
    pool.submit(nap)
    await pool.enqueue(nap)


@pytest.mark.parametrize(
    "waits",
    [
        pytest.param(lambda pool: pool.submit(nap), id="await"),
        pytest.param(lambda pool: pool.submit(nap).wait(), id="wait"),
        pytest.param(lambda pool: pool.submit(nap).reached(TaskState.RUNNING), id="reached"),
        pytest.param(lambda pool: asyncio.shield(pool.submit(nap)), id="shield"),
        pytest.param(gathers, id="gather"),
        pytest.param(group_of_tasks, id="task group"),
        pytest.param(maps, id="map"),
        pytest.param(lambda pool: maps(pool, ordered=False), id="map unordered"),
        pytest.param(completes, id="as_completed"),
        pytest.param(enqueues, id="enqueue"),
    ],
)
async def test_every_way_of_waiting_is_watched(waits: Callable[[Any], Awaitable[Any]]) -> None:
    """Also through asyncio's own helpers, whose tasks inherit the context of the attempt."""
    async with Pool(staff("a"), retry=ONE, max_queue=2, debug=True) as pool:

        async def parent() -> None:
            await waits(pool)

        with pytest.raises(DeadlockDetected):
            await pool.submit(parent)
        assert now() == 0
        await pool.close("cancel")


async def test_of_two_parents_the_second_gives_way_and_succeeds_when_retried() -> None:
    """As with a deadlock in a database: its worker runs what the first waits for."""
    async with Pool(staff("a", "b"), retry=RetryPolicy.fixed(2), debug=True) as pool:

        async def parent() -> float:
            return await pool.submit(nap)

        first, second = pool.submit(parent), pool.submit(parent)
        assert await first == 1
        assert await second == 3
        assert [type(attempt.error) for attempt in second.attempts] == [
            DeadlockDetected,
            type(None),
        ]
        assert second.attempts[0].ended == 0


async def test_tasks_that_wait_for_each_other_are_told() -> None:
    """However many workers are free."""
    async with Pool(staff("a", "b", "c"), retry=ONE, debug=True) as pool:
        handles: list[TaskHandle[Any]] = []
        handles.append(pool.submit(lambda: wait_for(1)))
        handles.append(pool.submit(lambda: wait_for(0)))

        async def wait_for(other: int) -> Any:
            await nap(1)
            return await handles[other]

        errors = await asyncio.gather(*handles, return_exceptions=True)
        assert isinstance(errors[1], DeadlockDetected)
        assert errors[1].chain == ((2, "b", 1), (1, "a", 2))
        assert errors[0] is errors[1]


async def test_a_task_that_waits_for_itself_is_told() -> None:
    """The shortest chain; it is not cancelled by giving up its own wait."""
    async with Pool(staff("a", "b"), retry=ONE, debug=True) as pool:

        async def own() -> str:
            with pytest.raises(DeadlockDetected) as raised:
                await task.wait()
            assert raised.value.chain == ((1, "a", 1),)
            return "done"

        task = pool.submit(own)
        assert await task == "done"


@pytest.mark.parametrize("wish", [{"worker": "a"}, {"require": "blue"}])
async def test_only_workers_that_may_run_the_child_count(wish: Any) -> None:
    """Others may be idle."""
    workers = [*staff("a", tags={"blue"}), *staff("b", "c")]
    async with Pool(workers, retry=ONE, debug=True) as pool:

        async def parent() -> None:
            await pool.submit(nap, **wish)

        with pytest.raises(DeadlockDetected) as raised:
            await pool.submit(parent, worker="a")
        assert raised.value.chain == ((1, "a", 2),)
        assert await pool.submit(parent, worker="b") is None


async def test_a_limit_on_attempts_at_once_counts_like_workers() -> None:
    """`concurrency` may be lowered while they wait; the youngest wait is told then."""
    async with Pool(staff("a", "b", "c"), concurrency=2, retry=ONE, debug=True) as pool:

        async def parent() -> None:
            await pool.submit(nap)

        async def grandparent() -> None:
            await pool.submit(parent)

        with pytest.raises(DeadlockDetected):
            await pool.submit(grandparent)
        pool.concurrency = 3
        await pool.submit(grandparent)
        assert now() == 1
        pool.concurrency = 2
        pool.submit(lambda: nap(9))
        waiting = pool.submit(parent)
        await asyncio.sleep(4)
        assert not waiting.done()
        pool.concurrency = 1
        with pytest.raises(DeadlockDetected):
            await waiting
        assert now() == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda pool: pool.pause("b"),
        lambda pool: asyncio.ensure_future(pool.remove("b")),
    ],
    ids=["pause", "remove"],
)
async def test_a_change_of_the_workers_can_leave_none(change: Callable[[Any], Any]) -> None:
    """The wait is told at that moment, not at the next one."""
    async with Pool(staff("a", "b"), retry=ONE, debug=True) as pool:
        pool.submit(lambda: nap(5), worker="b")
        await settle()

        async def parent() -> None:
            await pool.submit(nap)

        task = pool.submit(parent)
        await asyncio.sleep(2)
        assert not task.done()
        kept = change(pool)
        with pytest.raises(DeadlockDetected):
            await task
        assert now() == 2
        if kept is not None:
            await kept


async def test_a_worker_that_fails_to_open_was_the_last_hope() -> None:
    """It counts while it is opening, and again when an operator gives it another try."""

    class Slow(Probe):
        async def on_start(self) -> None:
            await asyncio.sleep(3)
            if now() < 4:
                raise OSError

    async with Pool(staff("a"), retry=ONE, debug=True) as pool:

        async def parent() -> float:
            return await pool.submit(nap)

        adding = asyncio.ensure_future(pool.add(Slow("b", does=lambda task: task())))
        await settle()
        task = pool.submit(parent)
        with pytest.raises(DeadlockDetected):
            await task
        assert now() == 3
        with pytest.raises(WorkerStartFailed):
            await adding


class TestNoDeadlock:
    """What time or others will bring is waited for."""

    async def test_quota(self) -> None:
        """The child starts when it is granted."""
        workers = staff("a") + staff("b", quota=Quota(Window(1, per=10)))
        async with Pool(workers, debug=True) as pool:
            await pool.submit(nap, worker="b")

            async def parent() -> float:
                return await pool.submit(nap)

            assert await pool.submit(parent, worker="a") == 11

    async def test_a_cooldown_and_a_pause_with_an_end(self) -> None:
        """So is a pause of the whole pool, which holds back everybody."""
        async with Pool(staff("a", "b"), debug=True) as pool:

            async def parent() -> float:
                return await pool.submit(nap)

            pool.cooldown("b", 5)
            assert await pool.submit(parent) == 6
            pool.pause("b", until=4)
            assert await pool.submit(parent, worker="a") == 11
            task = pool.submit(lambda: delayed())

            async def delayed() -> float:
                await asyncio.sleep(1)
                return await parent()

            await settle()
            pool.pause()
            await asyncio.sleep(4)
            assert not task.done()
            pool.resume()
            assert await task == 16

    async def test_a_back_off_of_the_child(self) -> None:
        """While it waits for its retry its worker is free."""
        async with Pool(staff("a", "b"), retry=RetryPolicy.fixed(7), debug=True) as pool:

            async def child() -> float:
                if now() < 7:
                    raise ValueError
                return now()

            async def parent() -> float:
                return await pool.submit(child)

            assert await pool.submit(parent) == 7

    async def test_a_busy_worker(self) -> None:
        """It comes free, however long it takes."""
        async with Pool(staff("a", "b"), debug=True) as pool:
            pool.submit(lambda: nap(1000))
            assert await pool.submit(lambda: pool.submit(nap)) == 1001

    async def test_tags_that_nobody_has_yet(self) -> None:
        """Whoever waits for a worker to be added waits for the operator."""
        async with Pool(staff("a"), debug=True) as pool:

            async def parent() -> float:
                return await pool.submit(nap, require="gpu", wait_for_worker=True)

            task = pool.submit(parent)
            await asyncio.sleep(3)
            await pool.add(staff("b", tags={"gpu"})[0])
            assert await task == 4

    async def test_a_bounded_wait(self) -> None:
        """It ends by itself, and says so in its own way."""
        async with Pool(staff("a"), debug=True) as pool:
            assert await pool.submit(lambda: pool.submit(nap).wait(5)) is False
            assert now() == 5

    async def test_waits_from_outside_and_of_other_pools(self) -> None:
        """They hold no worker of this pool."""
        async with Pool(staff("a"), debug=True) as pool, Pool(staff("b"), debug=True) as other:
            assert await pool.submit(lambda: other.submit(nap)) == 1

    async def test_a_wide_fan(self) -> None:
        """A thousand children pass through the one worker that is left."""
        async with Pool(staff("a", "b")) as pool:

            async def parent() -> None:
                await asyncio.gather(*(pool.submit(nap) for _ in range(1000)))

            await pool.submit(parent)
            assert now() == 1000

    async def test_code_that_an_earlier_attempt_left_behind(self) -> None:
        """Only what the attempt in progress waits for holds its worker."""
        async with Pool(staff("a", "b"), retry=RetryPolicy.fixed(0), debug=True) as pool:
            left_behind: list[asyncio.Future[Any]] = []
            pool.submit(lambda: nap(9), worker="b")
            waiting = pool.submit(lambda: pool.submit(nap, worker="a"), worker="b")

            async def parent() -> float:
                if not left_behind:
                    left_behind.append(asyncio.ensure_future(pool.submit(nap, worker="b")))
                    await settle()
                    raise ValueError
                return await nap(20)

            assert await pool.submit(parent, worker="a") == 20
            assert await waiting == 21
            assert await left_behind[0] == 22

    async def test_a_wait_that_is_given_up_in_the_very_moment(self) -> None:
        """It is over, although its code has not heard yet."""
        async with Pool(staff("a", "b"), debug=True) as pool:
            pool.submit(lambda: nap(5), worker="b")

            async def impatient() -> float:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await pool.submit(nap, worker="b")
                return now()

            task = pool.submit(impatient, worker="a")
            assert await pool.submit(lambda: pool.submit(nap, worker="a"), worker="b") == 6
            assert await task == 5


@pytest.mark.parametrize("links", [3, 4])
async def test_a_pool_that_may_still_grow_is_no_deadlock(links: int) -> None:
    """With `max_workers` reached it is."""

    def factory() -> Probe:
        return Probe(does=lambda task: task())

    async with Pool(factory=factory, max_workers=3, retry=ONE, debug=True) as pool:

        async def link(left: int) -> int:
            return 1 + await pool.submit(lambda: link(left - 1)) if left > 1 else 1

        task = pool.submit(lambda: link(links))
        if links == 3:
            assert await task == 3
        else:
            with pytest.raises(DeadlockDetected) as raised:
                await task
            assert len(raised.value.chain) == 3


async def test_no_worker_can_replace_one_that_waits_to_be_removed() -> None:
    """It leaves when its attempt has ended, which waits for its successor."""
    factory = partial(Probe, does=lambda task: task())
    async with Pool(factory=factory, max_workers=1, retry=ONE, debug=True) as pool:

        async def parent() -> None:
            await nap(2)
            await pool.submit(nap)

        task = pool.submit(parent)
        await asyncio.sleep(1)
        removal = asyncio.create_task(pool.remove(0))
        with pytest.raises(DeadlockDetected):
            await task
        assert now() == 2
        await removal
        assert await pool.submit(nap) == 3


async def test_a_factory_that_will_be_asked_again_is_hope() -> None:
    """It failed, and the next try is due in a second."""
    asked: list[float] = []

    def factory() -> Probe:
        asked.append(now())
        if len(asked) == 1:
            raise OSError
        return Probe(does=lambda task: task())

    async with Pool(staff("a"), factory=factory, max_workers=2, retry=ONE, debug=True) as pool:

        async def parent() -> float:
            return await pool.submit(nap)

        assert await pool.submit(parent) == 2
        assert asked == [0, 1]


async def test_a_factory_that_turns_out_to_make_no_worker_for_the_child_is_no_hope() -> None:
    """Before it has made one, nobody knows."""

    def factory() -> Probe:
        return Probe(does=lambda task: task())

    workers = staff("a", tags={"blue"})
    async with Pool(workers, factory=factory, max_workers=2, retry=ONE, debug=True) as pool:

        async def parent() -> None:
            await pool.submit(nap, require="blue")

        with pytest.raises(DeadlockDetected):
            await pool.submit(parent, worker="a")


async def test_a_child_that_bounced_starts_a_new_round() -> None:
    """The worker that it has not tried waits for it, so it goes back to the other one."""
    async with Pool(staff("a", "b"), bounce=True, retry=RetryPolicy.fixed(1), debug=True) as pool:

        async def child() -> float:
            if now() < 1:
                raise ValueError
            return now()

        async def parent() -> float:
            return await pool.submit(child)

        assert await pool.submit(parent) == 1


@pytest.mark.parametrize("detach", [True, False])
async def test_a_child_that_is_not_the_callers_alone_runs_later(detach: bool) -> None:
    """Only the wait is given up: a detached child goes on, and `wait` never cancels one."""
    async with Pool(staff("a"), retry=ONE, debug=True) as pool:
        children: list[TaskHandle[Any]] = []

        async def parent() -> None:
            children.append(pool.submit(nap, detach=detach))
            await (children[0] if detach else children[0].wait())

        with pytest.raises(DeadlockDetected):
            await pool.submit(parent)
        assert await children[0] == 1


@pytest.mark.parametrize("call", [Pool.remove, Pool.paused])
async def test_a_worker_whose_task_waits_for_the_caller_cannot_be_waited_for(call: Any) -> None:
    """An operator's call inside an attempt waits for an attempt as well."""
    async with Pool(staff("a", "b", "c"), retry=ONE, debug=True) as pool:

        async def remover() -> None:
            await nap(1)
            await call(pool, "b")

        removing = pool.submit(remover, worker="a")

        async def waiter() -> None:
            await removing

        waiting = pool.submit(waiter, worker="b")
        with pytest.raises(DeadlockDetected) as raised:
            await waiting
        assert raised.value.chain == ((1, "a", 2), (2, "b", 1))
        assert now() == 1


async def test_all_waits_of_an_attempt_are_told_together() -> None:
    """It can go on only then, and that may spare others. Each hears of its own wait first."""
    workers = staff("a") + staff("b", "c", tags="x")
    async with Pool(workers, retry=ONE, debug=True) as pool:
        pool.submit(lambda: nap(5), worker="c")
        parts: list[TaskHandle[Any]] = []

        async def younger() -> list[Any]:
            parts.append(pool.submit(nap, require="x"))
            first = asyncio.ensure_future(parts[0].wait())
            await asyncio.sleep(2)
            parts.append(pool.submit(nap, worker="c"))
            return await asyncio.gather(first, parts[1].wait(), return_exceptions=True)

        async def older() -> bool:
            await asyncio.sleep(1)
            return await task.wait()

        waiting = pool.submit(older, worker="b")
        task = pool.submit(younger, worker="a")
        await asyncio.sleep(3)
        pool.pause("c")
        ends = await task
        assert now() == 3
        assert [end.chain[0] for end in ends] == [(3, "a", part.id) for part in parts]
        assert [end.chain[1:] for end in ends] == [((2, "b", 3),), ()]
        assert await waiting
        pool.resume("c")


async def test_the_look_for_a_deadlock_is_as_long_as_the_chain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred links, each of which makes the pool grow, and many children of one parent."""
    looks = 0
    vain = Outlook.vain

    def counted(self: Outlook, wait: Wait) -> bool:
        nonlocal looks
        looks += 1
        return vain(self, wait)

    monkeypatch.setattr(Outlook, "vain", counted)
    factory = partial(Probe, does=lambda task: task())
    async with Pool(factory=factory, max_workers=100, retry=ONE) as pool:

        async def link(left: int) -> int:
            return 1 + await pool.submit(lambda: link(left - 1)) if left > 1 else 1

        assert await pool.submit(lambda: link(100)) == 100
    assert looks < 5 * 100 * 100

    looks = 0
    async with Pool(staff("a", "b"), retry=ONE) as pool:

        async def parent() -> list[Any]:
            children = [pool.submit(nap) for _ in range(500)]
            return await asyncio.gather(*children, return_exceptions=True)

        task = pool.submit(parent, worker="a")
        await asyncio.sleep(1.5)
        pool.pause("b")
        assert sum(isinstance(end, DeadlockDetected) for end in await task) == 498
    assert looks < 20 * 500


Tree = list["Tree"]
trees = st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(
    forest=st.lists(trees, min_size=1, max_size=3),
    workers=st.integers(1, 4),
    concurrency=st.none() | st.integers(1, 4),
    together=st.booleans(),
    pausing=st.booleans(),
    seed=st.integers(0, 99),
)
def test_random_trees_end_or_are_told(
    forest: list[Any],
    workers: int,
    concurrency: int | None,
    together: bool,
    pausing: bool,
    seed: int,
) -> None:
    """A hang would stop the virtual clock for ever, which its loop reports."""

    async def main() -> None:
        async with Pool(
            staff(*"abcd"[:workers]), concurrency=concurrency, retry=ONE, debug=True
        ) as pool:

            async def node(children: list[Any]) -> int:
                await nap(1)
                handles = [pool.submit(lambda child=child: node(child)) for child in children]
                if together:
                    return 1 + sum(await asyncio.gather(*handles))
                return 1 + sum([await handle for handle in handles])

            def size(tree: list[Any]) -> int:
                return 1 + sum(map(size, tree))

            roots = [pool.submit(lambda tree=tree: node(tree)) for tree in forest]
            if pausing:
                await asyncio.sleep(1.5)
                pool.pause("a")
                await asyncio.sleep(1.5)
                pool.resume("a")
            for root, tree in zip(roots, forest, strict=True):
                with contextlib.suppress(DeadlockDetected):
                    assert await root == size(tree)

    run_virtual(main, seed=seed)


# -- code that an attempt has started --------------------------------------------------------------


async def by_gather(wait: Callable[[], Any]) -> None:
    await asyncio.gather(wait(), nap(0))


async def by_wait(wait: Callable[[], Any]) -> None:
    done, _ = await asyncio.wait([asyncio.create_task(wait())])
    done.pop().result()


async def by_task(wait: Callable[[], Any]) -> None:
    await asyncio.create_task(wait())


async def by_shield(wait: Callable[[], Any]) -> None:
    await asyncio.shield(wait())


async def by_task_group(wait: Callable[[], Any]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(wait())


async def by_anyio(wait: Callable[[], Any]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(wait)


async def by_detours(wait: Callable[[], Any]) -> None:
    await asyncio.gather(by_task_group(lambda: by_task(lambda: by_anyio(wait))))


WAYS = [by_gather, by_wait, by_task, by_shield, by_task_group, by_anyio, by_detours]


@pytest.mark.parametrize("way", WAYS)
async def test_an_attempt_that_awaits_its_own_code_waits_for_what_that_waits_for(
    way: Callable[[Callable[[], Any]], Awaitable[None]],
) -> None:
    """In whatever way it awaits it."""
    told: list[float] = []
    async with Pool(staff("a"), retry=ONE, debug=True) as pool:

        async def child() -> None:
            try:
                await pool.submit(nap)
            except DeadlockDetected:
                told.append(now())

        await pool.submit(lambda: way(child))
    assert told == [0]


async def test_an_attempt_that_comes_to_await_its_own_code_late_is_told_soon() -> None:
    """Nothing tells that the wait has begun, so it is looked for."""
    told: list[float] = []
    async with Pool(staff("a"), retry=ONE, debug=True) as pool:

        async def child() -> None:
            try:
                await pool.submit(nap)
            except DeadlockDetected:
                told.append(now())

        async def parent() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.sleep(1)  # in the group, but not waiting for it yet

        await pool.submit(parent)
    assert len(told) == 1
    assert 1 <= told[0] <= 2


async def test_code_that_outlives_its_attempt_holds_nobody_up() -> None:
    """The attempt ends without it, and then its wait does."""
    heard: list[float] = []
    async with Pool(staff("a"), retry=ONE, debug=True) as pool:
        tasks: list[asyncio.Task[None]] = []

        async def child() -> None:
            heard.append(await pool.submit(nap))

        async def parent() -> None:
            tasks.append(asyncio.create_task(child()))
            await asyncio.sleep(3)

        await pool.submit(parent)
        assert now() == 3
        await tasks[0]
    assert heard == [4]

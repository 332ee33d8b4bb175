"""Virtual time is exact, never hangs, and can be replayed."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import anyio
import pytest
from aiolimiter import AsyncLimiter

from retrypool_async.testing import (
    RealTimeLimit,
    VirtualLoop,
    VirtualTimeDeadlock,
    VirtualTimeLivelock,
    run_virtual,
    settle,
)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_sleeps_end_at_exact_times() -> None:
    """A sleep of n seconds that starts at 0 ends at n, not a rounding error later."""
    assert now() == 0
    await asyncio.sleep(60)
    assert now() == 60
    await anyio.sleep(3600)
    assert now() == 3660
    with anyio.move_on_after(0.25):
        await anyio.sleep_forever()
    assert now() == 3660.25


async def test_timers_run_in_the_order_of_their_times() -> None:
    """Sleepers wake in the order of their deadlines, each at its own."""
    ends: list[float] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        ends.append(now())

    await asyncio.gather(*map(sleeper, [5, 1, 86_400 * 3, 2]))
    assert ends == [1, 2, 5, 86_400 * 3]


async def test_time_stands_still_while_something_is_ready() -> None:
    """Turns of the loop cost no time, however many there are."""
    asyncio.get_running_loop().call_later(1, int)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert now() == 0
    await asyncio.sleep(1)


async def test_a_timer_for_now_is_due_a_nanosecond_later() -> None:
    """So code that re-arms "now" for ever moves the clock."""
    loop = asyncio.get_running_loop()
    fired = loop.create_future()
    loop.call_at(loop.time(), fired.set_result, None)
    await fired
    assert loop.time() == 1e-9


@pytest.mark.parametrize("start", [0.0, 123.456, 1.7e9])
def test_the_clock_starts_where_asked(start: float) -> None:
    """Even where a nanosecond is less than the clock can tell apart, timers fire."""

    async def main() -> float:
        fired = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0, fired.set_result, None)
        await fired
        return now()

    assert start < run_virtual(main, start=start) < start + 1e-6


@pytest.mark.parametrize("start", [0.0, 123.456, 1000.0])
@pytest.mark.parametrize(
    ("rate", "period", "amount", "callers"),
    [
        (60, 60, 1, 600),
        (100, 60, 1, 2000),
        (50, 60, 1, 600),
        (5, 1, 1, 600),
        (3, 1, 1, 600),
        (7, 3, 1, 1000),
        (1000, 1, 1, 5000),
        (0.3, 0.7, 0.1, 200),
    ],
)
def test_aiolimiter_never_stalls(
    start: float, rate: float, period: float, amount: float, callers: int
) -> None:
    """Its rounding errors re-arm timers for the present; each rate still ends when it should."""

    async def main() -> float:
        limiter = AsyncLimiter(rate, period)
        await asyncio.gather(*(limiter.acquire(amount) for _ in range(callers)))
        return now()

    ideal = start + (callers * amount - rate) * period / rate
    assert run_virtual(main, start=start) == pytest.approx(ideal, abs=1e-8)


def test_a_wait_that_cannot_end_is_a_deadlock() -> None:
    """The error names the tasks that wait, instead of hanging."""

    async def main() -> None:
        waiting = asyncio.create_task(asyncio.Event().wait(), name="waiting for Godot")
        await waiting

    with pytest.raises(VirtualTimeDeadlock, match=r"at 0\.0 s.*main.*waiting for Godot"):
        run_virtual(main)


def test_sleeping_for_ever_is_a_deadlock_too() -> None:
    """A timer that is never due is no timer."""
    with pytest.raises(VirtualTimeDeadlock):
        run_virtual(anyio.sleep_forever)


async def test_threads_are_refused() -> None:
    """Virtual time cannot wait for what takes real time."""
    with pytest.raises(RuntimeError, match="ordinary event loop"):
        await asyncio.to_thread(int)


@pytest.mark.parametrize("delay", [0, 1e-12])
def test_turning_without_progress_is_a_livelock(
    delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling the present instant is found, whether or not it sets timers."""
    monkeypatch.setattr(VirtualLoop, "max_turns", 5000)

    async def main() -> None:
        while True:
            await asyncio.sleep(delay)

    with pytest.raises(VirtualTimeLivelock, match="main"):
        run_virtual(main)


def test_real_time_is_limited() -> None:
    """An endless run through virtual time is cut, and its tasks are cancelled."""
    cancelled = False

    async def main() -> None:
        nonlocal cancelled
        try:
            while True:
                await asyncio.sleep(1)
        finally:
            cancelled = True

    with pytest.raises(RealTimeLimit, match=r"0\.05 s of real time"):
        run_virtual(main, limit=0.05)
    assert cancelled


def test_a_task_that_ignores_its_cancellation_is_limited_as_well() -> None:
    """The limit holds once more for the clean-up."""

    async def main() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)

    began = time.monotonic()
    with pytest.raises(RealTimeLimit):
        run_virtual(main, limit=0.05)
    assert time.monotonic() - began < 5


def test_run_virtual_takes_a_coroutine_or_a_function_and_returns_its_result() -> None:
    """Both spellings of asyncio's users work."""

    async def main() -> str:
        await asyncio.sleep(1)
        return "done"

    assert run_virtual(main) == "done"
    assert run_virtual(main()) == "done"


def test_run_virtual_raises_what_main_raises() -> None:
    """An error comes out as it is, also when tasks are left over."""

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(1)
        assert not task.done()
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        run_virtual(main)


def orders(seed: int | None) -> tuple[list[int], list[int]]:
    """In which order twelve ready tasks run, and then see their cancellation."""
    starts: list[int] = []
    ends: list[int] = []

    async def worker(number: int) -> None:
        starts.append(number)
        async with anyio.create_task_group():
            try:
                await anyio.sleep(10)
            finally:
                ends.append(number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(worker, number)
            await anyio.sleep(1)
            group.cancel_scope.cancel()

    run_virtual(main, seed=seed)
    return starts, ends


def test_a_seed_shuffles_and_the_same_seed_replays() -> None:
    """Random order is explored by seed, and a failure can be run again by its number."""
    assert orders(None)[0] == list(range(12))
    by_seed = [orders(seed) for seed in range(10)]
    assert len({str(order) for order in by_seed}) == 10
    assert [orders(seed) for seed in range(10)] == by_seed


async def test_settle_returns_when_nothing_else_can_run() -> None:
    """Everything that can happen at this instant has happened, and the clock did not move."""
    steps = 0

    async def work() -> None:
        nonlocal steps
        for _ in range(50):
            await asyncio.sleep(0)
            steps += 1
        await asyncio.sleep(1)
        steps += 1

    task = asyncio.create_task(work())
    await settle()
    assert (steps, now()) == (50, 0)
    await task


@pytest.mark.real_time
async def test_settle_is_refused_on_an_ordinary_loop() -> None:
    """There it could not know."""
    with pytest.raises(TypeError, match="VirtualLoop"):
        await settle()


@pytest.mark.real_time
async def test_the_real_time_mark_gives_an_ordinary_loop() -> None:
    """Threads work there."""
    assert not isinstance(asyncio.get_running_loop(), VirtualLoop)
    assert await asyncio.to_thread(int) == 0


@pytest.mark.parametrize("debug", [False, True])
def test_debug_mode_is_asyncios(debug: bool) -> None:
    """The switch is passed on."""

    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert run_virtual(main, debug=debug) is debug


def test_pytest_asyncio_runs_on_virtual_time(pytester: pytest.Pytester) -> None:
    """The hook shown in the documentation of `VirtualLoop` is all a user needs."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest(
        """
        import asyncio
        import pytest_asyncio
        from retrypool_async.testing import VirtualLoop, no_leaks

        def pytest_asyncio_loop_factories(config, item):
            if item.get_closest_marker("real_time"):
                return {"real": asyncio.new_event_loop}
            return {"virtual": VirtualLoop}

        @pytest_asyncio.fixture(autouse=True)
        async def leak_check():
            with no_leaks():
                yield
        """
    )
    pytester.makepyfile(
        """
        import asyncio
        import pytest

        async def test_virtual():
            await asyncio.sleep(3600)
            assert asyncio.get_running_loop().time() == 3600

        @pytest.mark.real_time
        async def test_real():
            await asyncio.to_thread(int)

        async def test_leaks():
            asyncio.get_running_loop().call_later(5, int)

        async def test_deadlocks():
            await asyncio.Event().wait()
        """
    )
    result = pytester.runpytest_inprocess()
    # The deadlocked test also leaves its own task behind.
    result.assert_outcomes(passed=3, failed=1, errors=2)
    result.stdout.fnmatch_lines(["*LeakError: 1 left behind:", "*VirtualTimeDeadlock: nothing*"])


def test_a_limit_in_pytest_names_the_test(pytestconfig: pytest.Config) -> None:
    """The ini option that the conftest derives the limit of the loop from is set."""
    assert float(pytestconfig.getini("timeout")) == 30


@pytest.mark.parametrize("callback", [int, list])
async def test_cancelled_timers_do_not_move_the_clock(callback: Callable[[], object]) -> None:
    """Only timers that will fire are jumped to."""
    asyncio.get_running_loop().call_later(1, callback).cancel()
    await asyncio.sleep(3)
    assert now() == 3

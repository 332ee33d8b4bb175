"""Breakers: which worker is spared, for how long, and how it comes back."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from retrypool_async import (
    Bounce,
    Breaker,
    BreakerMoved,
    BreakerState,
    Discard,
    Hooks,
    Pool,
    QueueTimeout,
    RetryPolicy,
    Snooze,
    TaskTimeout,
    Throttled,
    WorkerLost,
    WorkerState,
)
from tests.pool.probe import Probe, fails, in_turn, now, takes

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
ONCE = RetryPolicy.fixed(0, attempts=1)
AT_ONCE = RetryPolicy.fixed(0, attempts=3)


def states(pool: Pool[Any, Any]) -> list[BreakerState | None]:
    return [worker.breaker for worker in pool.snapshot().workers]


async def fail_on(pool: Pool[Any, Any], amount: int = 1, worker: str | None = None) -> None:
    """Run as many different tasks, each of which is expected to fail, one after the other."""
    for n in range(amount):
        error = await asyncio.gather(pool.submit(n, worker=worker), return_exceptions=True)
        assert isinstance(error[0], Exception)


# -- opening ---------------------------------------------------------------------------------------


async def test_a_dead_host_gets_one_attempt_per_cooldown_and_the_others_do_the_work() -> None:
    """A refused connection counts as a failure of its worker. Origin: BerriAI/litellm PR#27610."""
    dead, alive = Probe("dead", does=fails(ConnectionError)), Probe("alive", does=takes(1))
    breaker = Breaker(failures=1, cooldown=30)
    retry = RetryPolicy.fixed(0, attempts=2)
    async with Pool([dead, alive], breaker=breaker, retry=retry, debug=True) as pool:
        assert [await pool.submit(n) for n in range(10)] == list(range(10))
        assert (now(), dead.starts) == (10, [0])


async def test_a_worker_that_only_times_out_wastes_few_calls() -> None:
    """Three, and then one for each time it is tried again. Origin: scrapy-rotating-proxies#12."""
    hangs, works = Probe("hangs", does=takes(1000)), Probe("works", does=takes(1))
    breaker = Breaker(failures=3, cooldown=10, max_cooldown=10)
    async with Pool(
        [hangs, works], breaker=breaker, retry=AT_ONCE, attempt_timeout=5, debug=True
    ) as pool:
        tasks = [pool.submit(n) for n in range(30)]
        assert [await task for task in tasks] == list(range(30))
    assert hangs.starts == [0, 5, 10, 25]


async def test_one_task_that_fails_everywhere_opens_nothing() -> None:
    """However often it is tried: failures count by task, and there must be different ones."""
    workers = [Probe(name, does=fails()) for name in "abc"]
    retry = RetryPolicy.fixed(1, attempts=50)
    async with Pool(
        workers, breaker=Breaker(failures=2), retry=retry, bounce=True, debug=True
    ) as pool:
        await fail_on(pool)
        assert (now(), states(pool)) == (49, [CLOSED] * 3)
        assert sum(len(worker.starts) for worker in workers) == 50


async def test_failures_must_come_in_a_row() -> None:
    """One success in between, and the count begins again."""
    error = ValueError()
    worker = Probe(does=in_turn(error, error, "ok", error, error, "ok", error, error, error))
    async with Pool([worker], breaker=Breaker(failures=3), retry=ONCE, debug=True) as pool:
        tasks = [pool.submit(n) for n in range(8)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (now(), states(pool)) == (0, [CLOSED])
        await fail_on(pool)
        assert states(pool) == [OPEN]


async def test_a_share_of_failures_opens_too() -> None:
    """Half of the latest four tasks, and not before there are four."""
    error = ValueError()
    worker = Probe(does=in_turn(error, error, "ok", "ok", "ok", error, error))
    breaker = Breaker(None, rate=0.5, window=4)
    async with Pool([worker], breaker=breaker, retry=ONCE, debug=True) as pool:
        seen: list[BreakerState | None] = []
        for n in range(7):
            await asyncio.gather(pool.submit(n), return_exceptions=True)
            seen += states(pool)
    assert seen == [CLOSED] * 6 + [OPEN]


async def test_a_task_that_recovers_takes_its_failure_back() -> None:
    """In the share that failed, a task counts once, as it ended last."""
    error = ValueError()
    worker = Probe(does=in_turn(error, "ok", error, "ok", error, "ok", error, error))
    breaker = Breaker(None, rate=1, window=2)
    async with Pool([worker], breaker=breaker, retry=AT_ONCE, debug=True) as pool:
        for n in range(3):
            assert await pool.submit(n) == "ok"
        assert states(pool) == [CLOSED]


@pytest.mark.parametrize(
    "outcome", [Throttled(1), Snooze(1), Bounce(), WorkerLost(), Discard()], ids=repr
)
async def test_only_failures_count(outcome: Exception) -> None:
    """A verdict blames something else, or says so in other ways."""
    worker = Probe(does=in_turn(*[outcome] * 3, "ok"))
    async with Pool([worker], breaker=Breaker(failures=1), debug=True) as pool:
        tasks = [pool.submit(n) for n in range(4)]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert states(pool) == [CLOSED]


async def test_what_was_cancelled_or_taken_off_does_not_count() -> None:
    """It was not the worker's doing."""
    worker = Probe("a", does=takes(60))
    async with Pool([worker], breaker=Breaker(failures=1), debug=True) as pool:
        for n in range(3):
            task = pool.submit(n)
            await asyncio.sleep(1)
            task.cancel()
            await task.wait()
        assert states(pool) == [CLOSED]


async def test_what_classify_makes_of_an_error_is_what_counts() -> None:
    """A bad request is the task's fault, as soon as somebody says so."""
    worker = Probe(does=fails(ValueError))
    async with Pool(
        [worker], breaker=Breaker(failures=1), classify=lambda error: Discard(), debug=True
    ) as pool:
        await fail_on(pool, 5)
        assert states(pool) == [CLOSED]


async def test_an_immediate_retry_does_not_go_back_to_a_worker_that_is_out() -> None:
    """Although without `bounce` it would."""
    bad, good = Probe("bad", does=fails()), Probe("good")
    async with Pool([bad, good], breaker=Breaker(failures=1), debug=True) as pool:
        task = pool.submit(1, immediate=True)
        assert await task == 1
        assert [attempt.worker for attempt in task.attempts] == ["bad", "good"]


@pytest.mark.parametrize("delay", [0, 5])
async def test_nobody_waits_for_a_worker_that_is_out_because_it_is_the_only_one_untried(
    delay: float,
) -> None:
    """A bounced task starts over with the others, also when it waits already."""

    async def fail_late(data: object) -> None:
        await asyncio.sleep(1)
        raise OSError

    flaky, bad = Probe("flaky", does=in_turn(ValueError(), "ok")), Probe("bad", does=fail_late)
    async with Pool([flaky, bad], breaker=Breaker(failures=2, cooldown=600), debug=True) as pool:
        others = [pool.submit(n, worker="bad", retry=ONCE) for n in range(2)]
        task = pool.submit(2, bounce=True, retry=RetryPolicy.fixed(delay))
        await asyncio.gather(*others, return_exceptions=True)
        assert states(pool) == [CLOSED, OPEN]
        assert await task == "ok"
        assert [attempt.worker for attempt in task.attempts] == ["flaky", "flaky"]
        assert now() == max(delay, 2)


# -- being out, and coming back --------------------------------------------------------------------


async def test_one_probe_at_a_time_when_the_cooldown_is_over() -> None:
    """The others start when it has succeeded. Origin: KanishJebaMathewM/Truxify PR#11683."""
    worker = Probe(does=in_turn(ValueError(), "ok"))
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        worker.does = takes(2)
        tasks = [pool.submit(n) for n in range(20)]
        await asyncio.sleep(11)
        assert states(pool) == [HALF_OPEN]
        await tasks[0]
        assert (now(), states(pool)) == (12, [CLOSED])
        await pool.join()
    assert worker.starts == [0, 10, *range(12, 50, 2)]


async def test_a_probe_that_fails_opens_it_anew_for_twice_as_long_up_to_a_bound() -> None:
    """One failure is enough, whatever `failures` says."""
    worker = Probe(does=fails())
    breaker = Breaker(failures=3, cooldown=10, max_cooldown=35)
    async with Pool([worker], breaker=breaker, retry=ONCE, debug=True) as pool:
        await fail_on(pool, 7)
        assert states(pool) == [OPEN]
    assert worker.starts == [0, 0, 0, 10, 30, 65, 100]


async def test_the_cooldown_shrinks_again_while_the_worker_is_well() -> None:
    """By one doubling for every cooldown of that length, and not at all before."""
    error = ValueError()
    worker = Probe(does=in_turn(error, error, error, "ok", error, "ok", error))
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool, 3)  # out for 10, for 20, and from 30 on for 40
        assert await pool.submit("probe") == "ok"
        assert now() == 70
        await asyncio.sleep(80 + 40)  # the next would have been 80; then 40; now it is 20
        await fail_on(pool)
        assert pool.snapshot().workers[0].cooling_until == 190 + 20
        assert await pool.submit("probe") == "ok"
        await asyncio.sleep(39)  # not quite what the next one would last
        await fail_on(pool)
        assert pool.snapshot().workers[0].cooling_until == now() + 40


@pytest.mark.parametrize(
    "outcome", [Throttled(5), Snooze(5), WorkerLost(), Bounce(), Discard()], ids=repr
)
async def test_a_probe_that_ends_in_another_way_proves_nothing_and_is_repeated(
    outcome: Exception,
) -> None:
    """The worker is neither put out of use nor taken back because of it."""
    worker = Probe(does=fails())
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        outcomes: list[Any] = [outcome]
        seen: list[Any] = []

        def does(data: object) -> Any:
            if outcomes:
                raise outcomes.pop()
            seen.extend(states(pool))

        worker.does = does
        pool.submit("probe", retry=AT_ONCE)
        pool.submit("another")
        await pool.join()
        assert seen[0] is HALF_OPEN
        assert states(pool) == [CLOSED]


async def test_a_cancelled_probe_leaves_the_worker_on_probation() -> None:
    """And the next task is the probe."""
    worker = Probe(does=fails())
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        worker.does = takes(5)
        task = pool.submit("probe")
        await asyncio.sleep(12)
        task.cancel()
        await task.wait()
        assert states(pool) == [HALF_OPEN]
        await pool.submit("another")
        assert states(pool) == [CLOSED]


async def test_several_probes_may_be_asked_for() -> None:
    """In a row: one that fails begins the count anew."""
    error = ValueError()
    worker = Probe(does=in_turn(error, "ok", error, "ok", "ok", "ok"))
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=1, probes=3), retry=ONCE, debug=True
    ) as pool:
        seen: list[BreakerState | None] = []
        for n in range(6):
            await asyncio.gather(pool.submit(n), return_exceptions=True)
            seen += states(pool)
    assert seen == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, HALF_OPEN, CLOSED]


async def test_a_longer_cooldown_of_another_kind_holds() -> None:
    """Of several cooldowns the longest counts, and the breaker is tried after it."""
    worker = Probe("a", does=in_turn(ValueError(), "ok"))
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        pool.cooldown("a", 25)
        await pool.submit(1)
    assert worker.starts == [0, 25]


async def test_an_operator_may_have_it_tried_at_once() -> None:
    """Clearing the cooldown brings the worker back on probation."""
    worker = Probe("a", does=in_turn(ValueError(), ValueError(), "ok"))
    async with Pool([worker], breaker=Breaker(failures=1), retry=ONCE, debug=True) as pool:
        await fail_on(pool)
        pool.clear_cooldown("a")
        assert states(pool) == [HALF_OPEN]
        await fail_on(pool)
        assert (now(), states(pool)) == (0, [OPEN])


async def test_a_breaker_never_undoes_a_pause() -> None:
    """What an operator has isolated stays so after the cooldown."""
    worker = Probe("a", does=in_turn(ValueError(), "ok"))
    async with Pool(
        [worker], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        pool.pause("a", reason="under inspection")
        task = pool.submit(1)
        await asyncio.sleep(60)
        assert task.explain() == "a: paused"
        pool.resume("a")
        assert await task == "ok"
    assert worker.starts == [0, 60]


async def test_a_worker_that_ignores_being_stopped_is_tried_again_after_it_has_unwound() -> None:
    """However long that takes: the breaker is open until then."""

    async def stubborn(data: object) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    worker = Probe(does=stubborn)
    async with Pool(
        [worker],
        breaker=Breaker(failures=1, cooldown=10),
        retry=ONCE,
        attempt_timeout=1,
        stop_grace=100,
        debug=True,
    ) as pool:
        await fail_on(pool)
        worker.does = None
        await asyncio.sleep(20)
        assert states(pool) == [OPEN]
        assert await pool.submit(1) == 1
        assert (now(), states(pool)) == (61, [CLOSED])


async def test_a_task_that_could_only_go_back_to_it_too_late_ends_at_once() -> None:
    """The end of the cooldown is known, so nobody waits for it in vain."""
    worker = Probe("a", does=fails(OSError))
    async with Pool([worker], breaker=Breaker(failures=1), retry=AT_ONCE, debug=True) as pool:
        with pytest.raises(TaskTimeout) as failure:
            await pool.submit(1, timeout=20)
        assert (now(), failure.value.attempts) == (0, 1)
        assert isinstance(failure.value.__cause__, OSError)


async def test_a_pool_that_drains_does_not_wait_for_it_longer_than_it_has() -> None:
    """What cannot run in time ends at once, as with any cooldown."""
    async with Pool(
        [Probe(does=fails(OSError))], breaker=Breaker(failures=1), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        task = pool.submit(1)
        report = await pool.close("drain", timeout=10)
        assert (now(), [entry.id for entry in report.unfinished]) == (0, [task.id])


# -- how many may be out ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "out"), [(0.0, 1), (0.3, 3), (0.5, 5), (0.59, 5), (1.0, 10)], ids=str
)
async def test_no_more_than_a_share_of_the_pool_is_out(share: float, out: int) -> None:
    """The others go on, failing or not; one alone may always go."""
    workers = [Probe(does=fails()) for _ in range(10)]
    breaker = Breaker(failures=1, max_ejected=share)
    async with Pool(workers, breaker=breaker, retry=ONCE, debug=True) as pool:
        for n in range(10):
            await fail_on(pool, 2, worker=f"worker-{n}" if n not in range(out) else None)
        assert states(pool).count(OPEN) == out


async def test_one_that_was_kept_in_goes_as_soon_as_there_is_room() -> None:
    """At its next failure."""
    a, b = Probe("a", does=in_turn(ValueError(), "ok")), Probe("b", does=fails())
    async with Pool(
        [a, b], breaker=Breaker(failures=1, cooldown=10), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool, worker="a")
        await fail_on(pool, 3, worker="b")
        assert states(pool) == [OPEN, CLOSED]
        await pool.submit(1, worker="a")
        assert (now(), states(pool)) == (10, [CLOSED, CLOSED])
        await fail_on(pool, worker="b")
        assert states(pool) == [CLOSED, OPEN]


async def test_the_cap_does_not_protect_the_only_failing_worker_of_a_lane() -> None:
    """Others that could not do its work are no reason to let it eat what comes there."""
    plain = [Probe(does=fails()) for _ in range(3)]
    gpus = [Probe(name, does=fails(), tags={"gpu"}) for name in ("g", "h")]
    async with Pool(
        [*plain, *gpus],
        breaker=Breaker(failures=1, max_ejected=0.4),
        retry=ONCE,
        debug=True,
    ) as pool:
        for worker in ("worker-0", "worker-1", "worker-2"):
            await fail_on(pool, worker=worker)
        assert states(pool)[:3] == [OPEN, OPEN, CLOSED]
        await fail_on(pool, worker="g")
        await fail_on(pool, worker="h")
        assert states(pool)[3:] == [OPEN, CLOSED]


async def test_workers_that_leave_make_no_room_and_take_none() -> None:
    """The share is of those who are there."""
    workers = [Probe(name, does=fails()) for name in "abcd"]
    async with Pool(workers, breaker=Breaker(failures=1), retry=ONCE, debug=True) as pool:
        await fail_on(pool, worker="a")
        await pool.remove("a")
        await pool.remove("b")
        await fail_on(pool, worker="c")
        await fail_on(pool, worker="d")
        assert states(pool) == [OPEN, CLOSED]


# -- seeing it -------------------------------------------------------------------------------------


async def test_it_is_seen_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """In snapshots, explanations, reasons of timeouts, events, hooks and the log."""
    worker = Probe("a", does=in_turn(ValueError(), ValueError(), "ok"))
    hooked: list[Any] = []
    moves: list[Any] = []
    hooks = Hooks(on_event=hooked.append, on_worker=moves.append)
    caplog.set_level(logging.INFO, "retrypool_async")
    async with Pool(
        [worker], breaker=Breaker(failures=2, cooldown=10), retry=ONCE, hooks=hooks, debug=True
    ) as pool:
        events = pool.events()
        await fail_on(pool, 2)
        seen = pool.snapshot().workers[0]
        assert (seen.state, seen.breaker, seen.cooling_until) == (WorkerState.COOLING, OPEN, 10)
        task, hasty = pool.submit(1), pool.submit(2, queue_timeout=1)
        assert task.explain() == "a: breaker open 10.0 s; starts in 10.0 s on a"
        with pytest.raises(QueueTimeout) as late:
            await hasty
        assert (late.value.reason, late.value.next_available) == ("breaker open", 9)
        await task
    told = [event async for event in events if isinstance(event, BreakerMoved)]
    assert [(e.worker.name, e.old, e.new, e.reason, e.at) for e in told] == [
        ("a", CLOSED, OPEN, "failed 2 in a row", 0),
        ("a", OPEN, HALF_OPEN, "cooled", 10),
        ("a", HALF_OPEN, CLOSED, "succeeded as a probe", 10),
    ]
    assert [event for event in hooked if isinstance(event, BreakerMoved)] == told
    assert not [event for event in moves if isinstance(event, BreakerMoved)]
    records = [(r.levelname, r.getMessage()) for r in caplog.records if "breaker" in r.getMessage()]
    assert records == [
        ("WARNING", "worker a: breaker OPEN: failed 2 in a row"),
        ("INFO", "worker a: breaker HALF_OPEN: cooled"),
        ("INFO", "worker a: breaker CLOSED: succeeded as a probe"),
    ]


async def test_without_a_breaker_nobody_is_spared() -> None:
    """And there is nothing to see."""
    worker = Probe(does=fails())
    async with Pool([worker], retry=ONCE, debug=True) as pool:
        await fail_on(pool, 100)
        assert (now(), states(pool)) == (0, [None])


async def test_workers_from_a_factory_have_breakers_too() -> None:
    """Each its own."""
    made: list[Probe] = []

    def make() -> Probe:
        made.append(Probe(does=fails()))
        return made[-1]

    async with Pool(
        factory=make, min_workers=2, breaker=Breaker(failures=1), retry=ONCE, debug=True
    ) as pool:
        await fail_on(pool)
        assert sorted(str(state) for state in states(pool)) == [str(CLOSED), str(OPEN)]


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("failures", bad) for bad in (0, -1, 1.5, True, "5")),
        *(("rate", bad) for bad in (0, -0.1, 1.1, float("nan"), True, "half")),
        *(("window", bad) for bad in (0, 2.5, None)),
        *(("cooldown", bad) for bad in (0, -1, float("inf"), float("nan"), "30", None)),
        *(("max_cooldown", bad) for bad in (29, float("inf"), None)),
        *(("probes", bad) for bad in (0, True, None)),
        *(("max_ejected", bad) for bad in (-0.1, 1.5, float("nan"), None)),
    ],
)
def test_odd_values_are_refused_by_name(field: str, value: Any) -> None:
    """When the breaker is made."""
    with pytest.raises((TypeError, ValueError), match=field):
        Breaker(**{field: value})


def test_a_breaker_that_could_never_open_is_refused() -> None:
    """It counts neither rows nor shares."""
    with pytest.raises(ValueError, match="failures and rate"):
        Breaker(failures=None)


@pytest.mark.parametrize("value", [5, True, Breaker, "closed", {"failures": 5}])
def test_a_pool_refuses_what_is_no_breaker(value: Any) -> None:
    """By name."""
    with pytest.raises(TypeError, match="breaker"):
        Pool(breaker=value)

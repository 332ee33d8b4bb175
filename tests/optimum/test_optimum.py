"""The pool against the best of all schedules, for small random instances with known run times.

The optimum is exact where branch and bound finishes, else a proven bound from below is taken for
it. Both know everything in advance; the pool knows costs, and at most gets the longest jobs first.
"""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

import pytest

from retrypool_async import (
    FunctionWorker,
    LeastRecentlyUsed,
    MostQuota,
    Pool,
    Quota,
    RandomChoice,
    RoundRobin,
    Window,
)
from retrypool_async.testing import run_virtual
from tests.optimum.bounds import lower_bound
from tests.optimum.exact import Search
from tests.optimum.instances import (
    Instance,
    Job,
    Limit,
    Start,
    makespan,
    pool_schedule,
    random_instance,
    violations,
)
from tests.optimum.results import Result, result

INSTANCES = 50
#: Longer than any schedule here, in seconds.
LONG = 1e6


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [result(seed, looks=500) for seed in range(INSTANCES)]


@pytest.mark.timeout(90)
def test_no_window_of_any_quota_is_ever_exceeded(results: list[Result]) -> None:
    """Nor is a job lost or done twice, nor does a worker do two at once."""
    assert [found for found in results if found.violations] == []


@pytest.mark.timeout(90)
def test_half_of_the_schedules_are_within_a_tenth_of_the_optimum(results: list[Result]) -> None:
    """When the longest jobs are submitted first; within a fifth in the order they come."""
    for saving in (False, True):
        ratios = [found.saving_ratios if saving else found.ratios for found in results]
        assert median(longest_first for _, longest_first in ratios) <= 1.10
        assert median(as_they_come for as_they_come, _ in ratios) <= 1.20


@pytest.mark.timeout(90)
def test_work_of_a_period_and_more_takes_at_most_twice_the_optimum(results: list[Result]) -> None:
    """In whatever order the jobs come."""
    sustained = [found for found in results if found.optimum >= found.period]
    assert len(sustained) >= INSTANCES / 4
    assert [found for found in sustained if max(found.ratios) > 2] == []


@pytest.mark.timeout(90)
def test_less_work_takes_at_most_a_period_more(results: list[Result]) -> None:
    """A permit that was spent on the wrong job is back after a period."""
    assert [
        found
        for found in results
        if max(*found.plain, *found.saving) > 2 * found.optimum + found.period
    ] == []


def test_a_permit_spent_on_a_job_that_others_could_do_costs_a_period() -> None:
    """Why the optimum can be missed by any factor: the pool saves nothing for jobs that few can do.

    Submitted first, or with workers that have tiers, such a job finds its permit.
    """
    small, large = Job(1, 10), Job(2, 80)
    limits = (
        Limit("requests", 1, 60, True, FIRST),
        Limit("tokens", 50, 60, True, frozenset({1})),
    )
    instance = Instance((small, large), 2, limits)
    assert makespan(pool_schedule(instance, longest_first=False)) == 62
    assert makespan(pool_schedule(instance, longest_first=True)) == 2
    assert makespan(pool_schedule(instance, longest_first=False, saving=True)) == 2


@pytest.mark.parametrize("strategy", [LeastRecentlyUsed, RoundRobin, MostQuota, RandomChoice])
def test_who_does_not_know_what_will_come_can_be_made_to_wait_a_period(strategy: Any) -> None:
    """Whoever the first job goes to: the next is one that only this worker can do.

    In the best schedule both start at once. So no rule that starts a job when it comes keeps within
    any factor of the optimum, however it chooses.
    """
    starts: list[float] = []

    async def note(_: object) -> None:
        starts.append(asyncio.get_running_loop().time())

    async def life() -> None:
        workers = [FunctionWorker(note, quota=Quota(Window(1, per=60))) for _ in range(2)]
        async with Pool(workers, strategy=strategy()) as pool:
            first = pool.submit(None)
            await first
            assert first.worker is not None
            await pool.submit(None, worker=first.worker)

    run_virtual(life)
    assert starts == [0, 60]


@pytest.mark.parametrize("workers", [2, 3, 6])
def test_who_does_not_know_run_times_can_be_made_to_take_nearly_twice_as_long(workers: int) -> None:
    """The longest job is the one that it happens to start last. Who knows starts it first."""
    short = (Job(1, 1),) * (workers * (workers - 1))
    instance = Instance((*short, Job(workers, 1)), workers, ())
    assert makespan(pool_schedule(instance, longest_first=False)) == 2 * workers - 1
    assert makespan(pool_schedule(instance, longest_first=True)) == workers


# -- the means of proof ----------------------------------------------------------------------------

ALL, FIRST = frozenset({0, 1}), frozenset({0})
TWICE = (Job(1, 10), Job(1, 10))


@pytest.mark.parametrize(
    ("instance", "optimum"),
    [
        (Instance((Job(3, 1), Job(3, 1), Job(2, 1), Job(2, 1), Job(2, 1)), 2, ()), 6),
        (Instance(TWICE * 2, 1, (Limit("requests", 1, 5, True, FIRST),)), 16),
        (Instance(TWICE * 2, 1, (Limit("requests", 2, 5, False, FIRST),)), 6),
        (Instance(TWICE * 2, 2, (Limit("tokens", 20, 5, True, ALL),)), 6),
        # the small job must leave the one worker that can take the large one
        (
            Instance(
                (Job(1, 10), Job(1, 80)),
                2,
                (
                    Limit("requests", 1, 60, True, FIRST),
                    Limit("tokens", 50, 60, True, frozenset({1})),
                ),
            ),
            1,
        ),
    ],
)
def test_the_optimum_is_found(instance: Instance, optimum: float) -> None:
    """Where it can be told by hand; and the bound is not above it."""
    search = Search(instance, LONG, looks=5000)
    assert search.run()
    assert search.best == pytest.approx(optimum)
    assert lower_bound(instance) <= optimum + 1e-3


@pytest.mark.parametrize("seed", range(30))
def test_the_bound_is_never_above_a_schedule(seed: int) -> None:
    """Nor above the optimum, for instances small enough to know it."""
    instance = random_instance(seed, most_workers=3, most_jobs=5)
    search = Search(instance, LONG, looks=200_000)
    assert search.run()
    assert lower_bound(instance) <= search.best + 1e-3
    assert search.best <= makespan(pool_schedule(instance, longest_first=True)) + 1e-6


@pytest.mark.parametrize(
    ("starts", "problem"),
    [
        ([(0, 0), (4.9, 0)], "is exceeded from 0"),
        ([(0, 0), (0.5, 0)], "worker 0 has two jobs"),
        ([(0, 0)], "not every job"),
        ([(0, 0), (5, 0)], None),
    ],
)
def test_a_bad_schedule_is_recognised(starts: list[tuple[float, int]], problem: str | None) -> None:
    """By counting."""
    instance = Instance(TWICE, 1, (Limit("requests", 1, 5, True, FIRST),))
    found = violations(instance, [Start(at, worker, TWICE[0]) for at, worker in starts])
    if problem is None:
        assert found == []
    else:
        assert any(problem in one for one in found)

"""What a simulation reports is what the pool does, to the instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from retrypool_async.simulate import BadScenario, Percentiles, Scenario, simulate, workers_needed


def scenario(arrivals: Mapping[str, Any], *workers: Mapping[str, Any], **tables: Any) -> Scenario:
    """A scenario with workers named "key" that take a second, unless told otherwise."""
    kinds = [{"name": "key", "latency": 1, **kind} for kind in workers or ({},)]
    return Scenario.of({"arrivals": arrivals, "workers": kinds, **tables})


EVERY_SECOND = {"tasks": 10, "seconds": 10, "pattern": "even"}
AT_ONCE = {"tasks": 10}


def test_tasks_wait_for_the_worker_to_come_free() -> None:
    """Two seconds each, one a second: each waits a second longer than the one before."""
    report = simulate(scenario(EVERY_SECOND, {"latency": 2}))
    assert report.timeline == [(float(n), 2.0 * n, 2.0 * n + 2) for n in range(10)]
    assert report.seconds == 20
    assert report.throughput == 0.5
    assert report.wait == Percentiles(p50=4, p95=9, p99=9, most=9)
    assert report.latency == Percentiles(p50=6, p95=11, p99=11, most=11)
    (key,) = report.kinds[0].workers
    assert (key.name, key.served, key.busy) == ("key-1", 10, 1.0)


def test_quotas_hold_tasks_back() -> None:
    """Three at once, and three more a minute later."""
    quota = {"requests": {"window": 3, "per": 60}, "tokens": {"bucket": 1000, "per": 60}}
    tasks = {"cost": {"tokens": 100}}
    report = simulate(scenario(AT_ONCE, {"latency": 0, "quota": quota}, tasks=tasks))
    assert [start for _, start, _ in report.timeline] == [0, 0, 0, 60, 60, 60, 120, 120, 120, 180]
    (key,) = report.kinds[0].workers
    assert key.quota_use == {"requests": 10 / 12, "tokens": 1000 / 4000}


@pytest.mark.parametrize(("shared", "seconds"), [(False, 120), (True, 300)])
def test_workers_may_share_a_quota(shared: bool, seconds: float) -> None:
    """Then two of them do no more than one."""
    kind = {"count": 2, "latency": 0, "shared": shared}
    quota = {"requests": {"window": 2, "per": 60}}
    report = simulate(scenario({"tasks": 12}, {**kind, "quota": quota}))
    assert report.seconds == seconds


def test_the_pool_may_have_a_quota_and_a_concurrency() -> None:
    """For all its workers together."""
    window = {"quota": {"requests": {"window": 4, "per": 10}}, "concurrency": 2}
    report = simulate(scenario(AT_ONCE, {"count": 5}, pool=window))
    assert [start for _, start, _ in report.timeline] == [0, 0, 1, 1, 10, 10, 11, 11, 20, 20]
    assert report.quota_use == {"requests": 10 / 12}


def test_tasks_that_fail_are_tried_again_and_die() -> None:
    """When every call fails, each task has its attempts and no more."""
    report = simulate(scenario(AT_ONCE, {"failures": 1}, pool={"attempts": 3, "backoff": 0}))
    assert report.outcomes == {"CallFailed": 10}
    assert report.attempts == 30
    assert report.succeeded == report.throughput == 0
    assert report.latency is None
    assert report.kinds[0].workers[0].failed == 30


def test_failures_come_as_often_as_the_scenario_says() -> None:
    """Within what chance allows for a thousand tasks."""
    shares = {"failures": 0.1, "throttles": 0.05, "losses": 0.02, "retry_after": 5, "opening": 3}
    report = simulate(scenario({"tasks": 1000}, {"count": 10, **shares}, pool={"attempts": 9}))
    assert report.outcomes == {"succeeded": 1000}
    workers = report.kinds[0].workers
    total = report.attempts
    assert sum(one.failed for one in workers) == pytest.approx(0.1 * total, rel=0.3)
    assert sum(one.throttled for one in workers) == pytest.approx(0.05 * total, rel=0.3)
    assert sum(one.lost for one in workers) == pytest.approx(0.02 * total, rel=0.5)
    assert sum(one.served for one in workers) == 1000


@pytest.mark.parametrize(
    ("effect", "count"),
    [("throttle", "throttled"), ("fail", "failed"), ("hang", "failed"), ("lose", "lost")],
)
def test_an_outage_ends(effect: str, count: str) -> None:
    """Whatever it does to calls, all tasks succeed after it."""
    outage = {"at": 8, "seconds": 11, "effect": effect}
    report = simulate(
        scenario(
            {"tasks": 10, "seconds": 50, "pattern": "even"},
            {"outages": [outage], "opening": 1},
            tasks={"attempt_timeout": 4},
            pool={"attempts": 50, "backoff": 1},
        )
    )
    assert report.outcomes == {"succeeded": 10}
    assert report.seconds == 46
    assert getattr(report.kinds[0].workers[0], count) > 0
    ends = [end for _, _, end in report.timeline]
    assert not any(9 < end < 19 for end in ends)


def test_what_the_pool_refuses_is_reported() -> None:
    """A full queue, a cost beyond every quota, a wait that is too long."""
    full = simulate(scenario(AT_ONCE, pool={"max_queue": 3}))
    assert full.outcomes == {"QueueFull": 6, "succeeded": 4}
    quota = {"quota": {"tokens": {"window": 5, "per": 1}}}
    assert simulate(scenario(AT_ONCE, quota, tasks={"cost": {"tokens": 6}})).outcomes == {
        "CostTooLarge": 10
    }
    impatient = simulate(scenario(AT_ONCE, tasks={"queue_timeout": 2.5}))
    assert impatient.outcomes == {"QueueTimeout": 7, "succeeded": 3}
    assert impatient.wait == Percentiles(p50=1, p95=2, p99=2, most=2)


def test_traffic_follows_its_profile() -> None:
    """Four times as many in the second half; none where the profile is 0."""
    arrivals = {"tasks": 1000, "seconds": 300, "profile": [1, 0, 4]}
    for pattern in ("random", "even"):
        report = simulate(scenario({**arrivals, "pattern": pattern}, {"latency": 0}))
        times = [arrived for arrived, _, _ in report.timeline]
        assert times == sorted(times)
        assert sum(time < 100 for time in times) == pytest.approx(200, rel=0.2)
        assert not any(100 < time < 200 for time in times)
        assert max(times) <= 300


def test_one_seed_is_one_run() -> None:
    """And another seed is another."""
    varied = scenario(
        {"tasks": 200, "seconds": 100},
        {"count": 3, "latency": {"lognormal": {"median": 1, "p95": 4}}, "failures": 0.1},
        tasks={"cost": {"tokens": {"measured": [1, 5, 9]}}},
    )
    assert simulate(varied) == simulate(varied)
    assert simulate(varied).timeline != simulate(replace(varied, seed=1)).timeline


@pytest.mark.parametrize(
    ("amount", "mean", "p95"),
    [
        (3, 3, 3),
        ({"uniform": [1, 5]}, 3, 4.8),
        ({"exponential": 2}, 2, 6),
        ({"lognormal": {"median": 2, "p95": 8}}, 2.85, 8),
        ({"measured": [1, 2, 3, 10]}, 4, 10),
    ],
)
def test_latencies_are_distributed_as_the_scenario_says(
    amount: Any, mean: float, p95: float
) -> None:
    """Seen in the report, where no task has to wait."""
    arrivals = {"tasks": 2000, "seconds": 100_000}
    report = simulate(scenario(arrivals, {"count": 9, "latency": amount}))
    assert report.latency is not None
    assert report.latency.p95 == pytest.approx(p95, rel=0.1)
    lives = [end - arrived for arrived, _, end in report.timeline]
    assert sum(lives) / len(lives) == pytest.approx(mean, rel=0.1)


# -- how many workers ------------------------------------------------------------------------------

GOAL = {"workers": "key", "within": 3, "share": 1.0}


@pytest.mark.parametrize("first", [1, 2, 4, 5, 64])
def test_the_smallest_number_of_workers_that_is_enough_is_found(first: int) -> None:
    """Ten tasks of a second within three seconds take four, from whatever the search begins."""
    answer = workers_needed(scenario(AT_ONCE, {"count": first}, goal=GOAL))
    assert answer.workers == 4
    assert answer.report is not None
    assert answer.report.seconds == 3
    tried = {trial.workers: trial.report is not None for trial in answer.trials}
    assert tried == {workers: workers >= 4 for workers in tried}
    assert len(tried) == len(answer.trials)
    assert tried[4]
    assert not tried[3]


def test_a_share_of_the_tasks_may_miss_the_goal() -> None:
    """Nine tenths of ten tasks are nine, which three workers make."""
    answer = workers_needed(scenario(AT_ONCE, goal={**GOAL, "share": 0.9}))
    assert answer.workers == 3


def test_a_goal_may_be_out_of_reach() -> None:
    """Then the most that are allowed have been tried, and there is no answer."""
    answer = workers_needed(scenario(AT_ONCE, goal={**GOAL, "within": 0.5, "most": 5}))
    assert answer.workers is answer.report is None
    assert [trial.workers for trial in answer.trials] == [1, 2, 4, 5]


def test_other_workers_are_left_as_they_are() -> None:
    """Only the kind that is asked for changes in number."""
    both = ({}, {"name": "slow", "latency": 3, "count": 2})
    answer = workers_needed(scenario(AT_ONCE, *both, goal=GOAL))
    assert answer.workers == 3
    assert answer.report is not None
    assert [len(kind.workers) for kind in answer.report.kinds] == [3, 2]


# -- bad input -------------------------------------------------------------------------------------


def test_a_search_needs_a_goal() -> None:
    """Else nothing says what is enough."""
    with pytest.raises(BadScenario, match="goal is missing"):
        workers_needed(scenario(AT_ONCE))


def test_a_kind_is_resized_by_its_name() -> None:
    """To at least one."""
    one = scenario(AT_ONCE)
    assert one.resized("key", 3).workers[0].count == 3
    with pytest.raises(BadScenario, match="no workers are named 'kye'; there are: key"):
        one.resized("kye", 3)
    with pytest.raises(BadScenario, match=r"workers\.key must be at least 1, got 0"):
        one.resized("key", 0)


def test_a_worker_may_still_be_opening_when_all_is_done() -> None:
    """It is waited for, however long it takes, and that is not in the report."""
    outage = {"at": 40, "seconds": 2, "effect": "lose"}
    slow = {"name": "slow", "opening": 40, "outages": [outage]}
    report = simulate(scenario({"tasks": 50, "seconds": 50, "pattern": "even"}, {}, slow))
    assert (report.outcomes, report.seconds) == ({"succeeded": 50}, 51)
    assert report.kinds[1].workers[0].lost == 1


async def test_a_simulation_needs_the_thread_for_itself() -> None:
    """It has an event loop of its own."""
    with pytest.raises(RuntimeError, match="an event loop of its own"):
        simulate(scenario(AT_ONCE))


GOOD: dict[str, Any] = {
    "arrivals": {"tasks": 1},
    "workers": [{"name": "key", "latency": 1}],
}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", -1, "seed must be at least 0, got -1"),
        ("seed", "x", "seed must be a whole number, got 'x'"),
        ("sed", 1, "sed is not a field; known here: arrivals, goal, pool, seed, tasks, workers"),
        ("arrivals", None, "arrivals is missing"),
        ("arrivals", 3, "arrivals must be a table, got 3"),
        ("arrivals.tasks", None, "arrivals.tasks is missing"),
        ("arrivals.tasks", 0, "arrivals.tasks must be at least 1, got 0"),
        ("arrivals.tasks", True, "arrivals.tasks must be a whole number, got True"),
        ("arrivals.seconds", -1, "arrivals.seconds must be at least 0, got -1"),
        ("arrivals.seconds", float("nan"), "arrivals.seconds must be finite, got nan"),
        ("arrivals.seconds", 10**400, "arrivals.seconds must fit a float"),
        (
            "arrivals.pattern",
            "x",
            'arrivals.pattern must be one of "random", "even"; got \'x\'',
        ),
        (
            "arrivals.profile",
            [],
            "arrivals.profile must be a list with something in it, got []",
        ),
        ("arrivals.profile", [0, 0], "arrivals.profile must have a number above 0"),
        ("tasks.timeout", 0, "tasks.timeout must be above 0, got 0"),
        ("tasks.cost", 3, "tasks.cost must be a table, got 3"),
        ("tasks.cost.tokens", -3, "tasks.cost.tokens must be at least 0, got -3"),
        (
            "tasks.cost.tokens",
            "many",
            "tasks.cost.tokens must be a number or a table that names a distribution, got 'many'",
        ),
        ("tasks.bounce", 1, "tasks.bounce must be true or false, got 1"),
        ("pool.quota.requests", [], "must be a list with something in it"),
        (
            "pool.quota.requests",
            {"per": 3},
            "pool.quota.requests must be { window = amount, per = seconds } or",
        ),
        ("pool.quota.requests", {"window": 1}, "pool.quota.requests.per is missing"),
        (
            "pool.quota.requests",
            {"window": 0, "per": 1},
            "pool.quota.requests.window must be above 0, got 0",
        ),
        (
            "pool.quota.requests",
            [{"bucket": 1, "per": 0}],
            "pool.quota.requests.per must be at least 0.001",
        ),
        ("pool.concurrency", 0, "pool.concurrency must be at least 1, got 0"),
        ("workers", None, "workers is missing"),
        ("workers", [], "workers must be a list with something in it, got []"),
        ("workers.0.name", "", "workers[0].name must be a text, got ''"),
        ("workers.0.latency", None, "workers[0].latency is missing"),
        ("workers.0.latency", {}, "workers[0].latency must be a number, or one of"),
        ("workers.0.latency", {"uniform": [3]}, "workers[0].latency.uniform must be [low, high]"),
        ("workers.0.latency", {"uniform": [3, 1]}, "must be [low, high], got [3.0, 1.0]"),
        (
            "workers.0.latency",
            {"exponential": 0},
            "workers[0].latency.exponential must be above 0, got 0",
        ),
        (
            "workers.0.latency",
            {"exponential": 1, "max": 3},
            "workers[0].latency.max is not a field; known here: exponential",
        ),
        (
            "workers.0.latency",
            {"lognormal": {"median": 3, "p95": 1}},
            "workers[0].latency.lognormal.p95 must be at least the median, got 1",
        ),
        ("workers.0.failures", 1.5, "workers[0].failures must be from 0 to 1, got 1.5"),
        ("workers.0.quotas", {}, "workers[0].quotas is not a field; known here: count, failures"),
        (
            "workers.0",
            {"name": "a", "latency": 1, "failures": 0.7, "losses": 0.7},
            "workers[0]: failures, throttles and losses are above 1 together",
        ),
        (
            "workers",
            [{"name": "a", "latency": 1}] * 2,
            "workers[1].name: 'a' is taken by another kind",
        ),
        (
            "workers.0.outages",
            [{"at": 1, "seconds": 0}],
            "workers[0].outages[0].seconds must be above 0",
        ),
        (
            "workers.0.outages",
            [{"at": 1, "seconds": 1, "effect": "hang"}],
            'workers[0].outages: effect "hang" needs tasks.attempt_timeout',
        ),
        ("goal", {"workers": "x", "within": 1}, "goal.workers: no workers are named 'x'"),
        ("goal", {"workers": "key"}, "goal.within is missing"),
        ("goal", {"workers": "key", "within": 1, "share": 2}, "goal.share must be from 0 to 1"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_named(path: str, value: Any, message: str) -> None:
    """The field by its full name, and what is allowed there."""
    with pytest.raises(BadScenario) as caught:
        Scenario.of(changed(GOOD, path.split("."), value))
    assert message in str(caught.value)


def test_a_cost_that_no_quota_knows_is_a_mistake() -> None:
    """Unless there are no quotas at all, as with a pool."""
    tasks = {"cost": {"token": 1}}
    assert simulate(scenario(AT_ONCE, tasks=tasks)).outcomes == {"succeeded": 10}
    quotas = {"requests": {"window": 3, "per": 60}, "tokens": {"bucket": 1000, "per": 60}}
    with pytest.raises(BadScenario, match=r"tasks\.cost\.token: .* limit requests, tokens"):
        scenario(AT_ONCE, {"quota": quotas}, tasks=tasks)


def changed(fields: Any, path: list[str], value: Any) -> Any:
    """A copy with one field replaced, or taken out by None."""
    if not path:
        return value
    first, *rest = path
    if isinstance(fields, list):
        copy = list(fields)
        copy[int(first)] = changed(copy[int(first)], rest, value)
        return copy
    copy = dict(fields)
    copy[first] = changed(copy.get(first, {}), rest, value)
    if copy[first] is None:
        del copy[first]
    return copy

"""What is simulated: the traffic, the workers, the pool between them, and what is asked of it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from retrypool_async import LeastRecentlyUsed, MostQuota, RoundRobin, Strategy

from ._arrivals import Arrivals, read_arrivals
from ._limit import Limits, read_limits
from ._random import Amount, read_amount
from ._table import BadScenario, Table

STRATEGIES: Mapping[str, Callable[[], Strategy]] = {
    "least-recently-used": LeastRecentlyUsed,
    "round-robin": RoundRobin,
    "most-quota": MostQuota,
}
EFFECTS = ("fail", "throttle", "lose", "hang")


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which every call on some workers goes wrong."""

    start: float
    end: float
    effect: str


@dataclass(frozen=True, slots=True)
class Kind:
    """Workers that are alike."""

    name: str
    count: int
    latency: Amount
    opening: float
    limits: Limits
    shared: bool
    failures: float
    throttles: float
    losses: float
    retry_after: float
    outages: tuple[Outage, ...]


@dataclass(frozen=True, slots=True)
class Tasks:
    """What the tasks are like: their cost, and the options they are submitted with."""

    cost: Mapping[str, Amount]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How the pool is made."""

    strategy: str
    limits: Limits
    attempts: int
    backoff: float
    max_queue: int
    concurrency: int | None


@dataclass(frozen=True, slots=True)
class Goal:
    """How many workers of a kind are asked for: enough for a share of the tasks to be in time."""

    workers: str
    within: float
    share: float
    most: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to be simulated. `read` and `of` make one."""

    seed: int
    arrivals: Arrivals
    tasks: Tasks
    pool: PoolSettings
    workers: tuple[Kind, ...]
    goal: Goal | None

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Scenario:
        """Read a scenario from a TOML file.

        Raises:
            BadScenario: The file cannot be read, is not TOML, or a field of it is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise BadScenario(f"{path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise BadScenario(f"{path}: not UTF-8") from None
        try:
            return cls.of(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, BadScenario) as error:
            raise BadScenario(f"{path}: {error}") from None

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> Scenario:
        """Make a scenario of what a TOML file would hold.

        Raises:
            BadScenario: A field is missing, unknown or wrong.
        """
        table = Table(fields, "")
        scenario = cls(
            seed=table.count("seed", 0),
            arrivals=read_arrivals(Table(table.need("arrivals"), "arrivals")),
            tasks=_read_tasks(table.table("tasks")),
            pool=_read_pool(table.table("pool")),
            workers=tuple(map(_read_kind, table.tables("workers"))),
            goal=_read_goal(table.table("goal")) if "goal" in table else None,
        )
        table.get("goal")
        table.finish()
        _check(scenario)
        return scenario

    def resized(self, kind: str, count: int) -> Scenario:
        """The same scenario with another number of workers of a kind.

        Raises:
            BadScenario: There is no such kind, or `count` is not a whole number from 1 up.
        """
        self._kind(kind)
        Table({kind: count}, "workers").count(kind, at_least=1)
        return replace(
            self,
            workers=tuple(
                replace(one, count=count) if one.name == kind else one for one in self.workers
            ),
        )

    def _kind(self, name: str) -> Kind:
        for kind in self.workers:
            if kind.name == name:
                return kind
        known = ", ".join(kind.name for kind in self.workers)
        raise BadScenario(f"no workers are named {name!r}; there are: {known}")


def _read_tasks(table: Table) -> Tasks:
    costs = table.table("cost")
    cost = {name: read_amount(costs.get(name), costs.where(name)) for name in costs}
    options: dict[str, Any] = {"bounce": table.flag("bounce")}
    for name in ("timeout", "queue_timeout", "attempt_timeout"):
        options[name] = table.optional(name)
    table.finish()
    return Tasks(cost, options)


def _read_pool(table: Table) -> PoolSettings:
    settings = PoolSettings(
        strategy=table.choice("strategy", tuple(STRATEGIES)),
        limits=read_limits(table.table("quota")),
        attempts=table.count("attempts", 3, at_least=1),
        backoff=table.number("backoff", 0.5),
        max_queue=table.count("max_queue", 100_000),
        concurrency=table.count("concurrency", at_least=1) if "concurrency" in table else None,
    )
    table.finish()
    return settings


def _read_kind(table: Table) -> Kind:
    kind = Kind(
        name=table.text("name"),
        count=table.count("count", 1, at_least=1),
        latency=read_amount(table.need("latency"), table.where("latency")),
        opening=table.number("opening", 0.0),
        limits=read_limits(table.table("quota")),
        shared=table.flag("shared"),
        failures=table.share("failures", 0.0),
        throttles=table.share("throttles", 0.0),
        losses=table.share("losses", 0.0),
        retry_after=table.number("retry_after", 1.0),
        outages=tuple(map(_read_outage, table.tables("outages"))),
    )
    table.finish()
    if kind.failures + kind.throttles + kind.losses > 1:
        raise BadScenario(f"{table.path}: failures, throttles and losses are above 1 together")
    return kind


def _read_outage(table: Table) -> Outage:
    start = table.number("at")
    outage = Outage(
        start, start + table.number("seconds", above=0.0), table.choice("effect", EFFECTS)
    )
    table.finish()
    return outage


def _read_goal(table: Table) -> Goal:
    goal = Goal(
        workers=table.text("workers"),
        within=table.number("within", above=0.0),
        share=table.share("share", 0.95),
        most=table.count("most", 1000, at_least=1),
    )
    table.finish()
    return goal


def _check(scenario: Scenario) -> None:
    """What no field shows alone."""
    names = [kind.name for kind in scenario.workers]
    if not names:
        raise BadScenario("workers is missing: a list of tables, [[workers]]")
    for number, name in enumerate(names):
        if name in names[:number]:
            raise BadScenario(f"workers[{number}].name: {name!r} is taken by another kind")
    limits = [scenario.pool.limits, *(kind.limits for kind in scenario.workers)]
    limited = {dimension for some in limits for dimension in some}
    for name in scenario.tasks.cost:
        if limited and name not in limited and name != "requests":
            raise BadScenario(
                f"tasks.cost.{name}: no quota limits it; they limit {', '.join(sorted(limited))}"
            )
    goal = scenario.goal
    if goal is not None and goal.workers not in names:
        raise BadScenario(f"goal.workers: no workers are named {goal.workers!r}")
    for number, kind in enumerate(scenario.workers):
        hangs = any(outage.effect == "hang" for outage in kind.outages)
        if hangs and scenario.tasks.options["attempt_timeout"] is None:
            raise BadScenario(
                f'workers[{number}].outages: effect "hang" needs tasks.attempt_timeout'
            )

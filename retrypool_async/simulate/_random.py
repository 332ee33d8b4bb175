"""Amounts that vary: how long a call takes, how many tokens it uses."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from random import Random
from statistics import NormalDist
from typing import Protocol

from ._table import BadScenario, Table, listed, number

#: How many standard deviations above its median a normal distribution has its 95th percentile.
_P95 = NormalDist().inv_cdf(0.95)


class Amount(Protocol):
    """A distribution of amounts that are at least 0."""

    def draw(self, random: Random) -> float:
        """One amount."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same."""

    value: float

    def draw(self, random: Random) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two amounts, all equally likely."""

    low: float
    high: float

    def draw(self, random: Random) -> float:
        return random.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Exponential:
    """Many small amounts, few large ones, given by the mean."""

    mean: float

    def draw(self, random: Random) -> float:
        return random.expovariate(1 / self.mean)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """What most latencies look like: a long tail above the median."""

    median: float
    p95: float

    def draw(self, random: Random) -> float:
        spread = log(self.p95 / self.median) / _P95
        return self.median * exp(random.gauss(0.0, spread))


@dataclass(frozen=True, slots=True)
class Measured:
    """One of the amounts given, all equally likely: what has been measured elsewhere."""

    values: tuple[float, ...]

    def draw(self, random: Random) -> float:
        return random.choice(self.values)


def read_amount(value: object, where: str) -> Amount:
    """What a field says: a number, or a table that names a distribution.

    Raises:
        BadScenario: It is neither.
    """
    if isinstance(value, (int, float)):
        return Fixed(number(value, where))
    table = Table(value, where, "a number or a table that names a distribution")
    amount = _named(table)
    table.finish()
    return amount


def _named(table: Table) -> Amount:
    if "uniform" in table:
        where = table.where("uniform")
        ends = [number(end, where) for end in listed(table.get("uniform"), where)]
        if len(ends) != 2 or ends[0] > ends[1]:
            raise BadScenario(f"{where} must be [low, high], got {ends}")
        return Uniform(*ends)
    if "exponential" in table:
        return Exponential(table.number("exponential", above=0.0))
    if "lognormal" in table:
        inner = table.table("lognormal")
        median = inner.number("median", above=0.0)
        p95 = inner.number("p95", above=0.0)
        inner.finish()
        if p95 < median:
            raise BadScenario(f"{inner.where('p95')} must be at least the median, got {p95:g}")
        return LogNormal(median, p95)
    if "measured" in table:
        where = table.where("measured")
        return Measured(tuple(number(one, where) for one in listed(table.get("measured"), where)))
    raise BadScenario(
        f"{table.path} must be a number, or one of {{ uniform = [low, high] }}, "
        "{ exponential = mean }, { lognormal = { median, p95 } }, { measured = [...] }"
    )

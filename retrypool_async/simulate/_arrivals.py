"""When tasks arrive."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from ._table import BadScenario, Table, listed, number


@dataclass(frozen=True, slots=True)
class Arrivals:
    """So many tasks over so many seconds."""

    tasks: int
    seconds: float
    pattern: str
    #: How busy each of as many equal parts of the time is, relative to the others.
    profile: tuple[float, ...]

    def times(self, random: Random) -> Iterator[float]:
        """The seconds from the start at which each arrives, in order."""
        count = self.tasks
        if self.pattern == "random":
            # A Poisson process of which the number of arrivals is known is just this.
            quantiles = sorted(random.random() for _ in range(count))
        else:
            quantiles = [number / count for number in range(count)]
        ends = [0.0, *accumulate(self.profile)]
        part = self.seconds / len(self.profile)
        for quantile in quantiles:
            reached = quantile * ends[-1]
            index = bisect_right(ends, reached, hi=len(ends) - 1) - 1
            within = (reached - ends[index]) / self.profile[index]
            yield (index + within) * part


def read_arrivals(table: Table) -> Arrivals:
    """What the table `arrivals` says."""
    where = table.where("profile")
    profile = table.get("profile")
    parts = [1.0] if profile is None else [number(n, where) for n in listed(profile, where)]
    if not any(parts):
        raise BadScenario(f"{where} must have a number above 0")
    arrivals = Arrivals(
        tasks=table.count("tasks", at_least=1),
        seconds=table.number("seconds", 0.0),
        pattern=table.choice("pattern", ("random", "even")),
        profile=tuple(parts),
    )
    table.finish()
    return arrivals

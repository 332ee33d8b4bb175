"""What the pool made of an instance, beside what could have been."""

from __future__ import annotations

from dataclasses import dataclass

from tests.optimum.bounds import lower_bound
from tests.optimum.exact import Search
from tests.optimum.instances import makespan, pool_schedule, random_instance, violations


@dataclass(frozen=True)
class Result:
    """One instance.

    Attributes:
        plain: The pool's makespan with the jobs submitted as they come, and longest first.
        saving: The same when it is told what is rare.
        optimum: The shortest makespan if `proven`, else a bound that no schedule is below.
        period: The longest period of any limit.
        violations: Whatever was wrong with any schedule.
    """

    seed: int
    plain: tuple[float, float]
    saving: tuple[float, float]
    optimum: float
    proven: bool
    period: float
    violations: tuple[str, ...]

    @property
    def ratios(self) -> tuple[float, float]:
        """The plain makespans, by the optimum or the bound."""
        return self.plain[0] / self.optimum, self.plain[1] / self.optimum

    @property
    def saving_ratios(self) -> tuple[float, float]:
        """Those when it is told what is rare."""
        return self.saving[0] / self.optimum, self.saving[1] / self.optimum


def result(seed: int, *, looks: int) -> Result:
    """Run an instance all ways, and look for the best schedule.

    Args:
        seed: Says which instance.
        looks: Partial schedules that the search may look at before it makes do with the bound.
    """
    instance = random_instance(seed)
    schedules = [
        pool_schedule(instance, longest_first=longest_first, saving=saving)
        for saving in (False, True)
        for longest_first in (False, True)
    ]
    ends = [makespan(starts) for starts in schedules]
    bound = lower_bound(instance)
    search = Search(instance, min(ends), looks)
    proven = search.run()
    return Result(
        seed=seed,
        plain=(ends[0], ends[1]),
        saving=(ends[2], ends[3]),
        optimum=search.best if proven else bound,
        proven=proven,
        period=max((limit.per for limit in instance.limits), default=0.0),
        violations=tuple(what for starts in schedules for what in violations(instance, starts)),
    )

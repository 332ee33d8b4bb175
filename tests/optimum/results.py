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
        as_they_come, longest_first: The pool's makespan, with the jobs submitted in that order.
        optimum: The shortest makespan if `proven`, else a bound that no schedule is below.
        period: The longest period of any limit.
        violations: Whatever was wrong with either schedule.
    """

    seed: int
    as_they_come: float
    longest_first: float
    optimum: float
    proven: bool
    period: float
    violations: tuple[str, ...]

    @property
    def ratios(self) -> tuple[float, float]:
        """Both makespans, by the optimum or the bound."""
        return self.as_they_come / self.optimum, self.longest_first / self.optimum


def result(seed: int, *, looks: int) -> Result:
    """Run an instance both ways, and look for the best schedule.

    Args:
        seed: Says which instance.
        looks: Partial schedules that the search may look at before it makes do with the bound.
    """
    instance = random_instance(seed)
    plain = pool_schedule(instance, longest_first=False)
    sorted_ = pool_schedule(instance, longest_first=True)
    bound = lower_bound(instance)
    search = Search(instance, min(makespan(plain), makespan(sorted_)), looks)
    proven = search.run()
    return Result(
        seed=seed,
        as_they_come=makespan(plain),
        longest_first=makespan(sorted_),
        optimum=search.best if proven else bound,
        proven=proven,
        period=max((limit.per for limit in instance.limits), default=0.0),
        violations=(*violations(instance, plain), *violations(instance, sorted_)),
    )

"""How many workers a load needs."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from ._model import SUCCEEDED, ModelTask
from ._report import Report, report_of
from ._run import run
from ._scenario import Goal, Scenario
from ._table import BadScenario


@dataclass(frozen=True, slots=True)
class Trial:
    """One number of workers that was tried.

    Attributes:
        workers: The number.
        report: How that went; None if the goal was missed, which ends a run early.
    """

    workers: int
    report: Report | None


@dataclass(frozen=True, slots=True)
class Answer:
    """How many workers are enough.

    Attributes:
        kind: Of which kind.
        workers: The smallest number that was found to be enough; None if the most allowed is not.
        trials: Every number that was tried, in the order of trying.
    """

    kind: str
    workers: int | None
    trials: tuple[Trial, ...]

    @property
    def report(self) -> Report | None:
        """How it went with that number."""
        return next((trial.report for trial in self.trials if trial.workers == self.workers), None)


def workers_needed(scenario: Scenario) -> Answer:
    """Find the smallest number of workers with which the scenario meets its goal.

    The search begins with the number in the scenario, doubles or halves it until the answer is
    between two numbers, and halves what is between them. All runs have the same seed, so tasks
    arrive alike and have the same luck. With the answer the goal is met, and with one worker less
    it is not; that no smaller number meets it either is taken for granted.

    Raises:
        BadScenario: The scenario has no goal.
        RuntimeError: An event loop is running in this thread.
    """
    goal = scenario.goal
    if goal is None:
        raise BadScenario("goal is missing: how many workers are asked for, and for what")
    trials: list[Trial] = []

    def enough(workers: int) -> bool:
        report = _report_if_met(scenario.resized(goal.workers, workers), goal)
        trials.append(Trial(workers, report))
        return report is not None

    first = next(kind.count for kind in scenario.workers if kind.name == goal.workers)
    too_few, number = 0, min(first, goal.most)
    while not enough(number):
        if number == goal.most:
            return Answer(goal.workers, None, tuple(trials))
        too_few, number = number, min(2 * number, goal.most)
    while number - too_few > 1:
        # Before any number has been too small, the middle is half of what is enough.
        middle = (too_few + number) // 2
        if enough(middle):
            number = middle
        else:
            too_few = middle
    return Answer(goal.workers, number, tuple(trials))


def _report_if_met(scenario: Scenario, goal: Goal) -> Report | None:
    """Run until the end, or until the goal is out of reach."""
    misses_left = floor(scenario.arrivals.tasks * (1 - goal.share) + 1e-9)

    def still_possible(task: ModelTask) -> bool:
        nonlocal misses_left
        in_time = task.ended is not None and task.ended - task.arrived <= goal.within
        misses_left -= not (in_time and task.outcome == SUCCEEDED)
        return misses_left >= 0

    workers, tasks = run(scenario, still_possible)
    return report_of(scenario, workers, tasks) if misses_left >= 0 else None

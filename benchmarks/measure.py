"""How a figure is taken: a fresh process for each case and round, ratios only within a round.

Two contenders are compared by dividing what they cost in the same round, a second or two apart:
whatever the machine and its other users do then happens to both.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import NamedTuple, ParamSpec, TypeVar

from contenders import Contender
from shapes import Shape

P = ParamSpec("P")
T = TypeVar("T")

REPETITIONS = 3
#: `--quick` divides the number of tasks by this: enough to see that a program runs.
QUICK = 100


@dataclass(frozen=True, eq=False)
class Case:
    """One contender under one shape of load."""

    contender: type[Contender]
    shape: Shape
    workers: int
    tasks: int


def fresh(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a module-level function in a new process that does nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *args, **kwargs).result()


def cost(case: Case) -> float:
    """µs per task in this process: the median of the repetitions after one that warms up."""
    costs: list[float] = []
    for _ in range(1 + REPETITIONS):
        gc.collect()
        costs.append(asyncio.run(_repetition(case)))
    return median(costs[1:])


async def _repetition(case: Case) -> float:
    shape = case.shape
    items = [shape.item() for _ in range(case.tasks)]
    workers = [shape.worker() for _ in range(case.workers)]
    async with case.contender(workers, shape.settings) as contender:
        start = shape.clock()
        await shape.drive(contender, items)
        spent = shape.clock() - start
    return spent * 1e6 / case.tasks


def costs_by_round(cases: Sequence[Case], rounds: int) -> dict[Case, list[float]]:
    """Measure all cases once a round, in the order given, and return what each cost by round."""
    costs: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        for case in cases:
            costs[case].append(fresh(cost, case))
    return costs


class Spread(NamedTuple):
    """A median and its range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise one value per round."""
        ordered = sorted(values)
        return cls(round(median(ordered), 3), round(ordered[0], 3), round(ordered[-1], 3))

    @classmethod
    def of_ratio(cls, costs: Iterable[float], base: Iterable[float]) -> Spread:
        """Divide round by round, then summarise."""
        return cls.of(ours / theirs for ours, theirs in zip(costs, base, strict=True))

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def command_line(description: str, *, rounds: int) -> ArgumentParser:
    """The options that all programs have."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    parser.add_argument(
        "--quick", action="store_true", help="one round of few tasks: shows only that it runs"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, not a table")
    return parser


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines: list[Sequence[object]] = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

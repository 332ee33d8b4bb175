"""What the pool costs per task, as a ratio to a pool written by hand.

The queue pool is the base. The semaphore with `gather` is shown beside it where it can do the
same: it knows no retry and no quota.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contenders import Contender, QueuePool, RetryPool, SemaphoreGather
from measure import QUICK, Case, Spread, command_line, costs_by_round, markdown
from shapes import SHAPES, Echo, Millisecond, Shape

#: What we hold ourselves to, as a ratio to the queue pool at 8 workers.
TARGETS = {
    "flood-200k": 2.0,
    "flood-20k": 2.5,
    "callers": 2.8,
    "ping-pong": 1.8,
    "fails-once": 1.6,
    "quota": 3.0,
    "quota-cost": 3.0,
}

Results = dict[str, dict[str, dict[str, Any]]]


def contenders_for(shape: Shape) -> list[type[Contender]]:
    """The queue pool, ours, and the semaphore if it can."""
    if shape.worker in (Echo, Millisecond):
        return [QueuePool, RetryPool, SemaphoreGather]
    return [QueuePool, RetryPool]


def measure(
    shapes: Sequence[Shape], workers: Sequence[int], rounds: int, *, shrink: int
) -> Results:
    """Measure everything, round by round; shape, then workers, then figures."""
    cases = {
        (shape, count): [
            Case(contender, shape, count, max(1, shape.tasks_for(count) // shrink))
            for contender in contenders_for(shape)
        ]
        for count in workers
        for shape in shapes
    }
    costs = costs_by_round([case for group in cases.values() for case in group], rounds)
    results: Results = {shape.name: {} for shape in shapes}
    for (shape, count), (base, *others) in cases.items():
        figures: dict[str, Any] = {"baseline_us": Spread.of(costs[base]).median}
        for case, prefix in zip(others, ("", "gather_"), strict=False):
            ratio = Spread.of_ratio(costs[case], costs[base])
            figures |= {f"{prefix}us": Spread.of(costs[case]).median}
            figures |= {f"{prefix}ratio": ratio.median}
            figures |= {f"{prefix}ratio_min": ratio.low, f"{prefix}ratio_max": ratio.high}
        results[shape.name][str(count)] = figures
    return results


def tables(results: Results) -> str:
    """The ratios, and below them the base that they are ratios to."""
    counts = list(next(iter(results.values())))

    def rows(ratio: str) -> list[list[str]]:
        return [
            [name, *(cell(by_count[count], ratio) for count in counts)]
            for name, by_count in results.items()
        ]

    def cell(figures: dict[str, Any], key: str) -> str:
        if key not in figures:
            return ""
        if key == "baseline_us":
            return f"{figures[key]:.2f}"
        return str(Spread(figures[key], figures[f"{key}_min"], figures[f"{key}_max"]))

    header = [f"{count} workers" for count in counts]
    ours = [[*row, TARGETS.get(row[0], "")] for row in rows("ratio")]
    return "\n\n".join(
        (
            markdown(["Pool ÷ queue pool", *header, "target, 8 workers"], ours),
            markdown(["semaphore ÷ queue pool", *header], rows("gather_ratio")),
            markdown(["queue pool, µs per task", *header], rows("baseline_us")),
        )
    )


def main() -> None:
    """Read the command line, measure, print."""
    by_name = {shape.name: shape for shape in SHAPES}
    parser = command_line("The pool against pools written by hand.", rounds=5)
    parser.add_argument("--shapes", nargs="+", choices=by_name, default=list(by_name))
    parser.add_argument("--workers", nargs="+", type=int, default=[2, 8, 64, 1000])
    options = parser.parse_args()
    rounds, shrink = (1, QUICK) if options.quick else (options.rounds, 1)
    shapes = [by_name[name] for name in options.shapes]
    results = measure(shapes, options.workers, rounds, shrink=shrink)
    print(json.dumps(results) if options.json else tables(results))


if __name__ == "__main__":
    main()

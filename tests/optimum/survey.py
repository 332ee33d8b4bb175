"""Many more instances than the tests have time for: `python -m tests.optimum.survey`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable

from tests.optimum.results import Result, result

SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


def main() -> None:
    """Run them and print how the ratios are distributed."""
    parser = ArgumentParser(description="The pool against the best of all schedules.")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="default: %(default)s")
    parser.add_argument(
        "--looks", type=int, default=2000, metavar="N", help="of each search; default: %(default)s"
    )
    options = parser.parse_args()
    results: list[Result] = []
    for seed in range(options.first, options.first + options.seeds):
        found = result(seed, looks=options.looks)
        results.append(found)
        if found.violations:
            print(f"seed {seed}: {found.violations}")
    sustained = [found for found in results if found.optimum >= found.period]
    print("|  | instances |", *(f"{share:.0%} |" for share in SHARES), "beyond twice |")
    for name, some in (("all", results), ("at least one period", sustained)):
        for number, order in enumerate(("as they come", "longest first")):
            for way, rows in (
                ("", [found.ratios for found in some]),
                (", saving", [found.saving_ratios for found in some]),
            ):
                ratios = [row[number] for row in rows]
                quantiles = (f"{ratio:.2f} |" for ratio in _quantiles(ratios))
                beyond = sum(ratio > 2 for ratio in ratios)
                print(f"| {name}, {order}{way} | {len(some)} |", *quantiles, f"{beyond} |")
    print(f"optimum proven: {sum(found.proven for found in results)}")
    print(f"violations: {sum(len(found.violations) for found in results)}")


def _quantiles(ratios: Iterable[float]) -> list[float]:
    ordered = sorted(ratios)
    return [ordered[round(share * (len(ordered) - 1))] for share in SHARES]


if __name__ == "__main__":
    main()

"""Random lives of pools whose tasks are hedged.

`python -m tests.chaos.hedged 1234` repeats seed 1234; `1000-2000` lives a range of them.
"""

from __future__ import annotations

import sys
from typing import Any

from retrypool_async import Hedge, RetryBudget
from tests.chaos.driver import Life, main
from tests.chaos.witness import Job
from tests.chaos.workers import ChaosWorker


class HedgedLife(Life):
    """A life in which most tasks may run twice at once, by a wish of their own or of the pool's.

    It has workers to spare, and attempts that take long before they come to anything.
    """

    def given_workers(self) -> list[ChaosWorker]:
        return [self.make_worker() for _ in range(self.rng.randint(4, 9))]

    def more_options(self) -> dict[str, Any]:
        rng = self.rng
        hedge = self.make_hedge() if rng.random() < 0.5 else None
        self.hedge = None if hedge is None else hedge.after or 0.0
        budget = rng.choice([None, None, RetryBudget(0.5, 2), RetryBudget(0, 1)])
        return {"hedge": hedge, "retry_budget": budget}

    def make_hedge(self) -> Hedge:
        rng = self.rng
        if rng.random() < 0.2:
            return Hedge(quantile=rng.choice([0.3, 0.9]), min_samples=rng.choice([1, 5]))
        return Hedge(rng.choice([0, 0.1, 0.1, 0.5, 1]))

    def make_job(self) -> Job:
        job, rng = super().make_job(), self.rng
        job.slow = rng.choice([0, 0.7, 2])
        if job.pin is not None:
            return job
        job.hedge = self.hedge
        choice = rng.random()
        if choice < 0.5:
            hedge = job.options["hedge"] = self.make_hedge()
            job.hedge = hedge.after or 0.0
        elif choice < 0.7:
            name = rng.choice(["hedge", "idempotent"])
            job.options[name] = None if name == "hedge" else False
            job.hedge = None
        return job


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], HedgedLife))

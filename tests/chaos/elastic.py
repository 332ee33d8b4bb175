"""Random lives of pools that make their own workers.

`python -m tests.chaos.elastic 1234` repeats seed 1234; `1000-2000` lives a range of them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from retrypool_async import TaskState, WorkerMoved, WorkerState, WorkerWish
from tests.chaos.driver import Life, main
from tests.chaos.witness import INSTANT, now
from tests.chaos.workers import ChaosWorker

OPENING = (WorkerState.STARTING, WorkerState.RESETTING)


class ElasticLife(Life):
    """A life with a factory, which may be slow, fail, or give up too late."""

    def given_workers(self) -> list[ChaosWorker]:
        return [self.make_worker() for _ in range(self.rng.choice([0, 0, 1, 2]))]

    def more_options(self) -> dict[str, Any]:
        rng = self.rng
        self.most = rng.randint(1, 5)
        self.least = rng.randint(0, min(2, self.most))
        self.idle_timeout = rng.choice([0.0, 0.5, 2.0])
        self.fails = rng.choice([0.0, 0.0, 0.3])
        self.takes = rng.choice([(0,), (0, 0, 0.5, 2), (0, 2, 12)])
        self.is_async = rng.random() < 0.7
        self.made: list[ChaosWorker] = []
        self.shared_by_all = True
        self.failed = 0
        #: Workers whose code went on when it was told to stop: they do not count any more.
        self.written_off: set[str] = set()
        self.stirred_at = 0.0
        return {
            "factory": self.make_slowly if self.is_async else self.make,
            "min_workers": self.least,
            "max_workers": self.most,
            "idle_timeout": self.idle_timeout,
        }

    def make(self) -> ChaosWorker:
        if self.rng.random() < self.fails:
            raise OSError("cannot make one")
        worker = self.make_worker()
        worker.made = True
        self.made.append(worker)
        self.shared_by_all &= self.shared in worker.budgets
        return worker

    async def make_slowly(self) -> ChaosWorker:
        try:
            await asyncio.sleep(self.rng.choice(self.takes))
        except asyncio.CancelledError:
            if self.rng.random() < 0.7:
                raise
            await asyncio.sleep(self.rng.choice([0, 1, 5]))
        return self.make()

    async def live(self) -> None:
        self.pool.hooks.on_worker = self.on_worker
        await super().live()

    def on_worker(self, event: WorkerMoved) -> None:
        self.stirred_at = now()
        self.failed += event.reason == "start failed"
        if event.new is WorkerState.STUCK:
            self.written_off.add(event.worker.name)
        elif event.reason == "close":
            self.witness.staff_changes()
            for worker in self.made:
                worker.leaving |= worker.name == event.worker.name

    # -- what must be true besides ---------------------------------------------------------------

    def look(self) -> None:
        super().look()
        opened = [w for w in self.made if w.is_open and w.name not in self.written_off]
        self.witness.demand(len(opened) <= self.most, f"{len(opened)} workers are open")
        if not self.witness.closing:
            self._nobody_is_missing()
            self._nobody_stays_for_nothing()

    def _nobody_is_missing(self) -> None:
        """A new worker is opening for every job that it could take, if there may be one more."""
        snapshot = self.pool.snapshot()
        assert snapshot.factory is not None
        if (
            snapshot.paused
            or snapshot.factory.failures
            or len(snapshot.workers) >= self.most
            or self.pool_wide is not None
            or self.witness.concurrency is not None
            or (len(self.made) > 1 and self.shared_by_all)
        ):
            return
        opening = sum(worker.state in OPENING for worker in snapshot.workers)
        self.witness.demand(len(snapshot.workers) >= self.least, "there are too few workers")
        waiting = [
            job
            for job in self.witness.jobs
            if job.handle is not None
            and job.handle.state is TaskState.QUEUED
            and not {"worker", "require", "cost"} & set(job.options)
        ]
        self.witness.demand(
            len(waiting) <= opening, f"nobody opens for {waiting[-1:]}: {len(snapshot.workers)}"
        )

    def _nobody_stays_for_nothing(self) -> None:
        snapshot = self.pool.snapshot()
        waited = now() - self.stirred_at
        if any(not job.ends for job in self.witness.jobs) or waited <= self.idle_timeout + INSTANT:
            return
        idle = [worker for worker in snapshot.workers if worker.state is WorkerState.IDLE]
        cooling = [w for w in snapshot.workers if w.state is WorkerState.COOLING]
        for worker in idle:
            stays = worker.made and worker.wish is WorkerWish.RUN
            enough = len(idle) + len(cooling) > self.least
            self.witness.demand(not (stays and enough), f"{worker.name} stays for nothing")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ElasticLife))

"""A seeded random life of a running pool, watched by a witness that trusts none of its counters.

`python -m tests.chaos.driver 1234` repeats seed 1234; `1000-2000` lives a range of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from math import inf
from pathlib import Path
from typing import Any

import anyio

from retrypool_async import (
    AttemptFailed,
    FailureAction,
    MostQuota,
    Pool,
    PoolState,
    RetryPolicy,
    RetryPoolError,
    RoundRobin,
    TaskHandle,
    WorkerRef,
    WorkerStartFailed,
)
from retrypool_async.testing import run_virtual, settle
from tests.chaos.witness import Budget, Job, Witness, now, quiet
from tests.chaos.workers import (
    KINDS,
    ChaosWorker,
    CheckingWorker,
    ResettingWorker,
    limits,
    limits_like,
)

STOP_GRACE, STOP_TIMEOUT, START_TIMEOUT = 2.0, 4.0, 5.0
ENDINGS = ("drain", "running", "cancel", "timed", "closer cancelled", "twice", "loop ends")


class Life:
    """One random life of one pool."""

    def __init__(self, seed: int, *, debug: bool = True) -> None:
        rng = self.rng = random.Random(seed)
        #: For what changes nothing, or came later: the other choices stay as they were.
        self.own_rng = random.Random(-seed - 1)
        self.witness = Witness(grace=STOP_GRACE, throttle_cooldown=1.0)
        self.witness.max_quota_wait = self.own_rng.choice([None, None, None, 0, 1, 4])
        self.ending = rng.choice(ENDINGS)
        self.workers_made = self.jobs_made = 0
        self.shared = Budget(limits(rng))
        self.pool_wide = Budget(limits(rng)) if rng.random() < 0.2 else None
        self.witness.concurrency = rng.choice([None, None, None, None, 1, 2])
        self.bounce = rng.random() < 0.2
        #: The pool's hedge: after so many seconds at the least; None without one.
        self.hedge: float | None = None
        #: Calls in the background, each with the job whose end it awaits, if any.
        self.calls: dict[asyncio.Task[None], Job | None] = {}
        self.pool: Pool[Job, object] = Pool(
            self.given_workers(),
            strategy=rng.choice([None, None, RoundRobin(), MostQuota()]),
            retry=self.make_policy(),
            quota=None if self.pool_wide is None else self.pool_wide.quota,
            bounce=self.bounce,
            no_workers=rng.choice(["raise", "wait", "dead", 3.0]),
            max_quota_wait=self.witness.max_quota_wait,
            concurrency=self.witness.concurrency,
            max_queue=rng.choice([None, None, 0, 4]),
            stop_grace=STOP_GRACE,
            stop_timeout=STOP_TIMEOUT,
            start_timeout=START_TIMEOUT,
            check_idle=rng.choice([0.001, 1, 30]),
            check_timeout=START_TIMEOUT,
            max_throttles=6,
            max_snoozes=6,
            rng=random.Random(seed),
            debug=debug,
            **self.more_options(),
        )
        if rng.random() < 0.2:
            self.pool.hooks.on_failure = self.decide
            self.witness.attempts = None
        self.operations: list[tuple[float, Callable[[], Any]]] = [
            (40, self.submit),
            (18, self.advance),
            (6, self.cancel_a_call),
            (5, self.cancel_a_job),
            (3, self.enqueue),
            (2, self.map),
            (5, self.pause),
            (7, self.resume),
            (3, self.cool),
            (2, self.stop_cooling),
            (3, self.set_quota),
            (3, self.add),
            (3, self.remove),
            (2, self.strike),
        ]

    # -- what it is made of --------------------------------------------------------------------

    def given_workers(self) -> list[ChaosWorker]:
        return [self.make_worker() for _ in range(self.rng.randint(2, 6))]

    def more_options(self) -> dict[str, Any]:
        return {}

    def make_policy(self) -> RetryPolicy:
        witness, rng = self.witness, self.rng
        if rng.random() < 0.5:
            return RetryPolicy(wait=witness.waits)
        witness.delay, witness.attempts = rng.choice([0.0, 1.0]), rng.randint(1, 4)
        return RetryPolicy.fixed(witness.delay, attempts=witness.attempts)

    def decide(self, failed: AttemptFailed) -> FailureAction | None:
        """The failure hook."""
        job: Job = failed.task.data
        action: FailureAction | None = self.rng.choice([None, None, *FailureAction])
        if action is FailureAction.FORCE_RETRY:
            job.due = None
        job.dropped = action is FailureAction.DROP
        return action

    def make_worker(self) -> ChaosWorker:
        rng = self.rng
        self.workers_made += 1
        kind = rng.choice([ChaosWorker, ChaosWorker, ResettingWorker, CheckingWorker])
        worker = kind(
            f"w{self.workers_made}", self.witness, rng, self.submit, lambda: self.pool.close()
        )
        choice = rng.random()
        if choice < 0.35:
            worker.budgets.append(Budget(limits(rng)))
        elif choice < 0.6:
            worker.budgets.append(self.shared)
        if worker.budgets:
            worker.quota = worker.budgets[0].quota
        if self.pool_wide is not None:
            worker.budgets.append(self.pool_wide)
        worker.tags = rng.choice([(), ("a",), ("a", "b")])
        worker.max_tasks = rng.choice([None, None, None, 3])
        worker.max_attempts_per_task = rng.choice([None, None, None, 1, 2])
        return worker

    def make_job(self) -> Job:
        rng = self.rng
        self.jobs_made += 1
        job = Job(self.jobs_made, rng.choice(KINDS))
        options = job.options

        def perhaps(share: float, name: str, *values: Any) -> None:
            if rng.random() < share:
                options[name] = rng.choice(values)

        perhaps(0.2, "priority", 1, 2, -1)
        perhaps(0.1, "aging", 1, 3)
        perhaps(0.2, "require", "a", "b", ("a", "b"))
        perhaps(0.15, "bounce", True)
        job.bounces = self.bounce or "bounce" in options
        perhaps(0.15, "immediate", True)
        perhaps(0.2, "detach", True)
        perhaps(0.1, "wait_for_worker", True)
        perhaps(0.2, "attempt_timeout", 0, 0.5, 1, 3)
        perhaps(0.2, "timeout", 0, 1, 4, 10)
        perhaps(0.15, "queue_timeout", 0, 0.5, 2)
        if rng.random() < 0.25:
            job.cost = {"requests": rng.choice([0.0, 1.0, 2.0, 3.0])}
            if rng.random() < 0.5:
                job.cost["tokens"] = rng.choice([1.0, 3.0, 5.0])
            options["cost"] = dict(job.cost)
        refs = self.refs()
        if refs and rng.random() < 0.1:
            ref = rng.choice(refs)
            options["worker"], job.pin = ref, self.worker_of(ref)
        return job

    def worker_of(self, ref: WorkerRef) -> ChaosWorker:
        return next(worker for worker in self.witness.workers if worker.name == ref.name)

    def refs(self) -> list[WorkerRef]:
        """The workers that are there, and not just expected."""
        names = {worker.name for worker in self.witness.workers}
        return [ref for ref in self.pool.workers() if ref.name in names]

    def some_worker(self) -> tuple[WorkerRef, ChaosWorker] | None:
        refs = self.refs()
        if not refs:
            return None
        ref = self.rng.choice(refs)
        return ref, self.worker_of(ref)

    # -- callers -------------------------------------------------------------------------------

    def submit(self) -> None:
        job = self.make_job()
        try:
            handle = self.pool.submit(job, **job.options)
        except (RetryPoolError, ValueError):
            return
        self.witness.accepted(handle)
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            self.in_background(lambda: self.hear_of(job, handle), job)

    async def hear_of(self, job: Job, handle: TaskHandle[object]) -> None:
        """Wait for a job in some way, and perhaps give up."""
        rng = self.rng
        how = rng.random()
        if how < 0.2:
            await handle.wait(rng.choice([None, 0, 1]))
        elif how < 0.4:
            job.may_be_cancelled = "detach" not in job.options
            with anyio.move_on_after(rng.choice([0, 1, 3])):
                await self.result_of(job, handle)
        else:
            await self.result_of(job, handle)

    async def result_of(self, job: Job, handle: TaskHandle[object]) -> None:
        value, error = None, None
        try:
            value = await handle
        except asyncio.CancelledError:
            raise
        except BaseException as raised:
            error = raised
        heard = job.ends == 1 and value is job.value and error is job.error
        self.witness.demand(heard, f"a caller hears {value or error!r} of {job}")

    def enqueue(self) -> None:
        job = self.make_job()

        async def call() -> None:
            handle = await self.pool.enqueue(job, on_queued=self.witness.accepted, **job.options)
            await self.result_of(job, handle)

        self.in_background(call, job)

    def map(self) -> None:
        jobs = [
            Job(-n, "sleeps", may_be_cancelled=True, hedge=self.hedge)
            for n in range(self.rng.randint(1, 6))
        ]
        window, ordered = self.rng.choice([None, 1, 3]), self.rng.random() < 0.5
        take = self.rng.choice([2, 9])

        async def call() -> None:
            results = self.pool.map(
                jobs,
                window=window,
                ordered=ordered,
                return_exceptions=True,
                on_queued=self.witness.accepted,
            )
            async with aclosing(results) as stream:
                seen = 0
                async for result in stream:
                    job = jobs[seen]
                    seen += 1
                    if ordered and not isinstance(result, BaseException):
                        self.witness.demand(result is job.value, f"map mixes up {job}")
                    if seen == take:
                        break

        self.in_background(call)

    def in_background(self, call: Callable[[], Awaitable[object]], job: Job | None = None) -> None:
        async def quietly() -> None:
            with contextlib.suppress(RetryPoolError, ValueError):
                await call()

        self.calls[asyncio.create_task(quietly())] = job

    def cancel_a_call(self) -> None:
        calls = [call for call in self.calls if not call.done()]
        if not calls:
            return
        call = self.rng.choice(calls)
        job = self.calls[call]
        if job is not None and "detach" not in job.options:
            job.may_be_cancelled = True
        self.after_turns(self.rng.choice([0, 0, 1, 2, 3, 5, 8]), call.cancel)

    def after_turns(self, turns: int, action: Callable[[], object]) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.after_turns, turns - 1, action)
        else:
            action()

    def cancel_a_job(self) -> None:
        jobs = [job for job in self.witness.jobs if not job.ends]
        if not jobs:
            return
        job = self.rng.choice(jobs)

        def cancel() -> None:
            assert job.handle is not None
            job.may_be_cancelled = True
            if job.handle.cancel():
                job.cancelled_at = min(job.cancelled_at, now())

        self.after_turns(self.rng.choice([0, 0, 1, 3]), cancel)

    # -- operators -----------------------------------------------------------------------------

    async def advance(self) -> None:
        await asyncio.sleep(self.rng.choice([0, 0, 0.1, 0.5, 1, 1, 3]))
        if self.rng.random() < 0.8:
            await settle()
            await settle()  # a timer that is due within the resolution of the clock may be left
            self.look()

    def look(self) -> None:
        self.witness.look(self.pool)
        if self.pool.state is PoolState.RUNNING and self.own_rng.random() < 0.2:
            self.ask()

    def ask(self) -> None:
        """Ask what is to come, which must change nothing."""
        before = self.pool.snapshot()
        cost: dict[str, float] = {"requests": self.own_rng.choice([0.0, 1.0, 2.0])}
        tags = self.own_rng.choice([(), ("a",)])
        with contextlib.suppress(RetryPoolError):
            forecast = self.pool.forecast(cost, require=tags)
            self.witness.is_told(forecast, cost, tags)
        live = [job.handle for job in self.witness.jobs if job.handle and not job.ends]
        if live:
            self.own_rng.choice(live).explain()
        self.witness.demand(self.pool.snapshot() == before, "a question has changed something")

    def pause(self) -> None:
        rng, chosen = self.rng, self.some_worker()
        until = rng.choice([None, 0, 0.5, 2])
        paused_until = inf if until is None else now() + until
        self.witness.staff_changes()
        if chosen is None or rng.random() < 0.2:
            self.witness.paused_until = paused_until  # before: tasks may end with the call
            self.pool.pause(until=until)
        else:
            ref, worker = chosen
            worker.paused_until = paused_until
            self.pool.pause(ref, until=until)
            if rng.random() < 0.3:
                self.in_background(lambda: self.pool.paused(ref))

    def resume(self) -> None:
        rng, chosen = self.rng, self.some_worker()
        self.witness.staff_changes()
        if chosen is None or rng.random() < 0.4:
            self.pool.resume()
            self.witness.paused_until = 0.0
        else:
            ref, worker = chosen
            worker.paused_until = 0.0
            self.pool.resume(ref)

    def cool(self) -> None:
        chosen, seconds = self.some_worker(), self.rng.choice([0, 0.5, 2])
        if chosen is not None:
            ref, worker = chosen
            worker.cools_until = max(worker.cools_until, now() + seconds)
            worker.has_cooled_by = max(worker.has_cooled_by, now() + seconds)
            self.pool.cooldown(ref, seconds)

    def stop_cooling(self) -> None:
        chosen = self.some_worker()
        if chosen is not None:
            ref, worker = chosen
            for cooled in (worker, *worker.budgets):
                cooled.cools_until = cooled.has_cooled_by = 0.0
            worker.misses, worker.misses_known = 0, True
            self.pool.clear_cooldown(ref)

    def set_quota(self) -> None:
        chosen = self.some_worker()
        if chosen is None:
            return
        ref, worker = chosen
        common = [] if self.pool_wide is None else [self.pool_wide]
        old = next((budget for budget in worker.budgets if budget not in common), None)
        if old is None:
            new = Budget(limits(self.rng))
        else:
            new = old.replaced_by(limits_like(old.limits, self.rng), now())
        self.witness.staff_changes()
        for other in map(self.worker_of, self.refs()):
            if other is worker or (old is not None and old in other.budgets):
                other.budgets = [new, *common]
        self.pool.set_quota(ref, new.quota)

    def add(self) -> None:
        worker, wait = self.make_worker(), self.rng.random() < 0.5
        self.witness.staff_changes()

        async def call() -> None:
            try:
                await self.pool.add(worker, wait=wait)
            except (asyncio.CancelledError, WorkerStartFailed):
                worker.leaving = True
                raise

        self.in_background(call)

    def remove(self) -> None:
        chosen = self.some_worker()
        if chosen is None:
            return
        ref, worker = chosen
        force, timeout = self.rng.random() < 0.5, self.rng.choice([None, 0, 1])

        async def call() -> None:
            worker.leaving = True
            self.witness.staff_changes()
            if timeout is not None and worker.last_run is not None:
                run = worker.last_run
                run.cut_off_at = min(run.cut_off_at, now() + timeout)
            await self.pool.remove(ref, force=force, timeout=timeout)

        self.in_background(call)

    def strike(self) -> None:
        """Somebody cancels the task that drives a worker, past the pool."""
        chosen = self.some_worker()
        if chosen is None:
            return
        ref, worker = chosen
        for task in asyncio.all_tasks():
            if task.get_name() == f"retrypool worker {ref.id}":
                if worker.last_run is not None:
                    worker.last_run.cancels_itself = True
                task.cancel()

    # -- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        rng, pool, witness = self.rng, self.pool, self.witness
        witness.closing = True
        if self.ending in ("drain", "running"):
            pool.resume()
            witness.paused_until = 0.0
            for ref in self.refs():
                self.worker_of(ref).paused_until = 0.0
                pool.resume(ref)
            timeout: float | None = 4000
            mode: Any = self.ending
        elif self.ending == "timed":
            timeout = rng.choice([0, 1, 5])
            mode = rng.choice(["drain", "running", "cancel"])
        else:
            timeout = rng.choice([None, 20])
            if self.ending != "cancel":
                first = asyncio.create_task(pool.close("drain", 20))
                await asyncio.sleep(rng.choice([0, 1]))
                if self.ending == "closer cancelled":
                    first.cancel()
                    await asyncio.wait([first])
                else:
                    self.in_background(lambda: first)
            mode = "cancel"
        began = now()
        report = await pool.close(mode, timeout)
        witness.closed = True
        took = now() - began
        longest = STOP_GRACE + STOP_TIMEOUT + STOP_GRACE if timeout is None else timeout
        witness.demand(took <= longest + 1e-6, f"the close took {took} s, not {longest}")
        listed = [entry.id for entry in report.unfinished]
        for job in witness.jobs:
            assert job.handle is not None
            witness.demand(job.ends == 1, f"{job} is pending after the close")
            if job.outcome == "cancelled" and isinstance(job.error, RetryPoolError):
                times = listed.count(job.handle.id)
                witness.demand(times == 1, f"{job} is {times} times in the report")
            elif job.outcome == "succeeded":
                witness.demand(job.handle.id not in listed, f"{job} is reported, but succeeded")

    async def live(self) -> None:
        with contextlib.suppress(RetryPoolError):
            await self.pool.start()
        weights = [weight for weight, _ in self.operations]
        actions = [action for _, action in self.operations]
        for action in self.rng.choices(actions, weights, k=self.rng.randint(20, 60)):
            done = action()
            if done is not None:
                await done
        if self.ending == "loop ends":
            self.witness.closing = True
            asyncio.get_running_loop().set_exception_handler(self.witness.loop_reports)
            return
        await self.close()
        await asyncio.sleep(100)  # what was stuck at the close unwinds by itself
        await settle()
        self.look()
        for call in self.calls:
            self.witness.demand(call.done(), f"{call} still waits when all is over")
            call.cancel()
        if self.calls:
            await asyncio.wait(self.calls)
            for call in self.calls:
                if not call.cancelled():
                    call.result()


def live(seed: int, kind: type[Life] = Life, *, debug: bool = True) -> Life:
    """Live one life; raise when the witness has seen what must not be.

    With `debug` the pool recounts its books as well, after every step.
    """
    life = kind(seed, debug=debug)
    witness = life.witness
    try:
        with quiet():
            run_virtual(life.live, seed=seed, leaks=life.ending != "loop ends")
        witness.judge()
    except (Exception, asyncio.CancelledError) as error:
        witness.broken.append(f"{type(error).__name__}: {error}")
        failure: BaseException | None = error
    else:
        failure = None
    if witness.broken:
        listing = "\n".join(witness.broken[:5])
        where = Path(inspect.getfile(kind)).stem
        raise AssertionError(
            f"seed {seed} ({life.ending}):\n{listing}\nrepeat: python -m tests.chaos.{where} {seed}"
        ) from failure
    return life


def live_all(seeds: Iterable[int], kind: type[Life] = Life) -> None:
    """Live these lives, and let a lost task or coroutine report itself by being collected."""
    for seed in seeds:
        live(seed, kind)
    gc.collect()


def main(arguments: list[str], kind: type[Life] = Life) -> int:
    failures = lived = 0
    began = time.perf_counter()
    for argument in arguments:
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            lived += 1
            try:
                live(seed, kind)
            except AssertionError as error:
                failures += 1
                print(error, end="\n\n")
    seconds = time.perf_counter() - began
    print(f"{lived} lives, {failures} failed, {lived / seconds:.0f} a second")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

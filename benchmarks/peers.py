"""A flood against the libraries one might take instead, as "the pool is N times faster".

Each is used as its manual shows, with the settings that cost it least. They do less: none
of them has workers, so none routes, retries, pauses or meters one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import aiojobs
import aiometer
import taskiq

from contenders import Contender, RetryPool
from measure import QUICK, Case, Spread, command_line, costs_by_round, markdown
from shapes import FLOOD

TASKS = 50_000
WORKERS = 8


class AioJobs(Contender):
    """`Scheduler.spawn`, then `Job.wait` on each."""

    async def __aenter__(self) -> Self:
        self.scheduler = aiojobs.Scheduler(limit=len(self.workers), pending_limit=0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.scheduler.close()

    async def flood(self, items: Sequence[Any]) -> None:
        spawn, run = self.scheduler.spawn, self.workers[0].run
        for job in [await spawn(run(item)) for item in items]:
            await job.wait()


class AioMeter(Contender):
    """`run_all`."""

    async def flood(self, items: Sequence[Any]) -> None:
        run = self.workers[0].run
        await aiometer.run_all(
            [partial(run, item) for item in items], max_at_once=len(self.workers)
        )


class TaskiqInMemory(Contender):
    """The in-memory broker, waiting for all tasks without polling. It limits nothing."""

    async def __aenter__(self) -> Self:
        self.broker = taskiq.InMemoryBroker(
            max_async_tasks=len(self.workers), max_stored_results=-1, cast_types=False
        )

        async def echo(number: int) -> int:
            return number

        self.task = self.broker.task(task_name="echo")(echo)
        await self.broker.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.broker.shutdown()

    async def flood(self, items: Sequence[Any]) -> None:
        sent = [await self.task.kiq(number) for number in range(len(items))]
        await self.broker.wait_all()
        for task in sent:
            await task.get_result()


#: The peers, and how many times faster than each we hold ourselves to be.
PEERS: dict[str, tuple[type[Contender], float]] = {
    "aiojobs": (AioJobs, 3.0),
    "aiometer": (AioMeter, 8.0),
    "taskiq": (TaskiqInMemory, 8.0),
}


def measure(rounds: int, tasks: int) -> dict[str, dict[str, float]]:
    """Measure the flood on all of them, round by round."""
    ours = Case(RetryPool, FLOOD, WORKERS, tasks)
    cases = {name: Case(peer, FLOOD, WORKERS, tasks) for name, (peer, _) in PEERS.items()}
    costs = costs_by_round([ours, *cases.values()], rounds)
    results: dict[str, dict[str, float]] = {}
    for name, case in cases.items():
        faster = Spread.of_ratio(costs[case], costs[ours])
        results[name] = {
            "times_faster": faster.median,
            "times_faster_min": faster.low,
            "times_faster_max": faster.high,
            "peer_us": Spread.of(costs[case]).median,
            "us": Spread.of(costs[ours]).median,
        }
    return results


def table(results: dict[str, dict[str, float]]) -> str:
    """One row for each peer."""
    header = ("", "µs per task", "the pool, µs", "the pool is faster by", "target")
    rows = [
        (
            name,
            f"{found['peer_us']:.2f}",
            f"{found['us']:.2f}",
            Spread(found["times_faster"], found["times_faster_min"], found["times_faster_max"]),
            PEERS[name][1],
        )
        for name, found in results.items()
    ]
    return markdown(header, rows)


def main() -> None:
    """Read the command line, measure, print."""
    options = command_line("The pool against other libraries.", rounds=5).parse_args()
    rounds, tasks = (1, TASKS // QUICK) if options.quick else (options.rounds, TASKS)
    results = measure(rounds, tasks)
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()

"""The number of a seed is enough to see the same run of a pool again."""

import random

from retrypool_async import Pool, Quota, Throttled, Window
from retrypool_async.testing import ScriptedWorker, collect, run_virtual

STEPS = [ValueError("broken"), (1, "ok"), Throttled(5), (2, LookupError), (0.5, "fine")]


def trace(seed: int) -> list[str]:
    """Every event of a run with failures, throttling, quota and a cancellation."""

    async def main() -> list[str]:
        workers = [
            ScriptedWorker(STEPS, name=name, quota=Quota(Window(3, per=10))) for name in "abc"
        ]
        async with (
            Pool(workers, rng=random.Random(seed)) as pool,
            collect(pool) as events,
        ):
            handles = [pool.submit(number) for number in range(20)]
            handles[-1].cancel()
            for handle in handles:
                await handle.wait()
            await pool.close()
        return [f"{type(event).__name__} {event.at} {event.old} {event.new}" for event in events]

    return run_virtual(main, seed=seed)


def test_the_same_seed_gives_the_same_events_at_the_same_times() -> None:
    """To the last bit of every time; another seed gives another run."""
    traces = [trace(seed) for seed in range(5)]
    assert [trace(seed) for seed in range(5)] == traces
    assert len({tuple(events) for events in traces}) == 5

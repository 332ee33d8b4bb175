"""When to try again: a fixed wait, a growing one, or any of tenacity's strategies.

Output:
fixed: [0.2, 0.2, 0.2]
doubling, at most 0.3 s: [0.1, 0.2, 0.3]
tenacity: growing by 0.1 s: [0.1, 0.2, 0.3]
tenacity: until 0.5 s have passed: [0.2, 0.2, 0.2]
"""

import asyncio
from itertools import pairwise

import tenacity

from retrypool_async import FunctionWorker, Pool, RetryPolicy

POLICIES = {
    "fixed": RetryPolicy.fixed(0.2, attempts=4),
    # Jitter, on by default here, draws a share of each wait at random.
    "doubling, at most 0.3 s": RetryPolicy.exponential(0.1, max=0.3, jitter=0, attempts=4),
    "tenacity: growing by 0.1 s": RetryPolicy(
        wait=tenacity.wait_incrementing(start=0.1, increment=0.1),
        stop=tenacity.stop_after_attempt(4),
    ),
    "tenacity: until 0.5 s have passed": RetryPolicy(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(0.5)
    ),
}


async def fail(data: str) -> None:
    raise ConnectionError(data)


async def main() -> None:
    async with Pool([FunctionWorker(fail)]) as pool:
        for name, policy in POLICIES.items():
            task = pool.submit(name, retry=policy)  # or Pool(retry=policy), for all tasks
            await task.wait()
            starts = [attempt.started for attempt in task.attempts]
            waits = [later - earlier for earlier, later in pairwise(starts)]
            print(f"{name}: {[round(wait, 1) for wait in waits]}")


if __name__ == "__main__":
    asyncio.run(main())

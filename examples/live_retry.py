"""Change the retry policy while the pool runs, when too much fails.

Output:
the policy is patient now
attempts at [0.0, 0.1, 0.2, 0.3, 0.8, 1.3]
"""

import asyncio

from retrypool_async import AttemptEnded, FunctionWorker, Hooks, Pool, RetryPolicy

HASTY = RetryPolicy.fixed(0.1, attempts=10)
PATIENT = RetryPolicy.fixed(0.5, attempts=10)


async def call(data: list[float]) -> None:
    data.append(asyncio.get_running_loop().time())
    if len(data) < 6:
        raise ConnectionError


async def main() -> None:
    failures = 0

    def watch(ended: AttemptEnded) -> None:
        nonlocal failures
        failures += ended.attempt.error is not None
        if failures == 3 and pool.retry is HASTY:
            pool.retry = PATIENT  # for every failure from now on
            print("the policy is patient now")

    pool = Pool([FunctionWorker(call)], retry=HASTY, hooks=Hooks(on_attempt=watch))
    async with pool:
        starts: list[float] = []
        await pool.submit(starts)
    print("attempts at", [round(start - starts[0], 1) for start in starts])


if __name__ == "__main__":
    asyncio.run(main())

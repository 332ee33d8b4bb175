"""Retry only what may get better: the error decides.

Output:
succeeded: 1
flaky: 3 attempts, attempts used up
missing: 1 attempts, error is not retried
"""

import asyncio

import tenacity

from retrypool_async import FunctionWorker, Pool, RetryPolicy


class Temporary(Exception):
    """Worth another try."""


class NotFound(Exception):
    """Will never be found."""


async def fetch(data: str) -> str:
    if data == "flaky":
        raise Temporary
    if data == "missing":
        raise NotFound
    return data


async def main() -> None:
    policy = RetryPolicy(
        retry=tenacity.retry_if_exception_type(Temporary),  # or any function of the state
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_attempt(3),
    )
    async with Pool([FunctionWorker(fetch)], retry=policy) as pool:
        for data in ("fine", "flaky", "missing"):
            pool.submit(data)
        await pool.join()
        print("succeeded:", pool.snapshot().succeeded)
        for dead in sorted(pool.dead, key=lambda dead: dead.data):
            print(f"{dead.data}: {dead.attempt_count} attempts, {dead.reason.value}")


if __name__ == "__main__":
    asyncio.run(main())

"""Let a function decide what becomes of a failure, before the retry policy does.

Output:
payment: SUCCEEDED after 1 attempts
refund: DEAD after 1 attempts
spam: DROPPED after 1 attempts
unlucky: DEAD after 5 attempts
kept for a look: ['refund', 'unlucky']
"""

import asyncio

from retrypool_async import AttemptFailed, FailureAction, FunctionWorker, Hooks, Pool, RetryPolicy


class Refund(Exception):
    """Must not be tried twice."""


async def pay(data: str) -> str:
    if data == "refund":
        raise Refund
    if data == "spam":
        raise ValueError
    if data == "unlucky":
        raise ConnectionError
    return data


def decide(failed: AttemptFailed) -> FailureAction | None:
    """A plain function: it is asked, and must answer at once."""
    if isinstance(failed.error, Refund):
        return FailureAction.DEAD  # to the dead tasks, for a human to look at
    if isinstance(failed.error, ValueError):
        return FailureAction.DROP  # end it and forget it
    if failed.number < 5:
        return FailureAction.FORCE_RETRY  # at once, and beyond what the policy allows
    return None  # as the retry policy says


async def main() -> None:
    policy = RetryPolicy.fixed(1, attempts=2)
    async with Pool([FunctionWorker(pay)], retry=policy, hooks=Hooks(on_failure=decide)) as pool:
        for data in ("payment", "refund", "spam", "unlucky"):
            task = pool.submit(data)
            await task.wait()
            print(f"{data}: {task.state.name} after {task.attempt_count} attempts")
        print("kept for a look:", [dead.data for dead in pool.dead])


if __name__ == "__main__":
    asyncio.run(main())

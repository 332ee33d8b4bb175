"""A delay function of one's own: Fibonacci numbers, longer for errors of one kind.

Output:
task 1, attempt 1 failed: wait 0.2 s
task 1, attempt 2 failed: wait 0.2 s
task 1, attempt 3 failed: wait 0.4 s
task 1, attempt 4 failed: wait 0.6 s
task 1: DEAD after 4 attempts
task 2: SUCCEEDED after 1 attempts
task 3, attempt 1 failed: wait 0.1 s
task 3, attempt 2 failed: wait 0.1 s
task 3, attempt 3 failed: wait 0.2 s
task 3, attempt 4 failed: wait 0.3 s
task 3: DEAD after 4 attempts
"""

import asyncio

import tenacity
from tenacity import RetryCallState

from retrypool_async import FunctionWorker, Pool, RetryPolicy

FIBONACCI = (1, 1, 2, 3, 5, 8)


def delay(state: RetryCallState) -> float:
    """A plain function of what is known: it is asked, and never waits itself."""
    assert state.outcome is not None
    seconds = FIBONACCI[state.attempt_number - 1] / 10
    if isinstance(state.outcome.exception(), TimeoutError):
        seconds *= 2
    print(f"task {state.args[0]}, attempt {state.attempt_number} failed: wait {seconds:.1f} s")
    return min(seconds, 0.8)


async def call(data: int) -> str:
    if data % 2:
        raise TimeoutError if data == 1 else ConnectionError
    return "fine"


async def main() -> None:
    policy = RetryPolicy(wait=delay, stop=tenacity.stop_after_attempt(4))
    async with Pool([FunctionWorker(call)], retry=policy) as pool:
        for n in (1, 2, 3):
            task = pool.submit(n)
            await task.wait()
            print(f"task {n}: {task.state.name} after {task.attempt_count} attempts")


if __name__ == "__main__":
    asyncio.run(main())

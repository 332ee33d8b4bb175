"""A bug in a worker's code costs one attempt, never the worker, and leaves its traceback.

Output:
task 2, attempt 1 on worker-0:
  IndexError in parse()
one: 3
task 2, attempt 2 on worker-0:
  IndexError in parse()
empty: IndexError('list index out of range'), attempt 2 on worker-0
three: 5
its traceback is kept, as text: True
"""

import asyncio

from retrypool_async import AttemptEnded, FunctionWorker, Hooks, Pool, RetryPolicy


async def parse(data: str) -> int:
    if data == "empty":
        return len([][0])
    return len(data)


def report(ended: AttemptEnded) -> None:
    attempt = ended.attempt
    if attempt.error is not None:
        where = attempt.frames[-1]
        print(f"task {ended.task.id}, attempt {attempt.number} on {attempt.worker}:")
        print(f"  {type(attempt.error).__name__} in {where.function}()")


def broken_hook(ended: object) -> None:
    raise RuntimeError("even a broken hook is only logged")


async def main() -> None:
    policy = RetryPolicy.fixed(0.1, attempts=2)
    hooks = Hooks(on_attempt=report, on_success=broken_hook)
    async with Pool([FunctionWorker(parse)], retry=policy, hooks=hooks) as pool:
        tasks = [pool.submit(data) for data in ("one", "empty", "three")]
        for task in tasks:
            try:
                print(f"{task.data}: {await task}")
            except IndexError as error:
                print(f"{task.data}: {error!r}, {error.__notes__[0]}")
        text = pool.dead[tasks[1].id].attempts[-1].traceback
        print("its traceback is kept, as text:", "in parse" in text)


if __name__ == "__main__":
    asyncio.run(main())

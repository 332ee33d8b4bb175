"""What travels with a task: the caller's context variables, and notes that attempts may write.

Output:
request 17, attempt 1, notes: {'app': 'demo', 'user': 'user-17'}
request 17, attempt 2, notes: {'app': 'demo', 'user': 'user-17', 'token': 'abc'}
request 17 ended with ['app', 'token', 'user']
request 18, attempt 1, notes: {'app': 'demo', 'user': 'user-18'}
request 18, attempt 2, notes: {'app': 'demo', 'user': 'user-18', 'token': 'abc'}
request 18 ended with ['app', 'token', 'user']
"""

import asyncio
from contextvars import ContextVar

from retrypool_async import FunctionWorker, Pool, RetryPolicy, current_task

request_id: ContextVar[str] = ContextVar("request_id")


async def work(data: str) -> str:
    task = current_task()
    print(f"request {request_id.get()}, attempt {task.attempt}, notes: {task.metadata}")
    if "token" not in task.metadata:
        task.metadata["token"] = "abc"  # the next attempt finds it
        raise ConnectionError
    return data


async def handle_request(pool: Pool[str, str], number: str) -> None:
    request_id.set(number)  # as a web framework does
    task = pool.submit("job", metadata={"user": f"user-{number}"})
    await task
    print(f"request {number} ended with {sorted(task.metadata)}")


async def main() -> None:
    policy = RetryPolicy.fixed(0.1)
    async with Pool([FunctionWorker(work)], metadata={"app": "demo"}, retry=policy) as pool:
        for number in ("17", "18"):
            await asyncio.create_task(handle_request(pool, number))


if __name__ == "__main__":
    asyncio.run(main())

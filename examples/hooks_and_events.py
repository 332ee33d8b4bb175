"""See everything that happens: hooks are called, events are read, and neither can disturb.

Output:
hooks:
  task 1, attempt 1: OK
  task 2, attempt 1: ERROR
  task 2, attempt 2: ERROR
  alarm: task 2 died of ValueError
events of the bad task: PENDING QUEUED RESERVED RUNNING SCHEDULED QUEUED RESERVED RUNNING DEAD
"""

import asyncio

from retrypool_async import (
    AttemptEnded,
    DeadTask,
    FunctionWorker,
    Hooks,
    Pool,
    RetryPolicy,
    Subscription,
    TaskMoved,
)


async def call(data: str) -> str:
    if data == "bad":
        raise ValueError("bad")
    return data


async def alarm(dead: DeadTask) -> None:
    await asyncio.sleep(0.1)  # hooks may be async, say, to send a message
    print(f"  alarm: task {dead.id} died of {type(dead.error).__name__}")


def attempted(ended: AttemptEnded) -> None:
    print(f"  task {ended.task.id}, attempt {ended.attempt.number}: {ended.attempt.outcome.name}")


async def read(events: Subscription, moves: list[str]) -> None:
    async for event in events:  # ends with the pool
        if isinstance(event, TaskMoved) and event.task.data == "bad":
            moves.append(event.new.name)


async def main() -> None:
    hooks = Hooks(on_attempt=attempted, on_dead=alarm)
    policy = RetryPolicy.fixed(0.1, attempts=2)
    moves: list[str] = []
    async with Pool([FunctionWorker(call)], retry=policy, hooks=hooks) as pool:
        reader = asyncio.create_task(read(pool.events(), moves))
        print("hooks:")
        await pool.submit("good")
        await pool.submit("bad").wait()
        pool.hooks.on_attempt = None  # hooks may be exchanged at any time
        await pool.submit("good")
    await reader
    print("events of the bad task:", " ".join(moves))


if __name__ == "__main__":
    asyncio.run(main())

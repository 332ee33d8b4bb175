"""Look at a pool while it works: a coherent snapshot, and why a task has not started.

Output:
tasks: {'QUEUED': 1, 'RUNNING': 2}
  quick: BUSY, {'user': 'ann', 'page': 7}, served 0, left of its quota: {'requests': 0.0}
  slow: BUSY, {'user': 'bob', 'page': 7}, served 0, left of its quota: {}
the third waits: quick: tag login missing; slow: busy
tasks: {'SUCCEEDED': 3}
  quick: IDLE, {}, served 1, left of its quota: {'requests': 0.0}
  slow: IDLE, {}, served 2, left of its quota: {}
the third waited 1.0 s and ran 1.0 s
queued now: 0
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, Quota, Snapshot, TaskState, Window, current_task


async def crawl(data: str) -> None:
    current_task().metadata["page"] = 7  # shows in snapshots while it runs
    await asyncio.sleep(1)


def show(snapshot: Snapshot) -> None:
    counts = {state.name: count for state, count in snapshot.tasks.items() if count}
    print(f"tasks: {counts}")
    for worker in snapshot.workers:
        print(f"  {worker.name}: {worker.state.name}, {dict(worker.metadata)}, ", end="")
        print(f"served {worker.served}, left of its quota: {dict(worker.quota_left)}")


async def main() -> None:
    quick = FunctionWorker(crawl, name="quick", quota=Quota(Window(1, per=3)))
    slow = FunctionWorker(crawl, name="slow", tags={"login"})
    async with Pool([quick, slow]) as pool:
        for user in ("ann", "bob"):
            pool.submit(f"page of {user}", metadata={"user": user})
        waiting = pool.submit("private page", require="login")
        await asyncio.sleep(0.5)
        show(pool.snapshot())
        print("the third waits:", waiting.explain())

        await pool.join()
        show(pool.snapshot())
        times = waiting.times
        print(f"the third waited {times.queue:.1f} s and ran {times.run:.1f} s")
        print("queued now:", pool.snapshot().tasks[TaskState.QUEUED])


if __name__ == "__main__":
    asyncio.run(main())

"""Follow a task: be called when it is queued, starts and ends, or wait for a moment of its life.

Output:
first is queued
second is queued
first starts
first has ended: SUCCEEDED
second starts
second runs on worker-0
second ended within 50 ms: False
second has ended: SUCCEEDED
result: second
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, TaskHandle, TaskState


async def work(data: str) -> str:
    await asyncio.sleep(0.1)
    return data


async def main() -> None:
    async with Pool([FunctionWorker(work)]) as pool:
        tasks: list[TaskHandle[str]] = []
        for name in ("first", "second"):
            task = pool.submit(
                name,
                on_queued=lambda task: print(task.data, "is queued"),
                on_running=lambda task: print(task.data, "starts"),
                on_done=lambda task: print(task.data, "has ended:", task.state.name),
            )
            tasks.append(task)

        second = tasks[1]
        await second.reached(TaskState.RUNNING)  # waits for that moment, not for the end
        print("second runs on", second.worker and second.worker.name)

        ended = await second.wait(timeout=0.05)  # never cancels it, never raises its error
        print("second ended within 50 ms:", ended)
        print("result:", await second)


if __name__ == "__main__":
    asyncio.run(main())

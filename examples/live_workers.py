"""Workers come, rest and go while tasks run, and no task is lost.

Output:
added: b
paused: a is IDLE and wanted PAUSE
resumed: a is BUSY and wanted RUN
removed: b
done: 20 tasks, left: a
"""

import asyncio

from retrypool_async import FunctionWorker, Pool


async def job(data: int) -> int:
    await asyncio.sleep(1)
    return data


def look(pool: Pool[int, int], name: str) -> str:
    worker = next(w for w in pool.snapshot().workers if w.name == name)
    return f"{worker.name} is {worker.state.name} and wanted {worker.wish.name}"


async def main() -> None:
    async with Pool([FunctionWorker(job, name="a")]) as pool:
        tasks = [pool.submit(n) for n in range(20)]
        await asyncio.sleep(2.5)

        ref = await pool.add(FunctionWorker(job, name="b"))
        print("added:", ref.name)

        pool.pause("a", reason="maintenance")
        await pool.paused("a")  # its attempt has ended
        print("paused:", look(pool, "a"))
        await asyncio.sleep(3)

        pool.resume("a")
        await asyncio.sleep(2.5)
        print("resumed:", look(pool, "a"))

        await pool.remove(ref, force=True)  # its attempt is stopped, and its task goes to "a"
        print("removed:", ref.name)

        results = await asyncio.gather(*tasks)
        left = ", ".join(worker.name for worker in pool.workers())
        print(f"done: {len(set(results))} tasks, left: {left}")


if __name__ == "__main__":
    asyncio.run(main())

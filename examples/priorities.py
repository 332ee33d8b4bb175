"""Who goes first: higher priorities, except that waiting counts too, where it is asked for.

Output:
by priority: running already, urgent, soon, whenever
with aging: running already, urgent 0, urgent 1, patient, urgent 2, urgent 3, never without aging
"""

import asyncio

from retrypool_async import FunctionWorker, Pool

order: list[str] = []


async def work(data: str) -> None:
    order.append(data)
    await asyncio.sleep(0.1)


async def main() -> None:
    async with Pool([FunctionWorker(work)]) as pool:
        pool.submit("running already")
        pool.submit("whenever")
        pool.submit("soon", priority=1)
        pool.submit("urgent", priority=10)
        await pool.join()
        print("by priority:", ", ".join(order))

        order.clear()
        pool.submit("running already")
        pool.submit("never without aging")
        for n in range(4):
            pool.submit(f"urgent {n}", priority=2.5)
        pool.submit("patient", aging=0.1)  # waiting raises it by 1 for every 0.1 seconds
        await pool.join()
        print("with aging:", ", ".join(order))


if __name__ == "__main__":
    asyncio.run(main())

"""Tasks of uneven length: no worker idles beside work that waits for another.

Output:
a: [0.8, 0.1]
b: [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.1]
took 0.9 s; dealt out beforehand it would be 1.3 s
"""

import asyncio

from retrypool_async import FunctionWorker, Pool

LENGTHS = [0.8, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1]


async def work(data: float) -> None:
    await asyncio.sleep(data)


async def main() -> None:
    loop = asyncio.get_running_loop()
    async with Pool([FunctionWorker(work, name=name) for name in ("a", "b")]) as pool:
        began = loop.time()
        tasks = [pool.submit(length) for length in LENGTHS]
        await pool.join()
        took = loop.time() - began
    for name in ("a", "b"):
        done = [task.data for task in tasks if task.attempts[0].worker == name]
        print(f"{name}: {done}")

    # Had each worker a queue of its own, dealt out in turn, as with `hash(task) % workers`:
    dealt = [sum(LENGTHS[0::2]), sum(LENGTHS[1::2])]
    print(f"took {took:.1f} s; dealt out beforehand it would be {max(dealt):.1f} s")


if __name__ == "__main__":
    asyncio.run(main())

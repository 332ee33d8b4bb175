"""Tasks that submit tasks of their own pool, and what happens when all workers wait for others.

Output:
a: letters waits for 2 parts
b: photos waits for 1 part
b: photos would wait for ever: ((2, 'b', 5), (1, 'a', 3))
a: letters is done at 2 s
b: photos waits for 1 part
b: photos is done at 6 s
"""

import asyncio

from retrypool_async import DeadlockDetected, Pool, RetryPolicy, Worker

PARTS = {"letters": ["2025", "2026"], "photos": ["beach"]}


class Archiver(Worker[str, None]):
    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, data: str, /) -> None:
        parts = PARTS.get(data, [])
        if not parts:
            await asyncio.sleep(1)
            return
        print(f"{self.name}: {data} waits for {len(parts)} part{'s' * (len(parts) > 1)}")
        try:
            await asyncio.gather(*(pool.submit(part) for part in parts))
        except DeadlockDetected as error:
            print(f"{self.name}: {data} would wait for ever: {error.chain}")
            raise  # so the attempt fails, and its worker is free for what the other waits for
        print(f"{self.name}: {data} is done at {asyncio.get_running_loop().time():.0f} s")


async def main() -> None:
    global pool
    workers = [Archiver("a"), Archiver("b")]
    async with Pool(workers, retry=RetryPolicy.fixed(5, attempts=2)) as pool:
        await asyncio.gather(pool.submit("letters"), pool.submit("photos"))


if __name__ == "__main__":
    asyncio.run(main())

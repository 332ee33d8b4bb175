"""Two pools in a row: fetch in any order, store in the order of the source, in bounded memory.

Output:
PAGE 1
PAGE 2
PAGE 3
PAGE 4
PAGE 5
items read from the source, fewer than 20: True
ended: page 1
ended: page 2
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

from retrypool_async import FunctionWorker, Pool

read: list[int] = []


def source() -> Iterator[int]:
    """Never ends; it is read only as far as results are taken."""
    for n in count(1):
        read.append(n)
        yield n


async def fetch(data: int) -> str:
    await asyncio.sleep(0.1 if data % 2 else 0.2)
    return f"page {data}"


async def store(data: str) -> str:
    await asyncio.sleep(0.05)
    return data.upper()


async def main() -> None:
    fetchers = [FunctionWorker(fetch) for _ in range(4)]
    stores = [FunctionWorker(store) for _ in range(2)]
    async with Pool(fetchers, name="fetch") as fetching, Pool(stores, name="store") as storing:

        async def pages() -> AsyncIterator[str]:
            async for page in fetching.map(source(), window=6):
                yield page

        async for stored in storing.map(pages(), window=2):
            print(stored)
            if stored == "PAGE 5":
                break  # cancels what is under way in both
        print("items read from the source, fewer than 20:", len(read) < 20)

    async with Pool([FunctionWorker(fetch) for _ in range(2)]) as pool:
        async for task in pool.as_completed([2, 1]):  # as they end
            print("ended:", task.result())


if __name__ == "__main__":
    asyncio.run(main())

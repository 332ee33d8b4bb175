"""A pool that opens browsers when there is work for them, and closes them when there is none.

Output:
   0 s  open: 1
   2 s  open: 4
   5 s  open: 4, done: 12 pages
  36 s  open: 1
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from retrypool_async import Pool, ResourceWorker, WorkerState


class Browser:
    async def load(self, page: int) -> str:
        await asyncio.sleep(1)
        return f"page {page}"


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    await asyncio.sleep(2)  # opening one is slow: worth it only if there is work
    yield Browser()


def new_worker() -> ResourceWorker[Browser, int, str]:
    return ResourceWorker(browser, Browser.load)


async def main() -> None:
    loop = asyncio.get_running_loop()
    pool = Pool(factory=new_worker, min_workers=1, max_workers=4, idle_timeout=30)
    async with pool:
        began = loop.time()

        def show(more: str = "") -> None:
            workers = pool.snapshot().workers
            opened = sum(worker.state is not WorkerState.STARTING for worker in workers)
            print(f"{loop.time() - began:4.0f} s  open: {opened}{more}")

        show()
        tasks = [pool.submit(page) for page in range(12)]
        await asyncio.sleep(2.5)  # the first has done two of them meanwhile
        show()
        pages = await asyncio.gather(*tasks)
        show(f", done: {len(pages)} pages")
        await asyncio.sleep(31)
        show()


if __name__ == "__main__":
    asyncio.run(main())

"""A tree of tasks on two workers: tasks that wait for others lend their worker meanwhile.

Output:
0.5 s: site/ read by browser-1
1.4 s: site/faq/ read by browser-1
1.5 s: site/news/ read by browser-2
2.6 s: site/faq/how read by browser-1
3.0 s: site/news/today read by browser-2
3.9 s: site/news/old read by browser-1
6 pages, 2 browsers
"""

import asyncio
from itertools import count

from retrypool_async import Pool, Worker
from retrypool_async.groups import BlockingPool, current_group

LINKS = {"site/": ["news/", "faq/"], "site/news/": ["today", "old"], "site/faq/": ["how"]}
numbers = count(1)


class Browser(Worker[str, int]):
    def __init__(self) -> None:
        self.name = f"browser-{next(numbers)}"

    async def run(self, data: str, /) -> int:
        """Read a page and all below it, and return how many those are."""
        await asyncio.sleep(len(data) / 10)
        print(f"{asyncio.get_running_loop().time():.1f} s: {data} read by {self.name}")
        group = current_group()
        below = [group.submit(data + link) for link in LINKS.get(data, [])]
        async with group.lend():  # from here on others may use this browser
            return 1 + sum(await asyncio.gather(*below))


async def main() -> None:
    async with Pool() as pool, BlockingPool(pool, Browser, max_workers=2) as groups:
        pages = await groups.submit("site", "site/")
        print(f"{pages} pages, {next(numbers) - 1} browsers")


if __name__ == "__main__":
    asyncio.run(main())

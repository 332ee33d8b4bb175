"""A tree of tasks on two workers: tasks that wait for others lend their worker meanwhile.

Output:
 1 s: site/ read by browser-1
 2 s: site/a/ read by browser-2
 2 s: site/b/ read by browser-1
 3 s: site/a/1 read by browser-2
 3 s: site/a/2 read by browser-1
 4 s: site/b/1 read by browser-2
6 pages, 2 browsers
"""

import asyncio
from itertools import count

from retrypool_async import Pool, Worker
from retrypool_async.groups import BlockingPool, current_group

LINKS = {"site/": ["a/", "b/"], "site/a/": ["1", "2"], "site/b/": ["1"]}
numbers = count(1)


class Browser(Worker[str, int]):
    def __init__(self) -> None:
        self.name = f"browser-{next(numbers)}"

    async def run(self, data: str, /) -> int:
        """Read a page and all below it, and return how many those are."""
        await asyncio.sleep(1)
        print(f"{asyncio.get_running_loop().time():2.0f} s: {data} read by {self.name}")
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

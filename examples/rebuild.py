"""A resource is opened anew when it is worn out, cut off half-way, or lost.

Output:
  open 1
worn out after two tasks:
  news, in browser 1
  news, in browser 1
  close 1
  open 2
cut off half-way:
  close 2
  open 3
  news, in browser 3
lost:
  close 3
  open 4
  crashes, in browser 4
  runs: 2, attempts spent: 1
  close 4
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

from retrypool_async import Pool, ResourceWorker, RetryPolicy, WorkerLost

numbers = count(1)


class Browser:
    def __init__(self) -> None:
        self.number = next(numbers)

    async def visit(self, page: str) -> None:
        if page == "hangs":
            await asyncio.sleep(3600)
        if page == "crashes" and self.number == 3:
            raise WorkerLost  # not the task's fault: it spends no attempt
        print(f"  {page}, in browser {self.number}")


@asynccontextmanager
async def browser() -> AsyncGenerator[Browser, None]:
    opened = Browser()
    print(f"  open {opened.number}")
    yield opened
    print(f"  close {opened.number}")


async def visit(browser: Browser, page: str) -> None:
    await browser.visit(page)


async def main() -> None:
    worker = ResourceWorker(browser, visit, name="firefox", max_tasks=2)
    async with Pool([worker], retry=RetryPolicy.fixed(0, attempts=1)) as pool:
        print("worn out after two tasks:")
        for _ in range(2):
            await pool.submit("news")

        print("cut off half-way:")
        await pool.submit("hangs", attempt_timeout=0.1).wait()
        await pool.submit("news")

        print("lost:")
        task = pool.submit("crashes")
        await task
        print(f"  runs: {len(task.attempts)}, attempts spent: {task.attempt_count}")


if __name__ == "__main__":
    asyncio.run(main())

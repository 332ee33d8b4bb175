"""A task that fails on one worker is tried on another, and comes back when all have been tried.

Output:
proxy-1, proxy-2, proxy-3, proxy-1
ok after 4 attempts
"""

import asyncio

from retrypool_async import Pool, RetryPolicy, Worker


class Proxy(Worker[list[str], str]):
    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, data: list[str], /) -> str:
        data.append(f"{self.name}")
        if len(data) < 4:
            raise ConnectionError("blocked")
        return "ok"


async def main() -> None:
    proxies = [Proxy(f"proxy-{n}") for n in (1, 2, 3)]
    async with Pool(proxies, bounce=True, retry=RetryPolicy.fixed(1, attempts=5)) as pool:
        tried: list[str] = []
        task = pool.submit(tried)
        answer = await task
        print(", ".join(tried))
        print(answer, "after", task.attempt_count, "attempts")


if __name__ == "__main__":
    asyncio.run(main())

"""A large task holds its place among small ones, and nobody else is held up.

Output:
small on b at 0 s
small on b at 0 s
large on a at 60 s
small on b at 60 s
"""

import asyncio

from retrypool_async import Pool, Quota, Window, Worker


class Model(Worker[str, None]):
    def __init__(self, name: str, tokens: int) -> None:
        self.name = name
        self.quota = Quota(tokens=Window(tokens, per=60))

    async def run(self, data: str, /) -> None:
        if data != "warm-up":
            print(f"{data} on {self.name} at {asyncio.get_running_loop().time():.0f} s")


async def main() -> None:
    async with Pool([Model("a", 1000), Model("b", 200)]) as pool:
        await pool.submit("warm-up", worker="a", cost={"tokens": 500})
        pool.submit("large", cost={"tokens": 1000})
        for _ in range(3):
            pool.submit("small", cost={"tokens": 100}, worker="b")
        await pool.join()


if __name__ == "__main__":
    asyncio.run(main())

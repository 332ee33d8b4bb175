"""A large task holds its place among small ones, and nobody else is held up.

Output:
 0 s: small on b
 0 s: small on b
60 s: large on a
60 s: small on b
"""

import asyncio

from retrypool_async import Pool, Quota, Window, Worker


class Model(Worker[str, None]):
    def __init__(self, name: str, tokens: int) -> None:
        self.name = name
        self.quota = Quota(tokens=Window(tokens, per=60))

    async def run(self, data: str, /) -> None:
        if data != "warm-up":
            print(f"{asyncio.get_running_loop().time():2.0f} s: {data} on {self.name}")


async def main() -> None:
    async with Pool([Model("a", 1000), Model("b", 200)]) as pool:
        await pool.submit("warm-up", worker="a", cost={"tokens": 500})
        pool.submit("large", cost={"tokens": 1000})  # only a can take it, in a minute
        for _ in range(3):
            # Any worker may take these, and a has 500 left: but those are held for the large one.
            pool.submit("small", cost={"tokens": 100})
        await pool.join()


if __name__ == "__main__":
    asyncio.run(main())

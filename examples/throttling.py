"""A refused key rests until the service wants it back; its task goes to another key at once.

Output:
0 s: answered by spare
30 s: answered by busy
attempts spent: 1 and 1
"""

import asyncio

from retrypool_async import Pool, Throttled, Worker


class Key(Worker[str, str]):
    def __init__(self, name: str, refusals: int = 0) -> None:
        self.name = name
        self.refusals = refusals

    async def run(self, data: str, /) -> str:
        if self.refusals:
            self.refusals -= 1
            raise Throttled(retry_after=30)
        return f"answered by {self.name}"


async def main() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Pool([Key("busy", refusals=1), Key("spare")]) as pool:
        first = pool.submit("question")
        print(f"{loop.time() - began:.0f} s: {await first}")
        second = pool.submit("question", worker="busy")
        answer = await second
        print(f"{loop.time() - began:.0f} s: {answer}")
        print(f"attempts spent: {first.attempt_count} and {second.attempt_count}")


if __name__ == "__main__":
    asyncio.run(main())

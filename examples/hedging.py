"""A service that hangs now and then, and second attempts for the calls that it hangs on.

Output:
without: 120 answers, the slowest after 31 s, 120 calls
with:    120 answers, the slowest after 4 s, 129 calls
"""

import asyncio

from retrypool_async import Hedge, Pool, Worker


class Service:
    """Answers within two seconds, but for every 25th call."""

    def __init__(self) -> None:
        self.calls = 0

    async def answer(self, question: int) -> int:
        self.calls += 1
        await asyncio.sleep(31 if self.calls % 25 == 0 else 1 + self.calls % 10 / 10)
        return question


class Key(Worker[int, int]):
    def __init__(self, service: Service) -> None:
        self.service = service

    async def run(self, data: int, /) -> int:
        return await self.service.answer(data)


async def ask(hedge: Hedge | None) -> str:
    service = Service()
    async with Pool([Key(service) for _ in range(6)], hedge=hedge) as pool:
        slowest = 0.0
        async for task in pool.as_completed(range(120), window=4):
            slowest = max(slowest, task.times.run)
        return f"120 answers, the slowest after {slowest:.0f} s, {service.calls} calls"


async def main() -> None:
    print("without:", await ask(None))
    print("with:   ", await ask(Hedge(quantile=0.9, min_samples=20)))


if __name__ == "__main__":
    asyncio.run(main())

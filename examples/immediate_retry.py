"""At once, in front of everybody: with the same worker, or with another.

Output:
plain:             retried@a other-1@a other-2@a other-3@a retried@a
immediate:         retried@a retried@a other-1@a other-2@a other-3@a
immediate, bounce: retried@a other-1@b other-2@a retried@b other-3@a
"""

import asyncio

from retrypool_async import Pool, RetryPolicy, SubmitOptions, Worker, current_task


class Session(Worker[str, str]):
    def __init__(self, name: str, steps: list[str]) -> None:
        self.name = self.label = name
        self.steps = steps

    async def run(self, data: str, /) -> str:
        self.steps.append(f"{data}@{self.label}")
        await asyncio.sleep(0.1)
        if data == "retried" and current_task().attempt == 1:
            raise ConnectionError("the first one always breaks")
        return data


async def order(workers: int, wish: SubmitOptions) -> str:
    steps: list[str] = []
    sessions = [Session(name, steps) for name in "ab"[:workers]]
    async with Pool(sessions, retry=RetryPolicy.fixed(0.05)) as pool:
        pool.submit("retried", **wish)
        await asyncio.sleep(0.05)
        for n in (1, 2, 3):
            pool.submit(f"other-{n}")
    return " ".join(steps)


async def main() -> None:
    print("plain:            ", await order(1, {}))
    print("immediate:        ", await order(1, {"immediate": True}))
    print("immediate, bounce:", await order(2, {"immediate": True, "bounce": True}))


if __name__ == "__main__":
    asyncio.run(main())

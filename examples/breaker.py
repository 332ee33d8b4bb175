"""A dead host among three: it costs a few attempts, the others do its work, and it is tried again.

Output:
at 0 s: c is OPEN, failed 2 in a row
at 10 s: c is HALF_OPEN, cooled
at 10 s: c is OPEN, failed a probe
at 30 s: c is HALF_OPEN, cooled
at 32 s: c is CLOSED, succeeded as a probe
40 answers, 3 attempts failed
"""

import asyncio

from retrypool_async import Breaker, BreakerMoved, Event, Hooks, Pool, RetryPolicy, Worker


class Host(Worker[int, int]):
    def __init__(self, name: str, up_after: float = 0) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.up_at = self.loop.time() + up_after

    async def run(self, data: int, /) -> int:
        if self.loop.time() < self.up_at:
            raise ConnectionError(f"{self.name} does not answer")
        await asyncio.sleep(2)
        return data


async def main() -> None:
    began = asyncio.get_running_loop().time()

    def show(event: Event) -> None:
        if isinstance(event, BreakerMoved):
            when, name = event.at - began, event.worker.name
            print(f"at {when:.0f} s: {name} is {event.new.name}, {event.reason}")

    hosts = [Host("a"), Host("b"), Host("c", up_after=25)]
    breaker = Breaker(failures=2, cooldown=10)
    retry = RetryPolicy.fixed(0, attempts=3)
    async with Pool(hosts, breaker=breaker, retry=retry, hooks=Hooks(on_event=show)) as pool:
        answers = [answer async for answer in pool.map(range(40))]
        failed = sum(worker.failed for worker in pool.snapshot().workers)
        print(len(answers), "answers,", failed, "attempts failed")


if __name__ == "__main__":
    asyncio.run(main())

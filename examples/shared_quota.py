"""Two keys of one account, and a third of another: a shared quota is one quota.

Output:
0 s: north-1 north-2 south
10 s: north-1 north-2 south
north-1 shares with north-2
"""

import asyncio
from collections import defaultdict

from retrypool_async import Pool, Quota, Window, Worker

calls: defaultdict[int, list[str]] = defaultdict(list)  # who called, by the second


class Key(Worker[int, None]):
    def __init__(self, name: str, account: Quota) -> None:
        self.name = name
        self.label = name
        self.quota = [Quota(Window(1, per=1)), account]  # its own, and its account's

    async def run(self, data: int, /) -> None:
        calls[round(asyncio.get_running_loop().time())].append(self.label)


async def main() -> None:
    north = Quota(Window(2, per=10))
    south = Quota(Window(1, per=10))
    keys = [Key("north-1", north), Key("north-2", north), Key("south", south)]
    async with Pool(keys) as pool:
        async for _ in pool.map(range(6)):
            pass
        first = pool.snapshot().workers[0]
        names = {worker.id: worker.name for worker in pool.workers()}
    for second, callers in calls.items():
        print(f"{second} s: {' '.join(sorted(callers))}")
    print(first.name, "shares with", *(names[other] for other in first.shares_quota_with))


if __name__ == "__main__":
    asyncio.run(main())

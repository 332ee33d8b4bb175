"""Three keys with different quotas: every call is within its key's window, and none waits idly.

Output:
key-1: 0 0 1 1 2
key-2: 0 1 2
key-3: 0 2
"""

import asyncio

from retrypool_async import Pool, Quota, Window, Worker


class Key(Worker[int, int]):
    def __init__(self, name: str, quota: Quota) -> None:
        self.name = name
        self.quota = quota
        self.calls: list[float] = []

    async def run(self, data: int, /) -> int:
        self.calls.append(asyncio.get_running_loop().time())
        return data


async def main() -> None:
    keys = [
        Key("key-1", Quota(Window(2, per=1))),
        Key("key-2", Quota(Window(1, per=1))),
        Key("key-3", Quota(Window(1, per=2))),
    ]
    began = asyncio.get_running_loop().time()
    async with Pool(keys) as pool:
        async for _ in pool.map(range(10)):
            pass
    for key in keys:
        print(f"{key.name}: {' '.join(f'{call - began:.0f}' for call in key.calls)}")


if __name__ == "__main__":
    asyncio.run(main())

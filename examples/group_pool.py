"""Customers whose tasks must not mix: each has two sessions to itself until its last task is done.

Output:
0 s: ann RUNNING
0 s: ben RUNNING
2 s: ann SUCCEEDED
2 s: eve RUNNING
3 s: ben FAILED after 1 of 6 tasks: 5 (LookupError)
4 s: eve SUCCEEDED
4 sessions were opened
"""

import asyncio
from itertools import count

from retrypool_async import Pool, RetryPolicy, Worker
from retrypool_async.groups import GroupFailed, GroupMoved, GroupPool, GroupState

numbers = count(1)


class Session(Worker[str, None]):
    def __init__(self) -> None:
        self.name = f"session-{next(numbers)}"

    async def run(self, data: str, /) -> None:
        if data == "ben":
            await asyncio.sleep(3)
            raise LookupError("no such account")
        await asyncio.sleep(1)


def on_group(move: GroupMoved) -> None:
    if move.new is not GroupState.WAITING:
        line = f"{asyncio.get_running_loop().time():.0f} s: {move.group.id} {move.new.name}"
        error = move.group.error() if move.new is GroupState.FAILED else None
        if isinstance(error, GroupFailed):
            done = move.group.snapshot().submitted - len(move.group.unfinished)
            tasks = ", ".join(f"{task} ({type(e).__name__})" for task, e in error.failures.items())
            line += f" after {done} of {move.group.snapshot().submitted} tasks: {tasks}"
        print(line)


async def main() -> None:
    async with (
        Pool(retry=RetryPolicy.fixed(0, attempts=1)) as pool,
        GroupPool(
            pool, Session, max_groups=2, max_workers=2, must_succeed=True, on_group=on_group
        ) as groups,
    ):
        for customer, tasks in (("ann", 4), ("ben", 6), ("eve", 4)):
            for _ in range(tasks):
                groups.submit(customer, customer)
            groups.group(customer).end()
        await groups.join()
        print(f"{len(pool.workers())} sessions were opened")


if __name__ == "__main__":
    asyncio.run(main())

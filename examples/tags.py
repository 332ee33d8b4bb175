"""Workers are not alike: a task may ask for tags, or for one worker by name.

Output:
train: server
notarise: mac
build: server
mail: laptop
no worker carries the required tags: qpu
laptop: tag qpu missing; server: tag qpu missing; mac: tag qpu missing
a worker has come: quantum
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, Unroutable


async def work(data: str) -> str:
    await asyncio.sleep(0.1)
    return data


async def main() -> None:
    workers = [
        FunctionWorker(work, name="laptop"),
        FunctionWorker(work, name="server", tags={"gpu", "linux"}),
        FunctionWorker(work, name="mac", tags={"macos"}),
    ]
    async with Pool(workers) as pool:
        tasks = [
            pool.submit("train", require="gpu"),
            pool.submit("notarise", require="macos"),
            pool.submit("build", require={"gpu", "linux"}),  # all of them
            pool.submit("mail", worker="laptop"),  # this one and no other
        ]
        await pool.join()
        for task in tasks:
            assert task.worker is not None
            print(f"{task.data}: {task.worker.name}")

        try:
            pool.submit("quantum", require="qpu")
        except Unroutable as error:
            print(error)
        waiting = pool.submit("quantum", require="qpu", wait_for_worker=True)
        print(waiting.explain())
        await pool.add(FunctionWorker(work, name="lab", tags={"qpu"}))
        print("a worker has come:", await waiting)


if __name__ == "__main__":
    asyncio.run(main())

"""The handle is the request: several may wait for its answer, each as long as it likes.

Output:
request 1:
  answer to 1
  gave up
  answer to 1
request 3:
  failed: no answer to 3
  gave up
  failed: no answer to 3
request 4: gave up
nobody wants it any more: CANCELLED
"""

import asyncio

from retrypool_async import FunctionWorker, Pool, RetryPolicy, TaskHandle


async def answer(data: int) -> str:
    await asyncio.sleep(0.1)
    if data == 3:
        raise ValueError("no answer to 3")
    return f"answer to {data}"


async def impatient(request: TaskHandle[str]) -> str:
    try:
        async with asyncio.timeout(0.05):
            return await request
    except TimeoutError:
        return "gave up"


async def patient(request: TaskHandle[str]) -> str:
    try:
        return await request
    except ValueError as error:
        return f"failed: {error}"  # the very exception that the worker raised


async def main() -> None:
    once = RetryPolicy.fixed(0, attempts=1)
    async with Pool([FunctionWorker(answer)], retry=once) as pool:
        for n in (1, 3):
            request = pool.submit(n)
            # The second gives up, which concerns nobody else: the request is still wanted.
            replies = await asyncio.gather(patient(request), impatient(request), patient(request))
            print(f"request {n}:", *replies, sep="\n  ")

        abandoned = pool.submit(4)
        print("request 4:", await impatient(abandoned))
        await abandoned.wait()
        print("nobody wants it any more:", abandoned.state.name)


if __name__ == "__main__":
    asyncio.run(main())

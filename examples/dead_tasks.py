"""Tasks that ended with an error are kept: look at them, repair what was wrong, submit them again.

Output:
2 dead: attempts used up, discarded by the worker
given up: no such customer
a: 2 attempts, the last: OSError on worker-0
again: A, which repeats task 1
kept: 0, in all: 2
"""

import asyncio

from retrypool_async import Discard, EndReason, FunctionWorker, Pool, RetryPolicy


class Service:
    down = True

    async def call(self, data: str) -> str:
        if data == "nobody":
            raise Discard("no such customer")  # not worth another try, and nobody's fault
        if self.down:
            raise OSError("service down")
        return data.upper()


async def main() -> None:
    service = Service()
    policy = RetryPolicy.fixed(1, attempts=2)
    async with Pool([FunctionWorker(service.call)], retry=policy) as pool:
        pool.submit("a")
        pool.submit("nobody")
        await pool.join()
        reasons = sorted(reason.value for reason in pool.dead.reasons())
        print(f"{len(pool.dead)} dead: {', '.join(reasons)}")

        service.down = False
        for dead in pool.dead:
            if dead.reason is EndReason.ATTEMPTS:
                last = dead.attempts[-1]
                cause = f"{type(last.error).__name__} on {last.worker}"
                print(f"{dead.data}: {len(dead.attempts)} attempts, the last: {cause}")
                again = pool.dead.requeue(dead.id)
                print(f"again: {await again}, which repeats task {again.origin}")
            else:
                print("given up:", pool.dead.pull(dead.id).error)
        print(f"kept: {len(pool.dead)}, in all: {pool.dead.total}")


if __name__ == "__main__":
    asyncio.run(main())

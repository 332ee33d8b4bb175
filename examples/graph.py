"""A report from two sources: each task starts the moment that all it needs is there.

Output:
0 s: sales RUNNING
0 s: stock RUNNING
1 s: stock SUCCEEDED
2 s: sales SUCCEEDED
2 s: order RUNNING
2 s: order SUCCEEDED
2 s: letter RUNNING
3 s: letter SUCCEEDED
please send 25
{'costs': ConnectionError('costs: no answer')}
'advice' never ran: it depends on 'costs', which failed (ConnectionError)
"""

import asyncio

from retrypool_async import Pool, RetryPolicy, Worker
from retrypool_async.groups import GroupFailed, IndependentPool, NodeMoved, NodeState

ANSWERS = {"sales": "30", "stock": "5"}


class Office(Worker[str, str]):
    async def run(self, data: str, /) -> str:
        await asyncio.sleep(2 if data == "sales" else 1)
        if data == "costs":
            raise ConnectionError("costs: no answer")
        return ANSWERS.get(data, data)


def missing(sales: str, stock: str) -> str:
    return f"please send {int(sales) - int(stock)}"


async def main() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    def tell(move: NodeMoved) -> None:
        if move.run.id == "order" and move.new is not NodeState.QUEUED:
            print(f"{loop.time() - began:.0f} s: {move.node.id} {move.new.name}")

    pool = Pool([Office(), Office()], retry=RetryPolicy.fixed(1, attempts=2))
    async with pool, IndependentPool(pool, on_node=tell) as graphs:
        async with graphs.graph("order") as graph:
            sales, stock = graph.task("sales", "sales"), graph.task("stock", "stock")
            order = graph.call("order", missing, sales, stock)
            letter = graph.task("letter", order)
        print(letter.result())

        try:
            async with graphs.graph("advice") as graph:
                graph.task("costs", "costs", before="advice")
                advice = graph.task("advice", "advice")
        except GroupFailed as error:
            print(error.failures)
            print(advice.error())


if __name__ == "__main__":
    asyncio.run(main())

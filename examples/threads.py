"""Plain threads submit to the pool, and blocking functions run in threads of it.

Output:
sizes: [3, 5, 4]
refused: TypeError
the crawler thread is done
"""

import asyncio
import threading
import time

from retrypool_async import Pool, ThreadWorker


def download(url: str) -> int:
    time.sleep(0.01)  # a blocking client, in the thread of its worker
    return len(url)


def crawl(pool: Pool[str, int]) -> None:
    """What some other library runs in a thread of its own."""
    futures = [pool.submit_threadsafe(url) for url in ("one", "three", "five")]
    print("sizes:", [future.result(timeout=5) for future in futures])
    wrong = pool.submit_threadsafe("six", priority="high")  # type: ignore[arg-type]
    print("refused:", type(wrong.exception(timeout=5)).__name__)


async def main() -> None:
    async with Pool([ThreadWorker(download, name=f"client-{n}") for n in (1, 2)]) as pool:
        crawler = threading.Thread(target=crawl, args=[pool])
        crawler.start()
        await asyncio.to_thread(crawler.join)  # never `join` here: the loop must turn
        print("the crawler thread is done")


if __name__ == "__main__":
    asyncio.run(main())

"""A worker of one's own, with a resource and a state, for tasks of one's own type.

Output:
session-1: logged in
session-2: logged in
HELLO WORLD (English)
GUTEN TAG (German)
CIAO (Italian)
session-1: logged out after 3 words
session-2: logged out after 2 words
"""

import asyncio
from dataclasses import dataclass

from retrypool_async import Pool, Worker


@dataclass(frozen=True)
class Text:
    content: str
    language: str


class Translator(Worker[Text, str]):
    """Takes a `Text`, gives a `str`; type checkers follow both through the pool."""

    def __init__(self, name: str) -> None:
        self.name = name  # shown in logs and snapshots, so never a password
        self.words = 0

    async def on_start(self) -> None:
        print(f"{self.name}: logged in")

    async def on_stop(self) -> None:
        print(f"{self.name}: logged out after {self.words} words")

    async def run(self, data: Text, /) -> str:
        await asyncio.sleep(0.1)  # exclusive: nobody else runs on this session meanwhile
        self.words += len(data.content.split())
        return f"{data.content.upper()} ({data.language})"


async def main() -> None:
    async with Pool([Translator("session-1"), Translator("session-2")]) as pool:
        tasks = [
            pool.submit(Text("hello world", "English")),
            pool.submit(Text("guten Tag", "German")),
            pool.submit(Text("ciao", "Italian")),
        ]
        for task in tasks:
            print(await task)


if __name__ == "__main__":
    asyncio.run(main())

"""Three tokens for an HTTP service that fails, throttles and revokes; every request is answered.

Needs httpx, and real time: the service is a real one, on loopback.

Output:
20 answers, in order: True
attempts spent on document 5: 2
dead: 0
tokens left: steady, limited
the limited one was refused: True
calls with the revoked one: 1
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from retrypool_async import Pool, RetryPolicy, Throttled, Verdict, Worker, WorkerLost

calls: Counter[str] = Counter()


def reply(token: str, path: str) -> tuple[str, str]:
    """What the service thinks of a request: a status, and a header."""
    calls[token] += 1
    calls[path] += 1
    if path == "/documents/5" and calls[path] == 1:
        return "500 Internal Server Error", "X-Reason: bad luck"
    if token == "tok-revoked":
        return "401 Unauthorized", "X-Reason: revoked"
    if token == "tok-limited" and calls[token] % 3 == 0:
        return "429 Too Many Requests", "Retry-After: 0.2"
    return "200 OK", f"X-Path: {path}"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    path = head.split()[1]
    token = head.lower().split("authorization: bearer ")[1].split()[0]
    status, header = reply(token, path)
    body = f"text of {path}"
    answer = f"HTTP/1.1 {status}\r\n{header}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{answer}Connection: close\r\n\r\n{body}".encode())
    await writer.drain()
    writer.close()


@asynccontextmanager
async def service() -> AsyncGenerator[str, None]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


class Client(Worker[int, str]):
    """One token, with a connection of its own."""

    def __init__(self, name: str, url: str, token: str) -> None:
        self.name = name
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    async def on_start(self) -> None:
        self._http = httpx.AsyncClient(base_url=self._url, headers=self._headers)

    async def on_stop(self) -> None:
        await self._http.aclose()

    async def run(self, data: int, /) -> str:
        response = await self._http.get(f"/documents/{data}")
        response.raise_for_status()
        return response.text

    def classify(self, error: Exception) -> Verdict | None:
        """Say whose fault it is."""
        if isinstance(error, httpx.HTTPStatusError):
            if error.response.status_code == 429:  # this token's, for a while
                return Throttled(float(error.response.headers["Retry-After"]))
            if error.response.status_code == 401:  # this token's, for good
                return WorkerLost(rebuild=False)
        return None  # nobody's: try again, with another token


async def main() -> None:
    tokens = {"steady": "tok-steady", "limited": "tok-limited", "revoked": "tok-revoked"}
    async with service() as url:
        clients = [Client(name, url, token) for name, token in tokens.items()]
        policy = RetryPolicy.fixed(0.05, attempts=3)
        pool = Pool(clients, bounce=True, retry=policy, secrets=tokens.values())
        async with pool:
            tasks = [pool.submit(n) for n in range(20)]
            answers = [await task for task in tasks]
            expected = [f"text of /documents/{n}" for n in range(20)]
            print("20 answers, in order:", answers == expected)
            print("attempts spent on document 5:", tasks[5].attempt_count)
            print("dead:", len(pool.dead))
            left = {worker.name: worker for worker in pool.snapshot().workers}
            print("tokens left:", ", ".join(left))
            print("the limited one was refused:", left["limited"].throttled > 0)
    print("calls with the revoked one:", calls["tok-revoked"])


if __name__ == "__main__":
    asyncio.run(main())

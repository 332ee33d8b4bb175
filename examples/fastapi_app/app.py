"""A web service before an API whose keys have quotas of their own. See README.md."""

import os
from typing import Annotated, NamedTuple

import httpx
from fastapi import Depends, FastAPI, Request

from examples.fastapi_app.keys import KEYS, PER, Key
from retrypool_async import Pool, Quota, Throttled, Window, Worker
from retrypool_async.integrations.fastapi import (
    PoolDependency,
    add_exception_handlers,
    lifespan,
    status_endpoint,
    while_connected,
)

UPSTREAM = os.environ.get("UPSTREAM", "http://127.0.0.1:8001")
GRACE = float(os.environ.get("GRACE", "20"))  # less than what your supervisor allows
MARGIN = 1.4  # requests travel: those of one second may arrive within less


class Question(NamedTuple):
    text: str
    seconds: float


class KeyWorker(Worker[Question, str]):
    """One key, with a client of its own."""

    def __init__(self, key: Key) -> None:
        self.name = key.name
        self.quota = Quota(Window(key.requests, per=PER * MARGIN))
        self.secret = key.secret

    async def on_start(self) -> None:
        headers = {"Authorization": f"Bearer {self.secret}"}
        self.client = httpx.AsyncClient(base_url=UPSTREAM, headers=headers, timeout=None)

    async def on_stop(self) -> None:
        await self.client.aclose()

    async def run(self, data: Question, /) -> str:
        params: dict[str, str | float] = {"question": data.text, "seconds": data.seconds}
        response = await self.client.post("/answer", params=params)
        if response.status_code == 429:
            raise Throttled(retry_after=float(response.headers["Retry-After"]))
        answer: str = response.raise_for_status().json()
        return answer


@PoolDependency
def keys() -> Pool[Question, str]:
    workers = [KeyWorker(key) for key in KEYS]
    secrets = [key.secret for key in KEYS]
    return Pool(workers, name="keys", max_queue=100, attempt_timeout=60, secrets=secrets)


Keys = Annotated[Pool[Question, str], Depends(keys)]

app = FastAPI(lifespan=lifespan(keys, sigterm_grace=GRACE))
add_exception_handlers(app)
app.get("/status")(status_endpoint(keys))


@app.get("/answers")
async def answer(question: str, request: Request, pool: Keys, seconds: float = 0) -> str:
    task = pool.submit(Question(question, seconds), queue_timeout=30)
    return await while_connected(request, task)

"""What type checkers must see of the FastAPI integration. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, assert_type

from fastapi import Depends, FastAPI, Request

from retrypool_async import FunctionWorker, Pool
from retrypool_async.integrations.fastapi import (
    PoolDependency,
    PoolStatus,
    add_exception_handlers,
    lifespan,
    status_endpoint,
    while_connected,
)


async def measure(data: str) -> int:
    return len(data)


@PoolDependency
def texts() -> Pool[str, int]:
    return Pool([FunctionWorker(measure)])


Texts = Annotated[Pool[str, int], Depends(texts)]


@asynccontextmanager
async def stateless(app: FastAPI) -> AsyncGenerator[None]:
    assert_type(await texts(), Pool[str, int])
    yield


@asynccontextmanager
async def stateful(app: FastAPI) -> AsyncGenerator[dict[str, int]]:
    async with texts.opened() as pool:
        assert_type(pool, Pool[str, int])
        yield {"answer": 42}


app = FastAPI(lifespan=lifespan(texts, wraps=stateless, sigterm_grace=20))
FastAPI(lifespan=lifespan(texts, wraps=stateful, sigterm_grace=timedelta(seconds=20)))
FastAPI(lifespan=lifespan())
add_exception_handlers(app)
app.get("/status")(status_endpoint(texts))
app.dependency_overrides[texts] = PoolDependency(lambda: Pool([FunctionWorker(measure)]))


@app.get("/ask")
async def ask(question: str, request: Request, pool: Texts) -> int:
    assert_type(PoolStatus.of(pool).ready, bool)
    assert_type(PoolStatus.of(pool).tasks, dict[str, int])
    answer = await while_connected(request, pool.submit(question))
    assert_type(answer, int)
    pool.submit(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    return answer


@PoolDependency  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def wrong() -> str:
    return "no pool"


lifespan(Pool[str, int]())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
lifespan(texts, wraps=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

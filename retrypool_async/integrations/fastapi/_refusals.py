"""A pool that refuses is a service that is unavailable."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from retrypool_async import NoWorkers, PoolClosed, QueueFull, QueueTimeout, RetryPoolError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ExceptionHandler

#: What strangers may read. The texts of the errors themselves are for those who run the service.
DETAILS: dict[type[RetryPoolError], str] = {
    QueueFull: "Too many requests are waiting already.",
    QueueTimeout: "The request could not be started in time.",
    NoWorkers: "Nothing is available that could serve the request.",
    PoolClosed: "The service is starting up or shutting down.",
}
CLIENT_CLOSED_REQUEST = 499  # nginx's; for logs alone, since nobody is there to read it
TRY_AGAIN_LATER = 1013  # the code by which a WebSocket is closed


def add_exception_handlers(app: FastAPI) -> None:
    """Answer 503 when a pool refuses a request.

    `QueueFull`, `QueueTimeout`, `NoWorkers` and `PoolClosed` become a problem document (RFC 9457)
    that tells nothing about the pool, with `Retry-After` in whole seconds where the pool knows when
    a new try makes sense. A WebSocket is closed with code 1013. A `ClientDisconnect`, as
    `while_connected` raises it, ends without a trace in the log.

    Every other error is the application's. To answer one of these differently, add a handler for
    it after this call.
    """
    for kind in DETAILS:
        app.add_exception_handler(kind, cast("ExceptionHandler", _refuse))
    app.add_exception_handler(ClientDisconnect, cast("ExceptionHandler", _forget))


async def _refuse(connection: HTTPConnection, error: RetryPoolError) -> Response | None:
    detail = next(DETAILS[kind] for kind in type(error).__mro__ if kind in DETAILS)
    if isinstance(connection, WebSocket):
        await connection.close(TRY_AGAIN_LATER, detail)
        return None
    # Not 429: the pool is full of everybody's requests, and this client may have sent but one.
    status = HTTPStatus.SERVICE_UNAVAILABLE
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    seconds = _retry_after(error)
    return JSONResponse(
        problem,
        status,
        headers=None if seconds is None else {"Retry-After": str(seconds)},
        media_type="application/problem+json",
    )


def _retry_after(error: RetryPoolError) -> int | None:
    """Whole seconds, never too early and at least one; None when the pool cannot know."""
    seconds: float | None = getattr(error, "retry_after", None)
    if seconds is None or not math.isfinite(seconds):
        return None
    return max(1, math.ceil(seconds))


async def _forget(connection: HTTPConnection, error: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)

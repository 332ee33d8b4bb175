"""The service upstream: it counts, and refuses what is too much for a key."""

import asyncio
from collections import defaultdict
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException

from examples.fastapi_app.keys import KEYS, PER

app = FastAPI()
plans = {f"Bearer {key.secret}": key for key in KEYS}
served = defaultdict[str, list[float]](list)
refused = defaultdict[str, int](int)


@app.post("/answer")
async def answer(question: str, authorization: Annotated[str, Header()], seconds: float = 0) -> str:
    """Think for some seconds, if the key may still ask."""
    if authorization not in plans:
        raise HTTPException(401)
    key, now = plans[authorization], asyncio.get_running_loop().time()
    times = served[key.name]
    if len(times) >= key.requests and (wait := times[-key.requests] + PER - now) > 0:
        refused[key.name] += 1
        raise HTTPException(429, headers={"Retry-After": f"{wait:.3f}"})
    times.append(now)
    await asyncio.sleep(seconds)
    return f"{question}? 42."


@app.get("/counts")
async def counts() -> dict[str, tuple[int, int]]:
    """Requests of each key that were served, and that were refused."""
    return {key.name: (len(served[key.name]), refused[key.name]) for key in KEYS}

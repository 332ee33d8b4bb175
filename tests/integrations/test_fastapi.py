"""Pools in an application that runs in this very process; in virtual time where possible."""

import asyncio
import contextlib
import math
import signal
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

import httpx
from fastapi import Depends, FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse
from starlette.websockets import WebSocketDisconnect

from retrypool_async import (
    NoWorkers,
    Pool,
    PoolClosed,
    PoolState,
    QueueFull,
    QueueTimeout,
    Quota,
    TaskHandle,
    TaskTimeout,
    Window,
    Worker,
    WorkerStartFailed,
)
from retrypool_async.integrations.fastapi import (
    PoolDependency,
    PoolStatus,
    add_exception_handlers,
    lifespan,
    status_endpoint,
    while_connected,
)
from retrypool_async.testing import ScriptedWorker, settle
from tests.pool.probe import Probe, fails, now, takes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Starlette would rather have httpx's successor
    from fastapi.testclient import TestClient

AnyPool = Pool[Any, Any]


def depends_on(*workers: Worker[Any, Any], **options: Any) -> PoolDependency[Any, Any]:
    return PoolDependency(lambda: Pool(workers, debug=True, **options))


def application(keys: PoolDependency[Any, Any], **options: Any) -> FastAPI:
    """One pool; its endpoint `/run/{data}` awaits a task."""
    app = FastAPI(lifespan=lifespan(keys, **options))
    add_exception_handlers(app)

    @app.get("/run/{data}")
    async def run(data: str, pool: Annotated[AnyPool, Depends(keys)]) -> Any:
        return await pool.submit(data, queue_timeout=5)

    app.get("/status")(status_endpoint(keys))
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Talks to the application without running its lifespan."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


@contextlib.asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client


# -- the lifespan ------------------------------------------------------------------------------


class Noted(Probe):
    """Writes its opening and closing into a log that it shares."""

    def __init__(self, name: str, log: list[str], **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.log = log

    async def on_start(self) -> None:
        self.log.append(f"{self.name} opens")

    async def on_stop(self) -> None:
        self.log.append(f"{self.name} closes")


async def test_pools_are_open_around_the_applications_own_lifespan() -> None:
    """In the order given; its state reaches requests; afterwards all may start again."""
    log: list[str] = []
    first, second = depends_on(Noted("first", log)), depends_on(Noted("second", log))

    @contextlib.asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        log.append(f"own start: {await (await second()).submit('asked')}")
        yield {"greeting": "hello"}
        log.append(f"own end: {await (await first()).submit('asked')}")

    app = FastAPI(lifespan=lifespan(first, second, wraps=own))
    for _ in range(2):
        log.clear()
        async with app.router.lifespan_context(app) as state:
            assert state == {"greeting": "hello"}
            log.append("requests")
        assert log == [
            "first opens",
            "second opens",
            "own start: asked",
            "requests",
            "own end: asked",
            "second closes",
            "first closes",
        ]


@pytest.mark.parametrize("when", ["a pool's start", "own start", "own end"])
async def test_whatever_fails_all_that_was_open_is_closed(when: str) -> None:
    """And the failure is what the server hears of."""
    log: list[str] = []

    @contextlib.asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        if when == "own start":
            raise LookupError
        yield
        if when == "own end":
            raise LookupError

    class Failing(Noted):
        async def on_start(self) -> None:
            if when == "a pool's start":
                raise LookupError
            await super().on_start()

    dependencies = depends_on(Noted("a", log)), depends_on(Failing("b", log))
    app = FastAPI(lifespan=lifespan(*dependencies, wraps=own))
    with pytest.raises((LookupError, WorkerStartFailed)):
        async with app.router.lifespan_context(app):
            assert when == "own end"
    assert log in (["a opens", "a closes"], ["a opens", "b opens", "b closes", "a closes"])
    for dependency in dependencies:
        with pytest.raises(RuntimeError, match="not open"):
            await dependency()


async def test_shutdown_lets_requests_finish_and_refuses_late_ones() -> None:
    """Two are running for two seconds; the third comes when the pool has begun to close."""
    log: list[str] = []
    workers = [Noted(name, log, does=takes(2)) for name in "ab"]
    app = application(depends_on(*workers))
    context = app.router.lifespan_context(app)
    await context.__aenter__()
    async with client_of(app) as client:
        running = [asyncio.create_task(client.get("/run/x")) for _ in workers]
        await settle()
        closing = asyncio.create_task(context.__aexit__(None, None, None))
        await asyncio.sleep(1)
        assert (await client.get("/run/late")).status_code == 503
        assert "a closes" not in log
        await closing
        assert now() == 2
        assert [request.result().status_code for request in running] == [200, 200]
        assert sorted(log[2:]) == ["a closes", "b closes"]


def test_an_application_under_the_test_client_exits_at_once() -> None:
    """With every teardown done."""
    worker = Probe()
    with TestClient(application(depends_on(worker))) as client:
        assert [client.get(f"/run/{n}").json() for n in range(10)] == [str(n) for n in range(10)]
    assert worker.log == ["start", "stop"]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "named"),
    [
        ([Pool()], {}, TypeError, "PoolDependency objects, got Pool"),
        ([], {"wraps": 5}, TypeError, "wraps"),
        ([], {"sigterm_grace": "5"}, TypeError, "sigterm_grace"),
        ([], {"sigterm_grace": True}, TypeError, "sigterm_grace"),
        ([], {"sigterm_grace": 0}, ValueError, "sigterm_grace"),
        ([], {"sigterm_grace": math.inf}, ValueError, "sigterm_grace"),
        ([], {"sigterm_grace": timedelta(seconds=-1)}, ValueError, "sigterm_grace"),
    ],
)
def test_a_wrong_argument_of_lifespan_is_named(
    arguments: list[Any], options: dict[str, Any], error: type[Exception], named: str
) -> None:
    """When the application is built, not when it starts."""
    with pytest.raises(error, match=named):
        lifespan(*arguments, **options)


# -- the dependency ----------------------------------------------------------------------------


async def test_an_application_may_have_several_pools() -> None:
    """Each endpoint gets the one it names, also in a mounted application."""
    upper = depends_on(Probe(does=str.upper))
    double = depends_on(Probe(does=lambda data: data * 2))
    app, mounted = FastAPI(lifespan=lifespan(upper, double)), FastAPI()

    @app.get("/both")
    async def both(
        first: Annotated[AnyPool, Depends(upper)], second: Annotated[AnyPool, Depends(double)]
    ) -> str:
        return f"{await first.submit('a')} {await second.submit('a')}"

    @mounted.get("/one")
    async def one(pool: Annotated[AnyPool, Depends(upper)]) -> Any:
        return await pool.submit("b")

    app.mount("/sub", mounted)
    async with started(app) as client:
        assert (await client.get("/both")).json() == "A aa"
        assert (await client.get("/sub/one")).json() == "B"


@PoolDependency
def production() -> AnyPool:
    raise AssertionError("a test has built the real pool")


async def test_one_line_puts_another_pool_in_its_place() -> None:
    """The application opens that, and never builds the real one."""
    app = application(production)
    worker = ScriptedWorker(["scripted"])
    app.dependency_overrides[production] = PoolDependency(lambda: Pool([worker]))
    async with started(app) as client:
        assert (await client.get("/run/x")).json() == "scripted"
        assert (await client.get("/status")).json()["tasks"]["SUCCEEDED"] == 1
    assert (worker.opens, worker.closes) == (1, 1)


async def test_a_pool_that_a_test_has_opened_itself_is_left_to_it() -> None:
    """Overridden as any dependency is, with the lifespan or without."""
    app = application(production)
    async with Pool([ScriptedWorker(["mine"])]) as pool:

        async def mine() -> AnyPool:
            return pool

        app.dependency_overrides[production] = mine
        async with client_of(app) as client:
            assert (await client.get("/run/x")).json() == "mine"
        async with started(app) as client:
            assert (await client.get("/run/x")).json() == "mine"
        assert pool.state is PoolState.RUNNING


async def test_a_pool_that_is_not_open_says_what_to_do() -> None:
    """The usual reason is a test that does not run the lifespan."""
    async with client_of(application(production)) as client:
        with pytest.raises(RuntimeError, match=r"production is not open.*lifespan"):
            await client.get("/run/x")


async def test_one_dependency_serves_one_application_at_a_time() -> None:
    """The second start is refused, and disturbs the first in nothing."""
    keys = depends_on(Probe())
    async with started(application(keys)) as client:
        with pytest.raises(RuntimeError, match="open already"):
            async with started(application(keys)):
                pass
        assert (await client.get("/run/x")).json() == "x"


@pytest.mark.parametrize("build", [5, asyncio.sleep])
def test_what_builds_a_pool_is_a_plain_function(build: Any) -> None:
    """An async one could not be told from one that forgot to return."""
    with pytest.raises(TypeError, match="plain function"):
        PoolDependency(build)


async def test_what_builds_a_pool_must_return_one() -> None:
    """It is named."""

    def forgetful() -> Any:
        Pool([Probe()])

    keys = PoolDependency(forgetful)
    assert repr(keys) == "<PoolDependency forgetful>"
    with pytest.raises(TypeError, match="forgetful must return a Pool, not NoneType"):
        async with keys.opened():
            pass


def test_an_endpoint_in_a_thread_submits_from_there() -> None:
    """FastAPI runs a plain `def` in one; refusals are answered as anywhere."""
    keys = depends_on(Probe(does=str.upper), max_queue=0)
    app = application(keys)

    @app.get("/blocking/{data}")
    def blocking(data: str, pool: Annotated[AnyPool, Depends(keys)]) -> Any:
        return pool.submit_threadsafe(data, timeout=5).result(5)

    @app.get("/paused")
    async def pause(pool: Annotated[AnyPool, Depends(keys)]) -> None:
        pool.pause()

    with TestClient(app) as client:
        assert client.get("/blocking/x").json() == "X"
        client.get("/paused")
        assert client.get("/blocking/x").status_code == 503


# -- refusals ----------------------------------------------------------------------------------


class Evicted(PoolClosed):
    """A kind of refusal that the application has made up."""


@pytest.mark.parametrize(
    ("error", "detail", "retry_after"),
    [
        (QueueFull(71, 0.2), "Too many requests are waiting already.", "1"),
        (QueueFull(71, 3.0), "Too many requests are waiting already.", "3"),
        (QueueFull(71), "Too many requests are waiting already.", None),
        (QueueFull(71, math.inf), "Too many requests are waiting already.", None),
        (QueueTimeout("busy 71", 12.01), "The request could not be started in time.", "13"),
        (QueueTimeout("busy 71", 0.0), "The request could not be started in time.", "1"),
        (QueueTimeout("busy 71"), "The request could not be started in time.", None),
        (NoWorkers("71"), "Nothing is available that could serve the request.", None),
        (PoolClosed("71"), "The service is starting up or shutting down.", None),
        (Evicted("71"), "The service is starting up or shutting down.", None),
    ],
)
async def test_a_refusal_is_a_503_that_tells_nothing_about_the_pool(
    error: Exception, detail: str, retry_after: str | None
) -> None:
    """Its text is ours to read; a new try makes sense after whole seconds, or nobody knows when."""
    app = FastAPI()
    add_exception_handlers(app)

    @app.get("/")
    async def refused() -> None:
        raise error

    async with client_of(app) as client:
        response = await client.get("/")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json() == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": detail,
    }
    assert response.headers.get("retry-after") == retry_after
    assert "71" not in response.text


async def test_a_full_pool_says_when_to_come_again() -> None:
    """As its quota has it: the client that waits so long is served."""
    worker = Probe("secret-name", quota=Quota(Window(1, per=7.5)))
    async with started(application(depends_on(worker, max_queue=0))) as client:
        assert (await client.get("/run/a")).status_code == 200
        refused = await client.get("/run/b")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "8")
        assert "secret-name" not in refused.text
        await asyncio.sleep(8)
        assert (await client.get("/run/b")).status_code == 200


async def test_a_request_that_waited_too_long_says_when_to_come_again() -> None:
    """Five seconds are over, and ten more are to come."""
    worker = Probe(quota=Quota(Window(1, per=15)))
    async with started(application(depends_on(worker))) as client:
        await client.get("/run/a")
        refused = await client.get("/run/b")
        assert (now(), refused.status_code, refused.headers["retry-after"]) == (5, 503, "10")


async def test_a_pool_without_workers_is_unavailable() -> None:
    """Nobody knows for how long."""
    async with started(application(depends_on())) as client:
        refused = await client.get("/run/a")
        assert (refused.status_code, refused.headers.get("retry-after")) == (503, None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the application's own"),
        TaskTimeout("late", attempts=1, last_error=None, waiting_for="running"),
    ],
)
async def test_every_other_error_is_the_applications(error: Exception) -> None:
    """It is a 500 unless that handles it."""
    app = FastAPI()
    add_exception_handlers(app)

    @app.get("/")
    async def broken() -> None:
        raise error

    async with client_of(app) as client:
        with pytest.raises(type(error)):
            await client.get("/")


async def test_an_application_may_answer_a_refusal_itself() -> None:
    """With a handler added later."""
    app = application(depends_on())

    @app.exception_handler(NoWorkers)
    async def mine(request: Request, error: NoWorkers) -> PlainTextResponse:
        return PlainTextResponse("mine", 502)

    async with started(app) as client:
        assert (await client.get("/run/a")).text == "mine"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_websocket_is_told_to_try_again_later(accepted: bool) -> None:
    """Before it is accepted and after."""
    keys = depends_on()
    app = application(keys)

    @app.websocket("/talk")
    async def talk(socket: WebSocket, pool: Annotated[AnyPool, Depends(keys)]) -> None:
        if accepted:
            await socket.accept()
        await pool.submit("x")

    with (
        TestClient(app) as client,
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/talk") as socket,
    ):
        socket.receive_text()
    assert closed.value.code == 1013


# -- clients that go away ----------------------------------------------------------------------


async def request_by_one_who_leaves(app: FastAPI, path: str, after: float) -> list[Any]:
    """What the application sends to a client who closes the connection so many seconds later."""
    sent: list[Any] = []
    incoming = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        for message in incoming:
            return message
        await asyncio.sleep(after)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent


def leaving(does: Callable[[Any], Any], **options: Any) -> tuple[FastAPI, list[TaskHandle[Any]]]:
    """`/to-the-end` awaits its task, `/while-there` does so while the client is connected."""
    keys = depends_on(Probe(does=does))
    app, handles = application(keys), list[TaskHandle[Any]]()

    @app.get("/to-the-end")
    async def to_the_end(pool: Annotated[AnyPool, Depends(keys)]) -> Any:
        handles.append(pool.submit("x", **options))
        return await handles[-1]

    @app.get("/while-there")
    async def while_there(request: Request, pool: Annotated[AnyPool, Depends(keys)]) -> Any:
        handles.append(pool.submit("x", **options))
        return await while_connected(request, handles[-1])

    return app, handles


async def test_a_client_who_leaves_does_not_end_an_endpoint_that_just_awaits() -> None:
    """No server interrupts it: the task runs to its end, and nobody reads the answer."""
    app, handles = leaving(takes(10))
    async with app.router.lifespan_context(app):
        sent = await request_by_one_who_leaves(app, "/to-the-end", after=1)
        assert now() == 10
    assert sent[0]["status"] == 200
    assert handles[0].result() == "x"


@pytest.mark.parametrize("middleware", [False, True])
async def test_a_client_who_leaves_ends_the_task_that_is_awaited_while_connected(
    middleware: bool,
) -> None:
    """At once; the attempt cleans up, and the worker is free for others."""
    cleaned: list[float] = []

    async def work(data: str) -> str:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.5)
            cleaned.append(now())
        return data

    app, handles = leaving(work)
    if middleware:  # which stands between the endpoint and what the server says of the client
        app.middleware("http")(lambda request, call_next: call_next(request))
    async with app.router.lifespan_context(app):
        await request_by_one_who_leaves(app, "/while-there", after=1)
        assert now() == 1
    assert handles[0].cancelled()
    assert cleaned == [1.5]


async def test_a_client_who_stays_gets_the_result_or_the_error() -> None:
    """And no listener is left behind."""
    app, _ = leaving(takes(1))
    async with started(app) as client:
        assert (await client.get("/while-there")).json() == "x"
    app, _ = leaving(fails(LookupError))
    async with started(app) as client:
        with pytest.raises(LookupError):
            await client.get("/while-there")


async def test_a_detached_task_outlives_its_client() -> None:
    """The endpoint ends, the task goes on, and the lifespan waits for it."""
    app, handles = leaving(takes(10), detach=True)
    async with app.router.lifespan_context(app):
        await request_by_one_who_leaves(app, "/while-there", after=1)
        assert (now(), handles[0].done()) == (1, False)
    assert (now(), handles[0].result()) == (10, "x")


@pytest.mark.parametrize("path", ["/to-the-end", "/while-there"])
async def test_a_request_that_the_server_cancels_ends_its_task(path: str) -> None:
    """As uvicorn does when its time for a graceful shutdown is over."""
    app, handles = leaving(takes(10))
    async with app.router.lifespan_context(app):
        request = asyncio.create_task(request_by_one_who_leaves(app, path, after=60))
        await asyncio.sleep(1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await handles[0].wait()
        assert (now(), handles[0].cancelled()) == (1, True)


# -- the status --------------------------------------------------------------------------------


async def test_the_status_counts_and_tells_nothing_else() -> None:
    """Neither data nor errors, nor what workers are called."""
    worker = Probe("secret-name", does=takes(2), tags="secret-tag")
    app = application(depends_on(worker, Probe("other", does=takes(2)), name="keys"))
    async with started(app) as client:
        running = [asyncio.create_task(client.get(f"/run/secret-{n}")) for n in range(3)]
        await asyncio.sleep(1.5)
        response = await client.get("/status")
        status = response.json()
        assert response.status_code == 200
        assert {key: status[key] for key in ("name", "ready", "oldest_wait")} == {
            "name": "keys",
            "ready": True,
            "oldest_wait": 1.5,
        }
        assert {state: n for state, n in status["tasks"].items() if n} == {
            "QUEUED": 1,
            "RUNNING": 2,
        }
        assert {state: n for state, n in status["workers"].items() if n} == {"BUSY": 2}
        assert set(status) == {"name", "ready", "oldest_wait", "tasks", "workers"}
        assert "secret" not in response.text
        await asyncio.gather(*running)


def paused(pool: AnyPool) -> None:
    pool.pause()


def every_worker_paused(pool: AnyPool) -> None:
    for ref in pool.workers():
        pool.pause(ref, reason="secret")


def closing(pool: AnyPool) -> None:
    pool.submit("x")
    pool.request_close()


@pytest.mark.parametrize("change", [paused, every_worker_paused, closing])
async def test_a_pool_that_cannot_serve_is_not_ready(change: Callable[[AnyPool], None]) -> None:
    """The page says so by its status code, for those who read no more."""
    keys = depends_on(Probe("a", does=takes(1)), Probe("b"))
    async with started(application(keys)) as client:
        pool = await keys()
        assert PoolStatus.of(pool).ready
        change(pool)
        response = await client.get("/status")
        assert (response.status_code, response.json()["ready"]) == (503, False)


async def test_a_pool_whose_workers_all_cool_is_ready() -> None:
    """It will serve before any other instance of the application could be found."""
    async with Pool([Probe("a")]) as pool:
        pool.cooldown("a", 60)
        assert PoolStatus.of(pool).ready
        assert PoolStatus.of(pool).workers["COOLING"] == 1


async def test_a_pool_without_workers_is_ready_if_its_factory_may_make_one() -> None:
    """Else no request would ever be sent to it, and no worker ever made."""

    class Fragile(Probe):
        async def on_start(self) -> None:
            raise OSError

    async with Pool(factory=Probe, min_workers=0) as pool:
        assert PoolStatus.of(pool).ready
    async with Pool(factory=Fragile, min_workers=0) as pool:
        pool.submit("x")
        await settle()
        assert not PoolStatus.of(pool).ready
        await pool.close("cancel")


# -- SIGTERM -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[list[float]]:
    """When the server heard of SIGTERM."""
    heard: list[float] = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(now()))
    yield heard
    signal.signal(signal.SIGTERM, before)


async def test_at_sigterm_running_requests_finish_and_others_are_refused(
    server: list[float],
) -> None:
    """The server hears of it when the pools are closed, and not before."""
    app = application(depends_on(Probe(does=takes(2))), sigterm_grace=10)
    async with started(app) as client:
        running = asyncio.create_task(client.get("/run/running"))
        await settle()
        waiting = asyncio.create_task(client.get("/run/waiting"))
        await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
        assert (await waiting).status_code == 503
        assert now() == 1
        assert (await client.get("/run/late")).status_code == 503
        assert (await client.get("/status")).status_code == 503
        assert (await running).status_code == 200
        await settle()
        assert server == [2]


async def test_at_sigterm_what_does_not_end_is_ended(server: list[float]) -> None:
    """Several pools, one after the other, within one and the same grace."""
    first, second = (depends_on(Probe(does=takes(3600))) for _ in range(2))
    app = FastAPI(lifespan=lifespan(first, second, sigterm_grace=timedelta(seconds=10)))
    async with started(app):
        tasks = [(await keys()).submit("x") for keys in (first, second)]
        signal.raise_signal(signal.SIGTERM)
        await asyncio.gather(*(task.wait() for task in tasks))
        await asyncio.sleep(1)
        assert len(server) == 1
        assert server[0] <= 10
    assert all(isinstance(task.error(), PoolClosed) for task in tasks)


async def test_a_second_sigterm_goes_to_the_server_at_once(server: list[float]) -> None:
    """Which ends the application as it likes; the pools then drain as ever."""
    keys = depends_on(Probe(does=takes(5)))
    app = FastAPI(lifespan=lifespan(keys, sigterm_grace=10))
    async with started(app):
        task = (await keys()).submit("x")
        await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.sleep(1)
        signal.raise_signal(signal.SIGTERM)
        assert server == [2]
    assert task.result() == "x"
    await settle()
    assert server == [2]


async def test_a_sigterm_may_come_while_an_attempt_runs(server: list[float]) -> None:
    """Python calls the handler in the midst of it, in its context."""

    async def work(data: str) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return await takes(1)(data)

    app = application(depends_on(Probe(does=work)), sigterm_grace=10)
    async with started(app) as client:
        assert (await client.get("/run/x")).json() == "x"
        await settle()
        assert server == [1]


async def test_the_servers_handler_is_back_when_the_application_has_ended(
    server: list[float],
) -> None:
    """Or it is there all the time, where nothing else was asked for."""
    before = signal.getsignal(signal.SIGTERM)
    async with started(application(depends_on(Probe()), sigterm_grace=1)):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    async with started(application(depends_on(Probe()))):
        assert signal.getsignal(signal.SIGTERM) is before


def test_outside_of_the_main_thread_signals_are_left_alone(server: list[float]) -> None:
    """As under the test client."""
    before = signal.getsignal(signal.SIGTERM)
    with TestClient(application(depends_on(Probe()), sigterm_grace=1)) as client:
        assert client.get("/run/x").json() == "x"
        assert signal.getsignal(signal.SIGTERM) is before

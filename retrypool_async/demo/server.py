"""The service as a process of its own: started, spoken to, and ended by whoever needs it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from threading import Thread

from .keys import Key

HOST = "127.0.0.1"
ERROR_RATE = 0.08
_SECONDS_TO_STOP = 5.0


class ServerFailed(Exception):
    """The server process ended before it could listen."""


@contextmanager
def serving(keys: Sequence[Key], *, seed: int) -> Generator[str]:
    """Run the service in a process of its own, and give its URL.

    Raises:
        ServerFailed: It did not start; what it wrote about that is on standard error.
    """
    settings = {"keys": [asdict(key) for key in keys], "seed": seed, "error_rate": ERROR_RATE}
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal is for the client alone, which ends this process in its own time.
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # Secrets go through the pipe: a command line can be read by everybody.
            print(json.dumps(settings), file=process.stdin, flush=True)
            port = process.stdout.readline().strip()
            if not port:
                raise ServerFailed(f"exit code {process.wait()}")
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Read the settings from standard input, write the port to standard output, and serve.

    The end of standard input ends the service too, so that it does not outlive its client.
    """
    import uvicorn

    from .service import Service

    settings = json.loads(sys.stdin.readline())
    keys = [Key(**key) for key in settings.pop("keys")]
    config = uvicorn.Config(
        Service(keys, **settings).app,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=3,  # longer than any answer takes
        timeout_keep_alive=60,  # a worker that waits for quota keeps its connection
    )
    server = uvicorn.Server(config)

    def stop_with_client() -> None:
        os.read(sys.stdin.fileno(), 1)
        server.should_exit = True

    Thread(target=stop_with_client, daemon=True).start()
    with socket.create_server((HOST, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        server.run(sockets=[listener])


if __name__ == "__main__":
    main()

"""The command line: `python -m retrypool_async`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from retrypool_async.demo import cli as demo
from retrypool_async.simulate import cli as simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m retrypool_async",
        description="Exclusive workers, late binding, quotas and retries for asyncio.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    demo.set_up(
        commands.add_parser("demo", help="analyse documents with a local service and strict keys")
    )
    simulate.set_up(
        commands.add_parser("simulate", help="run a scenario of traffic and workers, on no time")
    )
    chosen = parser.parse_args(arguments)
    code: int = chosen.run(chosen)
    return code


if __name__ == "__main__":
    sys.exit(main())

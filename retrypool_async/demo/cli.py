"""The command `demo`: its options, its output, and its exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .documents import BadFile, python_topics, read_documents
from .keys import MOST_TOKENS
from .server import ServerFailed

if TYPE_CHECKING:
    from .run import Answer

COMPLETED, INCOMPLETE, USAGE, INTERRUPTED = 0, 1, 2, 130
THIRD_PARTIES = ("httpx", "rich", "starlette", "uvicorn")
MOST_KEYS = 64


def set_up(parser: argparse.ArgumentParser) -> None:
    """Give the command's parser its options, and `main` as what to run."""
    parser.description = (
        "Start a service on this machine that gives each of its keys a quota of requests and of "
        "tokens, fails now and then, has a slow key and revokes another half-way; and have it "
        "analyse documents through a pool with one worker per key."
    )
    parser.epilog = "Exit codes: 0 all completed, 1 some failed, 2 wrong usage, 130 interrupted."
    parser.add_argument(
        "--input",
        type=Path,
        metavar="FILE",
        help='documents, one {"id": ..., "text": ...} a line (default: Python\'s help topics)',
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write the analyses there, one a line, in order"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object at the end and nothing else"
    )
    parser.add_argument(
        "--blind",
        action="store_true",
        help="tell the pool nothing about the quotas: only refusals slow it down",
    )
    parser.add_argument(
        "--keys", type=_key_count, default=6, metavar="N", help="number of keys (default: 6)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="decides which requests fail (default: 0)"
    )
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Run the demo as asked, and return the exit code."""
    if any(find_spec(name) is None for name in THIRD_PARTIES):
        return _stop(USAGE, 'the demo needs more: pip install "retrypool-async[demo]"')
    try:
        return _demo(arguments)
    except BadFile as error:
        return _stop(USAGE, str(error))
    except ServerFailed as error:
        return _stop(INCOMPLETE, f"the service did not start: {error}")
    except KeyboardInterrupt:
        return _stop(INTERRUPTED, "interrupted")


def _demo(arguments: argparse.Namespace) -> int:
    # Only from here on are the third parties needed.
    from rich.console import Console

    from .display import display
    from .run import Job, run

    if arguments.input is None:
        documents = python_topics()
    else:
        documents = read_documents(arguments.input, longest=MOST_TOKENS)
    job = Job(documents=documents, keys=arguments.keys, seed=arguments.seed, blind=arguments.blind)
    console = Console()
    with _writing(arguments.output) as write, display(console, quiet=arguments.json) as shown:
        report = run(job, shown, write)
    if arguments.json:
        print(json.dumps(report.as_json()))
    else:
        report.print_summary(console)
    return COMPLETED if report.completed == report.documents else INCOMPLETE


@contextmanager
def _writing(path: Path | None) -> Generator[Callable[[Answer], None]]:
    """Give a function that writes an answer as a line of the file, if there is one."""
    if path is None:
        yield lambda answer: None
        return
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}") from error
    with file:
        yield lambda answer: print(json.dumps(answer, ensure_ascii=False), file=file, flush=True)


def _stop(code: int, why: str) -> int:
    print(why, file=sys.stderr)
    return code


def _key_count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MOST_KEYS):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {MOST_KEYS}, got {text!r}")
    return int(text)

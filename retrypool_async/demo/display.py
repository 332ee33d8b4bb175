"""What a run shows while it lasts: a live table on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from retrypool_async import WorkerSnapshot

from .progress import Progress


@dataclass(frozen=True, slots=True)
class Display:
    """Shows progress every `interval` seconds."""

    interval: float
    show: Callable[[Progress], None]


@contextmanager
def display(console: Console, *, quiet: bool) -> Generator[Display]:
    """The display that suits where the output goes."""
    if quiet:
        yield Display(60.0, lambda progress: None)
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield Display(0.2, lambda progress: live.update(table(progress), refresh=True))
    else:
        yield Display(1.0, lambda progress: print(line(progress), flush=True))


def line(progress: Progress) -> str:
    """All that matters, in one line."""
    hops = progress.hops
    return (
        f"{progress.seconds:5.1f} s  {progress.finished}/{progress.total} documents  "
        f"{progress.per_second:.1f}/s  {hops.retries.total()} retries  {hops.bounces} bounces"
    )


def table(progress: Progress) -> Table:
    """Every worker, one row each, and the totals."""
    table = Table(caption=line(progress), caption_justify="left")
    for title, width in (("worker", None), ("state", 9), ("document", 18)):
        table.add_column(title, width=width, no_wrap=True)
    for title in ("requests\nleft", "tokens\nleft", "cooling", "served", "failed", "refused"):
        table.add_column(title, justify="right")
    for worker in progress.pool.workers:
        table.add_row(*_cells(worker, progress))
    return table


def _cells(worker: WorkerSnapshot, progress: Progress) -> Iterator[str]:
    yield worker.name
    yield worker.state.name.lower()
    yield "" if worker.task is None else escape(progress.handles[worker.task].data.id)
    for dimension in ("requests", "tokens"):
        left = worker.quota_left.get(dimension)
        yield "unknown" if left is None else f"{left:.0f}"
    until = worker.cooling_until
    yield "" if until is None else f"{until - progress.pool.at:.1f} s"
    yield from map(str, (worker.served, worker.failed, worker.throttled))

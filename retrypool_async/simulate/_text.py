"""Reports in words, for people, and as plain data, for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._report import KindReport, Percentiles, Report, WorkerReport
from ._search import Answer


def lines_of_report(report: Report) -> Iterator[str]:
    """A report: the figures of the whole, and a table with a row for each kind of worker."""
    ends = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items())
    yield f"tasks       {ends}"
    yield f"time        {report.seconds:.1f} s simulated"
    yield f"throughput  {report.throughput:.3f} succeeded/s, {report.attempts} attempts"
    yield f"wait        {_percentiles(report.wait)}"
    yield f"latency     {_percentiles(report.latency)}"
    for dimension, share in report.quota_use.items():
        yield f"pool quota  {share:.1%} of {dimension} used"
    yield ""
    yield from _columns(_header(report), map(_row, report.kinds))


def lines_of_answer(answer: Answer) -> Iterator[str]:
    """What was tried, and what came of it."""
    for trial in answer.trials:
        met = "too few" if trial.report is None else "enough"
        yield f"{trial.workers} x {answer.kind}: {met}"
    if answer.workers is None:
        yield f"the goal cannot be met with {answer.trials[-1].workers} x {answer.kind}"
    else:
        yield f"needed: {answer.workers} x {answer.kind}"


def data_of_report(report: Report) -> dict[str, Any]:
    """A report as JSON has it, every worker included; the timeline is for charts."""
    return {
        "seconds": report.seconds,
        "tasks": report.tasks,
        "outcomes": report.outcomes,
        "attempts": report.attempts,
        "throughput": report.throughput,
        "wait": None if report.wait is None else report.wait._asdict(),
        "latency": None if report.latency is None else report.latency._asdict(),
        "quota_use": report.quota_use,
        "workers": {
            worker.name: {
                "served": worker.served,
                "failed": worker.failed,
                "throttled": worker.throttled,
                "lost": worker.lost,
                "busy": worker.busy,
                "quota_use": worker.quota_use,
            }
            for kind in report.kinds
            for worker in kind.workers
        },
    }


def data_of_answer(answer: Answer) -> dict[str, Any]:
    """An answer as JSON has it."""
    return {
        "kind": answer.kind,
        "workers": answer.workers,
        "tried": {str(trial.workers): trial.report is not None for trial in answer.trials},
    }


def _percentiles(spread: Percentiles | None) -> str:
    if spread is None:
        return "none"
    return (
        f"p50 {spread.p50:.2f} s  p95 {spread.p95:.2f} s  "
        f"p99 {spread.p99:.2f} s  most {spread.most:.2f} s"
    )


def _header(report: Report) -> Sequence[str]:
    dimensions = {name: None for kind in report.kinds for name in kind.workers[0].quota_use}
    return ("workers", "count", "served", "failed", "throttled", "lost", "busy", *dimensions)


def _row(kind: KindReport) -> Mapping[str, str]:
    """Totals over the workers of a kind; of shares, the smallest and the largest."""
    workers = kind.workers

    def total(count: Callable[[WorkerReport], int]) -> str:
        return str(sum(map(count, workers)))

    def range_of(share: Callable[[WorkerReport], float]) -> str:
        shares = [100 * share(worker) for worker in workers]
        return f"{min(shares):.0f}-{max(shares):.0f} %"

    row = {
        "workers": kind.name,
        "count": str(len(workers)),
        "served": total(lambda worker: worker.served),
        "failed": total(lambda worker: worker.failed),
        "throttled": total(lambda worker: worker.throttled),
        "lost": total(lambda worker: worker.lost),
        "busy": range_of(lambda worker: worker.busy),
    }
    for name in workers[0].quota_use:
        row[name] = range_of(lambda worker, name=name: worker.quota_use[name])  # type: ignore[misc]
    return row


def _columns(header: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Iterator[str]:
    table = [header, *([row.get(title, "-") for title in header] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        first, *others = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield "  ".join([first, *others])

"""A chart of a run. It needs matplotlib, which is imported only here."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ._report import Percentiles, Report

SUFFIXES = (".png", ".svg")
PARTS = 120


def draw(report: Report, path: Path) -> None:
    """Write a chart of a run: traffic, waiting tasks and waits over time, and how busy who was.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(9, 9), layout="constrained")
    FigureCanvasAgg(figure)
    traffic, waiting, waits, busy = figure.subplots(4)
    moments = [report.seconds * part / PARTS for part in range(PARTS + 1)]
    _traffic(traffic, report, moments)
    _waiting(waiting, report, moments)
    _waits(waits, report, moments)
    _busy(busy, report)
    for axes in (traffic, waiting, waits):
        axes.set_xlim(0, report.seconds or 1)
    waits.set_xlabel("seconds")
    figure.savefig(path)


def _traffic(axes: Any, report: Report, moments: Sequence[float]) -> None:
    arrived = [arrived for arrived, _, _ in report.timeline]
    ended = sorted(ended for _, _, ended in report.timeline)
    for label, times in (("arrived", arrived), ("ended", ended)):
        axes.plot(moments[1:], _rates(times, moments), label=label)
    axes.set_ylabel("tasks per second")
    axes.legend()


def _rates(times: Sequence[float], moments: Sequence[float]) -> list[float]:
    reached = [bisect_right(times, moment) for moment in moments]
    reached[0] = 0
    part = moments[1] or 1.0
    return [(after - before) / part for before, after in pairwise(reached)]


def _waiting(axes: Any, report: Report, moments: Sequence[float]) -> None:
    arrived = [arrived for arrived, _, _ in report.timeline]
    left = sorted(end if start is None else start for _, start, end in report.timeline)
    axes.plot(moments, [bisect_right(arrived, now) - bisect_right(left, now) for now in moments])
    axes.set_ylabel("tasks not started")


def _waits(axes: Any, report: Report, moments: Sequence[float]) -> None:
    arrived = [arrived for arrived, _, _ in report.timeline]
    bounds = [bisect_left(arrived, moment) for moment in moments]
    bounds[-1] = len(arrived)
    spreads = [
        Percentiles.of(
            started - arrived
            for arrived, started, _ in report.timeline[begin:end]
            if started is not None
        )
        for begin, end in pairwise(bounds)
    ]
    for label in ("p50", "p95", "most"):
        values = [None if spread is None else getattr(spread, label) for spread in spreads]
        axes.plot(moments[:-1], values, label=label)
    axes.set_ylabel("wait, seconds")
    axes.legend()


def _busy(axes: Any, report: Report) -> None:
    first = 0
    for kind in report.kinds:
        shares = [100 * worker.busy for worker in kind.workers]
        axes.bar(range(first, first + len(shares)), shares, label=kind.name)
        first += len(shares)
    axes.set_ylabel("busy, %")
    axes.set_xlabel("worker")
    axes.legend()

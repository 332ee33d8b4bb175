"""What came of a run, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """One key at the end of a run."""

    state: str
    #: The service's own counts: served, refused, errors, unauthorised, too_large.
    counts: Mapping[str, int]
    #: Attempts that failed on this key and were followed by another one.
    retries: int

    @property
    def requests(self) -> int:
        """Everything the service was asked with this key."""
        return sum(self.counts.values())

    @property
    def refused(self) -> int:
        """How often it answered 429."""
        return self.counts["refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole run."""

    documents: int
    #: What went wrong, by document.
    failures: Mapping[str, str]
    in_order: bool
    bounces: int
    seconds: float
    ideal_seconds: float
    workers: Mapping[str, KeyReport]

    @property
    def completed(self) -> int:
        """Documents that came back analysed."""
        return self.documents - len(self.failures)

    @property
    def refused(self) -> int:
        """How often the service answered 429, by its own count."""
        return sum(worker.refused for worker in self.workers.values())

    @property
    def retries(self) -> int:
        """Attempts that failed and were followed by another one."""
        return sum(worker.retries for worker in self.workers.values())

    def as_json(self) -> dict[str, Any]:
        """The figures for a program."""
        return {
            "documents": self.documents,
            "completed": self.completed,
            "in_order": self.in_order,
            "refused": self.refused,
            "retries": self.retries,
            "bounces": self.bounces,
            "seconds": round(self.seconds, 3),
            "ideal_seconds": round(self.ideal_seconds, 3),
            "workers": {
                name: {
                    "requests": worker.requests,
                    "refused": worker.refused,
                    "state": worker.state,
                }
                for name, worker in self.workers.items()
            },
        }

    def print_summary(self, console: Console) -> None:
        """The figures for people."""
        table = Table("key", "state")
        for title in ("requests", "served", "429", "5xx", "401", "413", "retries"):
            table.add_column(title, justify="right")
        for name, worker in self.workers.items():
            kinds = ("served", "refused", "errors", "unauthorised", "too_large")
            counts = [worker.requests, *(worker.counts[kind] for kind in kinds), worker.retries]
            table.add_row(name, worker.state, *map(str, counts))
        console.print(table)
        for document, why in self.failures.items():
            console.print(f"{document}: {why}", markup=False, highlight=False, soft_wrap=True)
        order = "in order" if self.in_order else "OUT OF ORDER"
        console.print(
            f"{self.completed} of {self.documents} documents analysed, {order}, "
            f"in {self.seconds:.1f} s; no scheduler needs less than {self.ideal_seconds:.1f} s.\n"
            f"The service refused {self.refused} requests (429). "
            f"{self.retries} retries, {self.bounces} moves to another key.",
            highlight=False,
            soft_wrap=True,
        )

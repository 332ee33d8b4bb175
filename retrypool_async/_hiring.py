"""Workers from a factory: having them made, replacing them, and letting them go."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from ._agenda import Due
from ._books import Effect
from ._errors import WorkerRemoved
from ._record import WorkerRecord
from ._staff import Staff
from ._states import Order, WorkerState

if TYPE_CHECKING:
    from ._elastic import Elastic
    from ._worker import Traits


class Hiring(Staff):
    """Carries out what `Elastic` decides.

    A worker from the factory is never nursed: when its resource cannot be opened, or its code
    ignores being stopped, it is retired, and another is made if one is missing.
    """

    __slots__ = ()

    def employ(self, elastic: Elastic, now: float) -> None:
        """From now on, keep the number of workers within bounds."""
        self.elastic = elastic
        self._rejudge(now)

    def review(self, now: float) -> None:
        """Take in the workers that are missing, and retire those that are idle for nothing."""
        elastic = self.elastic
        if elastic is None or self.ending:
            return
        limit = self.concurrency
        places = inf if limit is None else limit - self.held
        missing, again_at = elastic.missing(
            self.roster, self.ready, 0 if self.paused else places, self._holds, now
        )
        for _ in range(missing):
            self._hire(elastic, now)
        idle, due_at = elastic.surplus(self.roster, self.ready, now)
        for record in idle:
            self._retire(record, now)
        when = min(again_at, due_at)
        if when < self._review_at:
            self._review_at = when
            self.agenda.add(when, Due.REVIEW, None)

    def _hire(self, elastic: Elastic, now: float) -> None:
        """Take in a worker that is still to be made. It counts from this moment on."""
        number = self.roster.next_id
        self.roster.next_id += 1
        record = WorkerRecord(number, f"worker-{number}", None, elastic.common)
        record.made = True
        self.add(record, now)
        self.outbox.append((Effect.LAUNCH, record, None))

    def equip(self, record: WorkerRecord, worker: Any, traits: Traits, now: float) -> None:
        """The factory has made the worker that a record stands for.

        Raises:
            WorkerRemoved: it is not wanted any more.
        """
        elastic = self.elastic
        assert elastic is not None
        if record.retired or self.ending:
            raise WorkerRemoved("the worker was removed while it was made")
        record.embody(worker, traits, elastic.common)
        record.take_up_quotas(now)
        elastic.learn(record.tags, record.quotas)
        self._flag(record)
        self.roster.changed(record)
        self._rejudge(now)

    def opened(self, record: WorkerRecord, error: BaseException | None, now: float) -> None:
        """A worker has opened its resource for the first time, or failed to."""
        if record.made and not record.retired:
            assert self.elastic is not None
            if error is None:
                self.elastic.opened()
            else:
                self._give_up(record, error, now)
        super().opened(record, error, now)

    def attended(
        self, record: WorkerRecord, order: Order, error: BaseException | None, now: float
    ) -> None:
        """A worker has carried out an order, or failed to."""
        opens = order is Order.RESET or order is Order.REBUILD
        if record.made and not record.retired and opens and error is not None:
            self._give_up(record, error, now)
        super().attended(record, order, error, now)

    def stuck(self, record: WorkerRecord, now: float) -> None:
        """A worker's code goes on although it was told to stop."""
        was_starting = record.state is WorkerState.STARTING
        super().stuck(record, now)
        if record.made and not record.retired:
            if was_starting:
                self._give_up(record, TimeoutError("its start took too long"), now)
            self._retire(record, now)

    def _give_up(self, record: WorkerRecord, error: BaseException, now: float) -> None:
        """A worker could not open its resource. Whoever reports that closes it in this step."""
        assert self.elastic is not None
        if not self.ending:
            self.elastic.failed(error, now)
        record.retired = True
        self.roster.changed(record)

    def _retire(self, record: WorkerRecord, now: float) -> None:
        """Let a worker go, as soon as it has nothing in progress. Its operator's wish stands."""
        record.retired = True
        self.roster.changed(record)
        self._interfere(record, "retired", now)
        self._rejudge(now)

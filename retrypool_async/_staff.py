"""The workers' lives: opening, resting, pausing, being rebuilt, stopped and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._books import BUSY, IDLE, PROMISED, RUN, Effect
from ._breaker import Health
from ._dispatch import Dispatch
from ._record import WorkerRecord, opening_delay
from ._states import BreakerState, Order, Stop, WorkerState, WorkerWish

if TYPE_CHECKING:
    from ._quota import Quota
    from ._task import Task


class Staff(Dispatch):
    """Looks after workers."""

    __slots__ = ()

    # -- what runners report ---------------------------------------------------------------------

    def add(self, record: WorkerRecord, now: float) -> None:
        """Take in a worker that is about to open its resource."""
        record.take_up_quotas(now)
        self._flag(record)
        if self.settings.breaker is not None:
            record.health = Health(self.settings.breaker)
            record.suspect = record.health.heeds_success
        self.roster.add(record)
        self._rejudge(now)

    def opened(self, record: WorkerRecord, error: BaseException | None, now: float) -> None:
        """A worker has opened its resource for the first time, or failed to."""
        before = record.state
        record.error = error
        if error is None:
            record.opened_at = now
            record.runs_at_open = record.runs
            record.state = IDLE
            self._told_worker(record, before, "opened", now)
            self._attend(record, now)
            return
        record.state = WorkerState.FAILED
        self._told_worker(record, before, "start failed", now)
        if record.retired or self.ending:
            self._attend(record, now)
        self._rejudge(now)

    def attended(
        self, record: WorkerRecord, order: Order, error: BaseException | None, now: float
    ) -> None:
        """A worker has carried out an order, or failed to."""
        if order is Order.PAUSE:
            record.pause_told = True
        elif order is Order.RESUME:
            record.pause_told = False
        elif order is Order.CHECK:
            if error is not None:
                record.needs_rebuild = True
                record.error = error
        elif error is not None:
            # A resource that cannot be reset or opened is rebuilt until that works.
            record.error = error
            record.needs_reset = False
            record.needs_rebuild = True
            rebuild_at = record.rebuild_at = now + opening_delay(record.losses)
            record.losses += 1
            before = record.state
            record.state = WorkerState.FAILED
            self._told_worker(record, before, "rebuild failed", now)
            self._flag(record)
            if record.retired or self.ending:
                self._attend(record, now)
            else:
                self.agenda.add(rebuild_at, Due.REBUILD, record)
            return
        else:
            record.needs_reset = False
            if order is Order.REBUILD:
                record.needs_rebuild = False
                record.rebuild_at = None
                record.losses = 0
            record.error = None
            record.opened_at = now
            record.runs_at_open = record.runs
        self._attend(record, now)

    def stuck(self, record: WorkerRecord, now: float) -> None:
        """A worker's code goes on although it was told to stop."""
        before = record.state
        if before is not WorkerState.STUCK:
            record.state = WorkerState.STUCK
            self._told_worker(record, before, "ignores being stopped", now)
            self.outbox.append((Effect.STUCK, record, None))

    def broken(self, record: WorkerRecord, error: BaseException, now: float) -> None:
        """A worker's resource was cut off while nothing ran on it: build it anew."""
        record.needs_rebuild = True
        record.error = error
        self._interfere(record, "resource broken", now)

    # -- what a worker does next -----------------------------------------------------------------

    def _attend(self, record: WorkerRecord, now: float) -> None:
        """Say what a worker without a task does next."""
        assert record.task is None
        before = record.state
        self.roster.unset_free(record)
        record.stop = record.grace_at = None
        if self._worn_out(record, now):
            record.needs_rebuild = True
        self._flag(record)
        order: Order | None = None
        if record.retired or self.ending:
            order = Order.CLOSE
        elif before is WorkerState.FAILED and not record.needs_rebuild:
            return  # it never opened; only an operator's `resume` gives it another try
        elif record.needs_rebuild:
            if record.rebuild_at is not None and record.rebuild_at > now:
                record.state = WorkerState.FAILED
                return
            order = Order.REBUILD
        elif record.needs_reset:
            order = Order.RESET
        elif record.wish is WorkerWish.PAUSE and not record.pause_told:
            order = Order.PAUSE
        elif record.wish is RUN and record.pause_told:
            order = Order.RESUME
        if order is not None:
            record.state = WorkerState.RESETTING
            if before is not WorkerState.RESETTING:
                self._told_worker(record, before, order.name.lower(), now)
            self.outbox.append((Effect.ORDER, record, order))
            if self.ready:
                self._plan(now)
            return
        if record.cooling_until > now:
            record.state = WorkerState.COOLING
            self.agenda.add(record.cooling_until, Due.COOL, record)
        else:
            record.cooling_until = 0.0
            record.state = IDLE
            record.idle_since = now
            self._flag(record)
            if self.roster.ejected & record.bit:
                self._half_open(record, now)
            if record.wish is RUN:
                self.roster.set_free(record)
        if record.state is not before:
            self._told_worker(record, before, "attended", now)
        if self.ready:
            self._plan(now)

    def _flag(self, record: WorkerRecord) -> None:
        """Note whether a worker must be looked at before its next task."""
        record.attention = (
            record.wish is not RUN
            or record.retired
            or record.needs_reset
            or record.needs_rebuild
            or record.pause_told
            or record.stop is not None
            or record.cooling_until > 0.0
            or record.max_tasks is not None
            or record.max_age is not None
        )

    def _may_run(self, record: WorkerRecord, task: Task, now: float) -> bool:
        """True when a worker that has just failed a task may take this very task again at once."""
        return (
            record.wish is RUN
            and task.options.require <= record.tags
            and not record.retired
            and not record.needs_reset
            and not record.needs_rebuild
            and not record.pause_told
            and record.stop is None
            and record.cooling_until <= now
            and not self._worn_out(record, now)
            and not self._gated()
            and record.has_room(task.cost, now)
        )

    def _worn_out(self, record: WorkerRecord, now: float) -> bool:
        runs = record.runs - record.runs_at_open
        return runs > 0 and (
            (record.max_tasks is not None and runs >= record.max_tasks)
            or (record.max_age is not None and now - record.opened_at >= record.max_age)
        )

    def _is_quiet(self, record: WorkerRecord) -> bool:
        """True when the worker's runner waits to be told something."""
        return record.state in (IDLE, WorkerState.COOLING, WorkerState.FAILED)

    def _interfere(self, record: WorkerRecord, reason: str, now: float) -> None:
        """After a change of what is wanted of a worker: act on it now if it can be."""
        self._flag(record)
        if record.state is PROMISED:
            self._give_back(record, now, reason)
            self._attend(record, now)
        elif self._is_quiet(record):
            self._attend(record, now)

    # -- what operators want ---------------------------------------------------------------------

    def pause(
        self, record: WorkerRecord | None, reason: str | None, until: float | None, now: float
    ) -> None:
        """Start nothing more on a worker, or on any. What runs goes on to its end."""
        if record is None:
            self.paused = True
            self.resume_at = until
            for worker in list(self.roster.workers.values()):
                if worker.state is PROMISED:
                    self._give_back(worker, now, "paused")
                    self._attend(worker, now)
        elif not record.retired:
            record.wish = WorkerWish.PAUSE
            record.pause_reason = reason
            record.resume_at = until
            self._interfere(record, "paused", now)
            self._rejudge(now)
        if until is not None:
            self.agenda.add(until, Due.RESUME, record)

    def resume(self, record: WorkerRecord | None, now: float) -> None:
        """Undo a pause. A worker whose resource failed to open is given another try."""
        if record is None:
            self.paused = False
            self.resume_at = None
            self._plan(now)
        elif not record.retired:
            record.wish = RUN
            record.pause_reason = None
            record.resume_at = None
            if record.state is WorkerState.FAILED:
                record.needs_rebuild = True
                record.rebuild_at = None
            self._interfere(record, "resumed", now)
            self._rejudge(now)

    def cooldown(self, record: WorkerRecord, until: float, now: float) -> None:
        """Give a worker nothing before `until`. Of several cooldowns the longest holds."""
        self._cool(record, until, "worker", now)
        self._plan(now)

    def _cool(self, record: WorkerRecord, until: float, scope: str, now: float) -> None:
        quotas = record.quotas if scope == "quota" else ()
        for quota in quotas:
            quota.cooling_until = max(quota.cooling_until, until)
        for other in self._sharing(record, quotas):
            if until > other.cooling_until:
                other.cooling_until = until
                self._interfere(other, "cooling", now)
        if self._fail_over(now):
            self._plan(now)

    def _half_open(self, record: WorkerRecord, now: float) -> None:
        """A worker that its breaker has kept out is back on probation."""
        assert record.health is not None
        record.health.half_open()
        record.suspect = True
        self.roster.ejected ^= record.bit
        self._told_breaker(record, BreakerState.OPEN, BreakerState.HALF_OPEN, "cooled", now)

    def clear_cooldown(self, record: WorkerRecord, now: float) -> None:
        """End a worker's cooldown now."""
        record.cooling_until = 0.0
        record.hints_missing = 0
        for quota in record.quotas:
            quota.cooling_until = 0.0
        self._interfere(record, "cooldown cleared", now)

    def set_quotas(
        self, record: WorkerRecord, own: tuple[Quota, ...], common: tuple[Quota, ...], now: float
    ) -> None:
        """Put other quotas in force for a worker, and for whoever shares its own.

        A run that has been promised and not started is taken back first: its debit belongs to the
        old quotas, and whether it may run is for the new ones to say.
        """
        replaced = record.quotas[: len(record.quotas) - len(common)]
        concerned = self._sharing(record, replaced)
        recalled = [other for other in concerned if other.state is PROMISED]
        for other in recalled:
            self._give_back(other, now, "quota changed")
        heirs = {old: new for new, old in zip(own, replaced, strict=False) if new is not old}
        in_force = {
            quota
            for other in self.roster.workers.values()
            if other not in concerned
            for quota in other.quotas
        }
        for quota in own:
            quota.begin(now)
        for old, new in heirs.items():
            new.carry_over(old, now, on_top=new in in_force)
        for other in concerned:
            other.quotas = own + common
            if other.task is not None and other.task.debit is not None:
                sources, at, cost = other.task.debit
                sources = tuple(source.passed_on(heirs) for source in sources)
                other.task.debit = (sources, at, cost)
        self.roster.changed(record)
        for other in recalled:
            self._attend(other, now)
        self._rejudge(now)

    def set_tags(self, record: WorkerRecord, tags: frozenset[str], now: float) -> None:
        """Change what a worker may run. What runs goes on; what is only promised may go back."""
        record.tags = tags
        self.roster.changed(record)
        task = record.task
        recalled = record.state is PROMISED and task and not task.options.require <= tags
        if recalled:
            self._give_back(record, now, "tags changed")
        self._rejudge(now)
        if recalled:
            self._attend(record, now)

    def _sharing(self, record: WorkerRecord, quotas: tuple[Quota, ...]) -> list[WorkerRecord]:
        """A worker, and those that share any of these quotas."""
        mine = {id(quota) for quota in quotas}
        return [
            other
            for other in self.roster.workers.values()
            if other is record or any(id(quota) in mine for quota in other.quotas)
        ]

    def remove(self, record: WorkerRecord, now: float, *, force: bool = False) -> None:
        """Close a worker once its attempt has ended; with `force`, stop that attempt now."""
        record.wish = WorkerWish.REMOVE
        record.retired = True
        self.roster.changed(record)
        self._interfere(record, "worker removed", now)
        if record.state is WorkerState.STARTING:
            self.outbox.append((Effect.INTERRUPT, record, None))
        if force and record.state is BUSY:
            self._stop(record, Stop.REMOVE, now)
        self._rejudge(now)

    # -- stopping --------------------------------------------------------------------------------

    def _stop(self, record: WorkerRecord, stop: Stop, now: float) -> None:
        """Tell the attempt in progress to stop; the task stays on the worker until it has."""
        if record.stop is None:
            self._unwinding(record, stop, now)
        else:
            record.stop = max(record.stop, stop)

    def _unwinding(self, record: WorkerRecord, stop: Stop, now: float) -> None:
        if record.task is None:
            before = record.state
            record.state = WorkerState.RESETTING
            self._told_worker(record, before, "unwinding", now)
        record.attention = True
        if record.stop is not None:
            record.stop = max(record.stop, stop)
            return
        record.stop = stop
        record.grace = self.settings.stop_grace
        record.grace_at = now + record.grace
        self.agenda.add(record.grace_at, Due.GRACE, record)
        self.outbox.append((Effect.INTERRUPT, record, None))

    def stop_running(self, now: float) -> None:
        """Tell every attempt in progress to stop."""
        for record in list(self.roster.workers.values()):
            if record.state is BUSY:
                self._stop(record, Stop.CLOSE, now)

    def stop_workers(self, now: float) -> None:
        """Close every worker, each as soon as it has nothing in progress."""
        self.ending = True
        for record in list(self.roster.workers.values()):
            if self._is_quiet(record):
                self._attend(record, now)
            elif record.state is WorkerState.STARTING:
                self.outbox.append((Effect.INTERRUPT, record, None))

"""The invariants of the ledger, asserted in one place by recounting everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._agenda import Due
from ._errors import InvariantBroken
from ._states import LEGAL_MOVES, BreakerState, TaskState, WorkerState, WorkerWish

if TYPE_CHECKING:
    from ._ledger import Ledger
    from ._task import Task

HOLDING = (WorkerState.RESERVED, WorkerState.BUSY)


def audit(ledger: Ledger) -> None:
    """Recount the books. Takes time in proportion to what the pool holds.

    Raises:
        InvariantBroken: something does not add up.
    """
    queued = [*ledger.ready, *ledger.sequences.parked()]
    scheduled = list(ledger.agenda.tasks(Due.RETRY))
    held = [r.task for r in ledger.roster.workers.values() if r.task is not None]
    _tasks_are_where_they_say(queued, scheduled, held)
    _workers_hold_what_they_say(ledger)
    _counters_add_up(ledger, len(queued), len(scheduled), len(held))
    _free_workers_are_listed(ledger)
    _headcount_is_right(ledger)
    _the_roster_is_right(ledger)
    _breakers_are_listed(ledger)
    _sequences_are_in_order(ledger)
    _nobody_idles_beside_work(ledger)
    _demand(ledger.ending or not ledger.waits.stalled(ledger), "an attempt waits in vain")
    for task in (*queued, *scheduled, *held):
        _history_is_legal(task)
        forgotten = task.spent_mask & ~task.tried_mask
        _demand(not forgotten, f"task {task.id} may go back to {forgotten:b}")


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise InvariantBroken(what)


def _tasks_are_where_they_say(queued: list[Task], scheduled: list[Task], held: list[Task]) -> None:
    everywhere = [*queued, *scheduled, *held]
    _demand(len({id(task) for task in everywhere}) == len(everywhere), "a task is in two places")
    _demand(all(t.state is TaskState.QUEUED for t in queued), "ready, but not QUEUED")
    _demand(all(t.state is TaskState.SCHEDULED for t in scheduled), "due, but not SCHEDULED")


def _workers_hold_what_they_say(ledger: Ledger) -> None:
    for record in ledger.roster.workers.values():
        task = record.task
        _demand((task is not None) == (record.state in HOLDING), f"{record.name} holds wrongly")
        if task is not None:
            _demand(task.holder is record, f"{record.name} holds a task of another worker")
            expected = (
                TaskState.RESERVED if record.state is WorkerState.RESERVED else TaskState.RUNNING
            )
            _demand(task.state is expected, f"{record.name} and its task disagree")


def _counters_add_up(ledger: Ledger, queued: int, scheduled: int, held: int) -> None:
    ended = ledger.succeeded + ledger.dead + ledger.cancelled + ledger.dropped
    _demand(ledger.held == held, f"held {ledger.held}, counted {held}")
    _demand(ledger.scheduled == scheduled, f"scheduled {ledger.scheduled}, counted {scheduled}")
    _demand(
        ledger.live == queued + scheduled + held,
        f"live {ledger.live}, counted {queued} + {scheduled} + {held}",
    )
    _demand(
        ledger.submitted == ledger.live + ended,
        f"submitted {ledger.submitted}, live {ledger.live}, ended {ended}",
    )
    if ledger.retries is not None:
        retrying = sum(task.past is not None and task.past.retrying for task in ledger.unfinished())
        kept = ledger.retries.under_way
        _demand(kept == retrying, f"retries under way {kept}, counted {retrying}")
    promised = sum(
        record.state is WorkerState.RESERVED
        and record.task is not None
        and record.task.debit is not None
        for record in ledger.roster.workers.values()
    )
    _demand(
        ledger.debited - ledger.refunded == ledger.started + promised,
        f"permits: {ledger.debited} debited, {ledger.refunded} refunded, "
        f"{ledger.started} started, {promised} promised",
    )


def _free_workers_are_listed(ledger: Ledger) -> None:
    roster = ledger.roster
    mask = 0
    for record in roster.workers.values():
        if (
            record.state is WorkerState.IDLE
            and record.wish is WorkerWish.RUN
            and not record.retired
        ):
            mask |= record.bit
    _demand(roster.free == mask, f"free {roster.free:b}, idle and wanted {mask:b}")
    listed = sum(record.bit for record in roster.idle.values())
    _demand(roster.free == listed, f"free {roster.free:b}, listed {listed:b}")


def _headcount_is_right(ledger: Ledger) -> None:
    kept = ledger.roster.headcount()
    ledger.roster.recount()
    counted = ledger.roster.headcount()
    _demand(kept == counted, f"headcount {kept}, counted {counted}")


def _the_roster_is_right(ledger: Ledger) -> None:
    """Who may run what, against the workers one by one."""
    roster = ledger.roster
    present = sum(record.bit for record in roster.workers.values())
    _demand(present.bit_count() == len(roster.workers), "two workers have one place")
    _demand(not present & roster.departed, "a place is had, and kept for nobody as well")
    for require, pinned in {(key.require, key.worker) for key in ledger.ready.routes}:
        mask = 0
        for record in roster.workers.values():
            if record.alive and require <= record.tags and pinned in (None, record.id):
                mask |= record.bit
        listed = roster.eligible(require, pinned)
        _demand(listed == mask, f"for {set(require)} {listed:b} are listed, {mask:b} are able")


def _breakers_are_listed(ledger: Ledger) -> None:
    open_ = 0
    for record in ledger.roster.workers.values():
        if record.health is not None and record.health.state is BreakerState.OPEN:
            open_ |= record.bit
            _demand(record.task is None, f"{record.name} runs although its breaker is open")
    _demand(ledger.roster.ejected == open_, f"ejected {ledger.roster.ejected:b}, open {open_:b}")


def _sequences_are_in_order(ledger: Ledger) -> None:
    for line in ledger.sequences.lines.values():
        first, *behind = line
        _demand(not first.has_ended(), f"task {first.id} has ended and holds up its sequence")
        _demand(line[first] or first in ledger.turns, f"task {first.id} has missed its turn")
        for before, task in zip(line, behind, strict=False):
            _demand(before.id < task.id, f"task {task.id} is out of order")
            _demand(task.run_count == 0 and not line[task], f"task {task.id} has overtaken")


def _nobody_idles_beside_work(ledger: Ledger) -> None:
    """Quota apart, which the tests of the running pool check against a model."""
    if ledger.paused or ledger.ending or ledger.concurrency is not None:
        return
    unlimited = 0
    for record in ledger.roster.idle.values():
        if not record.quotas:
            unlimited |= record.bit
    for route in ledger.ready.routes.values():
        if route.mask & unlimited and any(True for lane in route.lanes.values() for _ in lane):
            raise InvariantBroken("a worker without quota idles beside a task it may run")


def _history_is_legal(task: Task) -> None:
    moves = task.moves()
    if task.past is not None and task.past.lost is not None:
        return  # the middle has been dropped
    state = TaskState.CREATED
    for move in moves:
        if move.old is not state or move.new not in LEGAL_MOVES[state]:
            raise InvariantBroken(f"task {task.id} was {state}, moved {move.old} to {move.new}")
        state = move.new
    _demand(state is task.state, f"task {task.id} is {task.state}, its history says {state}")

"""The agenda: what falls due when, and what no longer counts."""

from __future__ import annotations

from math import inf
from typing import Any

from retrypool_async._agenda import Agenda, Due


class Notes:
    """An agenda whose entries count until they are struck out."""

    def __init__(self) -> None:
        self.struck_out: set[Any] = set()
        self.agenda = Agenda(lambda what, whom, when: whom not in self.struck_out)

    def due(self, now: float) -> list[Any]:
        return [whom for _, whom, _ in self.agenda.due(now)]


def test_what_is_due_comes_in_the_order_of_its_time() -> None:
    """And what falls due together, in the order in which it was added."""
    notes = Notes()
    for when, whom in [(3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "d"), (9.0, "later")]:
        notes.agenda.add(when, Due.RETRY, whom)
    assert notes.agenda.next_at == 1.0
    assert notes.due(3.0) == ["a", "d", "b", "c"]
    assert notes.agenda.next_at == 9.0
    assert notes.due(8.9) == []
    assert notes.due(9.0) == ["later"]
    assert notes.agenda.next_at == inf


def test_what_no_longer_counts_is_passed_over() -> None:
    """It stays in the heap until its time, and is never handed out."""
    notes = Notes()
    for whom in ("a", "b", "c"):
        notes.agenda.add(1.0, Due.COOL, whom)
    notes.struck_out.add("b")
    assert sorted(notes.agenda.tasks(Due.COOL)) == ["a", "c"]
    assert list(notes.agenda.tasks(Due.RETRY)) == []
    assert notes.due(1.0) == ["a", "c"]


def test_an_entry_may_be_added_while_others_are_handed_out() -> None:
    """Due already, it still comes in this round."""
    notes = Notes()
    notes.agenda.add(1.0, Due.RETRY, "a")
    seen: list[Any] = []
    for _, whom, _ in notes.agenda.due(2.0):
        seen.append(whom)
        if whom == "a":
            notes.agenda.add(2.0, Due.RETRY, "b")
            notes.agenda.add(2.5, Due.RETRY, "c")
    assert seen == ["a", "b"]
    assert notes.agenda.next_at == 2.5


def test_entries_that_do_not_count_do_not_pile_up() -> None:
    """However many are added and struck out, the heap is about as large as what counts."""
    notes = Notes()
    for number in range(50):
        notes.agenda.add(1000.0, Due.DEADLINE, number)
    for number in range(50, 10_000):
        notes.agenda.add(500.0, Due.DEADLINE, number)
        notes.struck_out.add(number)
        assert len(notes.agenda) <= 64 + 2 * 51
    assert notes.due(1000.0) == list(range(50))


def test_sweeping_keeps_the_time_of_the_next_entry_right() -> None:
    """It may have been that of an entry that did not count."""
    notes = Notes()
    for number in range(64):
        notes.struck_out.add(number)
        notes.agenda.add(1.0 + number, Due.DEADLINE, number)
    assert notes.agenda.next_at == 1.0
    notes.agenda.add(90.0, Due.RETRY, "counts")
    assert len(notes.agenda) == 1
    assert notes.agenda.next_at == 90.0

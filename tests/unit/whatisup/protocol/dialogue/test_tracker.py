"""Every request ends exactly once."""

from __future__ import annotations

from whatisup.lifecycle import Trigger
from whatisup.protocol.dialogue.tracker import IqTracker, Waiter
from whatisup.wire import Node

ANSWER = Node("iq", {"type": "result", "id": "1"})


class Log:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def waiter(self, deadline_at: float) -> Waiter:
        return Waiter(deadline_at, self.seen.append, self.seen.append)


def test_an_answer_reaches_its_waiter_once() -> None:
    tracker, log = IqTracker(), Log()
    tracker.expect("1", log.waiter(60))
    assert tracker.answer(ANSWER)
    assert not tracker.answer(ANSWER)
    tracker.handle_timer(100)
    tracker.fail_all(Trigger.CONNECTION_LOST)
    assert log.seen == [ANSWER]


def test_an_unsolicited_answer_is_nobodys() -> None:
    tracker, log = IqTracker(), Log()
    tracker.expect("2", log.waiter(60))
    assert not tracker.answer(ANSWER)
    assert not tracker.answer(Node("iq", {"type": "result"}))
    assert log.seen == []


def test_a_deadline_ends_the_waiting() -> None:
    tracker, log = IqTracker(), Log()
    tracker.expect("1", log.waiter(60))
    tracker.expect("2", log.waiter(70))
    assert tracker.next_deadline() == 60
    tracker.handle_timer(59.9)
    assert log.seen == []
    tracker.handle_timer(60)
    assert log.seen == [None]
    assert not tracker.answer(ANSWER)
    assert tracker.next_deadline() == 70


def test_the_end_reaches_every_waiter() -> None:
    tracker, log = IqTracker(), Log()
    tracker.expect("1", log.waiter(60))
    tracker.expect("2", Waiter(60, log.seen.append))
    tracker.fail_all(Trigger.REPLACED)
    assert log.seen == [Trigger.REPLACED]
    assert tracker.next_deadline() is None


def test_shift_moves_every_deadline() -> None:
    tracker, log = IqTracker(), Log()
    tracker.expect("1", log.waiter(60))
    tracker.shift(30)
    tracker.handle_timer(89)
    assert log.seen == []
    assert tracker.next_deadline() == 90

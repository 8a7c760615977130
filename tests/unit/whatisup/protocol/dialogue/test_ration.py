"""How many prekeys a server can make an instance mint."""

from __future__ import annotations

from tests.playbook import Playbook
from whatisup.protocol.dialogue.ration import BURST, PER_S, PrekeyRation
from whatisup.protocol.events import Connected, FrameDropped, PrekeysWanted
from whatisup.protocol.prekeys import FIRST_UPLOAD, LOW, build_count, build_low_notification

DAY_S = 86_400.0
COUNT = ("encrypt", "count")


def exhausted(now: float = 0.0) -> PrekeyRation:
    ration = PrekeyRation(now)
    while ration.take(FIRST_UPLOAD, now):
        pass
    return ration


def test_a_ration_is_a_burst_and_a_trickle() -> None:
    ration, minted = PrekeyRation(0.0), 0
    for minute in range(24 * 60):
        minted += ration.take(FIRST_UPLOAD, minute * 60.0)
    assert BURST <= minted <= BURST + PER_S * DAY_S
    assert minted < 5000


def test_less_than_a_stock_is_not_worth_an_upload() -> None:
    ration = exhausted()
    assert ration.take(FIRST_UPLOAD, (LOW - 1) / PER_S) == 0
    assert ration.take(FIRST_UPLOAD, (LOW + 0.1) / PER_S) == LOW


def test_keys_that_were_used_may_be_replaced() -> None:
    ration = exhausted()
    ration.used(7)
    assert ration.take(50, 0.0) == 7


def test_nothing_saves_up_beyond_the_burst() -> None:
    ration = PrekeyRation(0.0)
    ration.used(1000)
    assert ration.take(10**6, 10 * DAY_S) == BURST


def test_a_clock_that_goes_back_gives_nothing() -> None:
    ration = exhausted(1e6)
    assert ration.take(50, 0.0) == 0


def test_a_server_that_asks_for_more_on_every_connection_gets_no_more() -> None:
    ration, minted = PrekeyRation(0.0), 0
    books = [Playbook.login(ration=ration) for _ in range(20)]
    for book in books:
        book.answers[COUNT] = lambda request: build_count(request, 0)
        book.let_in()
        minted += sum(event.count for event in book.of(PrekeysWanted))
    assert minted == BURST
    # The login goes on without them.
    assert books[-1].of(Connected) == [Connected()]
    assert books[-1].one(FrameDropped).reason == "the server asks for more prekeys than were used"


def test_a_server_that_keeps_saying_it_runs_low_is_not_believed_for_ever() -> None:
    book = Playbook.login(ration=exhausted()).let_in()
    book.serve(*(build_low_notification(str(number), 0, server_unix=1) for number in range(5)))
    assert book.of(PrekeysWanted) == []

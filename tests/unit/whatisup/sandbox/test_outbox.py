from __future__ import annotations

from whatisup.sandbox.outbox import PATIENCE_S, PRIME, Outbox

BACKLOG = [(position, "bob@lid") for position in range(1, 11)]


def active(*switches: str, backlog: list[tuple[int, str]] = BACKLOG) -> Outbox:
    outbox = Outbox(backlog, switches)
    outbox.activate(0.0)
    return outbox


def flow(outbox: Outbox, now: float = 0.0) -> list[tuple[int, int | None]]:
    found = []
    while (due := outbox.next(now)) is not None:
        found.append(due)
    return found


def test_nothing_flows_to_a_passive_client() -> None:
    outbox = Outbox(BACKLOG, ())
    assert flow(outbox) == []
    assert not outbox.offer(11, "ada@lid")
    outbox.activate(0.0)
    outbox.rest()
    assert flow(outbox) == []


def test_five_come_unasked_and_then_as_many_as_asked_for() -> None:
    outbox = active()
    assert flow(outbox) == [(position, position - 1) for position in range(1, PRIME + 1)]
    outbox.ask(2, 0.0)
    assert flow(outbox) == [(6, 5), (7, 6)]
    assert outbox.end() is None
    outbox.ask(200, 0.0)
    assert flow(outbox) == [(8, 7), (9, 8), (10, 9)]
    assert [outbox.end(), outbox.end()] == [10, None]


def test_client_that_never_asks_is_served_after_a_silence() -> None:
    outbox = active()
    flow(outbox)
    outbox.wait(PATIENCE_S - 0.1)
    assert flow(outbox) == []
    outbox.wait(PATIENCE_S)
    assert len(flow(outbox)) == 5


def test_pull_queue_waits_for_ever() -> None:
    outbox = active("pull-queue")
    flow(outbox)
    outbox.wait(1000.0)
    assert flow(outbox) == []


def test_push_queue_does_not_wait_and_takes_no_requests() -> None:
    outbox = active("push-queue")
    outbox.ask(1, 0.0)
    assert len(flow(outbox)) == 10


def test_live_stanza_overtakes_the_backlog_of_others_but_not_of_its_sender() -> None:
    outbox = active()
    flow(outbox)
    assert outbox.offer(11, "ada@lid")
    assert not outbox.offer(12, "bob:3@lid")
    outbox.ask(200, 0.0)
    assert flow(outbox)[-1] == (12, 10)
    assert outbox.end() == 11


def test_live_stanza_waits_for_the_end_where_they_are_held_back() -> None:
    outbox = active("live-held-back")
    flow(outbox)
    assert not outbox.offer(11, "ada@lid")
    outbox.ask(200, 0.0)
    flow(outbox)
    assert outbox.end() == 11
    assert outbox.offer(12, "ada@lid")


def test_what_came_while_passive_after_the_end_is_live() -> None:
    outbox = Outbox([], ())
    assert outbox.end() == 0
    assert not outbox.offer(1, "bob@lid")
    outbox.activate(0.0)
    assert flow(outbox) == [(1, None)]

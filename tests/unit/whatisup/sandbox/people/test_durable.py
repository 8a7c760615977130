"""What people know survives the sandbox: nothing that was taken is lost, done twice, or ruined by a neighbour."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from whatisup import control
from whatisup.sandbox.people import reading
from whatisup.sandbox.people.bursts import AHEAD, LOOK_S
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.state import State
from whatisup.wire import Node


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "sandbox.db")


def reopened(town: Town, path: str) -> Town:
    """The same town after its process was killed."""
    town.bench.hub.state.close()
    return make_town(State.open(path))


def test_work_that_was_taken_is_done_after_a_restart_and_once(path: str) -> None:
    town = make_town(State.open(path))
    for index in range(5):
        town.people.send(ADA, BOB, {"type": "text", "text": f"text {index}"})
    # Killed when a part of it was done, all of it unread.
    town.people.work(-1.0)
    town = reopened(town, path)
    town.people.work(-1.0)
    town = reopened(town, path)
    town.settle()
    assert town.texts(BOB) == [f"text {index}" for index in range(5)]
    assert {row.verdict for row in town.received(BOB)} == {"read"}
    assert all(len(row.receipts) == 1 for row in town.sent(ADA))


def test_sessions_logs_and_settings_survive(path: str) -> None:
    town = make_town(State.open(path))
    town.say(ADA, BOB, "one")
    town.say(BOB, ADA, "two")
    town.people.set_up(BOB, is_online=False, persona=control.Persona.ECHO)
    town.say(ADA, BOB, "three")
    town = reopened(town, path)
    assert town.people.settings(BOB).is_online is False
    town.people.set_up(BOB, is_online=True)
    town.settle()
    assert town.texts(BOB) == ["one", "three"]
    assert town.texts(ADA) == ["two", "three"]
    assert [row.verdict for row in town.received(ADA)] == ["read", "read"]


def test_burst_goes_on_after_a_restart_and_ends(path: str) -> None:
    town = make_town(State.open(path))
    town.people.start_burst(ADA, control.BurstRequest(BOB, 150))
    town.people._bursts.step(town.bench.hands.now)
    assert town.people.waiting(ADA) == AHEAD
    town = reopened(town, path)
    burst_out(town)
    assert town.texts(BOB) == [f"burst {index}" for index in range(1, 151)]
    (burst,) = town.people.bursts(ADA).data
    assert (burst.done, burst.count) == (150, 150)
    assert len(town.people._bursts) == 0


def burst_out(town: Town) -> None:
    """Let time pass until every burst is over."""
    for _ in range(1000):
        due_in_s = town.people._bursts.step(town.bench.hands.now)
        town.settle()
        if due_in_s is None:
            return
        town.bench.hands.now += due_in_s
    raise AssertionError("a burst never ends")


def test_burst_keeps_its_rate() -> None:
    town = make_town()
    town.people.start_burst(ADA, control.BurstRequest(BOB, 20, 4.0, "tick"))
    begun_at = town.bench.hands.now
    for _ in range(9):
        due_in_s = town.people._bursts.step(town.bench.hands.now)
        assert due_in_s is not None
        town.settle()
        town.bench.hands.now += due_in_s
    assert len(town.texts(BOB)) == 9
    assert town.bench.hands.now - begun_at == pytest.approx(9 / 4)


@pytest.mark.parametrize("rate", [5e-324, 1e-300])
def test_burst_of_the_smallest_rate_waits_without_end(rate: float) -> None:
    town = make_town()
    town.people.start_burst(ADA, control.BurstRequest(BOB, 2, rate, "tick"))
    for _ in range(3):
        due_in_s = town.people._bursts.step(town.bench.hands.now)
        assert due_in_s is not None
        assert 0 < due_in_s < 2 * LOOK_S
        town.settle()
        town.bench.hands.now += due_in_s
    assert len(town.texts(BOB)) == 1


def test_one_phones_defect_leaves_the_others_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    town = make_town(None, ADA, BOB, "999000000003")
    take = reading.take

    def broken(turn: Turn, node: Node) -> None:
        if turn.number == BOB and node.tag == "message":
            raise RuntimeError("a defect")
        take(turn, node)

    monkeypatch.setattr(reading, "take", broken)
    town.people.send(ADA, BOB, {"type": "text", "text": "to Bob"})
    town.people.send(ADA, "999000000003", {"type": "text", "text": "to Eve"})
    town.settle()
    assert town.received(BOB) == []
    assert town.texts("999000000003") == ["to Eve"]
    assert town.people.waiting(BOB) == 0


def test_stanzas_that_mean_nothing_are_dropped() -> None:
    town = make_town()
    for node in (Node("message"), Node("receipt"), Node("notification"), Node("message", {"id": "1", "from": "x"})):
        town.people.deliver(ADA, node)
    town.settle()
    assert town.people.waiting(ADA) == 0
    assert town.received(ADA) == []


async def test_run_acts_when_something_comes() -> None:
    town = make_town()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.people.run)
        await trio.testing.wait_all_tasks_blocked()
        town.people.send(ADA, BOB, {"type": "text", "text": "hello"})
        with trio.fail_after(5):
            while not town.people.received(BOB, 0, 1).data:
                await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert town.texts(BOB) == ["hello"]

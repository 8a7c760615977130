"""What people know survives the sandbox: nothing that was taken is lost, done twice, or ruined by a neighbour."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from tests.unit.whatisup.sandbox.test_state import an_account
from whatisup import control
from whatisup.sandbox.people import reading, tables
from whatisup.sandbox.people.bursts import AHEAD, LOOK_S
from whatisup.sandbox.people.keys import Keys, Shelf
from whatisup.sandbox.people.tasks import RenewTask
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


def with_ada(path: str) -> State:
    """A state file with the tables of people, and one account."""
    state = State.open(path)
    tables.create_tables(state.connection)
    state.add_account(an_account(ADA))
    return state


def ids_on(desk: tables.Desk) -> list[str]:
    """The ids of the stanzas that phones have to take."""
    stanzas = [tables.decoded(work) for work in desk.due(10)]
    return [str(stanza.attrs["id"]) for stanza in stanzas if isinstance(stanza, Node)]


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


def test_what_was_settled_survives_a_copy_of_the_file_and_is_done_once(path: str, tmp_path: Path) -> None:
    state = State.open(path)
    town = make_town(state)
    town.say(ADA, BOB, "before")
    for index in range(4):
        town.people.send(ADA, BOB, {"type": "text", "text": f"text {index}"})
    town.people.work(-1.0)  # one of the two tasks that wait for each text
    state.settle()
    copies = tmp_path.parent / f"{tmp_path.name}-killed"
    shutil.copytree(tmp_path, copies)  # as a SIGKILL leaves it, the log of SQLite beside the file
    town.settle()
    wanted = town.texts(BOB)
    state.close()
    again = make_town(State.open(str(copies / "sandbox.db")))
    again.settle()
    assert again.texts(BOB) == wanted == ["before", *(f"text {index}" for index in range(4))]
    assert {row.verdict for row in again.received(BOB)} == {"read"}
    assert [row.text for row in again.sent(ADA)] == wanted
    assert all(len(row.receipts) == 1 for row in again.sent(ADA))
    again.bench.hub.state.close()


def test_what_was_not_settled_is_as_if_it_had_not_been(path: str, tmp_path: Path) -> None:
    state = State.open(path)
    town = make_town(state)
    town.say(ADA, BOB, "one")
    state.settle()
    copies = tmp_path.parent / f"{tmp_path.name}-killed"
    town.say(ADA, BOB, "two")
    shutil.copytree(tmp_path, copies)
    state.close()
    again = make_town(State.open(str(copies / "sandbox.db")))
    assert again.texts(BOB) == ["one"]
    again.say(ADA, BOB, "two")  # the ratchets stand where they stood
    assert [row.verdict for row in again.received(BOB)] == ["read", "read"]
    again.bench.hub.state.close()


def test_full_desk_drops_old_stanzas_and_refuses_tasks(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_WAITING", 3)
    state = with_ada(path)
    desk = tables.Desk(state)
    for index in range(2):
        assert desk.add(ADA, Node("message", {"id": str(index)}))
    state.settle()  # two are in the file
    for index in range(2, 5):
        assert desk.add(ADA, Node("message", {"id": str(index)}))
    assert not desk.add(ADA, RenewTask())
    assert desk.count(ADA) == 3
    assert ids_on(desk) == ["2", "3", "4"]
    state.settle()
    assert ids_on(desk) == ["2", "3", "4"]
    state.close()


def test_phone_that_is_off_drops_old_stanzas_from_the_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_WAITING", 2)
    state = with_ada(path)
    desk = tables.Desk(state)
    desk.set_up(ADA, tables.PhoneSettings(is_online=False))
    for index in range(4):
        assert desk.add(ADA, Node("message", {"id": str(index)}))
    assert desk.due(10) == []
    desk.set_up(ADA, tables.PhoneSettings(is_online=True))
    assert ids_on(desk) == ["2", "3"]
    state.close()


def test_what_no_wire_can_carry_is_dropped_and_nothing_else(path: str) -> None:
    state = with_ada(path)
    desk = tables.Desk(state)
    desk.add(ADA, Node("message", {"id": "1"}))
    desk.add(ADA, Node(""))
    desk.add(ADA, RenewTask())
    state.settle()
    assert [work.is_stanza for work in desk.due(10)] == [True, False]
    assert desk.count(ADA) == 2
    state.close()


def test_sessions_that_change_within_a_unit_are_taken_back_with_it(path: str) -> None:
    state = with_ada(path)
    keys = Keys(Shelf(state), ADA)
    keys.put("kind", "a", b"old")

    def fail() -> None:
        with state.unit():
            keys.put("kind", "a", b"new")
            keys.delete("kind", "a")
            keys.put("kind", "b", b"more")
            assert keys.names("kind") == ["b"]  # for that, all of it is written
            keys.put("kind", "b", b"still more")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (keys.get("kind", "a"), keys.get("kind", "b")) == (b"old", None)
    state.close()
    state = State.open(path)
    keys = Keys(Shelf(state), ADA)
    assert (keys.get("kind", "a"), keys.names("kind")) == (b"old", ["a"])
    state.close()


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

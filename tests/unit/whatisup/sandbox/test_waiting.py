from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.whatisup.sandbox.test_state import a_companion, an_account
from whatisup.jid import Jid
from whatisup.sandbox import waiting as waiting_module
from whatisup.sandbox.state import State
from whatisup.sandbox.waiting import KEPT_S, Clearing, WaitingTable, clearing_of
from whatisup.wire import Node, decode_node

ADA, BOB = Jid("999000000001", "s.whatsapp.net", 1), Jid("999000000002", "s.whatsapp.net")


@pytest.fixture
def table() -> Iterator[WaitingTable]:
    state = State.open(None)
    state.add_account(an_account())
    state.link(a_companion())
    yield WaitingTable(state)
    state.close()


def add(table: WaitingTable, stanza_id: str, *, unix: int = 100, tag: str = "message") -> int:
    return table.add(1, Node(tag, {"id": stanza_id, "from": BOB}), Clearing.DELIVERED, unix=unix).position


def ids(table: WaitingTable) -> list[str]:
    found = [table.at(position) for position, _ in table.positions(1)]
    return [stanza.id for stanza in found if stanza is not None]


def test_waiting_keeps_order_and_counts_by_kind(table: WaitingTable) -> None:
    for stanza_id, tag in (("a", "message"), ("b", "receipt"), ("c", "message")):
        add(table, stanza_id, tag=tag)
    assert ids(table) == ["a", "b", "c"]
    assert table.kinds(1) == {"message": 2, "receipt": 1}
    assert table.count(1) == 3


def test_waiting_returns_the_stanza_as_it_was(table: WaitingTable) -> None:
    node = Node("message", {"id": "a", "from": BOB, "type": "text"}, (Node("enc", {"v": "2"}, b"secret"),))
    kept = table.add(1, node, Clearing.DELIVERED, unix=1)
    found = table.at(kept.position)
    assert found == kept
    assert decode_node(kept.stanza) == node
    assert "secret" not in repr(kept)


def test_waiting_finds_all_of_one_id_and_removes_one(table: WaitingTable) -> None:
    first, second = add(table, "a"), add(table, "a")
    add(table, "a", tag="receipt")
    assert [stanza.position for stanza in table.of_id(1, "message", "a")] == [first, second]
    table.remove(1, [first])
    assert [stanza.position for stanza in table.of_id(1, "message", "a")] == [second]
    assert table.count(1) == 2


def test_waiting_removes_nothing_of_another_device(table: WaitingTable) -> None:
    position = add(table, "a")
    table.remove(2, [position])
    assert table.count(1) == 1


def test_waiting_drops_the_oldest_when_full(table: WaitingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "MAX_WAITING", 2)
    for stanza_id in ("a", "b", "c"):
        add(table, stanza_id)
    assert ids(table) == ["b", "c"]
    assert table.count(1) == 2


def test_waiting_forgets_after_two_weeks(table: WaitingTable) -> None:
    add(table, "old", unix=100)
    add(table, "new", unix=101)
    table.expire(99 + KEPT_S)
    assert ids(table) == ["old", "new"]
    table.expire(100 + KEPT_S)
    assert ids(table) == ["new"]
    assert table.count(1) == 1


@pytest.mark.parametrize(
    ("node", "clearing"),
    [
        (Node("message", {"id": "a", "from": BOB}), Clearing.DELIVERED),
        (Node("message", {"id": "a", "from": ADA, "recipient": BOB}), Clearing.SENDER),
        (Node("message", {"id": "a", "from": ADA, "category": "peer"}), Clearing.OWN),
        (Node("receipt", {"id": "a", "from": BOB, "recipient": BOB}), Clearing.ACK),
        (Node("notification", {"id": "a", "from": BOB}), Clearing.ACK),
        (Node("sandbox-novelty", {"id": "a", "from": BOB}), Clearing.ACK),
    ],
)
def test_stanza_is_forgotten_by_what_its_kind_calls_for(node: Node, clearing: Clearing) -> None:
    assert clearing_of(node) is clearing


def test_waiting_changes_are_taken_back_with_their_unit(table: WaitingTable) -> None:
    state, first, second = table._state, add(table, "a"), add(table, "b")
    state.settle()
    third = add(table, "c")

    def fail() -> None:
        with state.unit():
            add(table, "d")
            table.remove(1, [first, third])
            assert ids(table) == ["b", "d"]  # for that, all of it is written
            add(table, "e")
            table.remove(1, [second])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert table.count(1) == 3
    assert [stanza.position for stanza in table.of_id(1, "message", "a")] == [first]
    state.settle()
    assert ids(table) == ["a", "b", "c"]
    assert table.of_id(1, "message", "d") == []


def test_waiting_forgets_what_it_is_told_to_once(table: WaitingTable) -> None:
    first = add(table, "a")
    add(table, "b")
    table.remove(1, [first, first])
    assert table.count(1) == 1
    table._state.settle()
    table.remove(1, [first, 12345])
    assert table.count(1) == 1
    assert ids(table) == ["b"]


def test_waiting_answers_alike_whether_it_remembers_or_reads(
    table: WaitingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_module, "MAX_KNOWN", 2)
    positions = [add(table, "a") for _ in range(5)]
    assert [stanza.position for stanza in table.of_id(1, "message", "a")] == positions
    table.remove(1, positions[:3])
    table._state.settle()
    assert [stanza.position for stanza in table.of_id(1, "message", "a")] == positions[3:]
    assert table.at(positions[4]) == table.of_id(1, "message", "a")[1]


def test_waiting_goes_with_its_device_before_it_is_in_the_file(table: WaitingTable) -> None:
    state = table._state
    add(table, "a")
    with state.unit():
        state.unlink(1)
        table.forget_device(1)
        add(table, "late")  # for a device that is gone
    state.settle()
    assert ids(table) == []


def test_waiting_keeps_nothing_of_a_device_that_is_gone(table: WaitingTable) -> None:
    add(table, "a")
    table._state.unlink(1)
    table.forget_device(1)
    assert (table._known, table._by_id, table._fresh) == ({}, {}, {})
    assert table.count(1) == 0

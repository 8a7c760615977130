"""The event log: one order for everybody, and cursors that neither skip nor repeat."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Signal
from typing import Any

import pytest

from tests.store.world import NOW, World, make_customer, make_instance, read_events, told
from whatisup.errors import UnknownInstance
from whatisup.store import AppendEvent, Call, Mode, Store, Tx, Unit, events

WRITERS = 4
BATCHES = 25
PATIENCE_S = 30


def texts(found: list[Any]) -> list[str]:
    return [event.data["text"] for event in found]


def test_positions_order_the_store_and_seq_the_instance(world: World) -> None:
    other = world.another()
    world.store.commit([world.unit(told("a"), told("b")), Unit(other.id, 0, (told("c"),))])
    world.store.commit([Unit(other.id, 0, (told("d"),)), world.unit(told("e"))])
    assert [(e.position, e.instance_id == world.id, e.seq, e.data and e.data["text"]) for e in world.events()] == [
        (1, True, 1, "a"), (2, True, 2, "b"), (3, False, 1, "c"), (4, False, 2, "d"), (5, True, 3, "e")
    ]  # fmt: skip
    assert world.store.read(events.latest_position) == 5


def test_page_goes_on_after_a_position(world: World) -> None:
    world.write(*(told(str(i)) for i in range(5)))
    first = world.events(limit=2)
    assert texts(first) == ["0", "1"]
    assert texts(world.events(after=first[-1].position)) == ["2", "3", "4"]
    assert world.events(after=5) == []


def test_page_shows_only_what_is_the_readers(world: World) -> None:
    store = world.store
    test = world.another(mode=Mode.TEST)
    stranger = make_customer(store, "Grace")
    strange = make_instance(store, stranger)
    store.commit([world.unit(told("live")), Unit(test.id, 0, (told("test"),)), Unit(strange.id, 0, (told("strange"),))])
    assert texts(world.events()) == ["live"]
    assert texts(world.events(mode=Mode.TEST)) == ["test"]
    assert texts(read_events(store, stranger.id)) == ["strange"]


def test_page_filters_by_instance_and_type(world: World) -> None:
    other = world.another()
    kinds = ("instance.status", "instance.connected", "qr.updated", "instance_x")
    world.write(*(AppendEvent(kind, {"text": kind}, NOW) for kind in kinds))
    world.write(told("other"), instance_id=other.id)
    assert texts(world.events(instance_id=other.id)) == ["other"]
    assert texts(world.events(types=["qr.updated", "instance.connected"])) == ["instance.connected", "qr.updated"]
    assert texts(world.events(types=["instance.*"])) == ["instance.status", "instance.connected", "other"]
    assert len(world.events(types=["*"])) == 5
    assert len(world.events(types=[])) == 5
    assert world.events(types=["%.status"]) == []


def test_cursor_is_an_own_event_id_or_a_position(world: World) -> None:
    (event,) = world.write(told()).events
    resolve, mine = events.resolve, world.customer.id
    assert world.store.read(resolve, event.id, mine, Mode.LIVE) == event.position
    assert world.store.read(resolve, "17", mine, Mode.LIVE) == 17
    assert world.store.read(resolve, event.id, mine, Mode.TEST) is None
    assert world.store.read(resolve, event.id, "cust_other", Mode.LIVE) is None
    for wrong in ("evt_none", "", "-1", "9" * 30, "²"):
        assert world.store.read(resolve, wrong, mine, Mode.LIVE) is None


def test_data_is_forgotten_at_its_time(world: World) -> None:
    world.write(AppendEvent("qr.updated", {"text": "2@code"}, NOW, expires_at=NOW + 60), told("stays"))
    assert world.store.call(events.expire, NOW + 59) == 0
    assert world.store.call(events.expire, NOW + 60) == 1
    assert world.store.call(events.expire, NOW + 61) == 0
    assert [event.data for event in world.events()] == [None, {"text": "stays"}]


def test_event_of_a_call_needs_its_instance(store: Store) -> None:
    with pytest.raises(UnknownInstance):
        store.call(lambda tx: tx.append_event("inst_none", "instance.status", {}))


def test_data_survives_unicode_and_size(world: World) -> None:
    data = {"text": "Zoë ✓ \u0000 𝄞", "list": list(range(5000)), "none": None}
    world.write(AppendEvent("instance.status", data, NOW))
    assert world.events()[0].data == data


# --- order under concurrency ----------------------------------------------------------------------------------------


def test_open_transaction_never_hides_an_event_from_a_cursor(world: World, open_store: Callable[[], Store]) -> None:
    """The first writer has a position and stays open; the second must not become visible before it."""
    second, third = open_store(), open_store()
    is_open, may_end = Signal(), Signal()

    def slow(tx: Tx) -> None:
        tx.append_event(world.id, "instance.status", {"text": "slow"})
        is_open.set()
        assert may_end.wait(PATIENCE_S)

    with ThreadPoolExecutor(2) as pool:
        slow_call = pool.submit(world.store.call, slow)
        assert is_open.wait(PATIENCE_S)
        quick_call = pool.submit(second.commit, [world.unit(told("quick"))])
        assert read_events(third, world.customer.id) == []
        assert not quick_call.done()
        may_end.set()
        slow_call.result(PATIENCE_S)
        quick_call.result(PATIENCE_S)
    assert texts(read_events(third, world.customer.id)) == ["slow", "quick"]


def test_cursor_never_skips_while_others_write(world: World, open_store: Callable[[], Store]) -> None:
    """Several handles write at once, some of their work is undone, and one reader follows."""
    instances = [world.another(name=str(i)).id for i in range(WRITERS)]
    handles = [open_store() for _ in range(WRITERS)]

    def undone(tx: Tx) -> None:
        tx.append_event(world.id, "instance.status", {"text": "undone"})
        raise ZeroDivisionError

    def write(index: int) -> None:
        for batch in range(BATCHES):
            told_now = tuple(told(f"{index}.{batch}.{i}") for i in range(batch % 3 + 1))
            handles[index].commit([Call(undone), Unit(instances[index], 0, told_now)])

    seen: list[Any] = []
    expected = WRITERS * sum(batch % 3 + 1 for batch in range(BATCHES))
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write, index) for index in range(WRITERS)]
        while len(seen) < expected and not (all(f.done() for f in writing) and not _follow(world, seen)):
            _follow(world, seen)
        for future in writing:
            future.result(PATIENCE_S)
    _follow(world, seen)
    assert [event.position for event in seen] == list(range(1, expected + 1))
    assert seen == world.events()
    for instance_id in instances:
        assert [e.seq for e in seen if e.instance_id == instance_id] == list(range(1, expected // WRITERS + 1))


def _follow(world: World, seen: list[Any]) -> bool:
    """Read what is new after the last event seen; whether there was any."""
    fresh = world.events(after=seen[-1].position if seen else 0, limit=7)
    seen += fresh
    return bool(fresh)

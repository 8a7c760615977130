"""The event log: one order for everybody, and cursors that neither skip nor repeat."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event as Signal
from typing import Any

import pytest
from sqlalchemy import insert, update

from tests.conftest import TEST_SECRETS
from tests.store.world import NOW, World, make_customer, make_instance, read_events, told
from whatisup.errors import CursorExpired, UnknownInstance
from whatisup.store import AppendEvent, Call, Mode, Store, Tx, Unit, events, new_id, tables
from whatisup.store.log_retention import DAY_MS, expire_events

WRITERS = 4
BATCHES = 25
LIMITS = (1, 2, 7, 64)
READERS = len(LIMITS)
ROUNDS = 30
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


def test_data_is_forgotten_in_steps_the_oldest_first(world: World) -> None:
    for n in (3, 1, 2):
        world.write(AppendEvent("qr.updated", {"text": str(n)}, NOW, expires_at=NOW + n))
    assert world.store.call(events.expire, NOW + 9, 2) == 2
    assert [event.data for event in world.events()] == [{"text": "3"}, None, None]
    assert world.store.call(events.expire, NOW + 9, 2) == 1


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


# --- what retention takes away ----------------------------------------------------------------------------------------


def old_log(world: World, count: int = 5) -> list[Any]:
    """Some events, each made a day after the one before it."""
    for day in range(count):
        world.store._now_ms = lambda day=day: NOW + day * DAY_MS
        world.write(told(str(day)))
    return world.events()


def follow(world: World, after: int | None, limit: int = 100, **filters: Any) -> Any:
    filters = {"customer_id": world.customer.id, "mode": Mode.LIVE, **filters}
    return world.store.read(partial(events.follow, after=after, limit=limit, **filters))


def test_old_events_go_oldest_first_and_in_portions(world: World) -> None:
    old_log(world)
    expire = partial(world.store.call, expire_events)
    assert expire(NOW + 30 * DAY_MS - 1, 30) == 0
    assert [expire(NOW + 33 * DAY_MS, 30, 3) for _ in range(3)] == [3, 1, 0]
    assert texts(world.events()) == ["4"]
    world.write(told("later"))
    assert [event.position for event in world.events()] == [5, 6]


def test_cursor_from_below_the_floor_is_expired(world: World) -> None:
    log = old_log(world)
    world.store.call(expire_events, NOW + 31 * DAY_MS, 30)
    resolve = partial(world.store.read, events.resolve)
    for gone in ("0", "1", log[0].id, log[1].id):
        with pytest.raises(CursorExpired):
            resolve(gone, world.customer.id, Mode.LIVE)
    assert [resolve(kept, world.customer.id, Mode.LIVE) for kept in ("2", log[2].id, log[4].id)] == [2, 3, 5]
    young, strange = new_id("evt", NOW + 9 * DAY_MS, bytes), log[0].id.replace("evt_", "inst_")
    for unknown in (young, strange, "evt_none"):
        assert resolve(unknown, world.customer.id, Mode.LIVE) is None
    assert resolve(log[3].id, "cust_other", Mode.LIVE) is None


def test_empty_log_knows_what_it_had(world: World) -> None:
    (first, *_, last) = old_log(world)
    world.store.call(expire_events, NOW + 99 * DAY_MS, 30)
    for event in (first, last):
        with pytest.raises(CursorExpired):
            world.store.read(events.resolve, event.id, world.customer.id, Mode.LIVE)
    assert world.store.read(events.resolve, str(last.position), world.customer.id, Mode.LIVE) == last.position
    assert follow(world, last.position).events == []


def test_follower_is_told_when_the_floor_passes_it(world: World) -> None:
    old_log(world)
    assert texts(follow(world, 1, limit=2).events) == ["1", "2"]
    world.store.call(expire_events, NOW + 31 * DAY_MS, 30)
    with pytest.raises(CursorExpired):
        follow(world, 1, limit=2)
    assert texts(follow(world, 2).events) == ["2", "3", "4"]
    assert texts(follow(world, None).events) == ["2", "3", "4"]


def test_follower_knows_how_far_it_has_seen(world: World) -> None:
    old_log(world)
    other = world.another()
    world.write(told("other"), instance_id=other.id)
    assert follow(world, 0, limit=2).until == 2
    mine = follow(world, 0, instance_id=world.id)
    assert (len(mine.events), mine.until) == (5, 6)
    assert follow(world, 6).until == 6
    assert follow(world, 99).until == 99


@pytest.mark.parametrize("after", [0, 2])
def test_near_look_finds_what_a_whole_one_finds_or_nothing(world: World, after: int) -> None:
    old_log(world, 4)
    world.write(AppendEvent("message.sent", {"text": "sent"}, NOW))
    other = world.another()
    world.write(told("other"), instance_id=other.id)
    wanted: list[dict[str, Any]] = [
        {}, {"types": ("message.*",)}, {"types": ("message.sent", "qr.updated", "qr.*", "instance.*")},
        {"types": ("message.sen_",)}, {"instance_id": other.id}, {"instance_id": world.id, "types": ("message.sent",)},
    ]  # fmt: skip
    for filters in wanted:
        for window in (1, 2, 4, 6, 10):
            for limit in (1, 2, 100):
                asked = {"customer_id": world.customer.id, "mode": Mode.LIVE, **filters}
                look = partial(events.follow_near, after=after, limit=limit, window=window, **asked)
                near, whole = world.store.read(look), follow(world, after, limit, **filters)
                looked_at = world.events(after=after, limit=window)
                if near:
                    assert near == (whole,)
                else:
                    assert len(looked_at) == window
                    assert len([one for one in whole.events if one.position <= looked_at[-1].position]) < limit


def test_near_look_knows_of_what_came_after_it_read_the_head(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL a statement sees what was committed since the one before it."""
    log = old_log(world, 3)
    monkeypatch.setattr(events, "latest_position", lambda *_: log[1].position)
    asked: dict[str, Any] = {"customer_id": world.customer.id, "mode": Mode.LIVE}
    near = world.store.read(partial(events.follow_near, after=0, limit=9, window=9, **asked))
    assert [(len(piece.events), piece.until) for piece in near] == [(3, log[2].position)]


@pytest.mark.parametrize("seed", range(3))
def test_pages_of_both_ways_join_to_the_whole_log(world: World, seed: int) -> None:
    """Any mixture of events, filter, page and window: no gap, no duplicate, whichever way a page was found."""
    chance = random.Random(seed)
    kinds = ("message.sent", "message.received", "instance.status", "qr.updated")
    instances = [world.id, world.another().id, world.another(mode=Mode.TEST).id]
    for at in range(60):
        told_now = AppendEvent(chance.choice(kinds), {"text": str(at)}, NOW)
        world.write(told_now, instance_id=chance.choice(instances))
    ways = set()
    for _ in range(25):
        types = chance.choice([(), ("message.*",), ("qr.updated",), ("qr.updated", "message.*"), ("instance.*", "*")])
        filters: dict[str, Any] = {"types": types, "instance_id": chance.choice([None, *instances])}
        limit, window = chance.randint(1, 9), chance.randint(1, 70)
        asked = {"customer_id": world.customer.id, "mode": Mode.LIVE, **filters}
        whole, after, is_over = world.events(**filters), None, False
        seen: list[Any] = []
        while not is_over:
            look = partial(events.follow_near, after=after, limit=limit, window=window, **asked)
            near = world.store.read(look)
            ways.add(bool(near))
            (piece,) = near or (follow(world, after, limit, **filters),)
            seen += piece.events
            is_over, after = len(piece.events) < limit, piece.until
        assert [one.id for one in seen] == [one.id for one in whole]
    assert ways == {True, False}


def test_near_look_is_told_when_the_floor_passes_it(world: World) -> None:
    old_log(world)
    world.store.call(expire_events, NOW + 31 * DAY_MS, 30)
    asked: dict[str, Any] = {"customer_id": world.customer.id, "mode": Mode.LIVE}
    with pytest.raises(CursorExpired):
        world.store.read(partial(events.follow_near, after=1, limit=2, window=1, **asked))


def test_event_that_a_webhook_waits_for_stays(world: World) -> None:
    log = old_log(world)
    row = {
        "position": 1, "id": "dlv_1", "endpoint_id": "wh_1", "customer_id": world.customer.id, "mode": "live",
        "event": log[1].type, "event_id": log[1].id, "kind": "live", "status": "pending", "next_attempt_at": NOW,
        "created_at": NOW, "updated_at": NOW,
    }  # fmt: skip
    world.store.call(lambda tx: tx.conn.execute(insert(tables.webhook_deliveries), row))
    assert world.store.call(expire_events, NOW + 99 * DAY_MS, 30) == 1
    assert texts(world.events()) == ["1", "2", "3", "4"]
    settle = update(tables.webhook_deliveries).values(status="failed", next_attempt_at=None)
    world.store.call(lambda tx: tx.conn.execute(settle))
    assert world.store.call(expire_events, NOW + 99 * DAY_MS, 30) == 4


def test_cursors_never_skip_on_postgresql(postgres_url: str) -> None:
    """Writers of several processes, some slow and some undone, and readers that page and follow beside them."""
    stores = [Store.open(postgres_url, TEST_SECRETS) for _ in range(WRITERS + READERS)]
    try:
        world = World(stores[0])
        instances = [world.another(name=str(n)).id for n in range(WRITERS)]
        readers = [
            _Reader(store, world.customer.id, limit) for store, limit in zip(stores[WRITERS:], LIMITS, strict=True)
        ]
        expected = WRITERS * ROUNDS * 2
        with ThreadPoolExecutor(WRITERS + READERS) as pool:
            writing = [pool.submit(_write, stores[n], instances[n], n) for n in range(WRITERS)]
            reading = [pool.submit(reader.follow, expected) for reader in readers]
            for future in (*writing, *reading):
                future.result(PATIENCE_S)
        log = world.events()
        assert len(log) == expected
        assert [event.position for event in log] == list(range(log[0].position, log[0].position + expected))
        for reader in readers:
            assert reader.seen == [event.id for event in log]
    finally:
        for store in stores:
            store.close()


def _write(store: Store, instance_id: str, number: int) -> None:
    """Transactions of two events each that stay open for a while, and one in three that is undone."""
    pause, chance = Signal(), random.Random(number)

    def slowly(tx: Tx, is_undone: bool) -> None:
        for half in range(2):
            tx.append_event(instance_id, "instance.status", {"text": f"{number}.{half}"})
            pause.wait(chance.random() * 0.004)
        if is_undone:
            raise ZeroDivisionError

    for turn in range(ROUNDS):
        if turn % 3 == 0:
            with contextlib.suppress(ZeroDivisionError):
                store.call(slowly, True)
        store.call(slowly, False)


class _Reader:
    """Goes on after the last id it saw, as a client does, or after the position up to which it has read."""

    def __init__(self, store: Store, customer_id: str, limit: int) -> None:
        self.seen: list[str] = []
        self._store = store
        self._customer_id = customer_id
        self._limit = limit
        self._after = 0

    def follow(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.seen) < count and time.monotonic() < deadline:
            if self._limit % 2 and self.seen:
                self._after = self._store.read(events.resolve, self.seen[-1], self._customer_id, Mode.LIVE)
            filters = {"customer_id": self._customer_id, "mode": Mode.LIVE}
            piece = self._store.read(partial(events.follow, after=self._after, limit=self._limit, **filters))
            self.seen += [event.id for event in piece.events]
            self._after = piece.until

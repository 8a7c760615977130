"""The queue of webhooks: every event has its deliveries in its own transaction, in the log's order, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen
from sqlalchemy.exc import OperationalError

from tests.store.hooks import Hooks, arrived, failed
from tests.store.test_units import GARBAGE
from tests.store.world import BUG, NOW, ORIGIN, World, make_customer, make_instance, told
from whatisup.errors import BadCursor, StoreUnavailable
from whatisup.store import (
    AppendEvent,
    Call,
    DeliveryKind,
    DeliveryStatus,
    DisabledReason,
    Due,
    Lane,
    Mode,
    Store,
    Tx,
    Unit,
    deliveries,
    events,
    webhooks,
)
from whatisup.store.deliveries.queue import Listener
from whatisup.webhooks.filters import matches

Counting = Callable[[Store], AbstractContextManager[list[str]]]
PATIENCE_S = 30


@pytest.fixture
def hooks(store: Store) -> Hooks:
    return Hooks(store)


def texts(hooks: Hooks, found: list[Any]) -> list[str]:
    """What the events of some deliveries tell."""
    known = hooks.store.read(events.by_ids, [one.event_id for one in found])
    return [(known[one.event_id].data or {})["text"] for one in found]


# --- who gets what --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "heard"),
    [
        (["*"], ["message.received", "message.sent", "instance.connected", "messages.x"]),
        (["message.*"], ["message.received", "message.sent"]),
        (["message.sent", "instance.*"], ["message.sent", "instance.connected"]),
        (["message.received", "message.*"], ["message.received", "message.sent"]),
        (["message"], []),
        ([], []),
    ],
)
def test_listener_hears_what_its_patterns_say(patterns: list[str], heard: list[str]) -> None:
    listener = Listener.of("wh_1", patterns, [])
    names = ["message.received", "message.sent", "instance.connected", "messages.x"]
    assert [name for name in names if listener.hears(name, "inst_1")] == heard
    assert [name for name in names if matches(patterns, name)] == heard, "as whoever checks patterns understands them"


def test_listener_of_some_instances_hears_of_those_alone() -> None:
    listener = Listener.of("wh_1", ["*"], ["inst_1", "inst_2"])
    assert [one for one in ("inst_1", "inst_2", "inst_3", None) if listener.hears("x", one)] == ["inst_1", "inst_2"]


def test_every_event_has_a_delivery_for_every_endpoint_that_listens(hooks: Hooks) -> None:
    everything, some = hooks.endpoint(), hooks.endpoint("qr.*")
    hooks.endpoint("message.*")
    results = hooks.store.commit([hooks.unit(AppendEvent("qr.updated", {"text": "a"}, NOW), told("b"))])
    found = hooks.shown()
    assert [(one.endpoint_id, one.event) for one in found] == [
        (everything.id, "qr.updated"), (some.id, "qr.updated"), (everything.id, "instance.status")
    ]  # fmt: skip
    assert [(one.id, one.position) for one in results.deliveries] == [(one.id, one.position) for one in found]
    first, event = found[0], results.events[0]
    assert (first.event_id, first.instance_id, first.mode, first.kind) == (
        event.id, hooks.id, Mode.LIVE, DeliveryKind.LIVE
    )  # fmt: skip
    assert (first.status, first.attempt_count, first.is_late) == (DeliveryStatus.PENDING, 0, False)
    assert first.next_attempt_at == first.created_at == first.updated_at
    assert (first.delivered_at, first.payload_expires_at, first.last_error) == (None, None, None)


def test_event_of_a_call_has_deliveries_too(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    event = hooks.store.call(lambda tx: tx.append_event(hooks.id, "instance.status", {"text": "x"}))
    (delivery,) = hooks.shown()
    assert (delivery.endpoint_id, delivery.event_id) == (endpoint.id, event.id)


def test_nobody_hears_of_others(hooks: Hooks) -> None:
    stranger = make_customer(hooks.store, "Grace")
    strange = make_instance(hooks.store, stranger)
    sandbox = hooks.another(mode=Mode.TEST)
    mine, test = hooks.endpoint(), hooks.endpoint(mode=Mode.TEST)
    theirs = hooks.endpoint(customer_id=stranger.id)
    units = [Unit(one, 0, (told(one),)) for one in (hooks.id, sandbox.id, strange.id)]
    hooks.store.commit(units)
    for endpoint, owner, mode, instance_id in (
        (mine, hooks.customer, Mode.LIVE, hooks.id),
        (test, hooks.customer, Mode.TEST, sandbox.id),
        (theirs, stranger, Mode.LIVE, strange.id),
    ):
        (delivery,) = hooks.shown(customer_id=owner.id, mode=mode)
        assert (delivery.endpoint_id, delivery.instance_id) == (endpoint.id, instance_id)


def test_endpoint_of_some_instances_gets_theirs_alone(hooks: Hooks) -> None:
    other = hooks.another()
    hooks.endpoint(instance_ids=[other.id])
    hooks.write(told("no"))
    hooks.write(told("yes"), instance_id=other.id)
    hooks.store.call(lambda tx: tx.append_customer_event(hooks.customer.id, Mode.LIVE, "webhook.disabled", {}))
    assert texts(hooks, hooks.shown()) == ["yes"]


def test_endpoint_that_is_off_gets_nothing_new_and_keeps_what_waits(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("before"))
    hooks.patch(endpoint, is_enabled=False)
    hooks.write(told("meanwhile"))
    assert hooks.store.read(deliveries.lanes) == []
    counts = hooks.store.read(deliveries.counts)
    assert (counts.pending, counts.held, counts.oldest_at) == (0, 1, None)
    hooks.patch(endpoint, is_enabled=True)
    hooks.write(told("after"))
    assert texts(hooks, hooks.due(endpoint)) == ["before", "after"]


def test_deleted_endpoint_gets_nothing(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("before"))
    hooks.store.call(lambda tx: webhooks.delete(tx, endpoint.id, **hooks.me))
    hooks.write(told("after"))
    assert texts(hooks, hooks.shown()) == ["before"]
    assert hooks.store.read(deliveries.lanes) == []


def test_change_counts_from_its_own_transaction_on(hooks: Hooks) -> None:
    """Also within one batch: what is committed together with an endpoint is delivered to it."""
    off = hooks.endpoint(url="https://off.example/")
    hooks.write(told("known"))

    def switch(tx: Tx) -> str:
        webhooks.disable(tx, off.id, DisabledReason.GONE)
        return webhooks.create(
            tx, url="https://new.example/", events=["instance.*"], headers={}, secret="s",
            has_custom_secret=False, **hooks.me,
        ).id  # fmt: skip

    made, _ = hooks.store.commit([Call(switch), hooks.unit(told("together"))])
    hooks.write(told("later"))
    assert [(one.endpoint_id, text) for one, text in zip(hooks.shown(), texts(hooks, hooks.shown()), strict=True)] == [
        (off.id, "known"), (made, "together"), (made, "later")
    ]  # fmt: skip


# --- all or nothing -------------------------------------------------------------------------------------------------


def test_refused_unit_leaves_no_deliveries_and_its_neighbours_have_theirs_once(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    others = [hooks.another(name=str(n)) for n in range(3)]
    batch: list[Unit | Call] = [Unit(other.id, 0, (told(other.name),)) for other in others]
    batch.insert(1, hooks.unit(told("never"), GARBAGE))
    batch.insert(3, BUG)
    results = hooks.store.commit(batch)
    assert texts(hooks, hooks.shown()) == ["0", "1", "2"]
    assert [due.position for due in results.deliveries] == [one.position for one in hooks.shown()]
    assert {due.event_id for due in results.deliveries} == {event.id for event in results.events}
    assert {one.endpoint_id for one in hooks.shown()} == {endpoint.id}


def test_call_that_fails_takes_its_events_deliveries_and_endpoints_back(hooks: Hooks) -> None:
    hooks.endpoint()

    def undone(tx: Tx) -> None:
        tx.append_event(hooks.id, "instance.status", {"text": "undone"})
        endpoint = webhooks.create(
            tx, url="https://a.example/", events=["*"], headers={}, secret="s", has_custom_secret=False, **hooks.me
        )
        deliveries.make_test(tx, endpoint.id, **hooks.me)
        raise ZeroDivisionError

    results = hooks.store.commit([Call(undone), hooks.unit(told("kept"))])
    assert isinstance(results[0], ZeroDivisionError)
    assert texts(hooks, hooks.shown()) == ["kept"]
    assert len(results.deliveries) == 1
    found, _ = hooks.store.read(lambda conn, vault: webhooks.page(conn, vault, **hooks.mine))
    assert len(found) == 1


def test_crash_before_the_commit_leaves_neither_event_nor_delivery(
    hooks: Hooks, open_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks.endpoint()

    def crash(_tx: Tx) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tx, "finish", crash)
    with pytest.raises(KeyboardInterrupt):
        hooks.write(told("lost"))
    monkeypatch.undo()
    hooks.store = open_store()
    assert (hooks.events(), hooks.shown()) == ([], [])
    hooks.write(told("kept"))
    assert texts(hooks, hooks.shown()) == ["kept"]


def test_batch_that_is_done_again_one_by_one_leaves_no_doubles(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = Hooks(sqlite_store)
    hooks.endpoint()
    tries = []
    real = Tx.finish

    def refused_once(tx: Tx) -> None:
        tries.append(tx)
        if len(tries) == 1:
            tx.conn.exec_driver_sql("SELECT broken FROM nothing")
        real(tx)

    monkeypatch.setattr(Tx, "finish", refused_once)
    results = sqlite_store.commit([hooks.unit(told("once"))])
    assert len(tries) == 2
    assert len(results.deliveries) == 1
    assert texts(hooks, hooks.shown()) == ["once"]


def test_batch_of_a_full_disk_leaves_nothing_behind(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = Hooks(sqlite_store)
    hooks.endpoint()
    real, calls = Tx.finish, []

    def full(tx: Tx) -> None:
        calls.append(tx)
        if len(calls) == 1:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise OperationalError("", {}, error)
        real(tx)

    monkeypatch.setattr(Tx, "finish", full)
    with pytest.raises(StoreUnavailable):
        sqlite_store.commit([hooks.unit(told("first"))])
    sqlite_store.commit([hooks.unit(told("second"))])
    assert texts(hooks, hooks.shown()) == ["second"]


# --- order ----------------------------------------------------------------------------------------------------------


def test_lanes_are_by_endpoint_and_instance_and_in_the_logs_order(hooks: Hooks) -> None:
    one, two = hooks.endpoint(), hooks.endpoint()
    other = hooks.another()
    hooks.store.commit([hooks.unit(told("a"), told("b")), Unit(other.id, 0, (told("c"),))])
    hooks.store.commit([hooks.unit(told("d"))])
    lanes = hooks.store.read(deliveries.lanes)
    assert set(lanes) == {
        Lane(endpoint.id, instance_id, DeliveryKind.LIVE, False)
        for endpoint in (one, two) for instance_id in (hooks.id, other.id)
    }  # fmt: skip
    assert set(hooks.store.read(deliveries.lanes, two.id)) == {lane for lane in lanes if lane.endpoint_id == two.id}
    mine = Lane(one.id, hooks.id, DeliveryKind.LIVE)
    due = hooks.store.read(deliveries.due, mine)
    assert texts(hooks, due) == ["a", "b", "d"]
    assert texts(hooks, hooks.store.read(deliveries.due, mine, due[0].position, 1)) == ["b"]
    assert hooks.store.read(deliveries.due, mine, due[-1].position) == []


def test_due_from_the_commit_is_due_from_the_store(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    results = hooks.store.commit([hooks.unit(told("a"), told("b"))])
    assert hooks.due(endpoint) == list(results.deliveries)
    event = hooks.store.call(lambda tx: tx.append_customer_event(hooks.customer.id, Mode.LIVE, "webhook.disabled", {}))
    lane = Lane(endpoint.id, None, DeliveryKind.LIVE)
    assert [one.event_id for one in hooks.store.read(deliveries.due, lane)] == [event.id]


def test_late_lane_is_read_by_time(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"), told("b"), told("c"))
    a, b, c = hooks.due(endpoint)
    hooks.settle(failed(a, again_at=NOW + 60, late=True), failed(b, again_at=NOW + 30, late=True))
    assert hooks.due(endpoint, is_late=False) == [c]
    late = Lane(endpoint.id, hooks.id, DeliveryKind.LIVE, is_late=True)
    found = hooks.store.read(deliveries.due, late, 10_000)
    assert [(one.id, one.next_attempt_at, one.lane) for one in found] == [
        (b.id, NOW + 30, late), (a.id, NOW + 60, late)
    ]  # fmt: skip


def test_several_writers_keep_the_logs_order(hooks: Hooks, open_store: Callable[[], Store]) -> None:
    endpoint = hooks.endpoint()
    instances = [hooks.another(name=str(n)).id for n in range(3)]
    handles = [open_store() for _ in instances]

    def write(index: int) -> None:
        for n in range(15):
            handles[index].commit([Call(lambda tx: BUG.fn(tx)), Unit(instances[index], 0, (told(f"{index}.{n}"),))])

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(write, index) for index in range(3)]:
            future.result(PATIENCE_S)
    log, queue = hooks.events(), hooks.shown()
    assert [one.event_id for one in queue] == [event.id for event in log]
    assert len(log) == 45
    for index, instance_id in enumerate(instances):
        due = hooks.due(endpoint, instance_id=instance_id)
        assert texts(hooks, due) == [f"{index}.{n}" for n in range(15)]


# --- what it costs --------------------------------------------------------------------------------------------------


def test_nobody_listening_costs_nothing(hooks: Hooks, count_statements: Counting) -> None:
    hooks.write(told("first"))
    with count_statements(hooks.store) as statements:
        hooks.write(told("second"))
    assert [one for one in statements if "webhook_" in one and "log_head" not in one] == []


def test_a_batch_costs_two_statements_whatever_is_in_it(hooks: Hooks, count_statements: Counting) -> None:
    for _ in range(3):
        hooks.endpoint()
    hooks.write(told("first"))
    with count_statements(hooks.store) as statements:
        hooks.write(*(told(str(n)) for n in range(20)))
    assert len([one for one in statements if "webhook_deliveries" in one]) == 2
    assert not any("webhook_endpoints" in one for one in statements)
    assert len(hooks.shown()) == 63


def test_endpoints_in_memory_are_bounded(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatisup.store.deliveries.queue.MAX_CUSTOMERS", 1)
    hooks.endpoint()
    others = [World(hooks.store) for _ in range(4)]
    for world in (*others, hooks):
        world.write(told("x"))
        assert len(hooks.store._listeners._kept) <= 2
    assert len(hooks.shown()) == 1


# --- looking --------------------------------------------------------------------------------------------------------


def test_page_filters_and_goes_on(hooks: Hooks) -> None:
    one, two = hooks.endpoint(), hooks.endpoint("qr.*")
    other = hooks.another()
    hooks.write(told("a"), AppendEvent("qr.updated", {"text": "b"}, NOW))
    hooks.write(told("c"), instance_id=other.id)
    a, b, c = (due for due in hooks.due(one))
    hooks.settle(arrived(a), failed(b), failed(c, again_at=NOW + 9))

    def ids(**filters: Any) -> list[str]:
        return [f"{row.endpoint_id[-4:]}:{row.event}" for row in hooks.shown(**filters)]

    first, second = one.id[-4:], two.id[-4:]
    assert ids() == [
        f"{first}:instance.status",
        f"{first}:qr.updated",
        f"{second}:qr.updated",
        f"{first}:instance.status",
    ]
    assert ids(endpoint_id=two.id) == [f"{second}:qr.updated"]
    assert ids(event="qr.updated") == [f"{first}:qr.updated", f"{second}:qr.updated"]
    assert ids(instance_id=other.id) == [f"{first}:instance.status"]
    assert [row.id for row in hooks.shown(status=DeliveryStatus.SUCCESS)] == [a.id]
    assert [row.id for row in hooks.shown(status=DeliveryStatus.FAILED)] == [b.id]
    assert [row.id for row in hooks.shown(status=DeliveryStatus.RETRYING)] == [c.id]
    assert ids(status=DeliveryStatus.PENDING, endpoint_id=two.id) == [f"{second}:qr.updated"]
    everything = hooks.shown()[::-1]
    page, cursor = hooks.store.read(lambda conn, vault: deliveries.page(conn, vault, **hooks.mine, limit=3))
    rest, end = hooks.store.read(lambda conn, vault: deliveries.page(conn, vault, **hooks.mine, limit=3, cursor=cursor))
    assert (page + rest, end) == (everything, None)
    with pytest.raises(BadCursor):
        hooks.shown(cursor="?")


@pytest.mark.parametrize("foreign", ["customer_id", "mode"])
def test_deliveries_of_others_do_not_exist(hooks: Hooks, foreign: str) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"))
    (due,) = hooks.due(endpoint)
    hooks.settle(arrived(due))
    stranger = make_customer(hooks.store, "Grace").id
    who = hooks.mine | {foreign: {"customer_id": stranger, "mode": Mode.TEST}[foreign]}
    assert hooks.store.read(lambda conn, vault: deliveries.get(conn, vault, due.id, **who)) is None
    assert hooks.shown(**who) == []
    again = {**who, "origin": ORIGIN}
    span = {"after": 0, "until": 99}
    assert hooks.store.call(lambda tx: deliveries.redeliver(tx, due.id, **again)) is None
    assert hooks.store.call(lambda tx: deliveries.replay(tx, endpoint.id, **span, **again)) is None
    assert hooks.store.call(lambda tx: deliveries.make_test(tx, endpoint.id, **again)) is None
    assert hooks.store.read(deliveries.attempts, due.id, stranger) == []
    assert hooks.shown()[0].status is DeliveryStatus.SUCCESS


def test_counts_are_of_what_waits(hooks: Hooks) -> None:
    empty = hooks.store.read(deliveries.counts)
    assert (empty.pending, empty.retrying, empty.held, empty.oldest_at) == (0, 0, 0, None)
    endpoint = hooks.endpoint()
    hooks.write(told("a"))
    hooks.write(told("b"), told("c"), told("d"))
    a, b, c, _ = hooks.due(endpoint)
    hooks.settle(arrived(a), failed(b, again_at=NOW), failed(c))
    counts = hooks.store.read(deliveries.counts)
    assert (counts.pending, counts.retrying, counts.held, counts.oldest_at) == (1, 1, 0, b.created_at)


def test_events_by_ids_are_everybodys(hooks: Hooks) -> None:
    stranger = World(hooks.store)
    mine, theirs = hooks.write(told("mine")).events, stranger.write(told("theirs")).events
    wanted = [*mine, *theirs]
    found = hooks.store.read(events.by_ids, [*(event.id for event in wanted), "evt_none"])
    assert found == {event.id: event for event in wanted}
    assert hooks.store.read(events.by_ids, []) == {}


def test_event_that_was_tampered_with_keeps_no_other_back(hooks: Hooks) -> None:
    (first,), (second,) = hooks.write(told("a")).events, hooks.write(told("b")).events
    spoil = text("UPDATE events SET data = (SELECT data FROM events WHERE position = 2) WHERE position = 1")
    hooks.store.call(lambda tx: tx.conn.execute(spoil))
    assert list(hooks.store.read(events.by_ids, [first.id, second.id])) == [second.id]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("lane", "deliveries_by_lane"),
        ("late", "deliveries_late"),
        ("failed", "deliveries_failed"),
        ("page", "deliveries_newest"),
    ],
)
def test_reads_of_the_queue_use_their_index_and_sort_nothing(sqlite_store: Store, query: str, index: str) -> None:
    executed: list[tuple[str, Any]] = []
    lane = Lane("wh_1", "inst_1", DeliveryKind.LIVE, is_late=query == "late")
    owner = {"customer_id": "cust_1", "mode": Mode.LIVE}
    reads: dict[str, Callable[[Any, Any], Any]] = {
        "lane": lambda conn, vault: deliveries.due(conn, vault, lane),
        "late": lambda conn, vault: deliveries.due(conn, vault, lane),
        "failed": lambda conn, vault: deliveries.page(conn, vault, **owner, status=DeliveryStatus.FAILED),  # type: ignore[arg-type] # each has its type
        "page": lambda conn, vault: deliveries.page(conn, vault, **owner),  # type: ignore[arg-type] # each has its type
    }

    def note(_conn: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        executed.append((statement, values))

    def explain(conn: Any, vault: Any) -> list[str]:
        reads[query](conn, vault)
        return [
            row[3]
            for asked, values in tuple(executed)
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}", values)
        ]

    listen(sqlite_store._backend.reader, "before_cursor_execute", note)
    plan = sqlite_store.read(explain)
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_due_names_its_lane(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"))
    (due,) = hooks.due(endpoint)
    assert isinstance(due, Due)
    assert due.lane == Lane(endpoint.id, hooks.id, DeliveryKind.LIVE, False)
    assert (due.event, due.attempt_count, due.tries) == ("instance.status", 0, 0)

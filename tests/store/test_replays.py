"""Deliveries on demand: sent again, replayed from the log in its order, and tests."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete

from tests.store.hooks import Hooks, arrived, failed
from tests.store.test_deliveries import texts
from tests.store.world import NOW, ORIGIN, told
from whatisup.errors import EventExpired
from whatisup.store import (
    AppendEvent,
    Call,
    DeliveryKind,
    DeliveryStatus,
    Due,
    Endpoint,
    Lane,
    Replayed,
    Store,
    deliveries,
    events,
    tables,
    webhooks,
)

END = 10_000


@pytest.fixture
def hooks(store: Store) -> Hooks:
    return Hooks(store)


def settle_all(hooks: Hooks, endpoint: Endpoint) -> list[Due]:
    """Deliver everything that waits, and tell in which order."""
    due = hooks.due(endpoint)
    hooks.settle(*map(arrived, due))
    return due


def redeliver(hooks: Hooks, delivery_id: str) -> Due | None:
    return hooks.store.call(lambda tx: deliveries.redeliver(tx, delivery_id, **hooks.me))


def replay(hooks: Hooks, endpoint: Endpoint, after: int = 0, until: int = END, **how: Any) -> Replayed:
    done = hooks.store.call(lambda tx: deliveries.replay(tx, endpoint.id, after=after, until=until, **hooks.me, **how))
    assert done is not None
    return done


# --- once more ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [arrived, failed])
def test_redelivered_row_starts_its_ladder_anew(hooks: Hooks, outcome: Any) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"), told("b"))
    a, b = hooks.due(endpoint)
    hooks.settle(outcome(a), arrived(b))
    again = redeliver(hooks, a.id)
    assert again is not None
    assert again.lane == Lane(endpoint.id, hooks.id, DeliveryKind.REPLAY)
    assert (again.id, again.event_id, again.attempt_count, again.tries) == (a.id, a.event_id, 1, 0)
    assert again.position > b.position
    assert hooks.due(endpoint) == [again]
    row = hooks.shown()[-1]
    assert (row.id, row.status, row.kind) == (a.id, DeliveryStatus.PENDING, DeliveryKind.REPLAY)
    assert (row.delivered_at, row.payload_expires_at, row.created_at) == (None, None, a.created_at)
    hooks.settle(arrived(again))
    assert [one.number for one in hooks.store.read(deliveries.attempts, a.id, hooks.customer.id)] == [1, 2]
    assert hooks.audited()[-1][0] == "webhook_delivery.redelivered"


def test_redelivery_is_told_with_the_commit(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"))
    (a,) = settle_all(hooks, endpoint)
    call = Call(lambda tx: deliveries.redeliver(tx, a.id, **hooks.me))
    results = hooks.store.commit([call])
    assert results.deliveries == (results[0],)


def test_late_row_is_brought_forward(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("a"))
    hooks.settle(failed(hooks.due(endpoint)[0], again_at=NOW + 9, late=True))
    again = redeliver(hooks, hooks.shown()[0].id)
    assert hooks.due(endpoint) == [again]
    assert hooks.store.read(deliveries.lanes) == [Lane(endpoint.id, hooks.id, DeliveryKind.REPLAY)]


def test_redelivery_needs_the_event_and_the_endpoint(hooks: Hooks) -> None:
    first, second = hooks.endpoint(), hooks.endpoint()
    hooks.write(told("a"))
    (a,), (b,) = settle_all(hooks, first), settle_all(hooks, second)
    hooks.store.call(lambda tx: webhooks.delete(tx, first.id, **hooks.me))
    with pytest.raises(EventExpired):
        redeliver(hooks, a.id)
    hooks.store.call(lambda tx: tx.conn.execute(delete(tables.events)))
    with pytest.raises(EventExpired):
        redeliver(hooks, b.id)
    assert redeliver(hooks, "dlv_none") is None
    assert {row.status for row in hooks.shown()} == {DeliveryStatus.SUCCESS}


# --- the log again --------------------------------------------------------------------------------------------------


def test_replay_tells_the_log_in_its_order_whatever_was_delivered_before(hooks: Hooks) -> None:
    """Some were delivered, some were missed, some were not wanted then: they come as they happened."""
    endpoint = hooks.endpoint("instance.*")
    hooks.write(told("1"), AppendEvent("qr.updated", {"text": "2"}, NOW))
    hooks.patch(endpoint, is_enabled=False)
    hooks.write(told("3"))
    hooks.patch(endpoint, is_enabled=True, events=["*"])
    hooks.write(told("4"))
    assert texts(hooks, settle_all(hooks, endpoint)) == ["1", "4"]
    assert replay(hooks, endpoint) == Replayed(4, 4, False)
    due = hooks.due(endpoint)
    assert texts(hooks, due) == ["1", "2", "3", "4"]
    assert {one.lane for one in due} == {Lane(endpoint.id, hooks.id, DeliveryKind.REPLAY)}
    assert [(one.id, one.position) for one in hooks.shown()] == [(one.id, one.position) for one in due]
    assert hooks.audited()[-1] == (
        "webhook_endpoint.replayed", None, {"after": 0, "until": END, "count": 4}
    )  # fmt: skip


def test_replay_done_twice_does_it_once(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("1"), told("2"))
    settle_all(hooks, endpoint)
    hooks.write(told("3"))
    assert replay(hooks, endpoint).count == 2, "the third waits in its own lane"
    before = hooks.shown()
    assert replay(hooks, endpoint).count == 0
    assert hooks.shown() == before
    settle_all(hooks, endpoint)
    assert replay(hooks, endpoint).count == 3


def test_replay_is_of_a_range_and_in_portions(hooks: Hooks) -> None:
    endpoint = hooks.endpoint("instance.*")
    hooks.write(*(told(str(n)) for n in range(1, 8)), AppendEvent("qr.updated", {"text": "8"}, NOW), told("9"))
    settle_all(hooks, endpoint)
    assert replay(hooks, endpoint, after=2, until=9, limit=3) == Replayed(3, 5, True)
    assert replay(hooks, endpoint, after=5, until=9, limit=3) == Replayed(2, 8, True)
    assert replay(hooks, endpoint, after=8, until=9, limit=3) == Replayed(1, 9, False)
    assert replay(hooks, endpoint, after=9, until=9, limit=3) == Replayed(0, 9, False)
    assert texts(hooks, hooks.due(endpoint)) == ["3", "4", "5", "6", "7", "9"]


def test_replay_is_told_with_the_commit_in_its_order(hooks: Hooks) -> None:
    endpoint = hooks.endpoint("instance.*")
    hooks.write(told("1"), AppendEvent("qr.updated", {"text": "2"}, NOW), told("3"))
    settle_all(hooks, endpoint)
    hooks.patch(endpoint, events=["*"])
    call = Call(lambda tx: deliveries.replay(tx, endpoint.id, after=0, until=END, **hooks.me))
    results = hooks.store.commit([call])
    assert list(results.deliveries) == hooks.due(endpoint)
    assert texts(hooks, list(results.deliveries)) == ["1", "2", "3"]


def test_replay_keeps_to_filter_instances_and_what_is_left_to_tell(hooks: Hooks) -> None:
    other = hooks.another()
    hooks.write(told("mine"), AppendEvent("qr.updated", {"text": "qr"}, NOW, expires_at=NOW))
    hooks.write(told("other"), instance_id=other.id)
    everything, some = hooks.endpoint(), hooks.endpoint("instance.*", instance_ids=[other.id])
    hooks.store.call(lambda tx: deliveries.make_test(tx, everything.id, **hooks.me))
    hooks.store.call(events.expire, NOW)
    replay(hooks, everything)
    replay(hooks, some)
    assert sorted(texts(hooks, hooks.due(everything, kind=DeliveryKind.REPLAY))) == ["mine", "other"]
    assert texts(hooks, hooks.due(some)) == ["other"]


def test_replay_leaves_other_endpoints_alone(hooks: Hooks) -> None:
    one, other = hooks.endpoint(), hooks.endpoint()
    hooks.write(told("1"))
    settle_all(hooks, one)
    settle_all(hooks, other)
    replay(hooks, one)
    assert hooks.due(other) == []


def test_replay_needs_its_endpoint(hooks: Hooks) -> None:
    assert hooks.store.call(
        lambda tx: deliveries.replay(tx, "wh_none", after=0, until=1, **hooks.me)
    ) is None  # fmt: skip


# --- tests ----------------------------------------------------------------------------------------------------------


def test_test_goes_to_its_endpoint_alone_and_is_an_event_of_the_log(hooks: Hooks) -> None:
    endpoint = hooks.endpoint("message.*")
    hooks.endpoint("*")
    hooks.endpoint("webhook.*")
    made = hooks.store.call(lambda tx: deliveries.make_test(tx, endpoint.id, **hooks.me))
    assert made is not None
    (event,) = hooks.events()
    assert (event.type, event.instance_id) == ("webhook.test", None)
    assert event.data is not None
    assert event.data["endpoint_id"] == endpoint.id
    assert (made.event, made.event_id, made.kind) == ("webhook.test", event.id, DeliveryKind.TEST)
    assert hooks.shown() == [made]
    (due,) = hooks.due(endpoint)
    assert due.lane == Lane(endpoint.id, None, DeliveryKind.TEST)
    assert hooks.audited()[-1][0] == "webhook_endpoint.tested"


def test_test_is_told_with_the_commit_once(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    call = Call(lambda tx: deliveries.make_test(tx, endpoint.id, **hooks.me))
    results = hooks.store.commit([call])
    assert list(results.deliveries) == hooks.due(endpoint)
    assert len(results.deliveries) == 1


def test_test_needs_its_endpoint(hooks: Hooks) -> None:
    who = hooks.mine | {"origin": ORIGIN}
    assert hooks.store.call(lambda tx: deliveries.make_test(tx, "wh_none", **who)) is None
    assert hooks.events() == []

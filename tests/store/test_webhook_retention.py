"""What is forgotten of webhooks, and what waits for them: payloads, bodies, events."""

from __future__ import annotations

import pytest

from tests.store.conversation import DAY_MS, Conversation, of, read
from tests.store.hooks import Hooks, arrived, beside, failed
from tests.store.world import NOW, told
from whatisup.errors import EventExpired
from whatisup.store import Delivery, DeliveryKind, DeliveryStatus, Store, deliveries, retention, webhooks

QUIET = NOW + retention.SETTLE_MS + DAY_MS
YEARS = NOW + 3650 * DAY_MS
AT_ONCE = retention.Kept(body_days=0, event_days=30, failed_payload_days=99)


@pytest.fixture
def hooks(store: Store) -> Hooks:
    return Hooks(store)


def sweep(hooks: Hooks | Conversation, now: int, kept: retention.Kept = AT_ONCE, limit: int = 500) -> bool:
    return hooks.store.call(retention.sweep, now, kept, limit)


def ends(hooks: Hooks) -> list[tuple[DeliveryStatus, str | None]]:
    return [(row.status, row.last_error) for row in hooks.shown()]


# --- bodies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [arrived, failed])
def test_body_kept_for_no_days_waits_for_its_webhooks(talk: Conversation, outcome: type) -> None:
    hooks = beside(talk)
    one, two = hooks.endpoint("message.*"), hooks.endpoint("message.*")
    talk.write(read("x"))
    (first,), (second,) = hooks.due(one), hooks.due(two)
    hooks.settle(outcome(first), failed(second, again_at=NOW))
    sweep(talk, QUIET)
    assert not talk.page()[0].is_body_expired
    hooks.settle(outcome(hooks.due(two)[0]))
    sweep(talk, QUIET)
    assert talk.page()[0].is_body_expired


def test_body_of_another_message_does_not_wait(talk: Conversation) -> None:
    hooks = beside(talk)
    talk.write(read("told to nobody", of("3EB0B")))
    hooks.endpoint("message.*")
    talk.write(read("awaited"))
    sweep(talk, QUIET)
    assert {row.wa_id: row.is_body_expired for row in talk.page()} == {"3EB0A": False, "3EB0B": True}


def test_body_with_days_goes_when_they_are_over_whoever_waits(talk: Conversation) -> None:
    hooks = beside(talk)
    endpoint = hooks.endpoint("message.*")
    talk.write(read("x"))
    sweep(talk, NOW + DAY_MS, retention.Kept(body_days=1, event_days=30))
    assert talk.page()[0].is_body_expired
    assert len(hooks.due(endpoint)) == 1


def test_body_goes_with_the_event_that_a_dead_endpoint_waits_for(talk: Conversation) -> None:
    hooks = beside(talk)
    endpoint = hooks.endpoint("message.*")
    talk.write(read("x"))
    hooks.patch(endpoint, is_enabled=False)
    sweep(talk, NOW + 29 * DAY_MS)
    assert not talk.page()[0].is_body_expired
    sweep(talk, NOW + 31 * DAY_MS)
    assert talk.page()[0].is_body_expired
    assert ends(hooks) == [(DeliveryStatus.FAILED, "event_expired")]


# --- events ---------------------------------------------------------------------------------------------------------


def test_deliveries_outlive_their_events_settled(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("arrived"), told("waits"), told("tried"))
    first, _, third = hooks.due(endpoint)
    hooks.settle(arrived(first), failed(third, again_at=YEARS))
    sweep(hooks, NOW + 29 * DAY_MS)
    assert len(hooks.events()) == 3
    sweep(hooks, NOW + 31 * DAY_MS)
    assert hooks.events() == []
    gone = (DeliveryStatus.FAILED, "event_expired")
    assert ends(hooks) == [(DeliveryStatus.SUCCESS, None), gone, gone]
    assert hooks.due(endpoint) == []
    with pytest.raises(EventExpired):
        hooks.store.call(lambda tx: deliveries.redeliver(tx, first.id, **hooks.me))


def test_long_queue_does_not_stop_the_log_from_being_swept(hooks: Hooks) -> None:
    hooks.endpoint()
    hooks.endpoint()
    hooks.write(*(told(str(n)) for n in range(7)))
    more = [sweep(hooks, NOW + 31 * DAY_MS, limit=3) for _ in range(3)]
    assert more == [True, True, False]
    assert hooks.events() == []
    assert set(ends(hooks)) == {(DeliveryStatus.FAILED, "event_expired")}


def test_replayed_delivery_is_given_up_with_its_event(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("x"))
    hooks.settle(arrived(hooks.due(endpoint)[0]))
    hooks.store.call(lambda tx: deliveries.replay(tx, endpoint.id, after=0, until=9, **hooks.me))
    sweep(hooks, NOW + 31 * DAY_MS)
    (row,) = hooks.shown()
    assert (row.kind, row.status, row.last_error) == (DeliveryKind.REPLAY, DeliveryStatus.FAILED, "event_expired")


# --- endpoints that were deleted --------------------------------------------------------------------------------------


def test_deliveries_of_a_deleted_endpoint_are_given_up_in_steps(hooks: Hooks) -> None:
    gone, other = hooks.endpoint(), hooks.endpoint()
    hooks.write(*(told(str(n)) for n in range(5)))
    hooks.store.call(lambda tx: webhooks.delete(tx, gone.id, **hooks.me))
    assert [sweep(hooks, NOW, limit=2) for _ in range(3)] == [True, True, False]
    assert {(row.status, row.last_error) for row in hooks.shown(endpoint_id=gone.id)} == {
        (DeliveryStatus.FAILED, "endpoint_deleted")
    }
    assert len(hooks.due(other)) == 5


# --- payloads -------------------------------------------------------------------------------------------------------


def test_payload_goes_after_its_days_and_the_row_stays(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(told("arrived"), told("failed"))
    good, bad = hooks.due(endpoint)
    hooks.settle(arrived(good), failed(bad), payload_days=7, failed_payload_days=20)

    def row(due_id: str) -> Delivery:
        (found,) = (one for one in hooks.shown() if one.id == due_id)
        return found

    end = row(good.id).payload_expires_at
    assert end is not None
    assert (row(good.id).has_payload(end - 1), row(good.id).has_payload(end)) == (True, False)
    sweep(hooks, end - 1)
    assert hooks.store.read(deliveries.attempts, good.id, hooks.customer.id)[0].response == "ok"
    sweep(hooks, end)
    (attempt,) = hooks.store.read(deliveries.attempts, good.id, hooks.customer.id)
    assert (attempt.response, attempt.response_status) == (None, 200)
    assert (row(good.id).status, row(good.id).has_payload(0)) == (DeliveryStatus.SUCCESS, False)
    assert row(bad.id).has_payload(end)
    assert hooks.store.read(deliveries.attempts, bad.id, hooks.customer.id)[0].response == "no"


def test_payload_that_waits_is_there_whatever_the_days(hooks: Hooks) -> None:
    hooks.endpoint()
    hooks.write(told("x"))
    sweep(hooks, NOW + 29 * DAY_MS)
    assert hooks.shown()[0].has_payload(YEARS)


def test_payloads_go_in_steps(hooks: Hooks) -> None:
    endpoint = hooks.endpoint()
    hooks.write(*(told(str(n)) for n in range(5)))
    hooks.settle(*map(arrived, hooks.due(endpoint)), payload_days=0)
    assert [hooks.store.call(deliveries.expire_payloads, YEARS, 2) for _ in range(4)] == [2, 2, 1, 0]

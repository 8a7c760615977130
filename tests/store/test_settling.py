"""What becomes of deliveries: attempts put down, rows moved on, endpoints disabled, late answers ignored."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.store.hooks import Hooks, arrived, failed
from tests.store.world import NOW, World, told
from whatisup.errors import SealBroken
from whatisup.store import (
    Attempt,
    DeliveryAttempt,
    DeliveryKind,
    DeliveryStatus,
    DisabledReason,
    Due,
    Endpoint,
    Store,
    deliveries,
    tables,
    webhooks,
)

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS
RULES = {"payload_days": 7, "failed_payload_days": 30, "disable_after_ms": 3 * DAY_MS}


@pytest.fixture
def hooks(store: Store) -> Hooks:
    return Hooks(store)


@pytest.fixture
def endpoint(hooks: Hooks) -> Endpoint:
    return hooks.endpoint()


def one_due(hooks: Hooks, endpoint: Endpoint, text: str = "x") -> Due:
    """A new delivery."""
    hooks.write(told(text))
    return hooks.due(endpoint, kind=DeliveryKind.LIVE, is_late=False)[-1]


def attempts(hooks: Hooks, due: Due) -> list[DeliveryAttempt]:
    return hooks.store.read(deliveries.attempts, due.id, hooks.customer.id)


def test_what_arrived_is_settled(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    outcome = hooks.settle(arrived(due, NOW), **RULES)
    (row,) = hooks.shown()
    assert (outcome.disabled, outcome.ignored) == ((), 0)
    assert (row.status, row.attempt_count, row.next_attempt_at) == (DeliveryStatus.SUCCESS, 1, None)
    assert (row.last_error, row.last_response_status, row.delivered_at) == (None, 200, NOW + 40)
    assert row.payload_expires_at == row.updated_at + 7 * DAY_MS
    assert attempts(hooks, due) == [DeliveryAttempt(1, NOW, 40, 200, None, "ok")]
    assert hooks.due(endpoint) == []


def test_what_failed_for_good_keeps_its_payload_longer(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    hooks.settle(failed(due, status=None), **RULES)
    (row,) = hooks.shown()
    assert (row.status, row.last_error, row.last_response_status) == (DeliveryStatus.FAILED, "timeout", None)
    assert (row.next_attempt_at, row.delivered_at) == (None, None)
    assert row.payload_expires_at == row.updated_at + 30 * DAY_MS


def test_what_is_tried_again_waits_with_its_count(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    hooks.settle(failed(due, again_at=NOW + 10))
    (again,) = hooks.due(endpoint)
    assert (again.attempt_count, again.tries, again.next_attempt_at) == (1, 1, NOW + 10)
    assert (again.position, again.lane) == (due.position, due.lane)
    hooks.settle(failed(again, NOW + 10, status=503, again_at=NOW + 60, late=True))
    (late,) = hooks.due(endpoint, is_late=True)
    hooks.settle(arrived(late, NOW + 60))
    (row,) = hooks.shown()
    assert (row.status, row.attempt_count, row.is_late) == (DeliveryStatus.SUCCESS, 3, False)
    assert [(one.number, one.error) for one in attempts(hooks, due)] == [(1, "http_500"), (2, "http_503"), (3, None)]


def test_batch_settles_all_kinds_with_few_statements(
    hooks: Hooks, endpoint: Endpoint, count_statements: Callable[[Store], AbstractContextManager[list[str]]]
) -> None:
    hooks.write(*(told(str(n)) for n in range(30)))
    dues = hooks.due(endpoint)
    batch = [
        arrived(due) if n % 3 == 0 else failed(due, again_at=NOW + n if n % 3 == 1 else None)
        for n, due in enumerate(dues)
    ]
    with count_statements(hooks.store) as statements:
        hooks.settle(*batch)
    assert len([one for one in statements if "webhook_" in one and "log_head" not in one]) == 4, "no more for 30"
    states = {DeliveryStatus.SUCCESS: 10, DeliveryStatus.RETRYING: 10, DeliveryStatus.FAILED: 10}
    assert {status: len(hooks.shown(status=status)) for status in states} == states
    assert hooks.settle() == deliveries.SettleOutcome()


def test_response_is_bounded_sealed_and_text(hooks: Hooks, endpoint: Endpoint) -> None:
    said = "é".encode() * 2000
    due, silent = one_due(hooks, endpoint), one_due(hooks, endpoint)
    hooks.settle(arrived(due, response=b"x" + said), arrived(silent, response=b""))
    (shown,) = attempts(hooks, due)
    assert shown.response is not None
    assert shown.response.startswith("xéé")
    assert len(shown.response.encode(errors="replace")) <= 1024 + 3
    assert attempts(hooks, silent)[0].response is None
    row = hooks.store.read(lambda conn, _: conn.execute(select(tables.webhook_attempts)).first())
    assert row is not None
    assert said[:10] not in row.response


def test_response_of_another_attempt_does_not_open(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    hooks.settle(failed(due, again_at=NOW))
    hooks.settle(arrived(hooks.due(endpoint)[0]))
    table = tables.webhook_attempts
    first = select(table.c.response).where(table.c.number == 1).scalar_subquery()
    hooks.store.call(lambda tx: tx.conn.execute(update(table).where(table.c.number == 2).values(response=first)))
    with pytest.raises(SealBroken):
        attempts(hooks, due)


def test_attempts_shown_are_the_last_ones(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    for n in range(5):
        hooks.settle(failed(hooks.due(endpoint)[0], NOW + n, again_at=NOW))
    found = hooks.store.read(deliveries.attempts, due.id, hooks.customer.id, 2)
    assert [one.number for one in found] == [4, 5]


# --- late answers ---------------------------------------------------------------------------------------------------


def test_answer_that_is_told_twice_counts_once(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    hooks.settle(arrived(due))
    before = hooks.shown()
    assert hooks.settle(failed(due)).ignored == 1
    assert hooks.settle(failed(due, again_at=NOW)).ignored == 1
    assert hooks.shown() == before
    assert len(attempts(hooks, due)) == 1
    assert hooks.find(endpoint).failing_since is None


def test_answer_to_an_earlier_attempt_changes_nothing(hooks: Hooks, endpoint: Endpoint) -> None:
    """After a crash the same attempt is made again; the dead sender's answer comes when the next one is under way."""
    due = one_due(hooks, endpoint)
    hooks.settle(failed(due, again_at=NOW + 10))
    before = hooks.shown()
    assert hooks.settle(arrived(due)).ignored == 1
    assert hooks.shown() == before


@pytest.mark.parametrize("settled", [True, False])
def test_answer_of_the_run_before_a_redelivery_changes_nothing(hooks: Hooks, endpoint: Endpoint, settled: bool) -> None:
    due = one_due(hooks, endpoint)
    if settled:
        hooks.settle(failed(due))
    again = hooks.store.call(lambda tx: deliveries.redeliver(tx, due.id, **hooks.me))
    assert hooks.settle(failed(due)).ignored == 1
    assert hooks.due(endpoint) == [again]
    hooks.settle(arrived(again))
    assert hooks.shown()[0].status is DeliveryStatus.SUCCESS


def test_two_answers_in_one_batch_count_in_their_order(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    second = Due(due.position, due.id, due.lane, due.event_id, due.event, 1, 1, NOW, NOW)
    outcome = hooks.settle(arrived(second, NOW + 5), failed(due, NOW, again_at=NOW + 5), arrived(due, NOW + 9))
    assert outcome.ignored == 1
    (row,) = hooks.shown()
    assert (row.status, row.attempt_count) == (DeliveryStatus.SUCCESS, 2)
    assert [one.error for one in attempts(hooks, due)] == ["http_500", None]


def test_answer_for_a_deleted_endpoint_is_put_down_if_its_row_waits_still(hooks: Hooks, endpoint: Endpoint) -> None:
    due, other = one_due(hooks, endpoint), one_due(hooks, endpoint)
    hooks.store.call(lambda tx: webhooks.delete(tx, endpoint.id, **hooks.me))
    assert hooks.settle(failed(due, status=410, again_at=NOW)).disabled == ()
    assert hooks.store.call(deliveries.fail_deleted) == 2
    assert hooks.settle(arrived(other)).ignored == 1
    assert {row.last_error for row in hooks.shown()} == {"endpoint_deleted"}


# --- endpoints that fail --------------------------------------------------------------------------------------------


def test_failing_since_is_the_first_failure_until_something_arrives(hooks: Hooks, endpoint: Endpoint) -> None:
    def since() -> int | None:
        return hooks.find(endpoint).failing_since

    hooks.settle(failed(one_due(hooks, endpoint), NOW + 5))
    assert since() == NOW + 5
    hooks.settle(failed(one_due(hooks, endpoint), NOW + 9))
    assert since() == NOW + 5
    hooks.settle(arrived(one_due(hooks, endpoint), NOW + 10))
    assert since() is None
    first, second = one_due(hooks, endpoint), one_due(hooks, endpoint)
    hooks.settle(failed(second, NOW + 20), arrived(first, NOW + 15))
    assert since() == NOW + 20
    first, second = one_due(hooks, endpoint), one_due(hooks, endpoint)
    hooks.settle(arrived(second, NOW + 40), failed(first, NOW + 30))
    assert since() is None


def test_endpoint_where_nothing_arrives_for_days_is_disabled(hooks: Hooks, endpoint: Endpoint) -> None:
    hooks.settle(failed(one_due(hooks, endpoint), NOW), **RULES)
    assert hooks.settle(failed(one_due(hooks, endpoint), NOW + 3 * DAY_MS - 1), **RULES).disabled == ()
    waiting = one_due(hooks, endpoint)
    to_be_tried_again = failed(one_due(hooks, endpoint), NOW + 3 * DAY_MS, again_at=NOW + 4 * DAY_MS)
    assert hooks.settle(to_be_tried_again, **RULES).disabled == ()
    last = failed(one_due(hooks, endpoint), NOW + 3 * DAY_MS, status=None)
    assert hooks.settle(last, **RULES).disabled == (endpoint.id,)
    found = hooks.find(endpoint)
    assert (found.is_enabled, found.disabled_reason, found.failing_since) == (False, DisabledReason.FAILING, NOW)
    event = hooks.events()[-1]
    assert event.data is not None
    assert (event.type, event.data["reason"], event.data["last_error"]) == ("webhook.disabled", "failing", "timeout")
    action, before, after = hooks.audited()[-1]
    assert (action, before) == ("webhook_endpoint.disabled", {"enabled": True})
    assert after == {"enabled": False, "disabled_reason": "failing", "last_error": "timeout"}
    hooks.patch(found, is_enabled=True)
    assert {due.id for due in hooks.due(endpoint)} == {waiting.id, to_be_tried_again.delivery.id}


def test_success_within_the_days_starts_them_anew(hooks: Hooks, endpoint: Endpoint) -> None:
    hooks.settle(failed(one_due(hooks, endpoint), NOW), **RULES)
    hooks.settle(arrived(one_due(hooks, endpoint), NOW + 2 * DAY_MS), **RULES)
    hooks.settle(failed(one_due(hooks, endpoint), NOW + 4 * DAY_MS), **RULES)
    assert hooks.find(endpoint).is_enabled


def test_success_at_the_end_of_a_batch_saves_the_endpoint(hooks: Hooks, endpoint: Endpoint) -> None:
    hooks.settle(failed(one_due(hooks, endpoint), NOW), **RULES)
    first, second = one_due(hooks, endpoint), one_due(hooks, endpoint)
    hooks.settle(failed(first, NOW + 5 * DAY_MS), arrived(second, NOW + 5 * DAY_MS + 1), **RULES)
    found = hooks.find(endpoint)
    assert (found.is_enabled, found.failing_since) == (True, None)


def test_gone_disables_at_once(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    assert hooks.settle(failed(due, status=410)).disabled == (endpoint.id,)
    assert hooks.find(endpoint).disabled_reason is DisabledReason.GONE
    event = hooks.events()[-1]
    assert event.data is not None
    assert (event.data["reason"], event.data["last_response_status"]) == ("gone", 410)


def test_answers_after_the_disabling_are_put_down_and_disable_no_more(hooks: Hooks, endpoint: Endpoint) -> None:
    first, second, third = (one_due(hooks, endpoint) for _ in range(3))
    hooks.settle(failed(first, status=410))
    assert hooks.settle(failed(second, status=410), arrived(third)).disabled == ()
    assert [row.status for row in hooks.shown()] == [
        DeliveryStatus.FAILED, DeliveryStatus.FAILED, DeliveryStatus.SUCCESS
    ]  # fmt: skip
    assert [event.type for event in hooks.events()].count("webhook.disabled") == 1
    assert not hooks.find(endpoint).is_enabled


def test_answers_from_before_a_change_are_put_down_and_judge_nothing(hooks: Hooks, endpoint: Endpoint) -> None:
    first, second, third = (one_due(hooks, endpoint) for _ in range(3))
    changed = hooks.patch(endpoint, url="https://hooks.example/moved")
    assert hooks.settle(failed(first, changed.updated_at - 1, status=410, again_at=NOW + DAY_MS)).disabled == ()
    assert next(row.status for row in hooks.shown()) is DeliveryStatus.RETRYING
    hooks.settle(failed(second, changed.updated_at - 1))
    found = hooks.find(endpoint)
    assert (found.is_enabled, found.failing_since) == (True, None)
    assert hooks.settle(failed(third, changed.updated_at, status=410)).disabled == (endpoint.id,)


def test_one_endpoints_failures_are_not_anothers(hooks: Hooks, endpoint: Endpoint) -> None:
    other = hooks.endpoint()
    hooks.write(told("x"))
    (mine,), (theirs,) = hooks.due(endpoint), hooks.due(other)
    assert hooks.settle(failed(mine, status=410), arrived(theirs)).disabled == (endpoint.id,)
    assert hooks.find(other).is_enabled


def test_batch_of_several_customers_is_sealed_for_each(hooks: Hooks, endpoint: Endpoint) -> None:
    stranger = World(hooks.store)
    theirs = hooks.endpoint(customer_id=stranger.customer.id)
    stranger.write(told("x"))
    (due,) = hooks.due(theirs)
    mine = one_due(hooks, endpoint)
    hooks.settle(arrived(due, response=b"theirs"), arrived(mine, response=b"mine"))
    assert attempts(hooks, mine)[0].response == "mine"
    assert hooks.store.read(deliveries.attempts, due.id, stranger.customer.id)[0].response == "theirs"
    assert attempts(hooks, due) == []


def test_attempt_shows_no_response_in_its_repr(hooks: Hooks, endpoint: Endpoint) -> None:
    due = one_due(hooks, endpoint)
    attempt: Attempt = arrived(due, response=b"needle")
    hooks.settle(attempt)
    shown: Any = attempts(hooks, due)
    assert "needle" not in repr(attempt) + repr(shown)

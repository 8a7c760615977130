"""Webhook deliveries over HTTP: listed, looked at, sent again; by their owner and nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.api.front import Front, Holder, Json
from whatisup.store import Attempt, DeliveryStatus, Due, Mode, Tx, deliveries

ENDPOINTS = "/v1/webhook-endpoints"
PATH = "/v1/webhook-deliveries"
KEY = {"Idempotency_Key": "first-try"}
STATUS, RECEIVED = "instance.status", "message.received"
FIELDS = [
    "id", "endpoint_id", "customer_id", "instance_id", "event", "event_id", "payload", "status", "attempt_count",
    "last_error", "last_response_status", "next_attempt_at", "delivered_at", "created_at", "updated_at", "mode", "kind",
    "is_late",
]  # fmt: skip


async def endpoint(holder: Holder, **fields: Any) -> str:
    body = {"url": "https://hooks.example.com/", "events": ["*"], **fields}
    return str((await holder.call("POST", ENDPOINTS, body, 201))["id"])


async def append(front: Front, instance_id: str, *kinds: str) -> list[str]:
    def write(tx: Tx) -> list[str]:
        return [tx.append_event(instance_id, kind, {"n": kind}).id for kind in kinds]

    ids: list[str] = await front.write(write)
    return ids


async def rows(holder: Holder, query: str = "") -> list[Json]:
    found: list[Json] = (await holder.call("GET", f"{PATH}{query}"))["data"]
    return found


def watch(front: Front) -> list[str]:
    """The endpoints whose deliveries were woken."""
    woken: list[str] = []
    front.edge.wake_webhooks = woken.append
    return woken


def waiting(tx: Tx) -> list[Due]:
    lanes = deliveries.lanes(tx.conn, tx.vault)
    return [due for lane in lanes for due in deliveries.due(tx.conn, tx.vault, lane, 0, 100)]


async def attempt(
    front: Front, status: DeliveryStatus, *, code: int | None = 200, error: str | None = None, **days: int
) -> None:
    """Let everything that waits be tried once, with this outcome."""

    def write(tx: Tx) -> None:
        tried = [
            Attempt(
                delivery=due,
                at=tx.now,
                duration_ms=12,
                response_status=code,
                error=error,
                response=b"" if code is None else b"hello",
                status=status,
                next_attempt_at=tx.now + 10_000 if status is DeliveryStatus.RETRYING else None,
            )
            for due in waiting(tx)
        ]
        assert tried
        deliveries.settle(tx, tried, **days)

    await front.write(write)


async def test_list_holds_every_field_and_the_payload_as_it_is_sent(front: Front) -> None:
    alice = await front.holder()
    instance_id, endpoint_id = await alice.create(), await endpoint(alice)
    (event_id,) = await append(front, instance_id, STATUS)
    (row,) = await rows(alice)
    assert list(row) == FIELDS
    assert row["id"].startswith("dlv_")
    assert (row["endpoint_id"], row["instance_id"], row["event_id"]) == (endpoint_id, instance_id, event_id)
    assert (row["status"], row["attempt_count"], row["kind"], row["is_late"]) == ("pending", 0, "live", False)
    assert row["delivered_at"] is row["last_error"] is row["last_response_status"] is None
    assert row["next_attempt_at"] is not None
    page = await alice.call("GET", "/v1/events", Accept="application/json")
    assert row["payload"] == page["data"][0]


async def test_list_is_newest_first_and_pages_without_gap(front: Front) -> None:
    alice = await front.holder()
    instance_id, _ = await alice.create(), await endpoint(alice)
    ids = await append(front, instance_id, *[STATUS] * 5)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await alice.call("GET", f"{PATH}?limit=2{cursor}")
        seen += [row["event_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == ids[::-1]


async def test_list_is_filtered(front: Front) -> None:
    alice = await front.holder()
    one, two = await alice.create("one"), await alice.create("two")
    wide, narrow = await endpoint(alice), await endpoint(alice, instance_id=two)
    await append(front, one, STATUS)
    await attempt(front, DeliveryStatus.SUCCESS)
    await append(front, two, "qr.updated")

    async def found(query: str) -> set[tuple[str, str]]:
        return {(row["endpoint_id"], row["event"]) for row in await rows(alice, query)}

    assert await found("?status=success") == {(wide, STATUS)}
    assert await found("?status=pending") == {(wide, "qr.updated"), (narrow, "qr.updated")}
    assert await found("?status=retrying") == set()
    assert await found(f"?event={STATUS}") == {(wide, STATUS)}
    assert await found(f"?instance_id={two}") == {(wide, "qr.updated"), (narrow, "qr.updated")}
    assert await found(f"?endpoint_id={narrow}") == {(narrow, "qr.updated")}
    assert await found(f"?endpoint_id={narrow}&instance_id={one}") == set()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=lost", (422, "validation_failed")),
        ("event=message.exploded", (422, "validation_failed")),
        ("instance_id=a%00b", (422, "validation_failed")),
        ("endpoint_id=a%00b", (422, "validation_failed")),
        ("limit=101", (422, "validation_failed")),
        ("cursor=nonsense", (400, "bad_cursor")),
        ("cursor=MS5hAGI", (400, "bad_cursor")),
    ],
)
async def test_wrong_filter_is_a_clear_4xx(front: Front, query: str, expected: tuple[int, str]) -> None:
    assert await (await front.holder()).refused("GET", f"{PATH}?{query}") == expected


async def test_deliveries_of_a_deleted_instance_and_endpoint_stay(front: Front) -> None:
    alice = await front.holder()
    instance_id, endpoint_id = await alice.create(), await endpoint(alice, events=[STATUS])
    await append(front, instance_id, STATUS)
    await alice.call("DELETE", f"{ENDPOINTS}/{endpoint_id}", status=204)
    await alice.call("DELETE", f"/v1/instances/{instance_id}", status=204)
    (row,) = await rows(alice, f"?instance_id={instance_id}&endpoint_id={endpoint_id}")
    assert (await alice.call("GET", f"{PATH}/{row['id']}"))["event"] == STATUS


async def test_delivery_shows_each_attempt(front: Front) -> None:
    alice = await front.holder()
    instance_id, _ = await alice.create(), await endpoint(alice)
    await append(front, instance_id, STATUS)
    await attempt(front, DeliveryStatus.RETRYING, code=None, error="timeout")
    (row,) = await rows(alice)
    assert (row["status"], row["last_error"], row["last_response_status"]) == ("retrying", "timeout", None)
    await attempt(front, DeliveryStatus.SUCCESS, code=204)
    shown = await alice.call("GET", f"{PATH}/{row['id']}")
    assert list(shown) == [*FIELDS, "attempts"]
    assert (shown["status"], shown["attempt_count"], shown["last_response_status"]) == ("success", 2, 204)
    assert shown["delivered_at"] is not None
    assert shown["next_attempt_at"] is None
    first, second = shown["attempts"]
    assert list(first) == ["number", "at", "duration_ms", "response_status", "error", "response"]
    assert (first["number"], first["error"], first["response_status"], first["response"]) == (1, "timeout", None, None)
    assert (second["number"], second["error"], second["response_status"]) == (2, None, 204)
    assert (second["duration_ms"], second["response"]) == (12, "hello")


async def test_payload_is_null_once_it_has_expired(front: Front) -> None:
    alice = await front.holder()
    instance_id, _ = await alice.create(), await endpoint(alice)
    await append(front, instance_id, STATUS)
    await attempt(front, DeliveryStatus.SUCCESS, payload_days=0)
    (row,) = await rows(alice)
    assert (row["status"], row["payload"]) == ("success", None)
    assert (await alice.call("GET", f"{PATH}/{row['id']}"))["payload"] is None


async def test_messages_are_shown_to_keys_that_may_read_them(front: Front) -> None:
    alice, blind = await front.holder(), await front.holder(scopes=("webhooks",))
    instance_id, _ = await alice.create(), await endpoint(alice)
    await append(front, instance_id, STATUS, RECEIVED)
    assert [row["payload"] is None for row in await rows(alice)] == [False, False]
    hidden, shown = await rows(blind)
    assert (hidden["event"], hidden["payload"]) == (RECEIVED, None)
    assert shown["payload"]["event"] == STATUS
    assert (await blind.call("GET", f"{PATH}/{hidden['id']}"))["payload"] is None
    await attempt(front, DeliveryStatus.SUCCESS)
    said = {
        row["event"]: [
            (await holder.call("GET", f"{PATH}/{row['id']}"))["attempts"][0]["response"] for holder in (alice, blind)
        ]
        for row in (hidden, shown)
    }
    assert said == {RECEIVED: ["hello", None], STATUS: ["hello", "hello"]}
    again = await blind.call("POST", f"{PATH}/{hidden['id']}/redeliver", status=202)
    assert again["payload"] is None


async def test_key_that_may_not_read_messages_leads_none_elsewhere(front: Front) -> None:
    alice, blind = await front.holder(), await front.holder(scopes=("webhooks",))
    instance_id, endpoint_id = await alice.create(), await endpoint(alice)
    await append(front, instance_id, RECEIVED)
    (row,) = await rows(alice)
    theft = {"url": "https://thief.example.com/", "events": [STATUS]}
    assert await blind.refused("PATCH", f"{ENDPOINTS}/{endpoint_id}", theft) == (403, "insufficient_scope")
    await attempt(front, DeliveryStatus.SUCCESS)
    await blind.call("PATCH", f"{ENDPOINTS}/{endpoint_id}", theft)
    assert await blind.refused("POST", f"{PATH}/{row['id']}/redeliver") == (403, "insufficient_scope")
    assert await alice.call("POST", f"{PATH}/{row['id']}/redeliver", status=202)


async def test_bound_key_leads_nothing_of_other_instances_elsewhere(front: Front) -> None:
    alice = await front.holder()
    instance_id, other, endpoint_id = await alice.create(), await alice.create(), await endpoint(alice)
    bound = await front.holder("alice", instance_id=instance_id)
    await append(front, other, STATUS)
    one = f"{ENDPOINTS}/{endpoint_id}"
    await alice.call("PATCH", one, {"instance_id": instance_id})
    assert await bound.refused("PATCH", one, {"url": "https://thief.example.com/"}) == (403, "instance_scoped_key")
    await attempt(front, DeliveryStatus.SUCCESS)
    assert (await bound.call("PATCH", one, {"url": "https://own.example.com/"}))["url"] == "https://own.example.com/"


async def test_qr_of_a_payload_is_a_picture(front: Front) -> None:
    alice = await front.holder()
    instance_id, _ = await alice.create(), await endpoint(alice)
    await front.write(lambda tx: tx.append_event(instance_id, "qr.updated", {"code": "2@a,b,c,d"}))
    (row,) = await rows(alice)
    assert row["payload"]["data"]["qr"].startswith("data:image/png;base64,")


# --- who may --------------------------------------------------------------------------------------------------------


async def test_deliveries_of_somebody_else_do_not_exist(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    instance_id, other, endpoint_id = await alice.create(), await alice.create(), await endpoint(alice)
    bound = await front.holder("alice", instance_id=instance_id)
    await append(front, instance_id, STATUS)
    (row,) = await rows(alice)
    woken = watch(front)
    for stranger in (bob, live, bound):
        assert await rows(stranger) == []
        assert await rows(stranger, f"?endpoint_id={endpoint_id}") == []
        for method, suffix in (("GET", ""), ("POST", "/redeliver")):
            refusal = await stranger.refused(method, f"{PATH}/{row['id']}{suffix}")
            assert refusal == (404, "webhook_delivery_not_found")
        refusal = await stranger.refused("GET", f"{PATH}?instance_id={instance_id if stranger is not bound else other}")
        assert refusal == (404, "instance_not_found")
    for unknown in ("dlv_unknown", "a%00b", "x" * 300):
        assert await alice.refused("GET", f"{PATH}/{unknown}") == (404, "webhook_delivery_not_found")
    assert woken == []


async def test_bound_key_sees_what_goes_to_its_own_endpoints(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create("mine"), await alice.create("other")
    bound = await front.holder(instance_id=mine)
    own, _ = await endpoint(bound), await endpoint(alice)
    await append(front, mine, STATUS)
    await append(front, other, STATUS)
    test = await bound.call("POST", f"{ENDPOINTS}/{own}/test", status=202)
    seen = await rows(bound)
    assert {row["endpoint_id"] for row in seen} == {own}
    assert [row["event"] for row in seen] == ["webhook.test", STATUS]
    assert (await bound.call("GET", f"{PATH}/{test['id']}"))["event"] == "webhook.test"
    refusal = await bound.refused("GET", f"{PATH}?instance_id={other}")
    assert refusal == (404, "instance_not_found")


async def test_what_went_to_an_endpoint_before_it_was_narrowed_stays_hidden(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create("mine"), await alice.create("other")
    bound = await front.holder(instance_id=mine)
    wide = await endpoint(alice)
    await append(front, other, STATUS)
    (row,) = await rows(alice)
    await alice.call("PATCH", f"{ENDPOINTS}/{wide}", {"instance_id": mine})
    assert await rows(bound) == []
    assert await bound.refused("GET", f"{PATH}/{row['id']}") == (404, "webhook_delivery_not_found")


async def test_key_without_the_scope_is_refused(front: Front) -> None:
    sender = await front.holder(scopes=("messages:send", "messages:read"))
    assert await sender.refused("GET", PATH) == (403, "insufficient_scope")


# --- once more ------------------------------------------------------------------------------------------------------


async def given_up(front: Front, holder: Holder) -> tuple[str, Json]:
    """An endpoint, and a delivery to it that has failed for good."""
    instance_id, endpoint_id = await holder.create(), await endpoint(holder)
    await append(front, instance_id, RECEIVED)
    await attempt(front, DeliveryStatus.FAILED, code=500, error="http_500")
    (row,) = await rows(holder)
    assert row["status"] == "failed"
    return endpoint_id, row


async def test_redelivery_goes_into_the_queue_again_and_wakes_the_endpoint(front: Front) -> None:
    alice = await front.holder()
    endpoint_id, row = await given_up(front, alice)
    woken = watch(front)
    again = await alice.call("POST", f"{PATH}/{row['id']}/redeliver", status=202)
    assert list(again) == FIELDS
    assert (again["id"], again["status"], again["kind"], again["attempt_count"]) == (row["id"], "pending", "replay", 1)
    assert again["payload"] == row["payload"]
    assert woken == [endpoint_id]
    await attempt(front, DeliveryStatus.SUCCESS)
    shown = await alice.call("GET", f"{PATH}/{row['id']}")
    assert (shown["status"], [one["number"] for one in shown["attempts"]]) == ("success", [1, 2])


async def test_retry_of_a_redelivery_puts_it_in_once_and_holds_no_message(front: Front) -> None:
    alice = await front.holder()
    _, row = await given_up(front, alice)
    first = await alice.call("POST", f"{PATH}/{row['id']}/redeliver", status=202, **KEY)
    await attempt(front, DeliveryStatus.SUCCESS)
    again = await alice.call("POST", f"{PATH}/{row['id']}/redeliver", status=202, **KEY)
    assert again == {**first, "payload": None}
    assert (await rows(alice))[0]["status"] == "success"


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("PATCH", {"enabled": False}, (409, "webhook_disabled")),
        ("DELETE", None, (404, "webhook_endpoint_not_found")),
    ],
)
async def test_nothing_is_sent_again_to_an_endpoint_that_is_off_or_gone(
    front: Front, method: str, body: Mapping[str, Any] | None, expected: tuple[int, str]
) -> None:
    alice = await front.holder()
    endpoint_id, row = await given_up(front, alice)
    assert (await alice.ask(method, f"{ENDPOINTS}/{endpoint_id}", body)).status_code < 300
    assert await alice.refused("POST", f"{PATH}/{row['id']}/redeliver") == expected
    assert (await alice.call("GET", f"{PATH}/{row['id']}"))["status"] == "failed"


async def test_event_that_is_no_longer_kept_is_not_sent_again(front: Front) -> None:
    alice = await front.holder()
    _, row = await given_up(front, alice)
    await front.write(lambda tx: tx.conn.exec_driver_sql("DELETE FROM events"))
    assert await alice.refused("POST", f"{PATH}/{row['id']}/redeliver") == (410, "event_expired")
    assert (await alice.call("GET", f"{PATH}/{row['id']}"))["payload"] is None

"""Webhook endpoints over HTTP: made, changed, tested, replayed; by their owner and nobody else."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from actors.delivery.client import WebhookClient
from actors.delivery.net import DnsFailed
from actors.writer import Writer
from api.schemas.payloads import PAYLOADS
from tests.integration.api.front import Front, Holder, Json, open_front
from whatisup.store import DisabledReason, Mode, Tx, webhooks
from whatisup.webhooks.targets import Policy

PATH = "/v1/webhook-endpoints"
URL = "https://hooks.example.com/in?x=1"
KEY = {"Idempotency_Key": "first-try"}
FIELDS = [
    "id", "customer_id", "instance_id", "url", "events", "enabled", "has_custom_signing_secret", "created_at",
    "updated_at", "mode", "instance_ids", "headers", "ordering", "disabled_reason", "disabled_at", "failing_since",
    "previous_secret_expires_at", "secret",
]  # fmt: skip
STATUS = "instance.status"
OWN_SECRET = "a secret of my own, long enough"


async def make(holder: Holder, **fields: Any) -> Json:
    return await holder.call("POST", PATH, {"url": URL, "events": ["*"], **fields}, 201)


async def refused(holder: Holder, body: Any, method: str = "POST", path: str = PATH) -> Json:
    """The error of a request that must be refused, with its status."""
    answer = await holder.ask(method, path, body)
    error: Json = (await answer.get_json())["error"]
    return {"status": answer.status_code, **error}


async def append(front: Front, instance_id: str, *kinds: str) -> list[str]:
    def write(tx: Tx) -> list[str]:
        return [tx.append_event(instance_id, kind, {"n": kind}).id for kind in kinds]

    ids: list[str] = await front.write(write)
    return ids


def watch(front: Front) -> list[str]:
    """The endpoints whose deliveries were woken."""
    woken: list[str] = []
    front.edge.wake_webhooks = woken.append
    return woken


async def test_create_answers_201_with_every_field_and_the_secret_once(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice, headers={"X-Team": "hidden-value"}, ordering="strict")
    assert list(made) == FIELDS
    assert made["id"].startswith("wh_")
    assert (made["customer_id"], made["mode"], made["url"]) == (alice.customer_id, "test", URL)
    assert (made["events"], made["instance_id"], made["instance_ids"]) == (["*"], None, [])
    assert (made["enabled"], made["ordering"], made["headers"]) == (True, "strict", ["X-Team"])
    assert made["secret"].startswith("whsec_")
    assert made["has_custom_signing_secret"] is False
    shown = await alice.call("GET", f"{PATH}/{made['id']}")
    assert shown == {**made, "secret": None}
    assert (await alice.call("GET", PATH))["data"] == [shown]


async def test_create_takes_a_secret_of_the_customers(front: Front) -> None:
    made = await make(await front.holder(), signing_secret=OWN_SECRET)
    assert (made["secret"], made["has_custom_signing_secret"]) == (OWN_SECRET, True)


async def test_secret_and_headers_are_kept_as_they_were_given(front: Front) -> None:
    made = await make(await front.holder(), signing_secret=OWN_SECRET, headers={"X-Team": "value"})
    found = await front.database.read(webhooks.receivers, [made["id"]], front.edge.now())
    receiver = found[made["id"]]
    assert (receiver.secrets, dict(receiver.headers)) == ((OWN_SECRET,), {"X-Team": "value"})


async def test_retry_of_a_create_gets_the_same_endpoint_without_the_secret(front: Front) -> None:
    alice = await front.holder()
    body = {"url": URL, "events": ["*"]}
    first = await alice.call("POST", PATH, body, 201, **KEY)
    answer = await alice.ask("POST", PATH, body, **KEY)
    assert (answer.status_code, answer.headers["Idempotent-Replayed"]) == (201, "true")
    assert await answer.get_json() == {**first, "secret": None}
    assert len((await alice.call("GET", PATH))["data"]) == 1


async def test_racing_retries_make_one_endpoint_and_show_its_secret_once(front: Front) -> None:
    alice = await front.holder()
    seen: list[Json] = []

    async def post() -> None:
        seen.append(await alice.call("POST", PATH, {"url": URL, "events": ["*"]}, 201, **KEY))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(post)
    assert len({one["id"] for one in seen}) == 1
    assert len([one for one in seen if one["secret"] is not None]) == 1
    assert len((await alice.call("GET", PATH))["data"]) == 1


async def test_events_are_kept_once_each_in_the_order_given(front: Front) -> None:
    made = await make(await front.holder(), events=["message.*", STATUS, "message.*"])
    assert made["events"] == ["message.*", STATUS]


async def test_unknown_event_is_refused_naming_the_known_ones(front: Front) -> None:
    error = await refused(await front.holder(), {"url": URL, "events": ["message.exploded"]})
    assert (error["status"], error["code"]) == (422, "validation_failed")
    assert error["details"] == {"field": "events"}
    assert [name for name in PAYLOADS if name not in error["message"]] == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"events": []}, "events"),
        ({"events": ["*"] * 65}, "events"),
        ({"events": ["mess*"]}, "events[0]"),
        ({"headers": {"Host": "x"}}, "headers"),
        ({"headers": {"X-A": "a\nb"}}, "headers"),
        ({"headers": {"webhook-id": "x"}}, "headers"),
        ({"signing_secret": "short"}, "signing_secret"),
        ({"signing_secret": "whsec_!"}, "signing_secret"),
        ({"instance_id": None, "instance_ids": []}, "instance_ids"),
        ({"instance_ids": ["inst_1", "inst_1"]}, "instance_ids"),
        ({"ordering": "loose"}, "ordering"),
        ({"enabled": "yes"}, "enabled"),
        ({"secret": "x"}, "secret"),
        ({"url": 1}, "url"),
    ],
)
async def test_wrong_field_is_named(front: Front, change: Json, field: str) -> None:
    error = await refused(await front.holder(), {"url": URL, "events": ["*"], **change})
    assert (error["status"], error["code"]) == (422, "validation_failed")
    assert error["details"]["field"].partition("[")[0] == field.partition("[")[0]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "https://127.0.0.1/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://user:pass@example.com/",
        "https://exa mple.com/",
        "no url",
    ],
)
async def test_url_that_nothing_is_delivered_to_is_refused(front: Front, url: str) -> None:
    alice = await front.holder()
    error = await refused(alice, {"url": url, "events": ["*"]})
    assert (error["status"], error["code"], error["details"]) == (422, "url_not_allowed", {"field": "url"})
    assert "`url`" in error["message"]
    made = await make(alice)
    error = await refused(alice, {"url": url}, "PATCH", f"{PATH}/{made['id']}")
    assert (error["status"], error["code"]) == (422, "url_not_allowed")


async def test_http_is_for_test_keys_alone(front: Front) -> None:
    plain = {"url": "http://hooks.example.com/", "events": ["*"]}
    live = await front.holder(mode=Mode.LIVE)
    error = await refused(live, plain)
    assert (error["code"], "https" in error["message"]) == ("url_not_allowed", True)
    await (await front.holder()).call("POST", PATH, plain, 201)


async def test_private_network_is_open_where_the_operator_says_so(folder: Any) -> None:
    async with open_front(folder, WEBHOOK_ALLOW_PRIVATE_CIDRS="127.0.0.0/8") as front:
        await make(await front.holder(), url="http://127.0.0.1:9/")


async def test_name_is_looked_up_by_whoever_delivers(front: Front) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        if host == "nowhere.example.com":
            raise DnsFailed("no such name")
        return ["10.0.0.1"] if host == "inside.example.com" else ["93.184.216.34"]

    alice = await front.holder()
    async with WebhookClient(Policy(), timeout_s=1, max_connections=1, resolver=resolve) as client:
        front.edge.webhooks = client
        for host in ("inside", "nowhere"):
            error = await refused(alice, {"url": f"https://{host}.example.com/", "events": ["*"]})
            assert (error["status"], error["code"]) == (422, "url_not_allowed")
        made = await make(alice)
        error = await refused(alice, {"url": "https://inside.example.com/"}, "PATCH", f"{PATH}/{made['id']}")
        assert error["code"] == "url_not_allowed"
    assert (await alice.call("GET", f"{PATH}/{made['id']}"))["url"] == URL


async def test_a_customer_whose_names_hang_has_one_looked_up_at_a_time(front: Front) -> None:
    looked_up: list[str] = []
    answered = trio.Event()

    async def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        if host == "slow.example.com":
            await answered.wait()
        return ["93.184.216.34"]

    alice, bob = await front.holder(), await front.holder("bob")
    async with WebhookClient(Policy(), timeout_s=5, max_connections=1, resolver=resolve) as client:
        front.edge.webhooks = client
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial(make, alice, url="https://slow.example.com/"))
            with trio.fail_after(5):
                while not looked_up:
                    await trio.sleep(0.01)
                await make(bob)
            assert looked_up == ["slow.example.com", "hooks.example.com"]
            answered.set()


async def test_at_most_so_many_endpoints(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_ENDPOINTS", 2)
    alice, live = await front.holder(), await front.holder(mode=Mode.LIVE)
    first = await make(alice)
    await make(alice)
    error = await refused(alice, {"url": URL, "events": ["*"]})
    assert (error["status"], error["code"]) == (409, "too_many_webhook_endpoints")
    await make(live)
    await alice.call("DELETE", f"{PATH}/{first['id']}", status=204)
    await make(alice)


async def test_list_is_newest_first_and_pages_without_gap(front: Front) -> None:
    alice = await front.holder()
    made = [(await make(alice))["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await alice.call("GET", f"{PATH}?limit=2{cursor}")
        seen += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(made)
    assert len(seen) == 5


# --- instances ------------------------------------------------------------------------------------------------------


async def test_endpoint_hears_of_the_instances_that_it_names(front: Front) -> None:
    alice = await front.holder()
    one, two = await alice.create("one"), await alice.create("two")
    single = await make(alice, instance_id=one)
    assert (single["instance_id"], single["instance_ids"]) == (one, [one])
    several = await make(alice, instance_ids=[one, two])
    assert (several["instance_id"], several["instance_ids"]) == (None, [one, two])
    path = f"{PATH}/{several['id']}"
    assert (await alice.call("PATCH", path, {"instance_id": two}))["instance_ids"] == [two]
    assert (await alice.call("PATCH", path, {"instance_id": None}))["instance_ids"] == []


async def test_instance_of_nobody_or_somebody_else_cannot_be_named(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    gone = await alice.create()
    await alice.call("DELETE", f"/v1/instances/{gone}", status=204)
    live = await (await front.holder("alice", Mode.LIVE)).create()
    made = await make(alice)
    for instance_id in ("inst_unknown", await bob.create(), live, gone):
        error = await refused(alice, {"url": URL, "events": ["*"], "instance_id": instance_id})
        assert (error["status"], error["code"]) == (404, "instance_not_found")
        error = await refused(alice, {"instance_ids": [instance_id]}, "PATCH", f"{PATH}/{made['id']}")
        assert (error["status"], error["code"]) == (404, "instance_not_found")


async def test_bound_key_makes_and_sees_endpoints_of_its_instance_alone(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create("mine"), await alice.create("other")
    hidden = [await make(alice), await make(alice, instance_id=other), await make(alice, instance_ids=[mine, other])]
    bound = await front.holder(instance_id=mine)
    made = await make(bound)
    assert made["instance_ids"] == [mine]
    assert [row["id"] for row in (await bound.call("GET", PATH))["data"]] == [made["id"]]
    for row in hidden:
        refusal = await bound.refused("GET", f"{PATH}/{row['id']}")
        assert refusal == (404, "webhook_endpoint_not_found")
    for asked, expected in (
        ({"instance_id": other}, (404, "instance_not_found")),
        ({"instance_ids": [mine, other]}, (404, "instance_not_found")),
        ({"instance_id": None}, (403, "instance_scoped_key")),
        ({"instance_ids": []}, (403, "instance_scoped_key")),
    ):
        assert await bound.refused("POST", PATH, {"url": URL, "events": ["*"], **asked}) == expected
        assert await bound.refused("PATCH", f"{PATH}/{made['id']}", asked) == expected


# --- who may --------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "", None),
    ("PATCH", "", {"enabled": False}),
    ("DELETE", "", None),
    ("POST", "/rotate-secret", None),
    ("POST", "/test", None),
    ("POST", "/replay", {"after": "0"}),
]


@pytest.mark.parametrize(("method", "suffix", "body"), ROUTES)
async def test_endpoint_of_somebody_else_does_not_exist(front: Front, method: str, suffix: str, body: Any) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    bound = await front.holder("alice", instance_id=await alice.create())
    mine, woken = await make(alice), watch(front)
    for stranger in (bob, live, bound):
        path = f"{PATH}/{mine['id']}{suffix}"
        assert await stranger.refused(method, path, body) == (404, "webhook_endpoint_not_found")
    for unknown in ("wh_unknown", "a%00b", "x" * 300):
        assert await alice.refused(method, f"{PATH}/{unknown}{suffix}", body) == (404, "webhook_endpoint_not_found")
    assert await alice.call("GET", f"{PATH}/{mine['id']}") == {**mine, "secret": None}
    assert woken == []


async def test_key_without_the_scope_is_refused(front: Front) -> None:
    sender = await front.holder(scopes=("messages:send",))
    assert await sender.refused("GET", PATH) == (403, "insufficient_scope")
    assert await sender.refused("POST", PATH, {"url": URL, "events": ["*"]}) == (403, "insufficient_scope")


@pytest.mark.parametrize("patterns", [["*"], ["message.*"], [STATUS, "message.received"]])
async def test_key_that_may_not_read_messages_has_none_sent(front: Front, patterns: list[str]) -> None:
    alice, blind = await front.holder(), await front.holder(scopes=("webhooks",))
    body = {"url": URL, "events": patterns}
    assert await blind.refused("POST", PATH, body) == (403, "insufficient_scope")
    own = await make(blind, events=[STATUS])
    assert await blind.refused("PATCH", f"{PATH}/{own['id']}", {"events": patterns}) == (403, "insufficient_scope")
    theirs = f"{PATH}/{(await make(alice, events=patterns))['id']}"
    assert await blind.refused("PATCH", theirs, {"url": "https://else.example.com"}) == (403, "insufficient_scope")
    assert (await blind.call("PATCH", theirs, {"enabled": False}))["enabled"] is False


# --- changes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"url": "https://other.example.com/"}, {"url": "https://other.example.com/"}),
        ({"events": [STATUS]}, {"events": [STATUS]}),
        ({"headers": {"X-B": "2"}}, {"headers": ["X-B"]}),
        ({"headers": {}}, {"headers": []}),
        ({"ordering": "strict"}, {"ordering": "strict"}),
        ({"ordering": None}, {"ordering": None}),
        ({"enabled": True}, {}),
    ],
)
async def test_patch_changes_what_is_named_and_nothing_else(front: Front, change: Json, shown: Json) -> None:
    alice = await front.holder()
    made = await make(alice, headers={"X-A": "1"}, ordering="relaxed")
    after = await alice.call("PATCH", f"{PATH}/{made['id']}", change)
    assert after == {**made, **shown, "secret": None, "updated_at": after["updated_at"]}
    assert await alice.call("GET", f"{PATH}/{made['id']}") == after


async def test_patch_of_nothing_is_refused(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice)
    assert await alice.refused("PATCH", f"{PATH}/{made['id']}", {}) == (422, "validation_failed")
    assert await alice.refused("PATCH", f"{PATH}/{made['id']}", {"url": None}) == (422, "validation_failed")


async def test_enabling_clears_why_it_was_disabled_and_wakes_its_deliveries(front: Front) -> None:
    alice = await front.holder()
    made, woken = await make(alice), watch(front)
    path = f"{PATH}/{made['id']}"
    off = await alice.call("PATCH", path, {"enabled": False})
    assert (off["enabled"], off["disabled_reason"]) == (False, "customer")
    assert off["disabled_at"] is not None
    on = await alice.call("PATCH", path, {"enabled": True})
    assert (on["enabled"], on["disabled_reason"], on["disabled_at"]) == (True, None, None)
    await front.write(lambda tx: webhooks.disable(tx, made["id"], DisabledReason.GONE, last_response_status=410))
    gone = await alice.call("GET", path)
    assert (gone["enabled"], gone["disabled_reason"]) == (False, "gone")
    woken.clear()
    assert (await alice.call("PATCH", path, {"enabled": True}))["disabled_reason"] is None
    assert woken == [made["id"]]


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [("PATCH", "", {"enabled": True}), ("POST", "/test", None), ("POST", "/replay", {"after": "0"})],
)
async def test_deliveries_are_woken_even_if_the_client_has_left(
    front: Front, monkeypatch: pytest.MonkeyPatch, method: str, suffix: str, body: Any
) -> None:
    alice = await front.holder()
    made, woken = await make(alice), watch(front)
    call, departure = Writer.call, trio.CancelScope()

    async def leaving(*args: Any, **options: Any) -> Any:
        departure.cancel()
        return await call(*args, **options)

    monkeypatch.setattr(Writer, "call", leaving)
    with departure:
        await alice.ask(method, f"{PATH}/{made['id']}{suffix}", body)
    assert departure.cancel_called
    assert woken == [made["id"]]


async def test_disablement_is_an_event_with_every_field(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice)
    await front.write(lambda tx: webhooks.disable(tx, made["id"], DisabledReason.GONE, last_response_status=410))
    (told,) = (await alice.call("GET", "/v1/events?events=webhook.*", Accept="application/json"))["data"]
    assert (told["event"], told["instance_id"]) == ("webhook.disabled", None)
    assert set(told["data"]) == set(PAYLOADS["webhook.disabled"].__struct_fields__)
    assert (told["data"]["url_host"], told["data"]["last_response_status"]) == ("hooks.example.com", 410)


async def test_delete_hides_the_endpoint(front: Front) -> None:
    alice = await front.holder()
    path = f"{PATH}/{(await make(alice))['id']}"
    await alice.call("DELETE", path, status=204)
    for method in ("GET", "DELETE"):
        assert await alice.refused(method, path) == (404, "webhook_endpoint_not_found")
    assert (await alice.call("GET", PATH))["data"] == []


async def test_rotation_shows_the_new_secret_once_and_keeps_the_old_for_a_while(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice)
    path = f"{PATH}/{made['id']}"
    turned = await alice.call("POST", f"{path}/rotate-secret", {"overlap_s": 60}, 200, **KEY)
    assert turned["secret"].startswith("whsec_")
    assert turned["secret"] != made["secret"]
    assert turned["previous_secret_expires_at"] > turned["updated_at"]
    again = await alice.call("POST", f"{path}/rotate-secret", {"overlap_s": 60}, 200, **KEY)
    assert again == {**turned, "secret": None}
    now = front.edge.now()
    found = (await front.database.read(webhooks.receivers, [made["id"]], now))[made["id"]]
    assert found.secrets == (turned["secret"], made["secret"])
    found = (await front.database.read(webhooks.receivers, [made["id"]], now + 61_000))[made["id"]]
    assert found.secrets == (turned["secret"],)


async def test_rotation_to_a_secret_of_the_customers_at_once(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice)
    body = {"signing_secret": OWN_SECRET, "overlap_s": 0}
    turned = await alice.call("POST", f"{PATH}/{made['id']}/rotate-secret", body)
    assert (turned["secret"], turned["has_custom_signing_secret"]) == (OWN_SECRET, True)
    assert turned["previous_secret_expires_at"] is None
    found = (await front.database.read(webhooks.receivers, [made["id"]], front.edge.now()))[made["id"]]
    assert found.secrets == (OWN_SECRET,)


@pytest.mark.parametrize("body", [{"overlap_s": -1}, {"overlap_s": 604_801}, {"signing_secret": "x"}])
async def test_wrong_rotation_is_refused(front: Front, body: Json) -> None:
    alice = await front.holder()
    made = await make(alice)
    assert await alice.refused("POST", f"{PATH}/{made['id']}/rotate-secret", body) == (422, "validation_failed")


async def test_audit_holds_changes_without_secrets(front: Front) -> None:
    alice = await front.holder()
    made = await make(alice, headers={"X-Team": "hidden-value"}, signing_secret=OWN_SECRET)
    await alice.call("PATCH", f"{PATH}/{made['id']}", {"headers": {"X-Team": "other-value"}, "events": [STATUS]})

    def audited(conn: Any, _vault: Any) -> str:
        return str(conn.exec_driver_sql("SELECT action, before, after FROM audit ORDER BY position").all())

    text = await front.database.read(audited)
    assert "webhook_endpoint.created" in text
    assert "webhook_endpoint.updated" in text
    for hidden in (OWN_SECRET, "hidden-value", "other-value"):
        assert hidden not in text


# --- tests and replays ----------------------------------------------------------------------------------------------


async def test_test_makes_a_delivery_of_its_own_for_this_endpoint_alone(front: Front) -> None:
    alice = await front.holder()
    made, other, woken = await make(alice, events=[STATUS]), await make(alice), watch(front)
    delivery = await alice.call("POST", f"{PATH}/{made['id']}/test", status=202, **KEY)
    assert (delivery["event"], delivery["endpoint_id"], delivery["kind"]) == ("webhook.test", made["id"], "test")
    assert delivery["payload"]["data"]["endpoint_id"] == made["id"]
    assert set(delivery["payload"]["data"]) == set(PAYLOADS["webhook.test"].__struct_fields__)
    assert woken == [made["id"]]
    assert await alice.call("POST", f"{PATH}/{made['id']}/test", status=202, **KEY) == delivery
    rows = (await alice.call("GET", "/v1/webhook-deliveries"))["data"]
    assert [row["id"] for row in rows] == [delivery["id"]]
    assert (await alice.call("GET", f"/v1/webhook-deliveries?endpoint_id={other['id']}"))["data"] == []


@pytest.mark.parametrize("action", ["test", "replay"])
async def test_nothing_is_sent_to_a_disabled_endpoint(front: Front, action: str) -> None:
    alice = await front.holder()
    made = await make(alice, enabled=False)
    body = {"after": "0"} if action == "replay" else {}
    error = await refused(alice, body, path=f"{PATH}/{made['id']}/{action}")
    assert (error["status"], error["code"], error["details"]) == (409, "webhook_disabled", {"reason": "customer"})


async def replayed(holder: Holder, endpoint_id: str, **body: Any) -> list[int]:
    """Replay to the end; how many events each portion queued."""
    counts = []
    body = {"after": "0"} | body
    while True:
        portion = await holder.call("POST", f"{PATH}/{endpoint_id}/replay", body, 202)
        counts.append(portion["count"])
        if portion["next_cursor"] is None:
            return counts
        body["after"] = portion["next_cursor"]


async def test_replay_goes_through_the_log_in_portions(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    await append(front, instance_id, *[STATUS] * 7, "qr.updated")
    made, woken = await make(alice, events=[STATUS]), watch(front)
    assert sum(await replayed(alice, made["id"], limit=3)) == 7
    assert set(woken) == {made["id"]}
    rows = (await alice.call("GET", "/v1/webhook-deliveries"))["data"]
    assert {(row["event"], row["kind"], row["status"]) for row in rows} == {(STATUS, "replay", "pending")}
    assert len(rows) == 7


@pytest.mark.parametrize("how", ["event", "position"])
async def test_replay_takes_a_range(front: Front, how: str) -> None:
    alice = await front.holder()
    ids = await append(front, await alice.create(), *[STATUS] * 5)
    made = await make(alice)
    places = ids
    if how == "position":
        places = [str(await front.database.read(_position, one)) for one in ids]
    assert sum(await replayed(alice, made["id"], after=places[1], until=places[3])) == 2
    rows = (await alice.call("GET", "/v1/webhook-deliveries"))["data"]
    assert [row["event_id"] for row in rows] == [ids[3], ids[2]]


def _position(conn: Any, _vault: Any, event_id: str) -> int:
    found: int = conn.exec_driver_sql(f"SELECT position FROM events WHERE id = '{event_id}'").scalar_one()
    return found


async def test_replay_takes_times(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()

    def write(tx: Tx) -> None:
        for at in (1_000, 2_000, 3_000, 4_000):
            tx.append_event(instance_id, STATUS, {"at": at}, occurred_at=at)

    await front.write(write)
    made = await make(alice)
    span = {"after": "1970-01-01T00:00:01Z", "until": "1970-01-01T01:00:03+01:00"}
    assert await replayed(alice, made["id"], **span) == [2]
    rows = (await alice.call("GET", "/v1/webhook-deliveries"))["data"]
    assert [row["payload"]["data"]["at"] for row in rows] == [3_000, 2_000]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"after": "evt_unknown"}, (400, "bad_cursor")),
        ({"after": "0", "until": "yesterday"}, (400, "bad_cursor")),
        ({"after": "0", "until": "2026-13-01T00:00:00Z"}, (422, "validation_failed")),
        ({}, (422, "validation_failed")),
        ({"after": "2026-05-01T00:00:00"}, (422, "validation_failed")),
        ({"after": "a\x00b"}, (422, "validation_failed")),
        ({"after": "0", "limit": 0}, (422, "validation_failed")),
        ({"after": "0", "limit": 501}, (422, "validation_failed")),
    ],
)
async def test_wrong_replay_is_refused(front: Front, body: Json, expected: tuple[int, str]) -> None:
    alice = await front.holder()
    made = await make(alice)
    assert await alice.refused("POST", f"{PATH}/{made['id']}/replay", body) == expected


async def test_replay_from_below_the_floor_of_the_log_is_refused(front: Front) -> None:
    alice = await front.holder()
    await append(front, await alice.create(), *[STATUS] * 3)
    made = await make(alice)
    await front.write(lambda tx: tx.conn.exec_driver_sql("UPDATE log_head SET floor = 2"))
    assert await alice.refused("POST", f"{PATH}/{made['id']}/replay", {"after": "1"}) == (410, "cursor_expired")
    assert await replayed(alice, made["id"], after="2") == [1]


async def test_replay_takes_no_event_of_somebody_else(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    (theirs,) = await append(front, await bob.create(), STATUS)
    made = await make(alice)
    assert await alice.refused("POST", f"{PATH}/{made['id']}/replay", {"after": theirs}) == (400, "bad_cursor")
    assert await replayed(alice, made["id"]) == [0]


async def test_postgres_holds_the_same_promises(postgres_url: str, tmp_path: Any) -> None:
    async with open_front(tmp_path, DATABASE_URL=postgres_url) as front:
        alice = await front.holder()
        await append(front, await alice.create(), *[STATUS] * 3)
        made = await make(alice, headers={"X-A": "1"})
        assert (await alice.call("GET", f"{PATH}/{made['id']}"))["headers"] == ["X-A"]
        assert sum(await replayed(alice, made["id"], limit=2, after="1970-01-01T00:00:00Z")) == 3
        rows = (await alice.call("GET", "/v1/webhook-deliveries?limit=2"))["data"]
        assert len(rows) == 2
        assert await alice.refused("GET", f"{PATH}/a%00b") == (404, "webhook_endpoint_not_found")
        assert await alice.refused("POST", PATH, {"url": "https://a\x00b", "events": ["*"]}) == (422, "url_not_allowed")
        assert await alice.refused("GET", f"{PATH}?cursor=MS5hAGI") == (400, "bad_cursor")

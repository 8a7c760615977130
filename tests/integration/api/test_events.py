"""The event log as JSON pages: order, cursors, filters, isolation."""

from __future__ import annotations

import pytest

from tests.integration.api.front import Front, Holder
from whatisup.store import Mode, Tx

PAGE = {"Accept": "application/json"}
STATUS = "instance.status"


async def append(front: Front, instance_id: str, *kinds: str) -> None:
    def write(tx: Tx) -> None:
        for kind in kinds:
            tx.append_event(instance_id, kind, {"code": "2@a,b,c,d"} if kind == "qr.updated" else {"n": kind})

    await front.write(write)


async def names(holder: Holder, query: str = "") -> list[str]:
    return [row["event"] for row in (await holder.call("GET", f"/v1/events{query}", **PAGE))["data"]]


async def test_page_holds_envelopes_in_order(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    await append(front, instance_id, STATUS, "qr.updated")
    page = await alice.call("GET", "/v1/events", **PAGE)
    status, qr = page["data"]
    assert list(status) == ["event", "event_id", "api_version", "instance_id", "occurred_at", "data"]
    assert (status["event"], status["instance_id"], status["data"]) == (STATUS, instance_id, {"n": STATUS})
    assert status["event_id"].startswith("evt_")
    assert qr["data"]["qr"].startswith("data:image/png;base64,")
    assert page["next_cursor"] is None


@pytest.mark.parametrize("parameter", ["after", "cursor"])
async def test_pages_go_on_where_they_ended(front: Front, parameter: str) -> None:
    alice = await front.holder()
    await append(front, await alice.create(), *[STATUS] * 7)
    seen: list[str] = []
    query = "?limit=3"
    while True:
        page = await alice.call("GET", f"/v1/events{query}", **PAGE)
        seen += [row["event_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=3&{parameter}={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("instance.status", [STATUS]),
        ("instance.*", [STATUS, "instance.connected"]),
        ("qr.updated,instance.connected", ["instance.connected", "qr.updated"]),
        ("*", [STATUS, "instance.connected", "qr.updated"]),
    ],
)
async def test_events_filter_by_name_and_pattern(front: Front, events: str, expected: list[str]) -> None:
    alice = await front.holder()
    await append(front, await alice.create(), STATUS, "instance.connected", "qr.updated")
    assert await names(alice, f"?events={events}") == expected


@pytest.mark.parametrize("events", ["", "nonsense", "instance.nope", "inst*", "instance.status,", "%00", "a.*"])
async def test_events_filter_refuses_what_there_is_not(front: Front, events: str) -> None:
    alice = await front.holder()
    assert await alice.refused("GET", f"/v1/events?events={events}", **PAGE) == (422, "validation_failed")


async def test_events_filter_by_instance_deleted_ones_included(front: Front) -> None:
    alice = await front.holder()
    one, other = await alice.create(), await alice.create()
    await append(front, one, "instance.connected")
    await append(front, other, "qr.updated")
    assert await names(alice, f"?instance_id={one}") == ["instance.connected"]
    await alice.call("DELETE", f"/v1/instances/{one}", status=204)
    assert "instance.connected" in await names(alice, f"?instance_id={one}")


async def test_events_of_others_are_not_there(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    mine = await alice.create()
    await append(front, mine, STATUS)
    bound = await front.holder("alice", instance_id=await alice.create("other"))
    for stranger in (bob, live, bound):
        assert await names(stranger) == []
        refused = await stranger.refused("GET", f"/v1/events?instance_id={mine}", **PAGE)
        assert refused == (404, "instance_not_found")
    event_id = (await alice.call("GET", "/v1/events", **PAGE))["data"][0]["event_id"]
    assert await bob.refused("GET", f"/v1/events?after={event_id}", **PAGE) == (400, "bad_cursor")


@pytest.mark.parametrize("cursor", ["evt_unknown", "-1", "9" * 30, "%00", "a%20b", "%C3%A9", "%FF"])
async def test_cursor_that_is_none_of_ours_is_400(front: Front, cursor: str) -> None:
    alice = await front.holder()
    assert await alice.refused("GET", f"/v1/events?after={cursor}", **PAGE) == (400, "bad_cursor")
    assert await alice.refused("GET", f"/v1/events?after={cursor}") == (400, "bad_cursor")


async def test_bad_last_event_id_is_400(front: Front) -> None:
    alice = await front.holder()
    assert await alice.refused("GET", "/v1/events", Last_Event_ID="evt_unknown") == (400, "bad_cursor")


async def test_refusals_say_what_to_send_instead(front: Front) -> None:
    alice = await front.holder()
    cursor = await front.client.get("/v1/events?after=evt_x", headers={"Authorization": f"Bearer {alice.key}", **PAGE})
    assert "`after`" in (await cursor.get_json())["error"]["message"]
    token = (await (await front.client.get("/v1/events?token=zst-cut", headers=PAGE)).get_json())["error"]
    assert token["details"] == {"field": "token"}
    assert "POST /v1/events/token" in token["message"]


async def test_page_goes_on_after_the_last_event_id_as_a_stream_does(front: Front) -> None:
    alice = await front.holder()
    await append(front, await alice.create(), *[STATUS] * 3)
    first, *rest = [row["event_id"] for row in (await alice.call("GET", "/v1/events", **PAGE))["data"]]
    page = await alice.call("GET", "/v1/events", **PAGE, Last_Event_ID=first)
    assert [row["event_id"] for row in page["data"]] == rest
    assert await alice.refused("GET", "/v1/events", **PAGE, Last_Event_ID="&A%p[%") == (400, "bad_cursor")

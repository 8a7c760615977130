"""The audit log by API, and that every route that changes something writes into it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api.routes import ENDPOINTS
from api.schemas.times import iso
from api.serving.endpoint import Access
from tests.integration.api.front import Front, Holder, Json
from tests.integration.api.walk import AUDITED, CHANGING, NOT_AUDITED
from whatisup.store import Mode

PATH = "/v1/audit-events"


async def entries(holder: Holder, query: str = "") -> list[Json]:
    rows: list[Json] = (await holder.call("GET", f"{PATH}?{query}"))["data"]
    return rows


def test_every_route_that_changes_something_is_audited_or_says_why_not() -> None:
    assert set(AUDITED) | set(NOT_AUDITED) == {endpoint.name for endpoint in CHANGING}
    assert not set(AUDITED) & set(NOT_AUDITED)


async def test_entry_says_who_what_and_by_which_request(front: Front) -> None:
    alice = await front.holder()
    answer = await alice.ask("POST", "/v1/instances", {"name": "one"}, X_Request_Id="mine-1")
    instance_id = (await answer.get_json())["id"]
    await alice.call("PATCH", f"/v1/instances/{instance_id}", {"name": "two"}, X_Request_Id="mine-2")
    newest, older = await entries(alice, f"target_id={instance_id}")
    assert newest["id"].startswith("aud_")
    assert newest["api_key_id"].startswith("key_")
    assert {name: newest[name] for name in newest if name not in ("id", "created_at", "api_key_id")} == {
        "customer_id": alice.customer_id,
        "mode": "test",
        "actor": "api_key",
        "request_id": "mine-2",
        "action": "instance.updated",
        "target_type": "instance",
        "target_id": instance_id,
        "before": {"name": "one"},
        "after": {"name": "two"},
    }
    assert (older["action"], older["request_id"], older["before"]) == ("instance.created", "mine-1", None)


async def test_filters_and_pages(front: Front) -> None:
    alice = await front.holder()
    first, second = await alice.create("one"), await alice.create("two")
    await alice.call("PATCH", f"/v1/instances/{first}", {"name": "three"})
    assert [row["target_id"] for row in await entries(alice, "action=instance.created")] == [second, first]
    assert {row["action"].partition(".")[0] for row in await entries(alice, "action=api")} == {"api_key"}
    assert [row["action"] for row in await entries(alice, f"instance_id={first}")] == [
        "instance.updated",
        "instance.created",
    ]
    everything = await entries(alice)
    page = await alice.call("GET", f"{PATH}?limit=2")
    rest = await alice.call("GET", f"{PATH}?limit=100&cursor={page['next_cursor']}")
    assert page["data"] + rest["data"] == everything
    assert rest["next_cursor"] is None
    at = everything[1]["created_at"]
    since, until = await entries(alice, f"since={at}"), await entries(alice, f"until={at}")
    assert all(row["created_at"] >= at for row in since)
    assert all(row["created_at"] < at for row in until)
    assert len(since) + len(until) == len(everything)
    later = iso(front.edge.now() + 60_000)
    assert await entries(alice, f"since={later}") == []


async def test_wrong_filters_are_refused(front: Front) -> None:
    alice = await front.holder()
    for query in ("since=yesterday", "until=2026-01-01", "action=x%25", "limit=0", "wild=1"):
        assert await alice.refused("GET", f"{PATH}?{query}") == (422, "validation_failed"), query
    for cursor in ("aud_none", "%00", "wild cursor"):
        assert await alice.refused("GET", f"{PATH}?cursor={cursor}") == (400, "bad_cursor"), cursor
    assert await alice.refused("GET", f"{PATH}?instance_id=inst_none") == (404, "instance_not_found")
    assert await entries(alice, "target_id=%00") == []


async def test_entries_outlive_what_they_are_about(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    await alice.call("DELETE", f"/v1/instances/{instance_id}", status=204)
    actions = [row["action"] for row in await entries(alice, f"instance_id={instance_id}")]
    assert actions == ["instance.delete", "instance.created"]


async def test_bound_key_reads_what_was_done_to_its_instance_alone(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create(), await alice.create("two")
    issued = await alice.call("POST", "/v1/api-keys", {"name": "bound", "instance_id": mine}, 201)
    bound = replace(alice, key=issued["secret"])
    assert {row["target_id"] for row in await entries(bound)} == {mine}
    assert await bound.refused("GET", f"{PATH}?instance_id={other}") == (404, "instance_not_found")
    assert await entries(bound, f"target_id={other}") == []


async def test_modes_do_not_see_each_other_and_both_see_the_customer(front: Front) -> None:
    alice, live = await front.holder(), await front.holder(mode=Mode.LIVE)
    await alice.create()
    assert "instance.created" in {row["action"] for row in await entries(alice)}
    seen = await entries(live)
    assert {row["mode"] for row in seen} == {"live", None}
    assert {row["action"] for row in seen if row["mode"] is None} == {"customer.created"}


async def test_what_routes_are_said_to_write_they_write(paired_front: Front) -> None:
    """Ask every audited route of customers once, and find its entry with the request's own id."""
    alice = await paired_front.holder()
    instance_id, number = await alice.pair()
    hook: Json = {"url": "https://hooks.example.com/x", "events": ["instance.*"]}
    made: dict[str, str] = {"instance_id": instance_id, "number": number}

    async def act(name: str, body: Any = None, **holes: str) -> Json:
        endpoint = next(endpoint for endpoint in ENDPOINTS if endpoint.name == name)
        path = endpoint.path.format(**{**made, **holes})
        row = await alice.call(endpoint.method, path, body, endpoint.status, X_Request_Id=name)
        seen = [entry["action"] for entry in await entries(alice) if entry["request_id"] == name]
        assert seen == [AUDITED[name]], name
        done.add(name)
        return row

    done: set[str] = set()
    spare = (await act("create_instance", {"name": "spare"}))["id"]
    await act("update_instance", {"name": "new"}, instance_id=spare)
    await act("stop_instance")
    await act("start_instance")
    await alice.status(instance_id, "connected")
    other = (await act("create_sandbox_phone", {}))["number"]
    await act("request_pair_code", {"phone_number": other}, instance_id=spare)
    await act("delete_instance", instance_id=spare)
    await act("log_out_instance")
    person = (await act("create_sandbox_contact", {}))["number"]
    await act("set_sandbox_contact_online", {"online": False}, number=person)
    await act("set_sandbox_contact_persona", {"persona": "echo"}, number=person)
    await act("change_identity_of_sandbox_contact", number=person)
    fault = {"name": "lid-only", "number": person}
    armed = (await act("create_sandbox_fault", fault))["id"]
    await act("delete_sandbox_fault", fault_id=armed)
    await alice.call("POST", "/v1/sandbox/faults", fault, 201)
    await act("delete_sandbox_faults")
    made["endpoint_id"] = (await act("create_webhook_endpoint", hook))["id"]
    await act("update_webhook_endpoint", {"enabled": False})
    await alice.call("PATCH", f"/v1/webhook-endpoints/{made['endpoint_id']}", {"enabled": True})
    await act("rotate_webhook_secret", {})
    tested = await alice.call("POST", f"/v1/webhook-endpoints/{made['endpoint_id']}/test", {}, 202)
    await act("redeliver_webhook", {}, delivery_id=tested["id"])
    await act("replay_webhook_events", {"after": "0"})
    await act("delete_webhook_endpoint")
    made["key_id"] = (await act("create_api_key", {"name": "k"}))["id"]
    await act("revoke_api_key")
    assert done == {name for name in AUDITED if _access(name) is not Access.ADMIN}


def _access(name: str) -> Access:
    return next(endpoint.access for endpoint in ENDPOINTS if endpoint.name == name)

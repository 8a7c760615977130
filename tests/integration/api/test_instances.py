"""Instances over HTTP: made, listed, read, changed, deleted; by their owner and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.front import Front
from whatisup.store import Mode

FIELDS = [
    "id", "customer_id", "name", "phone_number", "status", "last_seen_at", "metadata", "created_at", "updated_at",
    "mode", "reason", "detail", "expires_at",
]  # fmt: skip


async def test_create_answers_201_with_every_field(front: Front) -> None:
    alice = await front.holder()
    row = await alice.call("POST", "/v1/instances", {"name": "first", "metadata": {"a": [1, None]}}, 201)
    assert list(row) == FIELDS
    assert row["id"].startswith("inst_")
    assert (row["customer_id"], row["status"], row["mode"]) == (alice.customer_id, "pending", "test")
    assert row["metadata"] == {"a": [1, None]}
    assert row["created_at"].endswith("Z")
    assert await alice.call("GET", f"/v1/instances/{row['id']}") == row


async def test_list_is_newest_first_and_pages_without_gap(front: Front) -> None:
    alice = await front.holder()
    made = [await alice.create(f"n{i}") for i in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await alice.call("GET", f"/v1/instances?limit=2{cursor}")
        seen += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(seen) == sorted(made)
    names = [row["created_at"] for row in (await alice.call("GET", "/v1/instances"))["data"]]
    assert names == sorted(names, reverse=True)


async def test_patch_changes_what_is_named_and_nothing_else(front: Front) -> None:
    alice = await front.holder()
    row = await alice.call("POST", "/v1/instances", {"name": "old", "metadata": {"a": 1}}, 201)
    path = f"/v1/instances/{row['id']}"
    renamed = await alice.call("PATCH", path, {"name": "new"})
    assert (renamed["name"], renamed["metadata"]) == ("new", {"a": 1})
    emptied = await alice.call("PATCH", path, {"metadata": {}})
    assert (emptied["name"], emptied["metadata"]) == ("new", {})


async def test_delete_hides_the_instance(front: Front) -> None:
    alice = await front.holder()
    instance_id = await alice.create()
    await alice.call("DELETE", f"/v1/instances/{instance_id}", status=204)
    assert await alice.refused("GET", f"/v1/instances/{instance_id}") == (404, "instance_not_found")
    assert await alice.refused("DELETE", f"/v1/instances/{instance_id}") == (404, "instance_not_found")
    assert (await alice.call("GET", "/v1/instances"))["data"] == []


@pytest.mark.parametrize(
    ("action", "remedy"), [("start", "no account is linked"), ("stop", "not running"), ("logout", "no account")]
)
async def test_command_that_the_state_forbids_is_409_with_remedy(front: Front, action: str, remedy: str) -> None:
    alice = await front.holder()
    path = f"/v1/instances/{await alice.create()}/{action}"
    answer = await alice.ask("POST", path)
    body = await answer.get_json()
    assert (answer.status_code, body["error"]["code"]) == (409, "invalid_lifecycle_transition")
    assert body["error"]["details"]["status"] == "pending"
    assert remedy in body["error"]["details"]["remedy"]


ROUTES = [
    ("GET", "", None),
    ("PATCH", "", {"name": "x"}),
    ("DELETE", "", None),
    ("GET", "/qr?wait_s=0", None),
    ("POST", "/pair-code", {"phone_number": "5511999999999"}),
    ("POST", "/start", None),
    ("POST", "/stop", None),
    ("POST", "/logout", None),
]


@pytest.mark.parametrize(("method", "suffix", "body"), ROUTES)
async def test_instance_of_somebody_else_does_not_exist(front: Front, method: str, suffix: str, body: Any) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    mine = await alice.create()
    bound = await front.holder("alice", instance_id=await alice.create("other"))
    for stranger in (bob, live, bound):
        path = f"/v1/instances/{mine}{suffix}"
        assert await stranger.refused(method, path, body) == (404, "instance_not_found")
    assert await bob.refused(method, f"/v1/instances/inst_unknown{suffix}", body) == (404, "instance_not_found")
    assert (await alice.call("GET", f"/v1/instances/{mine}"))["name"] == "one"


async def test_lists_of_customers_and_modes_are_apart(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    await alice.create()
    for stranger in (bob, live):
        assert (await stranger.call("GET", "/v1/instances"))["data"] == []


async def test_bound_key_sees_its_instance_and_makes_none(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create("mine"), await alice.create("other")
    bound = await front.holder(instance_id=mine)
    assert [row["id"] for row in (await bound.call("GET", "/v1/instances"))["data"]] == [mine]
    assert (await bound.call("GET", f"/v1/instances/{mine}"))["id"] == mine
    assert await bound.refused("GET", f"/v1/instances/{other}") == (404, "instance_not_found")
    assert await bound.refused("POST", "/v1/instances", {"name": "x"}) == (403, "instance_scoped_key")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/v1/instances", {"name": "a", "label": 1}, (422, "validation_failed")),
        ("POST", "/v1/instances", {"name": "a\u0000"}, (422, "validation_failed")),
        ("POST", "/v1/instances", [], (422, "validation_failed")),
        ("GET", "/v1/instances?limit=0", None, (422, "validation_failed")),
        ("GET", "/v1/instances?limit=101", None, (422, "validation_failed")),
        ("GET", "/v1/instances?limit=x", None, (422, "validation_failed")),
        ("GET", "/v1/instances?nope=1", None, (422, "validation_failed")),
        ("GET", "/v1/instances?cursor=nonsense", None, (400, "bad_cursor")),
        ("GET", "/v1/instances?cursor=%00", None, (400, "bad_cursor")),
        ("GET", "/v1/instances?cursor=MS5h%2F", None, (400, "bad_cursor")),
        ("GET", f"/v1/instances?cursor={'A' * 300}", None, (422, "validation_failed")),
        ("GET", "/v1/instances/inst_1%00", None, (404, "instance_not_found")),
        ("GET", f"/v1/instances/{'x' * 5000}", None, (404, "instance_not_found")),
        ("POST", "/v1/instances/inst_1/start", {"force": True}, (422, "validation_failed")),
        ("DELETE", "/v1/instances/inst_1", {"force": True}, (422, "validation_failed")),
    ],
)
async def test_wrong_request_is_a_clear_4xx(
    front: Front, method: str, path: str, body: Any, expected: tuple[int, str]
) -> None:
    assert await (await front.holder()).refused(method, path, body) == expected


async def test_refusal_names_the_field(front: Front) -> None:
    answer = await (await front.holder()).ask("POST", "/v1/instances", {"name": 1})
    assert (await answer.get_json())["error"]["details"] == {"field": "name"}


async def test_postgres_holds_the_same_promises(postgres_url: str, tmp_path: Any) -> None:
    """NUL, huge numbers and cursors meet a database that is stricter than SQLite."""
    from tests.integration.api.front import open_front

    async with open_front(tmp_path, DATABASE_URL=postgres_url) as front:
        alice = await front.holder()
        first, second = await alice.create("1"), await alice.create("2")
        page = await alice.call("GET", "/v1/instances?limit=1")
        rest = await alice.call("GET", f"/v1/instances?limit=1&cursor={page['next_cursor']}")
        assert {page["data"][0]["id"], rest["data"][0]["id"]} == {first, second}
        assert await alice.refused("GET", "/v1/instances/a%00b") == (404, "instance_not_found")
        assert await alice.refused("GET", "/v1/events?instance_id=a%00b") == (422, "validation_failed")
        assert await alice.refused("GET", "/v1/events?after=a%00b", Accept="application/json") == (400, "bad_cursor")
        assert await alice.refused("GET", "/v1/instances?cursor=MS5hAGI") == (400, "bad_cursor")
        headers = {"Idempotency-Key": "k"}
        assert (await alice.call("POST", "/v1/instances", {"name": "k"}, 201, **headers))["name"] == "k"
        assert (await alice.call("POST", "/v1/instances", {"name": "k"}, 201, **headers))["name"] == "k"

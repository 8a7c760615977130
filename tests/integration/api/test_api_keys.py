"""API keys by API: made by their like, shown once, worth no more than their maker, and dead at once when revoked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from api.schemas.times import iso
from api.serving.idempotency import write_once
from tests.integration.api.front import Front, Holder, Json
from whatisup.store import KeyScope, Mode

PATH = "/v1/api-keys"
DAY_MS = 24 * 3600 * 1000


async def mint(maker: Holder, **wish: Any) -> tuple[Json, Holder]:
    """A new key as it was issued, and whoever holds it."""
    issued = await maker.call("POST", PATH, {"name": "ci", **wish}, 201)
    return issued, replace(maker, key=issued["secret"])


async def test_key_is_shown_once_and_opens_what_its_maker_may(front: Front) -> None:
    alice = await front.holder()
    issued, holder = await mint(alice)
    assert issued["secret"].startswith(issued["prefix"])
    assert {name: issued[name] for name in issued if name not in ("id", "prefix", "secret", "created_at")} == {
        "customer_id": alice.customer_id,
        "instance_id": None,
        "name": "ci",
        "scopes": [],
        "last_used_at": None,
        "expires_at": None,
        "revoked_at": None,
        "mode": "test",
    }
    listed = (await holder.call("GET", PATH))["data"]
    assert listed[0] == {name: value for name, value in issued.items() if name != "secret"}
    assert issued["secret"] not in str(listed)


async def test_retry_of_the_request_shows_no_secret(front: Front) -> None:
    alice = await front.holder()
    first = await alice.call("POST", PATH, {"name": "ci"}, 201, Idempotency_Key="k")
    again = await alice.call("POST", PATH, {"name": "ci"}, 201, Idempotency_Key="k")
    assert first["secret"] is not None
    assert again == first | {"secret": None}
    assert len((await alice.call("GET", PATH))["data"]) == 2


async def test_minted_key_has_its_makers_scopes_expiry_and_mode(front: Front) -> None:
    ends_at = front.edge.now() + DAY_MS
    maker = await front.holder(mode=Mode.LIVE, scopes=["keys", "audit"], expires_at=ends_at)
    issued, _ = await mint(maker)
    assert (issued["scopes"], issued["expires_at"], issued["mode"]) == (["keys", "audit"], iso(ends_at), "live")
    issued, holder = await mint(maker, scopes=["audit", "audit"], expires_at=iso(ends_at - 1))
    assert (issued["scopes"], issued["expires_at"]) == (["audit"], iso(ends_at - 1))
    assert await holder.refused("GET", PATH) == (403, "insufficient_scope")


async def test_no_key_makes_one_that_is_worth_more(front: Front) -> None:
    ends_at = front.edge.now() + DAY_MS
    maker = await front.holder(scopes=["keys"], expires_at=ends_at)
    for wish, field in (
        ({"scopes": ["keys", "audit"]}, "scopes"),
        ({"expires_at": iso(ends_at + 1)}, "expires_at"),
        ({"expires_at": iso(front.edge.now() - 1)}, "expires_at"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-01:00"}, "expires_at"),
        ({"scopes": ["everything"]}, "scopes[0]"),
        ({"mode": "live"}, "mode"),
        ({"customer_id": "cust_other"}, "customer_id"),
    ):
        answer = await maker.ask("POST", PATH, {"name": "x", **wish})
        error = (await answer.get_json())["error"]
        assert (answer.status_code, error["code"]) == (422, "validation_failed"), wish
        assert error["details"] == {"field": field}, wish
    assert len((await maker.call("GET", PATH))["data"]) == 1


async def test_every_scope_may_be_asked_for(front: Front) -> None:
    issued, _ = await mint(await front.holder(), scopes=[scope.value for scope in KeyScope])
    assert set(issued["scopes"]) == set(KeyScope)


async def test_key_is_bound_to_an_instance_of_the_customers_own_and_mode(front: Front) -> None:
    alice, bob = await front.holder(), await front.holder("bob")
    live = await front.holder(mode=Mode.LIVE)
    mine, theirs, live_one = await alice.create(), await bob.create(), await live.create()
    for wrong in (theirs, live_one, "inst_none"):
        assert await alice.refused("POST", PATH, {"name": "x", "instance_id": wrong}) == (404, "instance_not_found")
    issued, bound = await mint(alice, instance_id=mine)
    assert issued["instance_id"] == mine
    other = await alice.create("two")
    assert (await bound.call("GET", f"/v1/instances/{mine}"))["id"] == mine
    assert await bound.refused("GET", f"/v1/instances/{other}") == (404, "instance_not_found")


async def test_bound_key_makes_sees_and_ends_only_its_own_kind(front: Front) -> None:
    alice = await front.holder()
    mine, other = await alice.create(), await alice.create("two")
    issued, bound = await mint(alice, instance_id=mine)
    elsewhere, _ = await mint(alice, instance_id=other)
    child, _ = await mint(bound)
    assert child["instance_id"] == mine
    assert await bound.refused("POST", PATH, {"name": "x", "instance_id": other}) == (404, "instance_not_found")
    assert {row["id"] for row in (await bound.call("GET", PATH))["data"]} == {issued["id"], child["id"]}
    assert await bound.refused("DELETE", f"{PATH}/{elsewhere['id']}") == (404, "api_key_not_found")
    await bound.call("DELETE", f"{PATH}/{child['id']}", status=204)


async def test_revoked_key_opens_nothing_any_more_even_the_one_that_asked(front: Front) -> None:
    alice = await front.holder()
    issued, holder = await mint(alice)
    await holder.call("DELETE", f"{PATH}/{issued['id']}", status=204)
    assert await holder.refused("GET", PATH) == (401, "auth_expired")
    await alice.call("DELETE", f"{PATH}/{issued['id']}", status=204)  # a retry after a lost answer
    assert issued["id"] not in {row["id"] for row in (await alice.call("GET", PATH))["data"]}


async def test_key_that_was_revoked_while_its_request_waited_makes_none(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await front.holder()
    issued, holder = await mint(alice)

    async def revoke_and_write(*args: Any, **kwargs: Any) -> Any:
        await alice.call("DELETE", f"{PATH}/{issued['id']}", status=204)
        return await write_once(*args, **kwargs)

    monkeypatch.setattr("api.routes.api_keys.write_once", revoke_and_write)
    assert await holder.refused("POST", PATH, {"name": "late"}) == (401, "auth_expired")


async def test_keys_of_others_and_of_the_other_mode_do_not_exist(front: Front) -> None:
    alice, bob, live = await front.holder(), await front.holder("bob"), await front.holder(mode=Mode.LIVE)
    theirs, _ = await mint(bob)
    live_one, _ = await mint(live)
    for key_id in (theirs["id"], live_one["id"], "key_none", "no%20id"):
        assert await alice.refused("DELETE", f"{PATH}/{key_id}") == (404, "api_key_not_found")
    assert len((await alice.call("GET", PATH))["data"]) == 1


async def test_list_has_pages(front: Front) -> None:
    alice = await front.holder()
    made = [(await mint(alice))[0]["id"] for _ in range(4)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await alice.call("GET", f"{PATH}?limit=2{cursor}")
        seen += [row["id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen)) == 5
    assert set(made) < set(seen)
    assert await alice.refused("GET", f"{PATH}?cursor=wild") == (400, "bad_cursor")

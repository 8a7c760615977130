"""Scopes of keys: what a key lacks it is refused, by name; a key without scopes has them all."""

from __future__ import annotations

from api.routes import ENDPOINTS
from api.serving.endpoint import Access
from tests.integration.api.front import Front
from whatisup.store import KeyScope

# Every key may ask how much it may ask.
OPEN_TO_EVERY_KEY = {"get_limits"}


def test_every_route_of_keys_names_a_scope_that_there_is() -> None:
    for endpoint in ENDPOINTS:
        needs_key = endpoint.access in (Access.KEY, Access.TEST_KEY)
        if endpoint.name in OPEN_TO_EVERY_KEY or not needs_key:
            assert endpoint.scopes == (), endpoint.name
        else:
            assert endpoint.scope is not None, endpoint.name
            assert set(endpoint.scopes) <= set(KeyScope), endpoint.name


async def test_a_missing_scope_is_named(front: Front) -> None:
    reader = await front.holder(scopes=["instances:read"])
    assert (await reader.call("GET", "/v1/instances"))["data"] == []
    answer = await reader.ask("POST", "/v1/instances", {"name": "one"})
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["code"]) == (403, "insufficient_scope")
    assert error["details"] == {"scope": "instances:write"}


async def test_a_route_that_shows_more_than_it_does_needs_both_scopes(front: Front) -> None:
    sender = await front.holder(scopes=["messages:send", "instances:write"])
    instance_id = await sender.create()
    answer = await sender.ask("POST", f"/v1/instances/{instance_id}/messages/msg_1/read")
    assert (await answer.get_json())["error"]["details"] == {"scope": "messages:read"}


async def test_a_key_without_scopes_has_them_all(front: Front) -> None:
    holder = await front.holder()
    await holder.create()
    assert len((await holder.call("GET", "/v1/instances"))["data"]) == 1

"""The admin key: customers, their limits and keys; and nothing without it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart.wrappers import Response

from api.routes import ENDPOINTS
from api.serving.endpoint import Access
from tests.integration.api.front import OPERATOR_TOKEN, Front, Holder, Json, open_front
from tests.integration.api.walk import AUDITED

ADMIN_KEY = "admin-key-of-the-tests-0123456789abcdef"
PATH = "/admin/v1/customers"
ROUTES = [endpoint for endpoint in ENDPOINTS if endpoint.access is Access.ADMIN]


class Nobody(Holder):
    """Somebody who says nothing of who asks."""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        return await super().ask(method, path, body, **headers, Authorization="")


@pytest.fixture
async def admin(folder: Path) -> AsyncIterator[Holder]:
    async with open_front(folder, WHATISUP_ADMIN_KEY=ADMIN_KEY) as front:
        yield Holder(front.client, "admin", ADMIN_KEY)


def test_every_route_under_admin_wants_the_admin_key() -> None:
    assert {e.path for e in ROUTES} == {e.path for e in ENDPOINTS if e.path.startswith("/admin")}
    assert len(ROUTES) == 7


@pytest.mark.parametrize("endpoint", ROUTES, ids=lambda e: e.name)
async def test_without_an_admin_key_there_are_no_such_routes(front: Front, endpoint: object) -> None:
    assert isinstance(endpoint, type(ROUTES[0]))
    path = endpoint.path.format(customer_id="cust_1", key_id="key_1")
    alice = await front.holder()
    for holder in (alice, Holder(front.client, "", ADMIN_KEY), Holder(front.client, "", OPERATOR_TOKEN)):
        assert await holder.refused(endpoint.method, path) == (404, "not_found")


@pytest.mark.parametrize("endpoint", ROUTES, ids=lambda e: e.name)
async def test_nothing_but_the_admin_key_opens_them(folder: Path, endpoint: object) -> None:
    assert isinstance(endpoint, type(ROUTES[0]))
    path = endpoint.path.format(customer_id="cust_1", key_id="key_1")
    async with open_front(folder, WHATISUP_ADMIN_KEY=ADMIN_KEY) as front:
        alice = await front.holder()
        for key in (alice.key, OPERATOR_TOKEN, ADMIN_KEY + "x", "é"):
            answer = await Holder(front.client, "", key).refused(endpoint.method, path)
            assert answer == (401, "auth_invalid"), key
        assert await Nobody(front.client, "", "").refused(endpoint.method, path) == (401, "auth_missing")
        assert await Holder(front.client, "", ADMIN_KEY).refused("GET", "/v1/instances") == (401, "auth_malformed")


async def test_customers_are_made_listed_and_shown(admin: Holder) -> None:
    made = [await admin.call("POST", PATH, {"name": name}, 201) for name in ("one", "two")]
    assert made[0]["rate_limits"] == {"live": None, "test": None}
    page = await admin.call("GET", f"{PATH}?limit=1")
    rest = await admin.call("GET", f"{PATH}?limit=1&cursor={page['next_cursor']}")
    assert {row["id"] for row in (*page["data"], *rest["data"])} == {row["id"] for row in made}
    assert await admin.call("GET", f"{PATH}/{made[1]['id']}") == made[1]
    assert await admin.refused("GET", f"{PATH}/cust_none") == (404, "customer_not_found")
    assert await admin.refused("POST", PATH, {"name": " "}) == (422, "validation_failed")


async def test_retries_make_one_customer_and_one_key(admin: Holder) -> None:
    once = {"Idempotency_Key": "k"}
    first = await admin.call("POST", PATH, {"name": "one"}, 201, **once)
    assert await admin.call("POST", PATH, {"name": "one"}, 201, **once) == first
    assert await admin.refused("POST", PATH, {"name": "two"}, **once) == (409, "idempotency_mismatch")
    assert len((await admin.call("GET", PATH))["data"]) == 1
    keys = f"{PATH}/{first['id']}/api-keys"
    issued = await admin.call("POST", keys, {"name": "k"}, 201, **once)
    assert await admin.call("POST", keys, {"name": "k"}, 201, **once) == issued | {"secret": None}


async def test_limits_are_changed_by_mode_and_taken_back(admin: Holder) -> None:
    wish = {"live": {"burst": 5, "per_s": 0.5}}
    customer = await admin.call("POST", PATH, {"name": "one", "rate_limits": wish}, 201)
    path = f"{PATH}/{customer['id']}"
    assert customer["rate_limits"] == {**wish, "test": None}
    changed = await admin.call("PATCH", path, {"rate_limits": {"test": {"burst": 1, "per_s": 0}}, "name": "two"})
    assert changed["rate_limits"] == {**wish, "test": {"burst": 1, "per_s": 0.0}}
    assert changed["name"] == "two"
    changed = await admin.call("PATCH", path, {"rate_limits": {"live": None}})
    assert changed["rate_limits"] == {"live": None, "test": {"burst": 1, "per_s": 0.0}}
    assert await admin.call("GET", path) == changed
    refused: tuple[Json, ...] = ({}, {"rate_limits": {}}, {"rate_limits": {"live": {"burst": 0, "per_s": 1}}})
    for wrong in refused:
        assert await admin.refused("PATCH", path, wrong) == (422, "validation_failed")
    assert await admin.refused("PATCH", f"{PATH}/cust_none", {"name": "x"}) == (404, "customer_not_found")


async def test_keys_of_a_customer_are_made_used_and_revoked(admin: Holder) -> None:
    customer = await admin.call("POST", PATH, {"name": "one"}, 201)
    keys = f"{PATH}/{customer['id']}/api-keys"
    issued = await admin.call("POST", keys, {"name": "first", "mode": "live", "scopes": ["audit"]}, 201)
    assert (issued["mode"], issued["scopes"], issued["customer_id"]) == ("live", ["audit"], customer["id"])
    holder = Holder(admin.client, customer["id"], issued["secret"])
    told = (await holder.call("GET", "/v1/audit-events"))["data"]
    assert [(row["action"], row["actor"], row["api_key_id"]) for row in told] == [
        ("api_key.created", "admin", None),
        ("customer.created", "admin", None),
    ]
    assert issued["secret"] not in str(told)
    assert [row["id"] for row in (await admin.call("GET", keys))["data"]] == [issued["id"]]
    await admin.call("DELETE", f"{keys}/{issued['id']}", status=204)
    assert await holder.refused("GET", "/v1/audit-events") == (401, "auth_expired")
    assert (await admin.call("GET", keys))["data"] == []


async def test_keys_stay_with_their_customer(admin: Holder) -> None:
    one, two = [await admin.call("POST", PATH, {"name": name}, 201) for name in ("one", "two")]
    issued = await admin.call("POST", f"{PATH}/{one['id']}/api-keys", {"name": "k"}, 201)
    elsewhere = f"{PATH}/{two['id']}/api-keys"
    assert await admin.refused("DELETE", f"{elsewhere}/{issued['id']}") == (404, "api_key_not_found")
    holder = Holder(admin.client, one["id"], issued["secret"])
    instance_id = await holder.create()
    wish = {"name": "k", "instance_id": instance_id}
    assert await admin.refused("POST", elsewhere, wish) == (404, "instance_not_found")
    wrong_mode = f"{PATH}/{one['id']}/api-keys"
    assert await admin.refused("POST", wrong_mode, {**wish, "mode": "live"}) == (404, "instance_not_found")
    assert await admin.refused("POST", f"{PATH}/cust_none/api-keys", {"name": "k"}) == (404, "customer_not_found")


async def test_what_is_done_with_the_admin_key_is_on_record(admin: Holder) -> None:
    customer = await admin.call("POST", PATH, {"name": "one"}, 201, X_Request_Id="create_customer")
    path = f"{PATH}/{customer['id']}"
    await admin.call("PATCH", path, {"name": "two"}, X_Request_Id="update_customer")
    keys = [
        await admin.call("POST", f"{path}/api-keys", {"name": name}, 201, X_Request_Id="create_customer_api_key")
        for name in ("reader", "spare")
    ]
    await admin.call("DELETE", f"{path}/api-keys/{keys[1]['id']}", None, 204, X_Request_Id="revoke_customer_api_key")
    reader = Holder(admin.client, customer["id"], keys[0]["secret"])
    told = (await reader.call("GET", "/v1/audit-events"))["data"]
    assert {row["actor"] for row in told} == {"admin"}
    changing = {endpoint.name for endpoint in ROUTES if endpoint.method != "GET"}
    assert {row["request_id"]: row["action"] for row in told} == {name: AUDITED[name] for name in changing}

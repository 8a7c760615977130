"""What holds for every request: who may ask, the envelope, ids, bodies, headers."""

from __future__ import annotations

from typing import Any

import pytest

from api.routes import ENDPOINTS
from tests.integration.api.front import ORIGIN, Front, Holder, refusal
from whatisup.store import Mode, Tx, instances, keys

JSON = {"Content-Type": "application/json"}


async def test_key_of_every_kind_of_wrong_is_401(front: Front) -> None:
    alice = await front.holder()
    unknown = alice.key[:-4] + ("AAAA" if not alice.key.endswith("AAAA") else "BBBB")
    other_mode = alice.key.replace("zpk_test_", "zpk_live_")
    cases = [
        ({}, "auth_missing"),
        ({"Authorization": "Basic abc"}, "auth_malformed"),
        ({"Authorization": "Bearer abc"}, "auth_malformed"),
        ({"Authorization": f"Bearer {unknown}"}, "auth_invalid"),
        ({"Authorization": f"Bearer {other_mode}"}, "auth_invalid"),
    ]
    for headers, code in cases:
        answer = await front.client.get("/v1/instances", headers=headers)
        assert await refusal(answer) == (401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_key_that_was_revoked_or_has_expired_is_auth_expired(front: Front) -> None:
    expired = await front.holder(expires_at=1)
    assert await expired.refused("GET", "/v1/instances") == (401, "auth_expired")
    revoked = await front.holder(expires_at=front.edge.now() + 60_000)
    await revoked.call("GET", "/v1/instances")

    def revoke(tx: Tx) -> None:
        found = keys.authenticate(tx.conn, tx.vault, revoked.key, tx.now)
        keys.revoke(tx, found.id, customer_id=revoked.customer_id, origin=ORIGIN, now=tx.now)  # type: ignore[union-attr]  # it is a key

    await front.write(revoke)
    assert await revoked.refused("GET", "/v1/instances") == (401, "auth_expired")


async def test_use_of_a_key_is_remembered(front: Front) -> None:
    alice = await front.holder()
    await alice.call("GET", "/v1/instances")
    (used_at,) = front.edge.key_uses.values()
    assert abs(used_at - front.edge.now()) < 60_000


async def test_token_in_the_query_opens_the_stream_alone(front: Front) -> None:
    alice = await front.holder()
    refused = await front.client.get(f"/v1/instances?token={alice.key}")
    assert await refusal(refused) == (401, "auth_missing")
    page = await front.client.get(f"/v1/events?token={alice.key}", headers={"Accept": "application/json"})
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nothing", (404, "not_found")),
        ("GET", "/v1", (404, "not_found")),
        ("GET", "/v1/instances/", (404, "not_found")),
        ("GET", "/v1//instances", (404, "not_found")),
        ("GET", "/v1/../etc/passwd", (404, "not_found")),
        ("PUT", "/v1/instances", (405, "method_not_allowed")),
        ("OPTIONS", "/v1/instances", (405, "method_not_allowed")),
        ("FROB", "/healthz", (405, "method_not_allowed")),
        ("POST", "/healthz", (405, "method_not_allowed")),
    ],
)
async def test_unknown_route_or_method_has_the_envelope(
    front: Front, method: str, path: str, expected: tuple[int, str]
) -> None:
    answer = await front.client.open(path, method=method)
    assert await refusal(answer) == expected
    assert ("Allow" in answer.headers) == (expected[0] == 405)


async def test_request_id_is_ours_unless_the_client_brings_a_sane_one(front: Front) -> None:
    ours = await front.client.get("/healthz")
    assert ours.headers["X-Request-Id"].startswith("req_")
    theirs = await front.client.get("/healthz", headers={"X-Request-Id": "trace-1.2:3"})
    assert theirs.headers["X-Request-Id"] == "trace-1.2:3"
    for wild in ("a b", "x" * 101, "é", '"'):
        answer = await front.client.get("/healthz", headers={"X-Request-Id": wild})
        assert answer.headers["X-Request-Id"].startswith("req_")


async def raw(alice: Holder, body: bytes, headers: dict[str, str] | None = None) -> Any:
    fields = {"Authorization": f"Bearer {alice.key}", **(JSON if headers is None else headers)}
    return await alice.client.post("/v1/instances", data=body, headers=fields)


async def test_body_that_is_no_json_is_400(front: Front) -> None:
    alice = await front.holder()
    for body in (b"{", b"\xff", b'{"name":"\\ud800"}', b'{"name":"a"}x', b'{"metadata":{"a":' + b"[" * 90_000):
        assert await refusal(await raw(alice, body)) == (400, "invalid_json")


async def test_body_of_another_media_type_is_415(front: Front) -> None:
    alice = await front.holder()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers in (form, {}, {"Content-Type": "text/json"}):
        assert await refusal(await raw(alice, b'{"name":"a"}', headers)) == (415, "unsupported_media_type")
    charset = {"Content-Type": "application/json; charset=utf-8"}
    assert (await raw(alice, b'{"name":"a"}', charset)).status_code == 201


async def test_body_beyond_the_limit_is_413_everywhere(front: Front) -> None:
    alice = await front.holder()
    large = b'{"name":"' + b"a" * front.edge.settings.max_body_bytes + b'"}'
    assert await refusal(await raw(alice, large)) == (413, "body_too_large")
    instance_id = await alice.create()
    for path in (f"/v1/instances/{instance_id}/stop", "/v1/sandbox/phones"):
        answer = await alice.client.post(path, data=large, headers={"Authorization": f"Bearer {alice.key}", **JSON})
        assert await refusal(answer) == (413, "body_too_large")


async def test_unforeseen_error_says_nothing_of_itself(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = await front.holder()

    def fail(*_: object) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(instances, "list_page", fail)
    answer = await alice.ask("GET", "/v1/instances")
    assert await refusal(answer) == (500, "internal_error")
    assert b"hunter2" not in await answer.get_data()


async def test_answers_are_not_cached(front: Front) -> None:
    answer = await (await front.holder()).ask("GET", "/v1/instances")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_head_answers_without_a_body(front: Front) -> None:
    alice = await front.holder()
    answer = await alice.ask("HEAD", "/v1/events")
    assert (answer.status_code, answer.content_type) == (200, "text/event-stream")


async def test_log_line_holds_no_secret_and_no_query(
    front: Front, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = await front.holder()
    await front.client.get(f"/v1/events?token={alice.key}&limit=7", headers={"Accept": "application/json"})
    await alice.call("POST", "/v1/instances", {"name": "my private name"}, 201)
    shown = capsys.readouterr()
    text = shown.out + shown.err + caplog.text
    assert "/v1/events" in text
    for secret in (alice.key, alice.key[9:], "limit=7", "my private name"):
        assert secret not in text


HOLES = {
    "instance_id": "inst_1",
    "number": "999000000001",
    "fault_id": "fault-1",
    "message_id": "msg_1",
    "jid": "999000000001",
    "phone": "999000000001",
    "key_id": "key_1",
    "customer_id": "cust_1",
    "endpoint_id": "wh_1",
    "delivery_id": "dlv_1",
}
TEST_ROUTES = [e for e in ENDPOINTS if e.path.startswith("/v1/sandbox")]


@pytest.mark.parametrize("endpoint", TEST_ROUTES, ids=lambda e: e.name)
async def test_sandbox_route_does_not_exist_for_live_keys(front: Front, endpoint: Any) -> None:
    live = await front.holder(mode=Mode.LIVE)
    path = endpoint.path.format_map(HOLES)
    assert await live.refused(endpoint.method, path) == (404, "not_found")


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.path.startswith("/v1/")], ids=lambda e: e.name)
async def test_every_v1_route_wants_a_key(front: Front, endpoint: Any) -> None:
    path = endpoint.path.format_map(HOLES)
    assert await refusal(await front.client.open(path, method=endpoint.method)) == (401, "auth_missing")


async def test_sandbox_route_without_a_sandbox_says_so(front: Front) -> None:
    alice = await front.holder()
    assert await alice.refused("POST", "/v1/sandbox/phones", {}) == (503, "sandbox_unavailable")
    assert await alice.refused("GET", "/v1/sandbox/faults") == (503, "sandbox_unavailable")

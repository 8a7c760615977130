"""`Idempotency-Key`: one effect, one reply, whoever asks how often."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.integration.api.front import Front, Holder, Json
from tests.integration.api.walk import CHANGING, NOT_ONCE
from whatisup.store import Mode, Tx, idempotency
from whatisup.store.idempotency import Scope

PATH = "/v1/instances"
KEY = {"Idempotency_Key": "first-try"}
DUPLICATES = 50
HOOK: Json = {"url": "https://hooks.example.com/whatisup", "events": ["instance.*"]}


async def count(holder: Holder) -> int:
    return len((await holder.call("GET", PATH))["data"])


async def test_retry_gets_the_first_reply_and_makes_nothing(front: Front) -> None:
    alice = await front.holder()
    first = await alice.call("POST", PATH, {"name": "a"}, 201, **KEY)
    answer = await alice.ask("POST", PATH, {"name": "a"}, **KEY)
    assert (answer.status_code, await answer.get_json()) == (201, first)
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert await count(alice) == 1


async def test_another_body_is_refused(front: Front) -> None:
    alice = await front.holder()
    await alice.call("POST", PATH, {"name": "a"}, 201, **KEY)
    assert await alice.refused("POST", PATH, {"name": "b"}, **KEY) == (409, "idempotency_mismatch")
    assert await count(alice) == 1


async def test_key_is_scoped_by_customer_mode_and_path(front: Front) -> None:
    alice, bob = await front.holder("alice"), await front.holder("bob")
    live = await front.holder("alice", Mode.LIVE)
    ids = {(await holder.call("POST", PATH, {"name": "a"}, 201, **KEY))["id"] for holder in (alice, bob, live)}
    assert len(ids) == 3


async def test_bound_key_is_not_shown_what_its_customer_was_answered(front: Front) -> None:
    alice = await front.holder()
    bound = await front.holder(instance_id=await alice.create())
    made = await alice.call("POST", "/v1/webhook-endpoints", HOOK, 201)
    rotation = f"/v1/webhook-endpoints/{made['id']}/rotate-secret"
    await alice.call("POST", rotation, {}, **KEY)
    assert await bound.refused("POST", rotation, {}, **KEY) == (404, "webhook_endpoint_not_found")
    theirs = await alice.call("POST", "/v1/api-keys", {"name": "k"}, 201, **KEY)
    assert (await bound.call("POST", "/v1/api-keys", {"name": "k"}, 201, **KEY))["id"] != theirs["id"]


def test_every_post_that_makes_or_sends_takes_the_header() -> None:
    posts = {endpoint.name: endpoint for endpoint in CHANGING if endpoint.method == "POST"}
    assert {name for name in posts if not posts[name].takes_idempotency_key} == set(NOT_ONCE)


async def race(holder: Holder, path: str, body: Any, status: int) -> list[Json]:
    """The answers to 50 requests with one key that are made together."""
    seen: list[Json] = []

    async def post() -> None:
        seen.append(await holder.call("POST", path, body, status, **KEY))

    async with trio.open_nursery() as nursery:
        for _ in range(DUPLICATES):
            nursery.start_soon(post)
    assert len(seen) == DUPLICATES
    return seen


@pytest.mark.parametrize(
    ("path", "body"), [(PATH, {"name": "a"}), ("/v1/api-keys", {"name": "a"}), ("/v1/webhook-endpoints", HOOK)]
)
async def test_fifty_duplicates_at_once_have_one_effect(front: Front, path: str, body: Json) -> None:
    alice = await front.holder()
    before = len((await alice.call("GET", path))["data"])
    seen = await race(alice, path, body, 201)
    assert len({row["id"] for row in seen}) == 1
    assert len((await alice.call("GET", path))["data"]) == before + 1
    secrets = {row["secret"] for row in seen if "secret" in row}
    assert len(secrets - {None}) == ("secret" in seen[0])  # one answer shows it


async def test_fifty_duplicates_of_a_send_are_one_message(paired_front: Front) -> None:
    alice = await paired_front.holder()
    instance_id, _ = await alice.pair()
    friend = await alice.create_phone()
    path = f"{PATH}/{instance_id}/messages"
    seen = await race(alice, path, {"to": friend, "body": {"type": "text", "text": "once"}}, 202)
    assert len({row["message_id"] for row in seen}) == 1
    assert len((await alice.call("GET", path))["data"]) == 1


@pytest.mark.parametrize("wish", [{}, {"number": "999123123123"}])
async def test_fifty_duplicates_make_one_phone(paired_front: Front, wish: Json) -> None:
    alice = await paired_front.holder()
    seen = await race(alice, "/v1/sandbox/phones", wish, 201)
    assert len({row["number"] for row in seen}) == 1
    assert len((await alice.call("GET", "/v1/sandbox/phones"))["data"]) == 1
    # Nor are there any that belong to nobody.
    assert len(await paired_front.edge.require_sandbox().accounts()) == 1


async def test_fifty_duplicates_arm_one_fault_and_say_one_thing(paired_front: Front) -> None:
    alice = await paired_front.holder()
    number, other = await alice.create_phone(), await alice.create_phone()
    await race(alice, "/v1/sandbox/faults", {"name": "lid-only", "number": number, "times": 3}, 201)
    assert len((await alice.call("GET", "/v1/sandbox/faults"))["data"]) == 1
    said = {"to": other, "body": {"type": "text", "text": "once"}}
    seen = await race(alice, f"/v1/sandbox/contacts/{number}/messages", said, 202)
    assert len({row["wa_message_id"] for row in seen}) == 1


async def test_error_before_the_effect_leaves_the_key_free(front: Front) -> None:
    alice = await front.holder()
    assert await alice.refused("POST", PATH, {"name": ""}, **KEY) == (422, "validation_failed")
    await alice.call("POST", PATH, {"name": "a"}, 201, **KEY)
    path = f"{PATH}/{(await alice.call('GET', PATH))['data'][0]['id']}/pair-code"
    number = {"phone_number": "999000000001"}
    for _ in range(2):  # no such phone: refused before anything was claimed
        assert await alice.refused("POST", path, number, **KEY) == (422, "validation_failed")


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
async def test_key_of_another_form_is_refused(front: Front, key: str) -> None:
    alice = await front.holder()
    refused = await alice.refused("POST", PATH, {"name": "a"}, Idempotency_Key=key)
    assert refused == (422, "validation_failed")


async def test_request_in_progress_is_waited_for_and_then_409(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim of a process that still works: the loser waits, then is told to come back."""
    monkeypatch.setattr("api.serving.idempotency.LOSER_WAITS_S", 0.3)
    live = await front.holder(mode=Mode.LIVE)
    path = f"{PATH}/{await live.create()}/pair-code"
    body = b'{"phone_number":"5511999999999"}'
    scope = Scope(live.customer_id, Mode.LIVE, "POST", path)

    def claim(tx: Tx) -> None:
        idempotency.claim(tx, scope, "first-try", tx.vault.fingerprint(body), tx.now)

    def complete(tx: Tx) -> None:
        idempotency.complete(tx, scope, "first-try", 200, b'{"code":"ABCD-EFGH"}')

    async def ask() -> Any:
        headers = {
            "Authorization": f"Bearer {live.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": "first-try",
        }
        return await front.client.post(path, data=body, headers=headers)

    await front.write(claim)
    answer = await ask()
    assert (answer.status_code, (await answer.get_json())["error"]["code"]) == (409, "idempotency_in_progress")
    assert int(answer.headers["Retry-After"]) > 0
    monkeypatch.setattr("api.serving.idempotency.LOSER_WAITS_S", 10.0)
    answers: list[Any] = []

    async def lose() -> None:
        answers.append(await ask())

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            await trio.sleep(0.2)
            await front.write(complete)
    assert (answers[0].status_code, await answers[0].get_json()) == (200, {"code": "ABCD-EFGH"})

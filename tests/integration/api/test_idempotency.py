"""`Idempotency-Key`: one effect, one reply, whoever asks how often."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.integration.api.front import Front, Holder
from whatisup.store import Mode, Tx, idempotency
from whatisup.store.idempotency import Scope

PATH = "/v1/instances"
KEY = {"Idempotency_Key": "first-try"}


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


async def test_racing_retries_make_one_instance(front: Front) -> None:
    alice = await front.holder()
    seen: list[Any] = []

    async def post() -> None:
        seen.append((await alice.call("POST", PATH, {"name": "a"}, 201, **KEY))["id"])

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(post)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert await count(alice) == 1


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
    monkeypatch.setattr("api.routes.idempotency.LOSER_WAITS_S", 0.3)
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
    monkeypatch.setattr("api.routes.idempotency.LOSER_WAITS_S", 10.0)
    answers: list[Any] = []

    async def lose() -> None:
        answers.append(await ask())

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lose)
            await trio.sleep(0.2)
            await front.write(complete)
    assert (answers[0].status_code, await answers[0].get_json()) == (200, {"code": "ABCD-EFGH"})

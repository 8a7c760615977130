"""Idempotency keys: one claim wins, everybody gets its answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.store.world import NOW, ORIGIN, World
from whatisup.errors import StoreError
from whatisup.store import Mode, Store, Tx, idempotency, instances
from whatisup.store.idempotency import LIFETIME_MS, Claim, Fresh, InProgress, Mismatch, Replay, Scope

BODY = b"h" * 32
CLAIMS = 50
HANDLES = 5


@pytest.fixture
def scope(world: World) -> Scope:
    return Scope(world.customer.id, Mode.LIVE, "POST", "/v1/instances")


def claim(world: World, scope: Scope, key: str = "k", body: bytes = BODY, now: int = NOW) -> Claim:
    return world.store.call(idempotency.claim, scope, key, body, now)


def test_first_claim_is_fresh_and_the_next_waits(world: World, scope: Scope) -> None:
    assert claim(world, scope) == Fresh()
    assert claim(world, scope) == InProgress()


def test_answer_is_replayed(world: World, scope: Scope) -> None:
    claim(world, scope)
    world.store.call(idempotency.complete, scope, "k", 201, b'{"id":1}', {"Location": "/v1/instances/1"})
    assert claim(world, scope) == Replay(201, b'{"id":1}', {"Location": "/v1/instances/1"})


def test_other_body_is_a_mismatch(world: World, scope: Scope) -> None:
    claim(world, scope)
    assert claim(world, scope, body=b"x" * 32) == Mismatch()
    world.store.call(idempotency.complete, scope, "k", 201, b"")
    assert claim(world, scope, body=b"x" * 32) == Mismatch()


@pytest.mark.parametrize(
    "change", [{"mode": Mode.TEST}, {"method": "PUT"}, {"path": "/v1/other"}, {"customer_id": "cust_other"}]
)
def test_key_counts_within_its_scope(world: World, scope: Scope, change: dict[str, str]) -> None:
    claim(world, scope)
    assert claim(world, replace(scope, **change)) == Fresh()  # type: ignore[arg-type] # each key has its type


def test_claim_lasts_a_day(world: World, scope: Scope) -> None:
    claim(world, scope)
    assert claim(world, scope, now=NOW + LIFETIME_MS - 1) == InProgress()
    assert claim(world, scope, body=b"x" * 32, now=NOW + LIFETIME_MS) == Fresh()
    assert claim(world, scope, now=NOW + LIFETIME_MS + 1) == Mismatch()


def test_answer_of_an_expired_claim_is_gone(world: World, scope: Scope) -> None:
    claim(world, scope)
    world.store.call(idempotency.complete, scope, "k", 201, b"old")
    assert claim(world, scope, now=NOW + LIFETIME_MS) == Fresh()
    assert claim(world, scope, now=NOW + LIFETIME_MS) == InProgress()


def test_expired_claims_are_swept(world: World, scope: Scope) -> None:
    claim(world, scope)
    assert world.store.call(idempotency.expire, NOW + LIFETIME_MS - 1) == 0
    assert world.store.call(idempotency.expire, NOW + LIFETIME_MS) == 1


def test_expired_claims_are_swept_in_steps_the_oldest_first(world: World, scope: Scope) -> None:
    for n, key in enumerate("cab"):
        claim(world, scope, key=key, now=NOW + n)
    assert world.store.call(idempotency.expire, NOW + LIFETIME_MS + 1, 1) == 1
    assert claim(world, scope, key="a", now=NOW + 3) == InProgress()
    assert claim(world, scope, key="c", now=NOW + 3) == Fresh()
    assert world.store.call(idempotency.expire, NOW + LIFETIME_MS + 9, 2) == 2
    assert world.store.call(idempotency.expire, NOW + LIFETIME_MS + 9, 2) == 1


def test_looking_claims_nothing(world: World, scope: Scope) -> None:
    def look() -> Claim | None:
        return world.store.read(
            lambda conn, vault: idempotency.look(conn, vault, scope, "k", vault.fingerprint(b"body"), NOW)
        )

    assert look() is None
    world.store.call(lambda tx: idempotency.claim(tx, scope, "k", tx.vault.fingerprint(b"body"), NOW))
    assert look() == InProgress()


def test_released_claim_is_free_and_an_answered_one_is_not(world: World, scope: Scope) -> None:
    claim(world, scope)
    world.store.call(idempotency.release, scope, "k")
    assert claim(world, scope) == Fresh()
    world.store.call(idempotency.complete, scope, "k", 200, b"")
    world.store.call(idempotency.release, scope, "k")
    assert isinstance(claim(world, scope), Replay)


def test_claims_of_a_dead_process_are_released(world: World, scope: Scope) -> None:
    claim(world, scope, "dead")
    claim(world, scope, "answered")
    world.store.call(idempotency.complete, scope, "answered", 200, b"")
    assert world.store.call(idempotency.release_unfinished) == 1
    assert claim(world, scope, "dead") == Fresh()
    assert isinstance(claim(world, scope, "answered"), Replay)


def test_answer_without_a_claim_is_refused(world: World, scope: Scope) -> None:
    with pytest.raises(StoreError):
        world.store.call(idempotency.complete, scope, "k", 200, b"")


def create_once(tx: Tx, world: World, scope: Scope) -> Claim:
    """What `POST /v1/instances` does: claim, effect and answer in one transaction."""
    found = idempotency.claim(tx, scope, "k", BODY, NOW)
    if isinstance(found, Fresh):
        made = instances.create(
            tx, customer_id=world.customer.id, mode=Mode.LIVE, name="once", metadata={}, origin=ORIGIN, now=NOW
        )
        idempotency.complete(tx, scope, "k", 201, made.id.encode())
    return found


def test_effect_that_fails_leaves_the_key_free(world: World, scope: Scope) -> None:
    def half(tx: Tx) -> None:
        create_once(tx, world, scope)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.store.call(half)
    assert claim(world, scope) == Fresh()


def test_answer_is_kept_with_its_effect(world: World, scope: Scope) -> None:
    acted: list[bytes] = []

    def act(body: bytes = BODY, now: int = NOW, answer: bytes = b"first") -> object:
        def effect() -> tuple[str, int, bytes]:
            acted.append(answer)
            return "done", 202, answer

        return world.store.call(idempotency.once, scope, "k", body, now, effect)

    assert act() == "done"
    assert act(answer=b"second") == Replay(202, b"first")
    assert act(body=b"x" * 32) == Mismatch()
    assert claim(world, scope) == Replay(202, b"first")
    assert acted == [b"first"]
    assert act(now=NOW + LIFETIME_MS, answer=b"third") == "done"
    assert claim(world, scope, now=NOW + LIFETIME_MS) == Replay(202, b"third")


def test_effect_that_fails_keeps_no_answer(world: World, scope: Scope) -> None:
    def fail() -> tuple[str, int, bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.store.call(idempotency.once, scope, "k", BODY, NOW, fail)
    assert claim(world, scope) == Fresh()
    assert world.store.call(idempotency.once, scope, "k", BODY, NOW, fail) == InProgress()


def test_fifty_concurrent_claims_have_one_effect(world: World, scope: Scope, open_store: Callable[[], Store]) -> None:
    handles = [open_store() for _ in range(HANDLES)]
    with ThreadPoolExecutor(HANDLES) as pool:
        found = list(pool.map(lambda i: handles[i % HANDLES].call(create_once, world, scope), range(CLAIMS)))
    rows, _ = world.store.read(instances.list_page, world.customer.id, Mode.LIVE)
    (made,) = [row for row in rows if row.name == "once"]
    assert found.count(Fresh()) == 1
    assert found.count(Replay(201, made.id.encode())) == CLAIMS - 1

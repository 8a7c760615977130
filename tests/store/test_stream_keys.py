"""Stream tokens: what they stand for, when they end, and what becomes of forged ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.world import NOW, ORIGIN, World
from whatisup.store import KeyRefusal, Mode, keys, stream_keys

END = NOW + stream_keys.TOKEN_MS
NONCE = b"8 bytes."


def make_key(world: World, **how: Any) -> Any:
    def create(tx: Any) -> Any:
        return keys.create(tx, customer_id=world.customer.id, mode=Mode.LIVE, name="k", origin=ORIGIN, now=NOW, **how)[
            0
        ]

    return world.store.call(create)


def mint(world: World, key: Any, ends_at: int = END) -> str:
    return world.store.read(stream_keys.mint, key.id, ends_at, NONCE)


def opened(world: World, token: str, now: int = NOW) -> Any:
    return world.store.read(stream_keys.authenticate, token, now)


def test_token_stands_for_its_key_until_its_end(world: World) -> None:
    key = make_key(world, scopes=("events",))
    token = mint(world, key)
    assert len(token) <= 100
    assert opened(world, token, END - 1) == key
    assert opened(world, token, END) is KeyRefusal.EXPIRED
    assert key.id not in token


def test_token_dies_with_its_key(world: World) -> None:
    key, brief = make_key(world), make_key(world, expires_at=NOW + 10)
    tokens = [mint(world, one) for one in (key, brief)]
    assert [opened(world, token, NOW + 9) for token in tokens] == [key, brief]
    assert opened(world, tokens[1], NOW + 10) is KeyRefusal.EXPIRED
    world.store.call(lambda tx: keys.revoke(tx, key.id, customer_id=world.customer.id, origin=ORIGIN, now=NOW))
    assert opened(world, tokens[0]) is KeyRefusal.EXPIRED


def test_forged_tokens_open_nothing(world: World) -> None:
    token = mint(world, make_key(world))
    for index in range(len(stream_keys.TOKEN_PREFIX), len(token) - 1):
        forged = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert opened(world, forged) is KeyRefusal.INVALID, index
    for garbage in ("", "zst_", "zst_é", token[4:], token[:-4], token + "AAAA", "zst_" + "*" * 83, "x" + token):
        assert opened(world, garbage) is KeyRefusal.MALFORMED, garbage


def test_token_of_a_key_that_is_not_there_opens_nothing(world: World) -> None:
    class Gone:
        id = "key_01J00000000000000000000000"

    assert opened(world, mint(world, Gone)) is KeyRefusal.INVALID


@pytest.mark.parametrize("more", [0, 1100])
def test_living_keys_are_those_that_open_something(world: World, more: int) -> None:
    alive, revoked, over = make_key(world), make_key(world), make_key(world, expires_at=NOW + 5)
    world.store.call(lambda tx: keys.revoke(tx, revoked.id, customer_id=world.customer.id, origin=ORIGIN, now=NOW))
    asked = [f"key_{n}" for n in range(more)] + [alive.id, revoked.id, over.id]
    assert world.store.read(stream_keys.living, asked, NOW + 4) == {alive.id, over.id}
    assert world.store.read(stream_keys.living, asked, NOW + 5) == {alive.id}

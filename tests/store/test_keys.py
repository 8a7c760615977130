"""API keys: shown once, found by their hash, and never worth more than who made them."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from tests.store.world import NOW, ORIGIN, World
from whatisup.errors import WiderThanMaker
from whatisup.store import ApiKey, KeyRefusal, Mode, RateLimit, audit, customers, keys

DAY_MS = 24 * 3600 * 1000


def make(world: World, mode: Mode = Mode.LIVE, **how: Any) -> tuple[ApiKey, str]:
    how = dict[str, Any](name="ci", origin=ORIGIN, now=NOW, customer_id=world.customer.id) | how
    return world.store.call(lambda tx: keys.create(tx, mode=mode, **how))


def mint(world: World, maker: ApiKey, **how: Any) -> tuple[ApiKey, str]:
    return world.store.call(lambda tx: keys.mint(tx, maker, name="child", origin=ORIGIN, now=NOW, **how))


def authenticate(world: World, secret: str, now: int = NOW) -> ApiKey | KeyRefusal:
    return world.store.read(keys.authenticate, secret, now)


@pytest.mark.parametrize("mode", Mode)
def test_key_has_the_public_format(world: World, mode: Mode) -> None:
    key, secret = make(world, mode)
    assert re.fullmatch(rf"zpk_{mode}_[A-Za-z0-9_-]{{43}}", secret)
    assert key.prefix == secret[: len(f"zpk_{mode}_") + 4]
    assert secret not in repr(key)


def test_secret_finds_its_key(world: World) -> None:
    key, secret = make(world, scopes=("messages:read",), instance_id=world.id, expires_at=NOW + 1)
    make(world)
    assert authenticate(world, secret) == key
    assert (key.scopes, key.instance_id, key.mode) == (("messages:read",), world.id, Mode.LIVE)


def test_secrets_differ(world: World) -> None:
    assert len({make(world)[1] for _ in range(20)}) == 20


def test_key_of_the_other_mode_is_invalid(world: World) -> None:
    _, secret = make(world, Mode.TEST)
    assert authenticate(world, secret.replace("test", "live")) is KeyRefusal.INVALID


@pytest.mark.parametrize(
    "secret",
    ["", "zpk_live_", "zpk_prod_" + "a" * 43, "zpk_live_" + "a" * 42, "zpk_live_" + "a" * 44, "zpk_live_" + "é" * 43,
     " zpk_live_" + "a" * 43, "zpk_live_" + "a" * 43 + "\n"],
)  # fmt: skip
def test_malformed_key_is_told_apart(world: World, secret: str) -> None:
    assert authenticate(world, secret) is KeyRefusal.MALFORMED


def test_unknown_key_is_invalid(world: World) -> None:
    assert authenticate(world, "zpk_live_" + "a" * 43) is KeyRefusal.INVALID


def test_key_expires(world: World) -> None:
    _, secret = make(world, expires_at=NOW + 1)
    assert isinstance(authenticate(world, secret), ApiKey)
    assert authenticate(world, secret, NOW + 1) is KeyRefusal.EXPIRED


def test_revoked_key_opens_nothing(world: World) -> None:
    key, secret = make(world)
    how: dict[str, Any] = {"customer_id": world.customer.id, "origin": ORIGIN}
    revoked = world.store.call(lambda tx: keys.revoke(tx, key.id, now=NOW + 1, **how))
    assert revoked is not None
    assert authenticate(world, secret) is KeyRefusal.EXPIRED
    again = world.store.call(lambda tx: keys.revoke(tx, key.id, now=NOW + 2, **how))
    assert again == revoked


def test_key_of_another_customer_cannot_be_revoked(world: World) -> None:
    key, secret = make(world)
    how: dict[str, Any] = {"customer_id": "cust_other", "origin": ORIGIN, "now": NOW}
    assert world.store.call(lambda tx: keys.revoke(tx, key.id, **how)) is None
    assert authenticate(world, secret) == key


def test_list_shows_active_keys_by_mode(world: World) -> None:
    live, test, revoked = make(world)[0], make(world, Mode.TEST)[0], make(world)[0]
    world.store.call(lambda tx: keys.revoke(tx, revoked.id, customer_id=world.customer.id, origin=ORIGIN, now=NOW))

    def listed(**how: Any) -> set[str]:
        found = world.store.read(lambda conn, vault: keys.list_by_customer(conn, vault, world.customer.id, **how))
        return {key.id for key in found}

    assert listed() == {live.id, test.id}
    assert listed(mode=Mode.TEST) == {test.id}
    assert listed(with_revoked=True) == {live.id, test.id, revoked.id}
    assert world.store.read(keys.list_by_customer, "cust_other") == []


def test_use_is_recorded(world: World) -> None:
    key, _ = make(world)
    world.store.call(keys.touch_used, {key.id: NOW + 7})
    world.store.call(keys.touch_used, {})
    found = world.store.read(keys.get, key.id, world.customer.id)
    assert found is not None
    assert found.last_used_at == NOW + 7


def test_minted_key_has_its_makers_place(world: World) -> None:
    maker, _ = make(world, Mode.TEST, instance_id=world.id, scopes=("a", "b"), expires_at=NOW + DAY_MS)
    child, secret = mint(world, maker, scopes=("b",), expires_at=NOW + 5)
    assert (child.customer_id, child.mode, child.instance_id) == (maker.customer_id, Mode.TEST, world.id)
    assert authenticate(world, secret) == child


@pytest.mark.parametrize(
    "wish",
    [{"scopes": ("a", "c")}, {"scopes": ("a",), "expires_at": NOW + DAY_MS + 1}, {"instance_id": "inst_other"}],
    ids=["other scope", "longer", "other instance"],
)  # fmt: skip
def test_minted_key_is_worth_no_more_than_its_maker(world: World, wish: dict[str, Any]) -> None:
    maker, _ = make(world, scopes=("a", "b"), expires_at=NOW + DAY_MS, instance_id=world.id)
    with pytest.raises(WiderThanMaker):
        mint(world, maker, **wish)


def test_minted_key_has_its_makers_limits_where_none_are_named(world: World) -> None:
    maker, _ = make(world, scopes=("a", "b"), expires_at=NOW + DAY_MS)
    child, _ = mint(world, maker)
    assert (child.scopes, child.expires_at, child.instance_id) == (("a", "b"), NOW + DAY_MS, None)


def test_unbound_key_may_mint_a_bound_one(world: World) -> None:
    assert mint(world, make(world)[0], instance_id=world.id)[0].instance_id == world.id


def test_pages_show_active_keys_newest_first(world: World) -> None:
    made = [make(world, now=NOW + at)[0].id for at in (0, 0, 1, 2)]
    make(world, Mode.TEST)
    make(world, expires_at=NOW + 5)
    world.store.call(lambda tx: keys.revoke(tx, made[3], customer_id=world.customer.id, origin=ORIGIN, now=NOW))
    read = partial(keys.page, customer_id=world.customer.id, mode=Mode.LIVE, now=NOW + 5, limit=1)
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        rows, cursor = world.store.read(partial(read, cursor=cursor))
        seen += [row.id for row in rows]
    assert cursor is None
    assert seen == [made[2], *sorted(made[:2], reverse=True)]


def test_key_brings_its_customers_own_limit(world: World) -> None:
    (_, live), (_, test) = make(world), make(world, Mode.TEST)
    limits = {Mode.LIVE: RateLimit(7, 0.5)}
    world.store.call(lambda tx: customers.patch(tx, world.customer.id, origin=ORIGIN, rate_limits=limits))
    found = [authenticate(world, secret) for secret in (live, test)]
    assert [isinstance(key, ApiKey) and key.rate_limit for key in found] == [RateLimit(7, 0.5), None]


def test_unlimited_key_may_mint_anything(world: World) -> None:
    child, _ = mint(world, make(world)[0], scopes=("anything",))
    assert (child.scopes, child.expires_at) == (("anything",), None)


def test_making_and_revoking_is_on_record_without_the_secret(world: World) -> None:
    key, secret = make(world)
    world.store.call(lambda tx: keys.revoke(tx, key.id, customer_id=world.customer.id, origin=ORIGIN, now=NOW))
    entries, _ = world.store.read(
        lambda conn, vault: audit.page(conn, vault, customer_id=world.customer.id, target_id=key.id)
    )
    assert [entry.action for entry in entries] == ["api_key.revoked", "api_key.created"]
    assert secret[len("zpk_live_") + 4 :] not in repr(entries)

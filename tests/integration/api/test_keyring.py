"""Keys that are remembered, and how soon they are forgotten: from the commit on that changes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from api.auth import Principal
from api.serving.keyring import Keyring
from tests.conftest import TEST_SECRETS
from tests.integration.api.front import ORIGIN, Front, Holder
from whatisup.store import Database, KeyRefusal, Mode, Tx, keys

READS = "api.serving.keyring.keys.authenticate"


async def second_key(front: Front, alice: Holder, **limits: Any) -> tuple[str, Holder]:
    """Another key of the same customer: its id and holder."""

    def make(tx: Tx) -> Any:
        about = {"customer_id": alice.customer_id, "mode": Mode.TEST, "name": "doomed", "origin": ORIGIN}
        return keys.create(tx, now=tx.now, **about, **limits)

    key, secret = await front.write(make)
    return key.id, Holder(alice.client, alice.customer_id, secret)


async def revoked_while_asking(doomed: Holder, revoke: Callable[[], Awaitable[object]]) -> tuple[set[int], set[int]]:
    """The statuses of what was asked before the key was revoked, and of what was asked after that."""
    before, after, is_revoked, is_over = list[int](), list[int](), False, False

    async def ask() -> None:
        while not is_over:
            seen = after if is_revoked else None
            status = (await doomed.ask("GET", "/v1/instances?limit=1")).status_code
            (before if seen is None else seen).append(status)
            await trio.sleep(0.001)  # whoever revokes needs the processor too

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask)
        with trio.fail_after(30):
            while len(before) < 20:
                await trio.sleep(0.001)
            assert set(before) == {200}
            await revoke()
            is_revoked = True
            while len(after) < 20:
                await trio.sleep(0.001)
        is_over = True
    return set(before), set(after)


async def test_key_revoked_by_the_api_opens_nothing_more(front: Front) -> None:
    alice = await front.holder()
    key_id, doomed = await second_key(front, alice)
    revoke = partial(alice.call, "DELETE", f"/v1/api-keys/{key_id}", status=204)
    before, after = await revoked_while_asking(doomed, revoke)
    assert before >= {200}
    assert after == {401}
    assert await doomed.refused("GET", "/v1/instances") == (401, "auth_expired")
    assert (await alice.ask("GET", "/v1/instances")).status_code == 200


async def test_key_revoked_by_the_command_line_opens_nothing_more(front: Front, folder: Path) -> None:
    alice = await front.holder()
    key_id, doomed = await second_key(front, alice)
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder / 'front.db'}",
        "SECRETS_KEY": TEST_SECRETS.key,
        "API_KEY_PEPPER": TEST_SECRETS.pepper,
    }
    words = [sys.executable, "-m", "api.cli", "keys", "revoke", "--customer", alice.customer_id, key_id]
    _, after = await revoked_while_asking(doomed, partial(trio.run_process, words, env=environment))
    assert after == {401}
    assert (await alice.ask("GET", "/v1/instances")).status_code == 200


async def test_key_past_its_end_opens_nothing_although_nothing_was_committed(front: Front) -> None:
    alice = await front.holder()
    _, doomed = await second_key(front, alice, expires_at=front.edge.now() + 60_000)
    assert (await doomed.ask("GET", "/v1/limits")).status_code == 200
    now = front.edge.now
    front.edge.now = lambda: now() + 60_000
    assert await doomed.refused("GET", "/v1/limits") == (401, "auth_expired")


async def test_key_is_read_once_while_nothing_is_committed(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    read, authenticate = list[str](), keys.authenticate

    def noted(conn: Any, vault: Any, secret: str, now: int) -> Any:
        read.append(secret)
        return authenticate(conn, vault, secret, now)

    monkeypatch.setattr(READS, noted)
    alice = await front.holder()
    before, version = len(read), front.store.version
    monkeypatch.setattr(front.store, "version", lambda: (0, 0))  # whatever a heartbeat may write meanwhile
    for _ in range(5):
        await alice.call("GET", "/v1/limits")
    assert len(read) - before <= 1
    monkeypatch.setattr(front.store, "version", version)
    await alice.create()
    await alice.call("GET", "/v1/limits")
    assert len(read) - before >= 2


def stub(version: Callable[[], Any], found: Callable[[], Any]) -> Database:
    async def look(*_: object) -> Any:
        return found()

    return cast("Database", SimpleNamespace(store=SimpleNamespace(version=version), look=look))


class Key(SimpleNamespace):
    """As much of a key as decides about access."""

    def __init__(self, name: str) -> None:
        nothing = {"instance_id": None, "expires_at": None, "scopes": (), "rate_limit": None}
        super().__init__(id=name, customer_id="cust_1", mode=Mode.TEST, **nothing)


async def test_keys_are_read_each_time_where_no_version_is_known() -> None:
    read = list[Key]()

    def found() -> Key:
        read.append(Key("key_1"))
        return read[-1]

    ring = Keyring(stub(lambda: None, found), os.urandom)
    for _ in range(3):
        await ring.authenticate("secret", 0)
    assert (len(read), len(ring)) == (3, 0)


async def test_row_that_was_read_while_somebody_committed_is_not_kept() -> None:
    version = 1

    def found() -> Key:
        nonlocal version
        version += 1
        return Key("key_1")

    ring = Keyring(stub(lambda: (0, version), found), os.urandom)
    await ring.authenticate("secret", 0)
    assert isinstance(await ring.authenticate("secret", 0), Principal)
    assert version == 3


async def test_keyring_is_bounded_and_keeps_no_refusals() -> None:
    answers: list[Any] = [Key("key_1"), Key("key_2"), Key("key_3"), KeyRefusal.INVALID]
    ring = Keyring(stub(lambda: (0, 1), lambda: answers.pop(0)), os.urandom, max_keys=2)
    for number in range(3):
        await ring.authenticate(f"secret{number}", 0)
    assert await ring.authenticate("guess", 0) is KeyRefusal.INVALID
    assert len(ring) == 2
    assert cast("Principal", await ring.authenticate("secret2", 0)).key_id == "key_3"

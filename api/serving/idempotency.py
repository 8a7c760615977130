"""`Idempotency-Key`: a retry gets the first reply again instead of a second effect.

Rule: where the effect is a store write, claim, effect and reply are one writer call, so all three happened or none.
Where the effect is an actor's, the claim is committed first and the reply last, and a failure in between frees the key.
A client that leaves does not interrupt that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio
from msgspec import Struct, json

from api.problems import Problem
from api.serving.endpoint import ADMIN, Answer, Exchange
from whatisup.store import Tx, datakeys, idempotency
from whatisup.store.idempotency import Claim, Fresh, InProgress, Mismatch, Replay, Scope

HEADER: Final = "Idempotency-Key"
LOSER_WAITS_S: Final = 10.0
POLL_S: Final = 0.1
REPLAYED: Final[Mapping[str, str]] = {"Idempotent-Replayed": "true"}

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


def unchanged(reply: Struct) -> Struct:
    """Keep a reply for retries as it is."""
    return reply


async def write_once(
    exchange: Exchange[Any, Any],
    effect: Callable[[Tx], Struct],
    status: int,
    *,
    lane: str | None = None,
    anywhere: bool = False,
    kept: Callable[[Any], Struct] = unchanged,
) -> Answer:
    """Do a store write in the writer, at most once per key, and answer with what `effect` returns.

    `lane` says whom the write is queued fairly with; without one it is the customer. `anywhere` is as in `Call`. `kept`
    makes of the reply what retries get, so that a secret is shown once and stands nowhere.

    Raises:
        Problem: the key is in use or was used with another body, or whatever `effect` raised.
    """
    writer, key = exchange.edge.system.writer, _key(exchange)
    lane = lane or _lane(exchange)
    if key is None:
        return Answer(await writer.call(effect, lane=lane, anywhere=anywhere), status=status)
    async with _taking_turns(exchange, key) as is_first:
        found: Claim | Struct | None = None if is_first else await _look(exchange, key)
        if found is None:
            found = await _claim_and_write(exchange, key, effect, kept, status, lane, anywhere=anywhere)
    return _answer(found) if not isinstance(found, Struct) else Answer(found, status=status)


async def prepare_and_write_once(
    exchange: Exchange[Any, Any], prepare: Callable[[], Awaitable[Callable[[Tx], Struct]]], status: int
) -> Answer:
    """Do a store write that takes something outside the store first: `prepare` does that, and gives the write.

    Of requests with one key that come together only the first prepares. What a crash leaves prepared and not written
    belongs to nobody.

    Raises:
        Problem: the key is in use or was used with another body, or whatever `prepare` or its write raised.
    """
    key, lane = _key(exchange), _lane(exchange)
    if key is None:
        return Answer(await exchange.edge.system.writer.call(await prepare(), lane=lane), status=status)
    async with _taking_turns(exchange, key):
        found: Claim | Struct | None = await _look(exchange, key)
        if found is None:
            found = await _claim_and_write(exchange, key, await prepare(), unchanged, status, lane)
    return _answer(found) if not isinstance(found, Struct) else Answer(found, status=status)


async def _claim_and_write(
    exchange: Exchange[Any, Any],
    key: str,
    effect: Callable[[Tx], Struct],
    kept: Callable[[Any], Struct],
    status: int,
    lane: str,
    *,
    anywhere: bool = False,
) -> Claim | Struct:
    work = partial(_claim_and_act, scope=_scope(exchange), key=key, body=exchange.raw_body)
    return await exchange.edge.system.writer.call(work, effect, kept, status, lane=lane, anywhere=anywhere)


@asynccontextmanager
async def _taking_turns(exchange: Exchange[Any, Any], key: str) -> AsyncIterator[bool]:
    """Let the first request with a key go ahead, and the others read what became of it: a read disturbs no writer.

    Yields whether this one is the first. The row decides all the same; this only spares commits that change nothing.
    """
    claims, turn = exchange.edge.claims, (_scope(exchange), key)
    first = claims.get(turn)
    if first is not None:
        with trio.move_on_after(LOSER_WAITS_S):
            await first.wait()
        yield False
        return
    claims[turn] = done = trio.Event()
    try:
        yield True
    finally:
        del claims[turn]
        done.set()


async def act_once(exchange: Exchange[Any, Any], effect: Callable[[], Awaitable[Struct]], status: int = 200) -> Answer:
    """Ask for an effect outside the store, at most once per key, and answer with what `effect` returns.

    Raises:
        Problem: the key is in use or was used with another body, or whatever `effect` raised.
    """
    key = _key(exchange)
    if key is None:
        return Answer(await effect(), status=status)
    writer, scope = exchange.edge.system.writer, _scope(exchange)
    with trio.CancelScope(shield=True):  # every step below is bounded by whoever does it
        found = await writer.call(_claim, scope, key, exchange.raw_body, lane=_lane(exchange))
        if isinstance(found, Fresh):
            return await _act(exchange, key, effect, status)
    if isinstance(found, InProgress):
        found = await _await_reply(exchange, key)
    return _answer(found)


async def earlier(exchange: Exchange[Any, Any]) -> Answer | None:
    """Give the reply that this request's key stands for, without claiming it; None if it is free or there is no key.

    Raises:
        Problem: the key is in use or was used with another body.
    """
    key = _key(exchange)
    found = None if key is None else await _look(exchange, key)
    return None if found is None else _answer(found)


async def _act(exchange: Exchange[Any, Any], key: str, effect: Callable[[], Awaitable[Struct]], status: int) -> Answer:
    writer, scope = exchange.edge.system.writer, _scope(exchange)
    try:
        reply = await effect()
    except BaseException:
        await writer.call(idempotency.release, scope, key, lane=_lane(exchange))
        raise
    await writer.call(idempotency.complete, scope, key, status, json.encode(reply), lane=_lane(exchange))
    return Answer(reply, status=status)


async def _await_reply(exchange: Exchange[Any, Any], key: str) -> Claim:
    """Wait for the first request's reply.

    Raises:
        Problem: it did not come in time, or the first request failed meanwhile; either way a retry may succeed.
    """
    with trio.move_on_after(LOSER_WAITS_S):
        while isinstance(found := await _look(exchange, key), InProgress):  # noqa: ASYNC110 - the row is the truth
            await trio.sleep(POLL_S)
        if found is not None:
            return found
    raise Problem("idempotency_in_progress")


async def _look(exchange: Exchange[Any, Any], key: str) -> Claim | None:
    edge = exchange.edge
    return await edge.system.database.look(_read, _scope(exchange), key, exchange.raw_body, edge.now())


def _read(conn: Any, vault: Any, scope: Scope, key: str, body: bytes, now: int) -> Claim | None:
    return idempotency.look(conn, vault, scope, key, vault.fingerprint(body), now)


def _claim(tx: Tx, scope: Scope, key: str, body: bytes) -> Claim:
    return idempotency.claim(tx, scope, key, tx.vault.fingerprint(body), tx.now)


def _claim_and_act(
    tx: Tx,
    effect: Callable[[Tx], Struct],
    kept: Callable[[Any], Struct],
    status: int,
    *,
    scope: Scope,
    key: str,
    body: bytes,
) -> Claim | Struct:
    def act() -> tuple[Struct, int, bytes]:
        reply = effect(tx)
        return reply, status, json.encode(kept(reply))

    if scope.customer_id == ADMIN:  # whose replies are sealed like everybody's
        datakeys.ensure(tx.conn, tx.vault, ADMIN, tx.now)
    return idempotency.once(tx, scope, key, tx.vault.fingerprint(body), tx.now, act)


def _answer(found: Claim) -> Answer:
    match found:
        case Replay(status, body):
            return Answer(body, status=status, headers=REPLAYED)
        case Mismatch():
            raise Problem("idempotency_mismatch")
        case _:
            raise Problem("idempotency_in_progress")


def _key(exchange: Exchange[Any, Any]) -> str | None:
    """Read the header.

    Raises:
        Problem: it is longer than 255 characters or not printable ASCII.
    """
    key = exchange.headers.get(HEADER)
    if key is not None and _KEY.match(key) is None:
        message = "an Idempotency-Key has 1 to 255 printable ASCII characters; a UUID serves well"
        raise Problem("validation_failed", message, field=HEADER)
    return key


def _scope(exchange: Exchange[Any, Any]) -> Scope:
    """Within what a key is unique; a bound key has its own, lest it be shown replies about what it may not see."""
    bound_to = None if exchange.caller is None else exchange.caller.instance_id
    path = exchange.path if bound_to is None else f"{exchange.path}#{bound_to}"
    return Scope(*exchange.owner, exchange.method, path)


def _lane(exchange: Exchange[Any, Any]) -> str:
    """Whom a write is queued fairly with: the customer."""
    return exchange.owner[0]

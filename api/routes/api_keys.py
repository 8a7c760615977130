"""API keys, made, listed and revoked by their like.

Rule: a key makes none that may do more than itself, and one that is bound to an instance sees and ends only keys that
are bound to the same.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from api.problems import Problem
from api.schemas.keys import ApiKeyBody, ApiKeyPage, CreateApiKey, IssuedApiKey, without_secret
from api.schemas.requests import NoQuery, Nothing, PageQuery
from api.serving.endpoint import Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import write_once
from whatisup.store import ApiKey, Tx, instances, keys

Plain = Exchange[Nothing, NoQuery]


async def create(exchange: Exchange[CreateApiKey, NoQuery]) -> Answer:
    """Make a key and show its secret, this once."""
    return await write_once(exchange, partial(_create, exchange), status=201, kept=without_secret)


def _create(exchange: Exchange[CreateApiKey, NoQuery], tx: Tx) -> IssuedApiKey:
    body, who = exchange.body, exchange.principal
    require_later(body, tx.now)
    if body.instance_id is not None:
        theirs = instances.get(tx.conn, tx.vault, body.instance_id, who.customer_id, who.mode)
        if theirs is None or not who.may_see(theirs.id):
            raise Problem("instance_not_found")
    key, secret = keys.mint(
        tx,
        _maker(exchange, tx),
        name=body.name,
        origin=exchange.origin,
        now=tx.now,
        instance_id=body.instance_id,
        scopes=body.wanted_scopes,
        expires_at=body.expires_at_ms,
    )
    return IssuedApiKey.with_secret(key, secret)


def _maker(exchange: Exchange[CreateApiKey, NoQuery], tx: Tx) -> ApiKey:
    """Read the asking key once more, since it may have been revoked while the request waited.

    Raises:
        Problem: `auth_expired`.
    """
    maker = keys.get(tx.conn, tx.vault, exchange.principal.key_id)
    if maker is None or maker.revoked_at is not None:
        raise Problem("auth_expired")
    return maker


def require_later(body: CreateApiKey, now: int) -> None:
    """Refuse a key that would have ended already.

    Raises:
        Problem: `validation_failed`.
    """
    if body.expires_at_ms is not None and body.expires_at_ms <= now:
        raise Problem("validation_failed", "`expires_at` has passed: name a time to come", field="expires_at")


async def list_(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show a page of active keys."""
    who, query = exchange.principal, exchange.query
    read = partial(
        keys.page,
        customer_id=who.customer_id,
        mode=who.mode,
        instance_id=who.instance_id,
        now=exchange.edge.now(),
        limit=query.limit,
        cursor=checked_cursor(query.cursor),
    )
    rows, cursor = await exchange.edge.system.database.read(read)
    return Answer(ApiKeyPage(data=[ApiKeyBody.of(row) for row in rows], next_cursor=cursor))


async def revoke(exchange: Plain) -> Answer:
    """Make a key useless from now on, be it the asking one; one that was revoked before stays so."""
    await exchange.edge.system.writer.call(partial(_revoke, exchange), lane=exchange.principal.customer_id)
    exchange.edge.streams.end_key(exchange.params["key_id"])
    return Answer(status=204)


def _revoke(exchange: Plain, tx: Tx) -> None:
    who, key_id = exchange.principal, exchange.row_id("key_id", "api_key_not_found")
    key = keys.get(tx.conn, tx.vault, key_id, who.customer_id)
    if key is None or key.mode is not who.mode or who.instance_id not in (None, key.instance_id):
        raise Problem("api_key_not_found")
    keys.revoke(tx, key.id, customer_id=who.customer_id, origin=exchange.origin, now=tx.now)


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/api-keys",
        name="create_api_key",
        summary="Make a key of the same mode, worth no more than the one that asks; its secret is shown this once.",
        handler=create,
        scope="keys",
        body=CreateApiKey,
        reply=IssuedApiKey,
        status=201,
        takes_idempotency_key=True,
        problems=("instance_not_found",),
    ),
    Endpoint(
        method="GET",
        path="/v1/api-keys",
        name="list_api_keys",
        summary="List active keys, newest first, without their secrets.",
        handler=list_,
        scope="keys",
        query=PageQuery,
        reply=ApiKeyPage,
        problems=("bad_cursor",),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/api-keys/{key_id}",
        name="revoke_api_key",
        summary="Revoke a key, at once and for good; it may be the one that asks.",
        handler=revoke,
        scope="keys",
        reply=None,
        status=204,
        problems=("api_key_not_found",),
    ),
)

"""API keys: `zpk_live_` or `zpk_test_` and 43 characters of which we keep four and a hash.

Rule: the secret is returned once, by the function that makes it, and is nowhere else. What is stored is the HMAC-SHA256
of its tail under the pepper, so a copy of the database opens no door.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from msgspec import json
from sqlalchemy import Connection, bindparam, insert, or_, select, tuple_, update

from whatisup.errors import WiderThanMaker
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.customers import read_limits
from whatisup.store.prepared import Prepared, Row
from whatisup.store.records import ApiKey, KeyRefusal, Mode, Origin
from whatisup.store.tables import api_keys, customers
from whatisup.store.transaction import Tx
from whatisup.store.vault import Vault

TAIL_BYTES: Final = 32
PREFIX_TAIL: Final = 4
"""Characters of the tail that stay readable, to tell keys apart in lists."""

_FORMAT: Final = re.compile(r"zpk_(live|test)_([A-Za-z0-9_-]{43})\Z")


def _from_row(row: Row) -> ApiKey:
    return ApiKey(
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        name=row.name,
        prefix=row.prefix,
        instance_id=row.instance_id,
        scopes=tuple(json.decode(row.scopes)),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def create(
    tx: Tx,
    *,
    customer_id: str,
    mode: Mode,
    name: str,
    origin: Origin,
    now: int,
    instance_id: str | None = None,
    scopes: Sequence[str] = (),
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for a customer, and return it with its secret, which is never seen again.

    No scopes means all of them; `instance_id` binds the key to one instance.
    """
    tail = base64.urlsafe_b64encode(tx.entropy(TAIL_BYTES)).decode().rstrip("=")
    prefix = f"zpk_{mode}_{tail[:PREFIX_TAIL]}"
    row = {
        "id": tx.new_id("key"),
        "customer_id": customer_id,
        "mode": mode.value,
        "name": name,
        "prefix": prefix,
        "tail_hmac": tx.vault.hash_key_tail(tail),
        "instance_id": instance_id,
        "scopes": json.encode(list(scopes)).decode(),
        "created_at": now,
        "expires_at": expires_at,
    }
    key = _from_row(tx.conn.execute(insert(api_keys).returning(api_keys), row).one())
    _audit(tx, key, origin, "api_key.created", after=_shown(key))
    return key, f"zpk_{mode}_{tail}"


def mint(
    tx: Tx,
    maker: ApiKey,
    *,
    name: str,
    origin: Origin,
    now: int,
    instance_id: str | None = None,
    scopes: Sequence[str] = (),
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """Let a key make another: same customer, mode and binding, no more scopes, no later expiry.

    Without scopes or expiry of its own the new key has its maker's; `instance_id` binds one whose maker is not bound.

    Raises:
        WiderThanMaker: the new key would be allowed more than its maker, or for longer.
    """
    if maker.scopes and not set(scopes) <= set(maker.scopes):
        raise WiderThanMaker("scopes", "a key may only pass on scopes that it has itself")
    if maker.expires_at is not None and expires_at is not None and expires_at > maker.expires_at:
        raise WiderThanMaker("expires_at", "a key may not make one that outlives it")
    if maker.instance_id is not None and instance_id not in (None, maker.instance_id):
        raise WiderThanMaker("instance_id", "a bound key makes keys of its own instance alone")
    return create(
        tx,
        customer_id=maker.customer_id,
        mode=maker.mode,
        name=name,
        origin=origin,
        now=now,
        instance_id=maker.instance_id or instance_id,
        scopes=scopes or maker.scopes,
        expires_at=maker.expires_at if expires_at is None else expires_at,
    )


_WITH_LIMITS = select(api_keys, customers.c.rate_limits).join(customers, customers.c.id == api_keys.c.customer_id)
_BY_TAIL: Final = Prepared(_WITH_LIMITS.where(api_keys.c.tail_hmac == bindparam("tail_hmac")))
_BY_ID: Final = Prepared(_WITH_LIMITS.where(api_keys.c.id == bindparam("key")))


def authenticate(conn: Connection, vault: Vault, secret: str, now: int) -> ApiKey | KeyRefusal:
    """Find the key that a secret belongs to, or say why it opens nothing."""
    match = _FORMAT.match(secret)
    if match is None:
        return KeyRefusal.MALFORMED
    mode, tail = match.groups()
    row = _BY_TAIL.one_or_none(conn, tail_hmac=vault.hash_key_tail(tail))
    if row is None or row.mode != mode:
        return KeyRefusal.INVALID
    return _admitted(row, now)


def admit(conn: Connection, _vault: Vault | None, key_id: str, now: int) -> ApiKey | KeyRefusal:
    """Let a key in by its name, for whoever has shown otherwise that it may use it."""
    row = _BY_ID.one_or_none(conn, key=key_id)
    return KeyRefusal.INVALID if row is None else _admitted(row, now)


def _admitted(row: Row, now: int) -> ApiKey | KeyRefusal:
    key = _from_row(row)
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        return KeyRefusal.EXPIRED
    return key if row.rate_limits is None else replace(key, rate_limit=read_limits(row.rate_limits).get(key.mode))


def get(conn: Connection, _vault: Vault | None, key_id: str, customer_id: str | None = None) -> ApiKey | None:
    """One key, revoked or not, or None if there is none for this customer."""
    query = select(api_keys).where(api_keys.c.id == key_id)
    if customer_id is not None:
        query = query.where(api_keys.c.customer_id == customer_id)
    row = conn.execute(query).one_or_none()
    return None if row is None else _from_row(row)


def list_by_customer(
    conn: Connection,
    _vault: Vault | None,
    customer_id: str,
    mode: Mode | None = None,
    *,
    with_revoked: bool = False,
    limit: int = 1000,
) -> list[ApiKey]:
    """A customer's keys in order of creation."""
    query = select(api_keys).where(api_keys.c.customer_id == customer_id)
    if mode is not None:
        query = query.where(api_keys.c.mode == mode.value)
    if not with_revoked:
        query = query.where(api_keys.c.revoked_at.is_(None))
    return [_from_row(row) for row in conn.execute(query.order_by(api_keys.c.created_at, api_keys.c.id).limit(limit))]


def page(
    conn: Connection,
    _vault: Vault | None,
    *,
    customer_id: str,
    now: int,
    limit: int,
    mode: Mode | None = None,
    instance_id: str | None = None,
    cursor: str | None = None,
) -> tuple[list[ApiKey], str | None]:
    """A page of a customer's active keys, newest first, and the cursor of the next page.

    `instance_id` leaves those that are bound to it.

    Raises:
        BadCursor: the cursor is none of ours.
    """
    place = tuple_(api_keys.c.created_at, api_keys.c.id)
    query = select(api_keys).where(
        api_keys.c.customer_id == customer_id,
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
    )
    if mode is not None:
        query = query.where(api_keys.c.mode == mode.value)
    if instance_id is not None:
        query = query.where(api_keys.c.instance_id == instance_id)
    if cursor is not None:
        query = query.where(place < decode_cursor(cursor))
    query = query.order_by(api_keys.c.created_at.desc(), api_keys.c.id.desc()).limit(limit + 1)
    rows = [_from_row(row) for row in conn.execute(query)]
    last = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], None if last is None else encode_cursor(last.created_at, last.id)


def revoke(tx: Tx, key_id: str, *, customer_id: str, origin: Origin, now: int) -> ApiKey | None:
    """Make a key useless from now on; None if the customer has no such key, and no change if it was revoked before."""
    key = get(tx.conn, tx.vault, key_id, customer_id)
    if key is None or key.revoked_at is not None:
        return key
    query = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now).returning(api_keys)
    revoked = _from_row(tx.conn.execute(query).one())
    _audit(tx, revoked, origin, "api_key.revoked", before=_shown(key))
    return revoked


_TOUCH: Final = Prepared(
    update(api_keys).where(api_keys.c.id == bindparam("key")).values(last_used_at=bindparam("used_at"))
)


def touch_used(tx: Tx, used: Mapping[str, int]) -> None:
    """Write when keys were last used: key id -> unix milliseconds."""
    _TOUCH.many(tx.conn, [{"key": key_id, "used_at": at} for key_id, at in used.items()])


def _shown(key: ApiKey) -> dict[str, Any]:
    """What the audit log says of a key."""
    return {
        "name": key.name,
        "prefix": key.prefix,
        "instance_id": key.instance_id,
        "scopes": list(key.scopes),
        "expires_at": key.expires_at,
    }


def _audit(tx: Tx, key: ApiKey, origin: Origin, action: str, **states: Any) -> None:
    tx.append_audit(
        customer_id=key.customer_id,
        mode=key.mode,
        origin=origin,
        action=action,
        target_type="api_key",
        target_id=key.id,
        **states,
    )

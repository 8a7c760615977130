"""Webhook endpoints: made, read, changed, disabled, deleted.

Rule: whoever asks names customer and mode, and every change moves `log_head.webhook_revision` on in its transaction, so
that who keeps endpoints in memory (`deliveries.Listeners`) never makes deliveries by an old one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import json
from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, tuple_, update

from whatisup.errors import TooManyEndpoints
from whatisup.store import datakeys
from whatisup.store.cursor import decode_cursor, encode_cursor
from whatisup.store.payloads import iso
from whatisup.store.records import DisabledReason, Mode, Ordering, Origin
from whatisup.store.tables import webhook_endpoints as table
from whatisup.store.transaction import Tx
from whatisup.store.unit import Keep
from whatisup.store.vault import DataKey, Vault
from whatisup.store.webhook_records import Endpoint, EndpointChanges, Receiver

MAX_ENDPOINTS: Final = 50
"""What a customer may have of them in a mode: every event is looked at for each."""

DISABLED: Final = "webhook.disabled"
SYSTEM: Final = Origin("system")

_TABLE: Final = "webhook_endpoints"
_ONE = select(table).where(
    table.c.id == bindparam("endpoint"),
    table.c.customer_id == bindparam("customer"),
    table.c.mode == bindparam("mode"),
    table.c.deleted_at.is_(None),
)
_BY_ID = select(table).where(table.c.id.in_(bindparam("ids", expanding=True)), table.c.deleted_at.is_(None))


def create(
    tx: Tx,
    *,
    customer_id: str,
    mode: Mode,
    url: str,
    events: Sequence[str],
    instance_ids: Sequence[str] = (),
    is_enabled: bool = True,
    ordering: Ordering | None = None,
    headers: Mapping[str, str],
    secret: str,
    has_custom_secret: bool,
    origin: Origin,
) -> Endpoint:
    """Make an endpoint; from the next event on it has deliveries.

    Raises:
        TooManyEndpoints: the customer has as many as it may.
        StoreError: there is no such customer.
    """
    if _count(tx.conn, customer_id, mode) >= MAX_ENDPOINTS:
        raise TooManyEndpoints(f"there are {MAX_ENDPOINTS} webhook endpoints already; delete one first")
    key, endpoint_id = datakeys.of_owner(tx.conn, tx.vault, customer_id), tx.new_id("wh")
    row = {
        "id": endpoint_id,
        "customer_id": customer_id,
        "mode": mode.value,
        "data_key_id": key.id,
        "secret": _seal(tx.vault, key, endpoint_id, "secret", secret.encode()),
        "has_custom_secret": has_custom_secret,
        "created_at": tx.now,
        "updated_at": tx.now,
        **_columns(url=url, events=events, instance_ids=instance_ids, ordering=ordering),
        "headers": _seal_headers(tx.vault, key, endpoint_id, headers),
        **_enabling(tx, is_enabled),
    }
    made = _from_row(tx.conn, tx.vault, tx.conn.execute(insert(table).returning(table), row).one())
    tx.has_changed_webhooks = True
    _audit(tx, made, origin, "webhook_endpoint.created", after=_shown(made))
    return made


def _count(conn: Connection, customer_id: str, mode: Mode) -> int:
    query = select(func.count()).where(
        table.c.customer_id == customer_id, table.c.mode == mode.value, table.c.deleted_at.is_(None)
    )
    count: int = conn.execute(query).scalar_one()
    return count


def _columns(**fields: Any) -> dict[str, Any]:
    """Fields as their columns hold them."""
    lists = {name: json.encode(list(fields[name])).decode() for name in ("events", "instance_ids") if name in fields}
    return fields | lists


def _enabling(tx: Tx, is_enabled: bool) -> dict[str, Any]:
    """The columns of an endpoint that its customer switches on or off; switched on, it has a clean slate."""
    if is_enabled:
        return {"is_enabled": True, "disabled_reason": None, "disabled_at": None, "failing_since": None}
    return {"is_enabled": False, "disabled_reason": DisabledReason.CUSTOMER.value, "disabled_at": tx.now}


def _seal(vault: Vault, key: DataKey, endpoint_id: str, column: str, value: bytes) -> bytes:
    return vault.seal(key, _TABLE, column, (endpoint_id,), value)


def _seal_headers(vault: Vault, key: DataKey, endpoint_id: str, headers: Mapping[str, str]) -> bytes | None:
    return _seal(vault, key, endpoint_id, "headers", json.encode(dict(headers))) if headers else None


def _open_headers(vault: Vault, key: DataKey, row: Row[Any]) -> dict[str, str]:
    if row.headers is None:
        return {}
    headers: dict[str, str] = json.decode(vault.open(key, _TABLE, "headers", (row.id,), row.headers))
    return headers


def _from_row(conn: Connection, vault: Vault, row: Row[Any]) -> Endpoint:
    headers: Mapping[str, str] = {}
    if row.headers is not None:
        headers = _open_headers(vault, datakeys.of_row(conn, vault, row.data_key_id, row.customer_id), row)
    return Endpoint(
        id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        url=row.url,
        events=tuple(json.decode(row.events)),
        instance_ids=tuple(json.decode(row.instance_ids)),
        is_enabled=bool(row.is_enabled),
        ordering=None if row.ordering is None else Ordering(row.ordering),
        has_custom_secret=bool(row.has_custom_secret),
        header_names=tuple(headers),
        failing_since=row.failing_since,
        disabled_reason=None if row.disabled_reason is None else DisabledReason(row.disabled_reason),
        disabled_at=row.disabled_at,
        previous_secret_until=row.previous_secret_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


# --- reading --------------------------------------------------------------------------------------------------------


def get(conn: Connection, vault: Vault, endpoint_id: str, customer_id: str, mode: Mode) -> Endpoint | None:
    """One endpoint, or None if there is none, it is deleted, or it belongs to somebody else."""
    row = _find(conn, endpoint_id, customer_id, mode)
    return None if row is None else _from_row(conn, vault, row)


def _find(conn: Connection, endpoint_id: str, customer_id: str, mode: Mode) -> Row[Any] | None:
    asked = {"endpoint": endpoint_id, "customer": customer_id, "mode": mode.value}
    return conn.execute(_ONE, asked).one_or_none()


def page(
    conn: Connection,
    vault: Vault,
    *,
    customer_id: str,
    mode: Mode,
    limit: int = 50,
    cursor: str | None = None,
    instance_id: str | None = None,
) -> tuple[list[Endpoint], str | None]:
    """A page of a customer's endpoints, newest first, and the cursor of the next page.

    `instance_id` narrows to endpoints of that instance alone, which is what a bound key may see.

    Raises:
        BadCursor: no page gave out this cursor.
    """
    query = _page(customer_id, mode, limit)
    if instance_id is not None:
        query = query.where(table.c.instance_ids == json.encode([instance_id]).decode())
    if cursor is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < tuple_(*decode_cursor(cursor)))
    found = [_from_row(conn, vault, row) for row in conn.execute(query).all()]
    has_more = len(found) > limit
    return found[:limit], encode_cursor(found[limit - 1].created_at, found[limit - 1].id) if has_more else None


def _page(customer_id: str, mode: Mode, limit: int) -> Select[Any]:
    return (
        select(table)
        .where(table.c.customer_id == customer_id, table.c.mode == mode.value, table.c.deleted_at.is_(None))
        .order_by(table.c.created_at.desc(), table.c.id.desc())
        .limit(limit + 1)
    )


def receivers(conn: Connection, vault: Vault, ids: Collection[str], now: int) -> dict[str, Receiver]:
    """What sending to these endpoints takes, whosever they are; deleted ones are left out.

    Raises:
        SealBroken: a row was moved or changed.
    """
    rows = conn.execute(_BY_ID, {"ids": list(ids)}).all()
    return {row.id: _receiver(conn, vault, row, now) for row in rows}


def _receiver(conn: Connection, vault: Vault, row: Row[Any], now: int) -> Receiver:
    key = datakeys.of_row(conn, vault, row.data_key_id, row.customer_id)
    secrets = [vault.open(key, _TABLE, "secret", (row.id,), row.secret).decode()]
    if row.previous_secret is not None and row.previous_secret_until > now:
        secrets.append(vault.open(key, _TABLE, "previous_secret", (row.id,), row.previous_secret).decode())
    return Receiver(
        endpoint_id=row.id,
        customer_id=row.customer_id,
        mode=Mode(row.mode),
        url=row.url,
        secrets=tuple(secrets),
        headers=_open_headers(vault, key, row),
        ordering=None if row.ordering is None else Ordering(row.ordering),
        is_enabled=bool(row.is_enabled),
    )


# --- writing --------------------------------------------------------------------------------------------------------


def patch(
    tx: Tx, endpoint_id: str, *, customer_id: str, mode: Mode, origin: Origin, changes: EndpointChanges
) -> Endpoint | None:
    """Change an endpoint; None if there is none for this customer and mode.

    Enabling one that was off clears why it was disabled, and since when it failed; its waiting deliveries go on.
    """
    row = _find(tx.conn, endpoint_id, customer_id, mode)
    if row is None:
        return None
    before = _from_row(tx.conn, tx.vault, row)
    after = _update(tx, endpoint_id, _changed(tx, before, changes))
    _audit(tx, after, origin, "webhook_endpoint.updated", **_differing(before, after))
    return after


def _changed(tx: Tx, before: Endpoint, changes: EndpointChanges) -> dict[str, Any]:
    names = ("url", "events", "instance_ids", "ordering")
    fields = {name: value for name in names if not isinstance(value := getattr(changes, name), Keep)}
    values = _columns(**fields)
    if not isinstance(changes.headers, Keep):
        key = datakeys.of_owner(tx.conn, tx.vault, before.customer_id)
        values["headers"] = _seal_headers(tx.vault, key, before.id, changes.headers)
    if not isinstance(changes.is_enabled, Keep) and changes.is_enabled != before.is_enabled:
        values |= _enabling(tx, changes.is_enabled)
    return values


def _update(tx: Tx, endpoint_id: str, values: Mapping[str, Any]) -> Endpoint:
    tx.has_changed_webhooks = True
    query = update(table).where(table.c.id == endpoint_id).values(**values, updated_at=tx.now).returning(table)
    return _from_row(tx.conn, tx.vault, tx.conn.execute(query).one())


def rotate_secret(
    tx: Tx,
    endpoint_id: str,
    *,
    customer_id: str,
    mode: Mode,
    origin: Origin,
    secret: str,
    has_custom_secret: bool,
    overlap_ms: int,
) -> Endpoint | None:
    """Sign with another secret, for `overlap_ms` with both; None if there is no such endpoint.

    Of two rotations within one overlap the older secret goes at once: never more than two sign.
    """
    row = _find(tx.conn, endpoint_id, customer_id, mode)
    if row is None:
        return None
    key = datakeys.of_row(tx.conn, tx.vault, row.data_key_id, row.customer_id)
    replaced = tx.vault.open(key, _TABLE, "secret", (row.id,), row.secret)
    overlaps = overlap_ms > 0
    values = {
        "secret": _seal(tx.vault, key, row.id, "secret", secret.encode()),
        "previous_secret": _seal(tx.vault, key, row.id, "previous_secret", replaced) if overlaps else None,
        "previous_secret_until": tx.now + overlap_ms if overlaps else None,
        "has_custom_secret": has_custom_secret,
    }
    after = _update(tx, endpoint_id, values)
    told = {"has_custom_secret": has_custom_secret, "previous_secret_until": after.previous_secret_until}
    _audit(tx, after, origin, "webhook_endpoint.secret_rotated", after=told)
    return after


def delete(tx: Tx, endpoint_id: str, *, customer_id: str, mode: Mode, origin: Origin) -> bool:
    """Delete an endpoint, its secrets at once; whether there was one for this customer and mode.

    Nothing is sent there any more; retention moves what waits to failed (`endpoint_deleted`), portion by portion.
    """
    row = _find(tx.conn, endpoint_id, customer_id, mode)
    if row is None:
        return False
    before = _from_row(tx.conn, tx.vault, row)
    gone = dict.fromkeys(("data_key_id", "secret", "previous_secret", "previous_secret_until", "headers"))
    _update(tx, endpoint_id, {**gone, "is_enabled": False, "deleted_at": tx.now})
    _audit(tx, before, origin, "webhook_endpoint.deleted", before=_shown(before))
    return True


def disable(
    tx: Tx,
    endpoint_id: str,
    reason: DisabledReason,
    *,
    last_error: str | None = None,
    last_response_status: int | None = None,
) -> bool:
    """Switch an endpoint off for its own fault, and tell its customer; whether it was on.

    Its deliveries wait until the customer switches it on again.
    """
    row = tx.conn.execute(_BY_ID, {"ids": [endpoint_id]}).one_or_none()
    if row is None or not row.is_enabled:
        return False
    after = _update(tx, endpoint_id, {"is_enabled": False, "disabled_reason": reason.value, "disabled_at": tx.now})
    data = {
        "endpoint_id": endpoint_id,
        "url_host": urlsplit(after.url).hostname,
        "reason": reason.value,
        "last_error": last_error,
        "last_response_status": last_response_status,
        "failing_since": None if after.failing_since is None else iso(after.failing_since),
    }
    tx.append_customer_event(after.customer_id, after.mode, DISABLED, data)
    told = {"enabled": False, "disabled_reason": reason.value, "last_error": last_error}
    _audit(tx, after, SYSTEM, "webhook_endpoint.disabled", before={"enabled": True}, after=told)
    return True


# --- the audit log --------------------------------------------------------------------------------------------------


def _shown(endpoint: Endpoint) -> dict[str, Any]:
    """What the audit log keeps of an endpoint: no secret, and of headers the names."""
    return {
        "url": endpoint.url,
        "events": list(endpoint.events),
        "instance_ids": list(endpoint.instance_ids),
        "enabled": endpoint.is_enabled,
        "ordering": endpoint.ordering,
        "header_names": list(endpoint.header_names),
        "has_custom_secret": endpoint.has_custom_secret,
    }


def _differing(before: Endpoint, after: Endpoint) -> dict[str, dict[str, Any]]:
    """What an update changed, as `before` and `after`."""
    old, new = _shown(before), _shown(after)
    names = [name for name in old if old[name] != new[name]]
    return {"before": {name: old[name] for name in names}, "after": {name: new[name] for name in names}}


def _audit(tx: Tx, endpoint: Endpoint, origin: Origin, action: str, **states: Any) -> None:
    tx.append_audit(
        customer_id=endpoint.customer_id,
        mode=endpoint.mode,
        origin=origin,
        action=action,
        target_type="webhook_endpoint",
        target_id=endpoint.id,
        **states,
    )

"""The two logs: what happened, and who did it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import insert

from whatisup.store.prepared import Prepared
from whatisup.store.tables import audit
from whatisup.store.target import Told, Work
from whatisup.store.transaction import Tx, audit_row

_APPEND_AUDIT: Final = Prepared(insert(audit))


def append_events(_tx: Tx, work: Work) -> None:
    """Have events told with whatever else the unit tells."""
    for target, op in work:
        target.told.append(Told(op.type, op.data, op.occurred_at, op, expires_at=op.expires_at))


def append_audit(tx: Tx, work: Work) -> None:
    """Append to the audit log."""
    rows = [
        audit_row(
            audit_id=tx.new_id("aud"),
            customer_id=target.customer_id,
            mode=target.mode,
            origin=op.origin,
            action=op.action,
            target=("instance", target.id),
            before=op.before,
            after=op.after,
            at=op.at,
        )
        for target, op in work
    ]
    _APPEND_AUDIT.many(tx.conn, rows)

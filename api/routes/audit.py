"""The audit log: who changed what, with which key, by which request.

What is written: every change of what a customer has, in the transaction that makes it: instances and their lives, keys,
webhook endpoints, sandbox numbers, faults and people, limits. What is not: messages, receipts and presence (a message's
row names its request, and its events tell the rest), and what a simulated person says and does.

Rule: entries are only ever added, and outlive what they are about. A key that is bound to an instance reads what was
done to that instance, and nothing else.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from api.problems import Problem
from api.schemas.audit import AuditEvent, AuditPage, AuditQuery
from api.schemas.requests import Nothing
from api.serving.endpoint import Answer, Endpoint, Exchange
from whatisup.store import audit, instances

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

Reading = Exchange[Nothing, AuditQuery]


async def list_(exchange: Reading) -> Answer:
    """Show a page of the log."""
    who, query = exchange.principal, exchange.query
    if query.cursor is not None and _ID.match(query.cursor) is None:
        raise Problem("bad_cursor")
    if query.target_id is not None and _ID.match(query.target_id) is None:
        return Answer(AuditPage(data=[], next_cursor=None))
    read = partial(
        audit.page,
        customer_id=who.customer_id,
        mode=who.mode,
        action=query.action,
        target_id=query.target_id,
        instance_id=await _instance(exchange),
        since=query.since_ms,
        until=query.until_ms,
        limit=query.limit,
        cursor=query.cursor,
    )
    rows, cursor = await exchange.edge.system.database.read(read)
    return Answer(AuditPage(data=[AuditEvent.of(row) for row in rows], next_cursor=cursor))


async def _instance(exchange: Reading) -> str | None:
    """Whose entries are asked for: one instance's, which may have been deleted since, or all.

    Raises:
        Problem: `instance_not_found`.
    """
    who, wanted = exchange.principal, exchange.query.instance_id
    if wanted is None:
        return who.instance_id
    read = partial(instances.get, with_deleted=True)
    row = await exchange.edge.system.database.look(read, wanted, who.customer_id, who.mode)
    if row is None or not who.may_see(row.id):
        raise Problem("instance_not_found")
    return row.id


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/audit-events",
        name="list_audit_events",
        summary="List who changed what, newest first.",
        handler=list_,
        scope="audit",
        query=AuditQuery,
        reply=AuditPage,
        problems=("bad_cursor", "instance_not_found"),
    ),
)

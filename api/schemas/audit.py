"""The audit log, as clients see it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from api.schemas.parse import Invalid
from api.schemas.replies import Reply, Time
from api.schemas.requests import Cursor, InstanceId, Limit, Request
from api.schemas.times import iso, unix_ms
from whatisup.store import AuditEntry, Mode


class AuditQuery(Request, frozen=True):
    """Which entries, and where in the list to go on."""

    action: (
        Annotated[
            str,
            Meta(pattern=r"^[a-z_.]+$(?!\n)", max_length=64, description="An action, or its beginning: `instance.`"),
        ]
        | None
    ) = None
    target_id: Annotated[str, Meta(min_length=1, max_length=64, description="What was changed.")] | None = None
    instance_id: InstanceId | None = None
    since: Annotated[str, Meta(max_length=40, description="Only those made then or later; ISO 8601.")] | None = None
    until: Annotated[str, Meta(max_length=40, description="Only those made before; ISO 8601.")] | None = None
    limit: Limit = 50
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        _ = self.since_ms, self.until_ms

    @property
    def since_ms(self) -> int | None:
        """`since` in unix milliseconds."""
        return _moment("since", self.since)

    @property
    def until_ms(self) -> int | None:
        """`until` in unix milliseconds."""
        return _moment("until", self.until)


def _moment(field: str, said: str | None) -> int | None:
    if said is None:
        return None
    try:
        return unix_ms(said)
    except ValueError as error:
        raise Invalid(f"`{field}` is no time: {error}"[:200], field=field) from None


class AuditEvent(Reply, frozen=True):
    """Who changed what."""

    id: str
    customer_id: str
    mode: Annotated[Mode, Meta(description="Null where it concerns the customer in both.")] | None
    actor: Annotated[str, Meta(description="`api_key`, `operator`, `admin` or `system`.")]
    api_key_id: str | None
    request_id: str | None
    action: str
    target_type: str
    target_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    created_at: Time

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditEvent:
        """Render a stored entry."""
        return cls(
            id=entry.id,
            customer_id=entry.customer_id,
            mode=entry.mode,
            actor=entry.actor,
            api_key_id=entry.api_key_id,
            request_id=entry.request_id,
            action=entry.action,
            target_type=entry.target_type,
            target_id=entry.target_id,
            before=entry.before,
            after=entry.after,
            created_at=iso(entry.created_at),
        )


class AuditPage(Reply, frozen=True):
    """Entries, newest first."""

    data: list[AuditEvent]
    next_cursor: str | None

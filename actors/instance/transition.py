"""What one step of the lifecycle writes: status, auth rows and events, as operations of a single unit.

Rule: pure. The actor commits what comes out of here together with whatever caused the step, so that status, auth state
and event log can never disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from whatisup.lifecycle import Auth, State, Step
from whatisup.protocol.credentials import Account
from whatisup.store import AppendEvent, Instance, NewAuth, Op, SetStatus, Touch, WipeAuth


def iso(unix_ms: int | None) -> str | None:
    """Write unix milliseconds as ISO 8601 UTC with milliseconds; None stays None."""
    if unix_ms is None:
        return None
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Transition:
    """A step taken on a row: the row as it will be, and the operations that make it so."""

    before: Instance
    after: Instance
    ops: tuple[Op, ...]

    @property
    def is_move(self) -> bool:
        """Whether the public state changed."""
        return self.before.status is not self.after.status


def transition(
    row: Instance, step: Step, *, now_ms: int, expires_at: int | None = None, account: Account | None = None
) -> Transition:
    """Work out what `step` writes to `row`; `account` is the one just linked, if this step links one."""
    phone_number, lid = row.phone_number, row.lid
    if account is not None:
        phone_number, lid = account.phone_number, str(account.lid.normalised)
    if step.auth is Auth.WIPED:
        phone_number = lid = None
    after = replace(
        row,
        status=step.state,
        has_account=step.situation.has_account,
        reason=step.reason,
        detail=step.detail,
        expires_at=expires_at if step.state is State.DISCONNECTED else None,
        phone_number=phone_number,
        lid=lid,
        last_seen_at=now_ms if step.state is State.CONNECTED else row.last_seen_at,
    )
    return Transition(row, after, tuple(_ops(row, after, step, now_ms)))


def _ops(before: Instance, after: Instance, step: Step, now_ms: int) -> Iterator[Op]:
    if step.auth is Auth.NEW:
        yield NewAuth()
    elif step.auth is Auth.WIPED:
        yield WipeAuth()
    if before != after:
        yield SetStatus(
            status=after.status,
            has_account=after.has_account,
            reason=after.reason,
            detail=after.detail,
            expires_at=after.expires_at,
            phone_number=after.phone_number,
            lid=after.lid,
        )
    if after.last_seen_at != before.last_seen_at and after.last_seen_at is not None:
        yield Touch(after.last_seen_at)
    # Wiping an already disconnected session is news too: what could be resumed no longer can.
    if before.status is not after.status or (step.auth is Auth.WIPED and before.has_account):
        yield from _events(before, after, now_ms)


def _events(before: Instance, after: Instance, now_ms: int) -> Iterator[Op]:
    status: dict[str, object] = {
        "status": after.status.value,
        "reason": after.reason,
        "detail": after.detail,
        "expires_at": iso(after.expires_at),
    }
    yield AppendEvent("instance.status", {**status, "previous_status": before.status.value}, now_ms)
    if after.status is State.CONNECTED:
        yield AppendEvent("instance.connected", {"phone_number": after.phone_number}, now_ms)
    elif before.status is State.CONNECTED or after.status is State.DISCONNECTED:
        yield AppendEvent("instance.disconnected", status, now_ms)

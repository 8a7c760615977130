"""Unix milliseconds as the API writes them: ISO 8601, UTC, always with milliseconds and a Z."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START = _EPOCH.replace(tzinfo=None)
"""The same without a zone, which would be written too."""
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def iso(at: int) -> str:
    """Write unix milliseconds as `2026-05-01T12:34:56.000Z`."""
    return f"{(_START + timedelta(milliseconds=at)).isoformat(timespec='milliseconds')}Z"


def iso_or_none(at: int | None) -> str | None:
    """Write unix milliseconds, or null."""
    return None if at is None else iso(at)


def unix_ms(text: str) -> int:
    """Read `2026-05-01T12:34:56.000Z`, or any ISO 8601 moment with a zone, as unix milliseconds.

    Raises:
        ValueError: it is no moment, says no zone, or lies before 1970 or after 9999 in UTC, where it cannot be shown.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write it as 2026-05-01T12:34:56Z") from None
    if moment.tzinfo is None:
        raise ValueError("say the zone, as in 2026-05-01T12:34:56Z")
    at = (moment - _EPOCH) // timedelta(milliseconds=1)
    if at < 0:
        raise ValueError("there is nothing before 1970")
    if at > _LAST:
        raise ValueError("there is nothing after 9999")
    return at

"""Cursors of lists: opaque to clients, a time and an id to us.

Rule: a cursor that we did not make is refused, never guessed at.
"""

from __future__ import annotations

import base64
import binascii

from whatisup.errors import BadCursor


def encode_cursor(at: int, row_id: str) -> str:
    """Name the row after which a list goes on: its time in unix milliseconds, and its id."""
    return base64.urlsafe_b64encode(f"{at}.{row_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, str]:
    """Take a cursor apart.

    Raises:
        BadCursor: it is none of ours.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        at, separator, row_id = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").partition(".")
        time = int(at)
    except (ValueError, binascii.Error):
        raise BadCursor("not a cursor of ours") from None
    if not (separator and row_id and 0 <= time < 1 << 63):
        raise BadCursor("not a cursor of ours")
    return time, row_id

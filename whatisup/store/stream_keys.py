"""What opens an event stream without an API key in its URL, and which keys of open streams still live.

Rule: a stream token is nothing but a key's name, an end and a seal. It holds no rights of its own: whose it is and what
it may see is read from the key's row each time, so it dies with the key.

Layout behind `zst_`, in unpadded base64url: the key's ULID (16 bytes), the end in unix milliseconds (6), a nonce (8),
HMAC-SHA256 of these under the pepper (32).
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from itertools import islice
from typing import Final

from sqlalchemy import Connection, or_, select
from ulid import ULID

from whatisup.store import keys
from whatisup.store.ids import ULID_TIME_LENGTH
from whatisup.store.records import ApiKey, KeyRefusal
from whatisup.store.tables import api_keys
from whatisup.store.vault import Vault

TOKEN_PREFIX: Final = "zst_"  # noqa: S105  # the beginning of every token, not one
TOKEN_MS: Final = 3600 * 1000
NONCE_LENGTH: Final = 8
_ULID_LENGTH: Final = 16
_SEAL_LENGTH: Final = 32
_TOKEN_LENGTH: Final = _ULID_LENGTH + ULID_TIME_LENGTH + NONCE_LENGTH + _SEAL_LENGTH
_MOST_NAMED: Final = 500
"""How many keys one statement asks about."""


def mint(_conn: Connection, vault: Vault, key_id: str, ends_at: int, nonce: bytes) -> str:
    """Make a token for a key; `ends_at` is in unix milliseconds, `nonce` 8 bytes."""
    name = ULID.from_str(key_id.partition("_")[2]).bytes
    body = name + ends_at.to_bytes(ULID_TIME_LENGTH, "big") + nonce
    return TOKEN_PREFIX + base64.urlsafe_b64encode(body + vault.seal_stream_token(body)).decode().rstrip("=")


def authenticate(conn: Connection, vault: Vault, token: str, now: int) -> ApiKey | KeyRefusal:
    """Find the key that a token stands for, or say why it opens nothing."""
    opened = _opened(vault, token)
    if isinstance(opened, KeyRefusal):
        return opened
    key_id, ends_at = opened
    return KeyRefusal.EXPIRED if ends_at <= now else keys.admit(conn, vault, key_id, now)


def _opened(vault: Vault, token: str) -> tuple[str, int] | KeyRefusal:
    try:
        text = token.removeprefix(TOKEN_PREFIX).encode("ascii")
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return KeyRefusal.MALFORMED
    if not token.startswith(TOKEN_PREFIX) or len(raw) != _TOKEN_LENGTH:
        return KeyRefusal.MALFORMED
    body, seal = raw[:-_SEAL_LENGTH], raw[-_SEAL_LENGTH:]
    if not hmac.compare_digest(seal, vault.seal_stream_token(body)):
        return KeyRefusal.INVALID
    end = body[_ULID_LENGTH : _ULID_LENGTH + ULID_TIME_LENGTH]
    return f"key_{ULID.from_bytes(body[:_ULID_LENGTH])}", int.from_bytes(end, "big")


def living(conn: Connection, _vault: Vault | None, key_ids: Iterable[str], now: int) -> frozenset[str]:
    """Those of some keys that are neither revoked nor past their end."""
    left, found = iter(key_ids), set[str]()
    while some := tuple(islice(left, _MOST_NAMED)):
        is_alive = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
        query = select(api_keys.c.id).where(api_keys.c.id.in_(some), api_keys.c.revoked_at.is_(None), is_alive)
        found.update(conn.execute(query).scalars())
    return frozenset(found)

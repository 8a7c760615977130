"""Signatures of a delivery, under two customs at once: our own header and the Standard Webhooks headers.

Rule: what is signed is the exact bytes that are sent, at the time they are sent; a secret signs and is never shown.

During the overlap after a rotation both secrets sign, the newest first. Our own signature is keyed with the secret's
characters as they were shown; Standard Webhooks keys with the bytes behind `whsec_`, or, for a secret of another form,
with its characters too. Source of the latter: the Standard Webhooks specification.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Final

from whatisup.webhooks.refusals import SecretRefused

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64
MIN_SECRET_CHARS: Final = 16
MAX_SECRET_CHARS: Final = 256
_SAFE_ID: Final = re.compile(r"[!-~]{1,128}")


def mint_secret(entropy: Callable[[int], bytes]) -> str:
    """Return a new signing secret: `whsec_` and the base64 of 32 random bytes."""
    return PREFIX + base64.b64encode(entropy(SECRET_BYTES)).decode()


def check_secret(secret: str) -> str:
    """Return a secret that a customer brought, or raise `SecretRefused`.

    It is `whsec_` and the base64 of 24 to 64 bytes, or any other 16 to 256 printable characters.
    """
    if secret.startswith(PREFIX):
        if _decoded(secret) is None:
            raise SecretRefused(f"after {PREFIX} comes the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes")
    elif not (MIN_SECRET_CHARS <= len(secret) <= MAX_SECRET_CHARS and secret.isprintable()):
        raise SecretRefused(f"a signing secret has {MIN_SECRET_CHARS} to {MAX_SECRET_CHARS} printable characters")
    return secret


def sign(
    body: bytes,
    *,
    secrets: Sequence[str],
    event: str,
    event_id: str,
    correlation_id: str | None,
    at: int,
    version: str,
) -> dict[str, str]:
    """Return all headers of one attempt to deliver `body`, apart from the endpoint's own and those of HTTP.

    `secrets` are newest first and at least one; `at` is in Unix seconds, fresh for each attempt. An event that no
    request caused, or whose request had an id that no header can hold, has its own id as correlation id.
    """
    if not secrets:
        raise ValueError("a delivery is signed with at least one secret")
    stamp = str(at)
    is_safe = correlation_id is not None and _SAFE_ID.fullmatch(correlation_id) is not None
    return {
        "Content-Type": "application/json",
        "User-Agent": f"whatisup-webhooks/{version}",
        "X-WhatIsUp-Signature": ",".join([f"t={stamp}", *(f"v1={_own(secret, stamp, body)}" for secret in secrets)]),
        "X-WhatIsUp-Event": event,
        "X-WhatIsUp-Event-Id": event_id,
        "X-WhatIsUp-Correlation-Id": correlation_id if is_safe and correlation_id else event_id,
        "webhook-id": event_id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(f"v1,{_standard(secret, event_id, stamp, body)}" for secret in secrets),
    }


def _own(secret: str, stamp: str, body: bytes) -> str:
    return hmac.digest(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hex()


def _standard(secret: str, event_id: str, stamp: str, body: bytes) -> str:
    key = _decoded(secret) or secret.encode()
    return base64.b64encode(hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, hashlib.sha256)).decode()


def _decoded(secret: str) -> bytes | None:
    """Return the 24 to 64 bytes of a `whsec_` secret, padded or not; None for any other secret."""
    if not secret.startswith(PREFIX) or len(secret) > MAX_SECRET_CHARS:
        return None
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if MIN_SECRET_BYTES <= len(decoded) <= MAX_SECRET_BYTES else None

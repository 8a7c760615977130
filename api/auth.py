"""Who is asking: the bearer token of a request, and what an operator is.

Rule: nothing here remembers, prints or compares a secret except in constant time.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from dataclasses import dataclass
from typing import Protocol

from whatisup.store import ApiKey, Mode, Origin, RateLimit

# zpk_live_ or zpk_test_ and 32 random bytes in unpadded base64url (43 characters; 44 are tolerated, as in G1's sample).
KEY_FORMAT = re.compile(r"zpk_(live|test)_[A-Za-z0-9_-]{43,44}\Z")

# Any of these says that the peer is a proxy and not the asker.
PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via")


class Headers(Protocol):
    """Header fields, by names of any case."""

    def get(self, name: str, /) -> str | None:
        """The first value that a name has."""

    def __contains__(self, name: str, /) -> bool:
        """Whether it has one."""


class AuthRefused(Exception):
    """The request does not say who asks in a way we accept. `code` is the public error code."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever holds an API key: a customer in one mode, perhaps bound to one instance."""

    customer_id: str
    mode: Mode
    key_id: str
    instance_id: str | None
    expires_at: int | None
    scopes: tuple[str, ...] = ()
    """What the key may do; empty means everything."""
    rate_limit: RateLimit | None = None
    """The customer's own limit in this mode; None where the settings decide."""

    @classmethod
    def of(cls, key: ApiKey) -> Principal:
        """Take from a key what decides about access."""
        return cls(key.customer_id, key.mode, key.id, key.instance_id, key.expires_at, key.scopes, key.rate_limit)

    def has(self, scope: str) -> bool:
        """Whether the key's scopes allow what `scope` names; a key without scopes has them all."""
        return not self.scopes or scope in self.scopes

    @property
    def may_read_messages(self) -> bool:
        """Whether `message.*` events, and all else that shows what people write, may be shown to the holder."""
        return self.has("messages:read")

    def may_see(self, instance_id: str) -> bool:
        """Whether the key's binding allows this instance; whose instance it is, the store decides."""
        return self.instance_id is None or self.instance_id == instance_id

    def origin(self, request_id: str) -> Origin:
        """Who asked, for audit rows."""
        return Origin(actor="api_key", api_key_id=self.key_id, request_id=request_id)


def bearer_token(header: str | None) -> str:
    """Take the token out of an Authorization header.

    Raises:
        AuthRefused: `auth_missing` without a header, `auth_malformed` for anything but `Bearer <token>`.
    """
    if header is None or not header.strip():
        raise AuthRefused("auth_missing", "send the API key as `Authorization: Bearer zpk_…`")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise AuthRefused("auth_malformed", "the Authorization header must be `Bearer <API key>`")
    return token


def api_key(token: str) -> str:
    """Check a token's format, so that garbage costs no database read.

    Raises:
        AuthRefused: `auth_malformed`.
    """
    if KEY_FORMAT.fullmatch(token) is None:
        raise AuthRefused("auth_malformed", "an API key starts with zpk_live_ or zpk_test_ and has 43 more characters")
    return token


def is_admin(header: str | None, admin_key: str) -> bool:
    """Whether an Authorization header carries the admin key.

    Raises:
        AuthRefused: it carries nothing of the form.
    """
    return hmac.compare_digest(bearer_token(header).encode(), admin_key.encode())


def is_operator(peer: str | None, http_version: str, headers: Headers, operator_token: str | None) -> bool:
    """Whether the asker operates this gateway: by token, or by being on this machine with no proxy in between.

    HTTP/2 counts as a proxy: one that lets `Upgrade: h2c` through becomes a tunnel and adds no headers any more.
    """
    if operator_token is not None:
        try:
            token = bearer_token(headers.get("Authorization"))
        except AuthRefused:
            token = ""
        if hmac.compare_digest(token.encode(), operator_token.encode()):
            return True
    is_direct = http_version in ("1.0", "1.1") and not any(name in headers for name in PROXY_HEADERS)
    return is_loopback(peer) and is_direct


def is_loopback(peer: str | None) -> bool:
    """Whether an address is this machine's loopback, an IPv4 address mapped into IPv6 included."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

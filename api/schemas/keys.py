"""API keys and the wish for one, as clients see them.

Rule: a secret is in the reply that makes it and nowhere else; a retry of that request gets null in its place.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta, structs

from api.schemas.parse import Invalid, check_text
from api.schemas.replies import Reply, Time
from api.schemas.requests import InstanceId, Name, Request
from api.schemas.times import iso, iso_or_none, unix_ms
from whatisup.store import ApiKey, KeyScope, Mode

Scopes: TypeAlias = Annotated[
    tuple[KeyScope, ...], Meta(max_length=16, description="What the key may do; without any, all that its maker may.")
]
ExpiresAt: TypeAlias = Annotated[
    str, Meta(max_length=40, description="When it ends, ISO 8601; without one, when its maker ends, or never.")
]


class CreateApiKey(Request, frozen=True):
    """A new key; it is never worth more than the key that makes it."""

    name: Name
    instance_id: InstanceId | None = None
    scopes: Scopes = ()
    expires_at: ExpiresAt | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name)
        _ = self.expires_at_ms

    @property
    def wanted_scopes(self) -> tuple[str, ...]:
        """The scopes asked for, each once."""
        return tuple(dict.fromkeys(scope.value for scope in self.scopes))

    @property
    def expires_at_ms(self) -> int | None:
        """`expires_at` in unix milliseconds."""
        if self.expires_at is None:
            return None
        try:
            return unix_ms(self.expires_at)
        except ValueError as error:
            raise Invalid(f"`expires_at` is no time: {error}"[:200], field="expires_at") from None


class CreateCustomerKey(CreateApiKey, frozen=True):
    """A new key of any customer."""

    mode: Mode = Mode.TEST


class ApiKeyBody(Reply, frozen=True):
    """A key, without its secret."""

    id: str
    customer_id: str
    instance_id: Annotated[str, Meta(description="The one instance it is bound to.")] | None
    name: str
    prefix: Annotated[str, Meta(description="The part that may be shown, to tell keys apart.")]
    scopes: Annotated[list[str], Meta(description="What it may do; empty means everything.")]
    last_used_at: Time | None
    expires_at: Time | None
    created_at: Time
    revoked_at: Time | None
    mode: Mode

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyBody:
        """Render a stored key."""
        return cls(**_fields(key))


class IssuedApiKey(ApiKeyBody, frozen=True):
    """A key just made, with its secret."""

    secret: Annotated[str, Meta(description="Shown this once; null when the request is repeated.")] | None

    @classmethod
    def with_secret(cls, key: ApiKey, secret: str | None) -> IssuedApiKey:
        """Render a key and its secret."""
        return cls(**_fields(key), secret=secret)

    def __repr__(self) -> str:
        return f"IssuedApiKey({self.id})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # rich would show every field


def without_secret(issued: IssuedApiKey) -> IssuedApiKey:
    """What a retry gets."""
    return structs.replace(issued, secret=None)


class ApiKeyPage(Reply, frozen=True):
    """Active keys, newest first."""

    data: list[ApiKeyBody]
    next_cursor: str | None


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "customer_id": key.customer_id,
        "instance_id": key.instance_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "last_used_at": iso_or_none(key.last_used_at),
        "expires_at": iso_or_none(key.expires_at),
        "created_at": iso(key.created_at),
        "revoked_at": iso_or_none(key.revoked_at),
        "mode": key.mode,
    }

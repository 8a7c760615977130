"""What all shapes of the control API are made of, and the two that belong to no topic: an error, and readiness."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

ADMIN_SCAN_PATH: Final = "/admin/mock-phone/scan-qr"
"""Takes a QR's text as its body, without a token; exists only outside child mode."""

TOKEN_VARIABLE: Final = "WHATISUP_SANDBOX_TOKEN"  # noqa: S105 -- the name of a variable, not its value
"""The environment variable that hands a sandbox its control token; without it one is minted."""

MAX_BODY: Final = 64 * 1024
"""Largest request body in bytes; a larger one is answered 413."""

Number: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9]{7,15}$(?!\n)", description="a phone number, digits only")]

DeviceNumber: TypeAlias = Annotated[int, Meta(ge=1, le=98, description="a companion's device number")]

Code: TypeAlias = Annotated[int, Meta(ge=100, le=999)]

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]

MessageId: TypeAlias = Annotated[str, Meta(pattern=r"^[!-~]{1,64}$(?!\n)", description="a message's id")]

Tenant: TypeAlias = Annotated[str, Meta(pattern=r"^[!-~]{1,64}$(?!\n)", description="whom the account belongs to")]

ManyChat: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^([0-9-]{1,40}@g\.us|[0-9]{1,20}@(broadcast|newsletter)|status@broadcast)$(?!\n)",
        description="the address of a group, the status, a broadcast list or a newsletter",
    ),
]

MAX_PAGE: Final = 1000
"""Most rows of a log that are shown at once."""


class Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request: strict."""


class Reply(Struct, frozen=True):
    """A reply: readers ignore what they do not know."""


class ErrorDetail(Reply, frozen=True):
    """A machine's slug and a person's sentence."""

    code: str
    message: str


class Error(Reply, frozen=True):
    """Every answer that is not 2xx."""

    error: ErrorDetail


class Ready(Reply, frozen=True):
    """What the sandbox prints when it listens: where it is, how to drive it, whom to trust.

    `root_public_key` is the Noise root (32 bytes, hex); `tls_certificate` is PEM, with `--tls` only.
    """

    url: str
    control_url: str
    token: str
    root_public_key: str
    tls_certificate: str | None = None

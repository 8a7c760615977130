"""The shapes of the sandbox's control API, shared by the sandbox that serves them and the client that asks.

Rule: these are plain values; unknown fields in a request are refused, unknown fields in a reply are ignored.

The control API drives *simulated phones* (`999` + 9 digits) and *faults*. It never shows the contents of a stanza.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

ADMIN_SCAN_PATH: Final = "/admin/mock-phone/scan-qr"
"""Takes a QR's text as its body, without a token; exists only outside child mode."""

TOKEN_VARIABLE: Final = "WHATISUP_SANDBOX_TOKEN"  # noqa: S105 -- the name of a variable, not its value
"""The environment variable that hands a sandbox its control token; without it one is minted."""

MAX_BODY: Final = 64 * 1024
"""Largest request body in bytes; a larger one is answered 413."""

Number: TypeAlias = Annotated[str, Meta(pattern="^[0-9]{7,15}$", description="a phone number, digits only")]
DeviceNumber: TypeAlias = Annotated[int, Meta(ge=1, le=98, description="a companion's device number")]
Code: TypeAlias = Annotated[int, Meta(ge=100, le=999)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]


class FaultName(StrEnum):
    """Faults without a number in their name; `failure-<code>` (see `FAILURE_CODES`) completes the list."""

    STREAM_515 = "stream-515"
    STREAM_503 = "stream-503"
    CONFLICT_REPLACED = "conflict-replaced"
    DEVICE_REMOVED = "device-removed"
    TEMP_BAN = "temp-ban"
    DROP = "drop"
    HALF_OPEN = "half-open"
    SLOW = "slow"
    GARBAGE = "garbage"
    MALFORMED_NODE = "malformed-node"
    UNKNOWN_TAG = "unknown-tag"
    NO_ANSWER = "no-answer"
    BAD_CERTIFICATE = "bad-certificate"
    REFS_EXPIRED = "refs-expired"


FAILURE_CODES: Final = (400, 401, 402, 403, 405, 406, 409, 413, 414, 415, 418, 500, 501, 503)
"""Codes of `failure-<code>`. Source: the `failure` reasons which whatsmeow knows."""

FAULT_NAMES: Final = (*(str(name) for name in FaultName), *(f"failure-{code}" for code in FAILURE_CODES))


class _Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request: strict."""


class _Reply(Struct, frozen=True):
    """A reply: readers ignore what they do not know."""


class AccountRequest(_Request, frozen=True):
    """Create an account with its simulated phone. Without `number` the sandbox takes the next free one."""

    number: Number | None = None
    name: Annotated[str, Meta(max_length=100)] | None = None


class ScanRequest(_Request, frozen=True):
    """Let the phone scan a QR: the raw text a companion shows."""

    qr: Annotated[str, Meta(min_length=1, max_length=2048)]


class LinkCodeRequest(_Request, frozen=True):
    """Type an 8-character linking code into the phone; a dash and small letters are forgiven."""

    code: Annotated[str, Meta(min_length=8, max_length=16)]


class UnlinkRequest(_Request, frozen=True):
    """Remove a companion from the phone's list of linked devices."""

    device: DeviceNumber


class Scope(_Request, frozen=True):
    """Whom a fault concerns: everyone (nothing given), an account (`number`), or one of its devices (`device` too)."""

    number: Number | None = None
    device: DeviceNumber | None = None

    def __post_init__(self) -> None:
        if self.device is not None and self.number is None:
            raise ValueError("a device needs the number of its account")


EVERYONE: Final = Scope()


class FaultParams(_Request, frozen=True):
    """What some faults need to know; each names the fault it belongs to."""

    latency_ms: Annotated[int, Meta(ge=1, le=600_000, description="slow: delay of each write")] | None = None
    iq: Annotated[str, Meta(max_length=64, description="no-answer: xmlns of the iq; unset = any iq")] | None = None
    code: Annotated[int, Meta(ge=0, le=9999, description="temp-ban: the ban's code")] | None = None
    expire_s: Annotated[int, Meta(ge=0, le=31_536_000, description="temp-ban: how long, seconds")] | None = None
    variant: (
        Annotated[
            Literal["expired", "wrong-leaf-key", "wrong-root"],
            Meta(description="bad-certificate: what is wrong with it"),
        ]
        | None
    ) = None
    below_version: (
        Annotated[
            str,
            Meta(
                pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,10}$",
                description="failure-405: only clients older than this version",
            ),
        ]
        | None
    ) = None


NO_PARAMS: Final = FaultParams()


class FaultRequest(_Request, frozen=True):
    """Arm a fault: `times` rounds (default 1), or for `seconds`; not both.

    A round of a fault that strikes live connections (`stream-…`, `conflict-replaced`, `device-removed`, `drop`,
    `half-open`, `slow`, `garbage`, `malformed-node`, `unknown-tag`, `refs-expired`) hits all of them in scope at once,
    or, where there was none, the next one that comes to life. `failure-…` and `temp-ban` wait for the next login (for
    everyone: or registration), `no-answer` for the next request, `bad-certificate` for the next handshake. What is
    half-open stays so; what is slow does until `seconds` are over, or the connection ends.

    Who connects is known before the login only by the routing info that an earlier login handed out: a
    `bad-certificate` for an account or device meets those of its devices that return it.
    """

    name: Annotated[str, Meta(max_length=32)]
    scope: Scope = EVERYONE
    times: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    seconds: Seconds | None = None
    params: FaultParams = NO_PARAMS

    def __post_init__(self) -> None:
        if self.name not in FAULT_NAMES:
            raise ValueError(f"no fault is called {self.name!r}; there are {', '.join(FAULT_NAMES)}")
        if self.times is not None and self.seconds is not None:
            raise ValueError("times and seconds exclude each other")


class Fault(_Reply, frozen=True):
    """A fault as it stands. `times_left` is null for one armed for a time; `hits` counts the connections it met."""

    id: str
    name: str
    scope: Scope
    params: FaultParams
    times_left: int | None
    expires_in_s: float | None
    hits: int


class Faults(_Reply, frozen=True):
    """All armed faults, oldest first."""

    data: list[Fault]


class Device(_Reply, frozen=True):
    """A companion as the server knows it. `linked_at` is in unix milliseconds; keys are never shown."""

    device: int
    jid: str
    lid: str
    key_index: int
    registration_id: int
    prekeys: int
    linked_at: int
    is_connected: bool


class Account(_Reply, frozen=True):
    """An account: its number (digits), its hidden id's user part, its push name. `created_at` in unix ms."""

    number: str
    lid: str
    name: str | None
    created_at: int
    devices: list[Device]


class Accounts(_Reply, frozen=True):
    """All accounts, by number."""

    data: list[Account]


class Linked(_Reply, frozen=True):
    """The outcome of a scan or a linking code: the companion answered well and is on the list now."""

    number: str
    device: int


class Stanza(_Reply, frozen=True):
    """One stanza that passed, without its content. `at` in unix ms; `is_sent` from the server's point of view."""

    at: int
    is_sent: bool
    tag: str
    attrs: dict[str, str]


class Connection(_Reply, frozen=True):
    """A device's live connection; `since`, `last_frame_at` in unix ms; `routing_info_returned`: the ED header came."""

    since: int
    last_frame_at: int
    is_active: bool
    is_half_open: bool
    routing_info_returned: bool
    client_version: str | None


class DeviceConnection(_Reply, frozen=True):
    """What a device is doing: its live connection if there is one, queued stanzas, the last ones that passed."""

    number: str
    device: int
    connection: Connection | None
    logins: int
    queued: int
    stanzas: list[Stanza]


class ErrorDetail(_Reply, frozen=True):
    """A machine's slug and a person's sentence."""

    code: str
    message: str


class Error(_Reply, frozen=True):
    """Every answer that is not 2xx."""

    error: ErrorDetail


class Ready(_Reply, frozen=True):
    """What the sandbox prints when it listens: where it is, how to drive it, whom to trust.

    `root_public_key` is the Noise root (32 bytes, hex); `tls_certificate` is PEM, with `--tls` only.
    """

    url: str
    control_url: str
    token: str
    root_public_key: str
    tls_certificate: str | None = None

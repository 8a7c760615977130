"""What can go wrong on purpose: faults that are armed, and switches for rules of the server that nobody knows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import Meta

from whatisup.control.shapes import DeviceNumber, Number, Reply, Request, Seconds


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
    # messages: what a device gets, and what becomes of what it sends
    DROP_AFTER_DELIVERY = "drop-after-delivery"
    DROP_AFTER_ACK = "drop-after-ack"
    DROP_BEFORE_ACK = "drop-before-ack"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    CORRUPT_MAC = "corrupt-mac"
    UNAVAILABLE = "unavailable"
    LID_ONLY = "lid-only"
    REDELIVER_ALL = "redeliver-all"
    NACK_463 = "nack-463"
    NACK_475 = "nack-475"
    NACK_479 = "nack-479"
    NACK_421 = "nack-421"
    PHASH_MISMATCH = "phash-mismatch"
    # messages: what a simulated phone does
    NO_SESSION = "no-session"
    CONSUMED_PREKEY = "consumed-prekey"
    IDENTITY_CHANGE = "identity-change"
    SIMULTANEOUS = "simultaneous"
    RETRY_STORM = "retry-storm"


FAILURE_CODES: Final = (400, 401, 402, 403, 405, 406, 409, 413, 414, 415, 418, 500, 501, 503)
"""Codes of `failure-<code>`. Source: the `failure` reasons which whatsmeow knows."""

FAULT_NAMES: Final = (*(str(name) for name in FaultName), *(f"failure-{code}" for code in FAILURE_CODES))


class Switch(StrEnum):
    """Rules of the server that nobody has observed for certain: without the switch one behaviour, with it the other.

    `no-id-dedupe`: an id seen before is delivered again to everyone. `nack-keeps`: an ack with an error clears nothing.
    `push-queue`: the whole backlog at once; `pull-queue`: never without being asked; neither: five, then as asked, and
    all to a client that does not ask. `live-held-back`: nothing live before the end of the backlog.
    `receipt-lost-on-close`: what a client said in the second before its socket ended was not heard. `no-ib-offline`:
    the end of the backlog is not announced. `reused-id`: one id may stand for several messages of different content.
    `unknown-tag`: each login brings a stanza nobody knows, until it is acknowledged. `429`: the first device query and
    the first bundle query of each connection are refused. `token-rule`: a first message needs a token, or is refused
    with 463.
    """

    NO_ID_DEDUPE = "no-id-dedupe"
    NACK_KEEPS = "nack-keeps"
    PUSH_QUEUE = "push-queue"
    PULL_QUEUE = "pull-queue"
    LIVE_HELD_BACK = "live-held-back"
    RECEIPT_LOST_ON_CLOSE = "receipt-lost-on-close"
    NO_IB_OFFLINE = "no-ib-offline"
    REUSED_ID = "reused-id"
    UNKNOWN_TAG = "unknown-tag"
    RATE_LIMIT = "429"
    TOKEN_RULE = "token-rule"  # noqa: S105 -- the name of a switch


SWITCHES: Final = tuple(str(switch) for switch in Switch)


class Scope(Request, frozen=True):
    """Whom a fault concerns: everyone (nothing given), an account (`number`), or one of its devices (`device` too).

    `ref` names a companion that is not linked yet, by a reference its QR shows.
    """

    number: Number | None = None
    device: DeviceNumber | None = None
    ref: Annotated[str, Meta(min_length=1, max_length=256)] | None = None

    def __post_init__(self) -> None:
        if self.device is not None and self.number is None:
            raise ValueError("a device needs the number of its account")
        if self.ref is not None and self.number is not None:
            raise ValueError("a reference belongs to no account yet")


EVERYONE: Final = Scope()


class FaultParams(Request, frozen=True):
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
                pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,10}$(?!\n)",
                description="failure-405: only clients older than this version",
            ),
        ]
        | None
    ) = None


NO_PARAMS: Final = FaultParams()


class FaultRequest(Request, frozen=True):
    """Arm a fault: `times` rounds (default 1), or for `seconds`; not both.

    A round of a fault that strikes live connections (`stream-…`, `conflict-replaced`, `device-removed`, `drop`,
    `half-open`, `slow`, `garbage`, `malformed-node`, `unknown-tag`, `refs-expired`) hits all of them in scope at once,
    or, where there was none, the next one that comes to life. `failure-…` and `temp-ban` wait for the next login (for
    everyone: or registration), `no-answer` for the next request, `bad-certificate` for the next handshake. What is
    half-open stays so; what is slow does until `seconds` are over, or the connection ends.

    Who connects is known before the login only by the routing info that an earlier login handed out: a
    `bad-certificate` for an account or device meets those of its devices that return it.

    Faults of messages meet one stanza a round: on its way to a device in scope (`drop-after-delivery`, `duplicate`,
    `reorder`, `corrupt-mac`, `unavailable`, `lid-only`), sent by one (`nack-…`, `phash-mismatch`, `drop-before-ack`),
    or answered by one (`drop-after-ack`). `redeliver-all` queues again what a device has had and cuts it off. The
    others are what the phone of the account in scope does: `no-session`, `consumed-prekey`, `identity-change`,
    `simultaneous`, `retry-storm`, and `corrupt-mac` where that phone is written to.
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


class Fault(Reply, frozen=True):
    """A fault as it stands. `times_left` is null for one armed for a time; `hits` counts the connections it met."""

    id: str
    name: str
    scope: Scope
    params: FaultParams
    times_left: int | None
    expires_in_s: float | None
    hits: int


class Faults(Reply, frozen=True):
    """All armed faults, oldest first."""

    data: list[Fault]


class Switches(Request, frozen=True):
    """The switches that are on: how the server behaves where the real one is not known."""

    names: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=64)]

"""The shapes of the sandbox's control API, shared by the sandbox that serves them and the client that asks.

Rule: these are plain values; unknown fields in a request are refused, unknown fields in a reply are ignored.

The control API drives *simulated phones* (`999` + 9 digits) and *faults*. It shows what a phone has read and written,
as a person who holds it would see it, and never the contents of a stanza.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, TypeAlias

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


class _Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request: strict."""


class _Reply(Struct, frozen=True):
    """A reply: readers ignore what they do not know."""


class Persona(StrEnum):
    """How a phone behaves of its own accord: `silent` only reads; `echo` answers each text with the same text, once."""

    SILENT = "silent"
    ECHO = "echo"


class AccountRequest(_Request, frozen=True):
    """Create an account with its simulated phone. Without `number` the sandbox takes the next free one.

    Accounts of one `tenant` do not see those of another; those without one see each other.
    """

    number: Number | None = None
    name: Annotated[str, Meta(max_length=100)] | None = None
    tenant: Tenant | None = None
    persona: Persona = Persona.SILENT


class TenantRequest(_Request, frozen=True):
    """Say whom an account belongs to that belongs to nobody."""

    tenant: Tenant


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
                pattern=r"^[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,10}$(?!\n)",
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
    """An account: its number (digits), its hidden id's user part, its push name. `created_at` in unix ms.

    `is_online` and `persona` are the phone's.
    """

    number: str
    lid: str
    name: str | None
    created_at: int
    devices: list[Device]
    tenant: str | None = None
    is_online: bool = True
    persona: str = Persona.SILENT


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


# people: what a phone is told to do


class MessageRequest(_Request, frozen=True):
    """Let a phone send something: `body` is what the gateway's own API takes (`{"type": "text", "text": ...}`).

    `to` is an account's number, `id` the message's id; without it the phone makes one. What `body` refers to
    (`reply_to`, `message_id`) is a message of that chat, by id.
    """

    to: Number
    body: dict[str, Any]
    id: MessageId | None = None


class PostRequest(_Request, frozen=True):
    """Let a phone write a text to many: into a group, as a status, to a broadcast list or into a newsletter.

    `chat` says which: `...@g.us`, `status@broadcast`, `...@broadcast` or `...@newsletter`. From then on the members,
    and the phone, are those who belong to it; status and lists are the phone's own. With `keys` `withheld` the phone
    acts as if everybody had its key for the group, or the status: the message that handed it over got lost. `id` is the
    message's; without it the phone makes one.
    """

    chat: ManyChat
    members: Annotated[list[Number], Meta(max_length=1024)]
    text: Annotated[str, Meta(min_length=1, max_length=65_536)]
    keys: Literal["given", "withheld"] = "given"
    id: MessageId | None = None


class ReplyRequest(_Request, frozen=True):
    """Answer a message of a chat with a text that quotes it."""

    to: Number
    message_id: MessageId
    text: Annotated[str, Meta(min_length=1, max_length=65_536)]


class VoteRequest(_Request, frozen=True):
    """Vote in a poll of a chat; no options withdraw the vote."""

    to: Number
    message_id: MessageId
    options: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=12)]


class MessageQueued(_Reply, frozen=True):
    """The phone will send it; the log of what it sent says when it has."""

    id: str


class ReadRequest(_Request, frozen=True):
    """Read a chat: the messages of those ids, or with none everything unread."""

    chat: Number
    ids: Annotated[list[MessageId], Meta(max_length=256)] = []


class TypingRequest(_Request, frozen=True):
    """Show a chat that its owner types or records, or does so no more."""

    to: Number
    state: Literal["composing", "recording", "paused"] = "composing"


class OnlineRequest(_Request, frozen=True):
    """Take a phone off the network, or back on it. Meanwhile what is for it, and what it is to do, waits."""

    online: bool


class PersonaRequest(_Request, frozen=True):
    """Give a phone another persona."""

    persona: Persona


class BurstRequest(_Request, frozen=True):
    """Send `count` texts to one number, `rate` of them a second (unset: as fast as it goes).

    The texts are `text` (default `burst`), a blank, and a number from 1 to `count`.
    """

    to: Number
    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    rate: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=1000)] = "burst"


class Burst(_Reply, frozen=True):
    """A burst as it stands; it is over when `done` is `count`. `started_at` in unix ms."""

    id: int
    to: str
    count: int
    done: int
    rate: float | None
    text: str
    started_at: int


class Bursts(_Reply, frozen=True):
    """A phone's last bursts, oldest first."""

    data: list[Burst]


class ReceivedMessage(_Reply, frozen=True):
    """One ciphertext that reached a phone, and what became of it.

    `verdict` is `read`, `duplicate` (the very ciphertext was read before) or `undecryptable` (`reason` says why). An
    `id` that is `read` twice was encrypted twice; but a group's key that came along is a row of its own, of no kind.
    `number`, `lid` and `device` are the sender's; `chat` is the number of the person whom the chat is with, or the JID
    of a group; `is_own`: a companion of this very account sent it. `t` is the message's time in unix seconds, `at` when
    it was read in unix ms, `count` how often it was asked for again.
    """

    position: int
    id: str
    chat: str
    number: str
    lid: str
    device: int
    is_own: bool
    kind: str
    text: str | None
    body: dict[str, Any] | None
    ciphertext_sha256: str
    verdict: str
    reason: str | None
    count: int
    t: int
    at: int


class ReceivedMessages(_Reply, frozen=True):
    """What reached a phone, in order; ask on with `after` = the last position."""

    data: list[ReceivedMessage]


class Receipt(_Reply, frozen=True):
    """What a device did with a message, `at` unix ms for the first time.

    `kind` is `delivered` (`inactive`: in the background), `read`, `played`, `sender` (an own companion has its copy) or
    `retry` (it could not read it and asked again).
    """

    number: str
    device: int
    kind: str
    at: int


class SentMessage(_Reply, frozen=True):
    """A message that a phone was told to send. `acked_at` (unix ms) and `t` (unix s) are there once the server took it.

    `to` is a number, or the JID of a group. `error` is the code with which the server refused it, `failure` why it was
    never sent.
    """

    position: int
    id: str
    to: str
    kind: str
    text: str | None
    body: dict[str, Any] | None
    queued_at: int
    acked_at: int | None
    t: int | None
    error: int | None
    failure: str | None
    receipts: list[Receipt]


class SentMessages(_Reply, frozen=True):
    """What a phone sent, in order; ask on with `after` = the last position."""

    data: list[SentMessage]


class ChatState(_Reply, frozen=True):
    """What a phone was shown of somebody: `composing`, `recording`, `paused`, `available` or `unavailable`."""

    number: str
    device: int
    state: str
    at: int


class ChatStates(_Reply, frozen=True):
    """The last ones a phone was shown, oldest first; forgotten when the sandbox ends."""

    data: list[ChatState]


class Switches(_Request, frozen=True):
    """The switches that are on: how the server behaves where the real one is not known."""

    names: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=64)]


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

"""What a connection tells its owner: facts in the past tense, each saying what the owner must do about it.

Rule: commit, then transmit. The stanzas in `replies` may go out only after what the event says is durable: hand the
event back to `Connection.transmit` then. An event without replies needs no handing back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from whatisup.jid import Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol.credentials import Account
from whatisup.protocol.stanzas.ack import MessageAck
from whatisup.protocol.stanzas.keys import Bundle
from whatisup.protocol.stanzas.message import Envelope
from whatisup.protocol.stanzas.receipt import Receipt
from whatisup.protocol.stanzas.usync import ContactFound, UserDevices
from whatisup.wire import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact about the connection."""

    replies: tuple[Node, ...] = ()


# Pairing


@dataclass(frozen=True, slots=True)
class PairingOffered(Event):
    """`pair-device` arrived: linking codes can be requested, and QR codes follow."""


@dataclass(frozen=True, slots=True)
class QrIssued(Event):
    """Show this QR text in place of the last one; it holds a secret."""

    code: str = field(repr=False)
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class RefsExhausted(Event):
    """The last QR code has expired: close and reconnect for a new round."""


@dataclass(frozen=True, slots=True)
class LinkingCodeAccepted(Event):
    """The server announced us to the phone: show the code."""

    ref: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LinkingCodeRefused(Event):
    """The server refused the request, or the phone the key bundle; `code` is 408 where nobody answered."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class LinkingCodeRefreshWanted(Event):
    """The phone wants another code: derive a new secret and request again."""


@dataclass(frozen=True, slots=True)
class PrimaryHelloReceived(Event):
    """The user typed a code: stretch ours with this salt (32 bytes) in a thread, then call `finish_linking`."""

    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AdvSecretAgreed(Event):
    """Store the new ADV secret (32 bytes) in the credentials, then transmit."""

    adv_secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Paired(Event):
    """The proof holds: store the account, then transmit; `Closed(RESTART_REQUIRED)` follows, then log in."""

    account: Account
    server_unix: int | None


@dataclass(frozen=True, slots=True)
class PairingFailed(Event):
    """The proof does not hold: transmit, close, and pair again with fresh keys."""

    code: int
    text: str


# Login


@dataclass(frozen=True, slots=True)
class LoginSucceeded(Event):
    """The server let us in; store `lid` where it differs. Not connected yet: wait for `Connected`."""

    lid: Jid | None
    server_unix: int


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """The login is complete and stanzas are delivered live."""


@dataclass(frozen=True, slots=True)
class PrekeysWanted(Event):
    """Generate that many prekeys under ids never used before, commit them as offered, then call `upload_prekeys`."""

    count: int


@dataclass(frozen=True, slots=True)
class PrekeysUploaded(Event):
    """The server has these prekeys: mark them."""

    key_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PrekeyUploadFailed(Event):
    """An upload failed; keep the privates.

    With `outcome_unknown` the server may hand these keys out, so they are never offered again.
    """

    key_ids: tuple[int, ...]
    outcome_unknown: bool


@dataclass(frozen=True, slots=True)
class SignedPrekeyRotated(Event):
    """The server has the new signed prekey: make it the current one, keep the old private for late messages."""

    key_id: int


@dataclass(frozen=True, slots=True)
class SignedPrekeyRotationFailed(Event):
    """The rotation failed; with `outcome_unknown` the server may use the new key, so keep its private."""

    key_id: int
    outcome_unknown: bool


@dataclass(frozen=True, slots=True)
class DigestChecked(Event):
    """Whether what the server holds of our identity and signed prekey is ours. To be logged."""

    matches: bool


@dataclass(frozen=True, slots=True)
class PropsReceived(Event):
    """Store the hash and hand it to the next connection."""

    hash: str | None


# The server's notices


@dataclass(frozen=True, slots=True)
class RoutingInfoReceived(Event):
    """Store this (1 to 1024 bytes) and hand it to the next connection."""

    routing_info: bytes


@dataclass(frozen=True, slots=True)
class OfflinePreviewed(Event):
    """The server holds that many stanzas for us; they come window by window, each after the last is transmitted."""

    count: int


@dataclass(frozen=True, slots=True)
class OfflineCompleted(Event):
    """The queue is delivered, or has been silent for 60 s; `count` is the server's number, or what was seen of it."""

    count: int


@dataclass(frozen=True, slots=True)
class DirtyAnnounced(Event):
    """A part of the account changed while we were away: catch up, then call `clean_dirty`."""

    type: str
    timestamp: int | None


@dataclass(frozen=True, slots=True)
class ClientExpirationAnnounced(Event):
    """The client version we claim stops being served at `unix_t` (unix seconds): mark it stale."""

    unix_t: int


@dataclass(frozen=True, slots=True)
class DowngradeWarned(Event):
    """A phone that cannot link devices scanned the code: warn, the user may scan again."""


# Messages


@dataclass(frozen=True, slots=True)
class MessageReceived(Event):
    """A message: commit what it says, then `send` the answers; it stays on the server's queue until then.

    `envelope` is None where it could not be read (poison: record, then `build_ack`). `size` is what it holds
    in memory, roughly, in bytes. `replies` is at most the wish for the next offline window.
    """

    node: Node
    envelope: Envelope | None
    size: int


@dataclass(frozen=True, slots=True)
class MessageAcked(Event):
    """The server has a message of ours, or refuses it."""

    ack: MessageAck


@dataclass(frozen=True, slots=True)
class ReceiptReceived(Event):
    """A receipt; transmitting acknowledges it. One that cannot be read is a `StanzaReceived`."""

    receipt: Receipt
    node: Node


# Answers to what the owner asked. `failure` is None, the server's code, 408 where it did not answer, or 503 where too
# much was asked at once. After the connection's end none follows: `Closed` says it for all.


@dataclass(frozen=True, slots=True)
class DevicesAnswered(Event):
    """The devices of those `asked` for; who is missing was not told."""

    asked: tuple[Jid, ...]
    found: tuple[UserDevices, ...] = ()
    failure: int | None = None


@dataclass(frozen=True, slots=True)
class BundlesAnswered(Event):
    """The bundles of the devices `asked` for, signatures checked, device identities not; `refused` says why not."""

    asked: tuple[Jid, ...]
    found: tuple[tuple[Jid, Bundle], ...] = ()
    failure: int | None = None
    refused: tuple[tuple[Jid, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ContactsChecked(Event):
    """Which of the numbers (digits) are on the network; who is missing was not told."""

    asked: tuple[str, ...]
    found: tuple[ContactFound, ...] = ()
    failure: int | None = None


@dataclass(frozen=True, slots=True)
class TokenIssued(Event):
    """Whether a privacy token of `unix_t` was issued to `user`."""

    user: Jid
    unix_t: int
    ok: bool


# Stanzas


@dataclass(frozen=True, slots=True)
class NotificationReceived(Event):
    """A notification; transmitting acknowledges it."""

    node: Node


@dataclass(frozen=True, slots=True)
class StanzaReceived(Event):
    """Any other stanza, or a receipt that cannot be read; transmitting acknowledges it where it wants that."""

    node: Node


@dataclass(frozen=True, slots=True)
class FrameDropped(Event):
    """A frame was unreadable or out of place: log it; the connection goes on. `replies`: the next offline window."""

    reason: str


# The end


@dataclass(frozen=True, slots=True)
class Unlinked(Event):
    """The server answered our wish to be unlinked; not accepted also where it did not answer in time."""

    accepted: bool


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The connection is over and nothing more comes: close the socket and move the lifecycle by `trigger`.

    `code` is the wire's, `expires_in_s` the rest of a temporary ban, `detail` a slug that says more.
    """

    trigger: Trigger
    code: int | None = None
    expires_in_s: float | None = None
    detail: str | None = None

"""One client connection to WhatsApp, from the first byte to the last, without a socket or a clock.

    receive_data(bytes)  ->  frames  ->  Noise  ->  nodes  ->  a party of `dialogue`  ->  events
    data_to_send()       <-  frames  <-  Noise  <-  nodes  <-  its answers; `transmit` after a commit

The driver's loop, after every read, timer and command: `next_event()` until it returns None, `data_to_send()` as one
WebSocket message, then wait for bytes or for `next_deadline()`. Frames are decoded one by one, as events are asked for,
so that a slow owner slows the peer down and a flooding peer fills no queue.

While the owner does not call `next_event` (it waits for its store, say) it calls `hold`, and `resume` afterwards.

Rule: this file joins the layers and routes; no stanza's shape or meaning is known here. A bad frame after the handshake
is dropped and reported; a frame that does not decrypt, or a refused certificate, ends the connection for good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Final

from whatisup.crypto import Entropy
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol.credentials import Account, Credentials, SignedPrekey
from whatisup.protocol.dialogue.exchange import Exchange, as_is
from whatisup.protocol.dialogue.inbound import Inbound
from whatisup.protocol.dialogue.keepalive import Beat, Keepalive
from whatisup.protocol.dialogue.login import Login
from whatisup.protocol.dialogue.offline import OfflineQueue
from whatisup.protocol.dialogue.pairing import Pairing
from whatisup.protocol.dialogue.queries import Queries
from whatisup.protocol.dialogue.ration import PrekeyRation
from whatisup.protocol.dialogue.stock import PrekeyStock
from whatisup.protocol.events import (
    Closed,
    Event,
    Paired,
    Unlinked,
)
from whatisup.protocol.linking_code import LinkingSecret
from whatisup.protocol.outcomes import Outcome, parse_failure, parse_stream_error, parse_success
from whatisup.protocol.pairing import is_pair_device, is_pair_success
from whatisup.protocol.payloads import build_login, build_registration
from whatisup.protocol.prekeys import PublicIdentity, is_low_notification, parse_count
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.iq import Refusal, build_result, is_answer
from whatisup.protocol.stanzas.keepalive import build_ping, is_server_ping
from whatisup.protocol.stanzas.logout import build_remove_companion_device
from whatisup.protocol.stanzas.query import build_clean
from whatisup.wire import ClientHandshake, FrameDecoder, Node, decode_node

HANDSHAKE_S: Final = 20.0
"""How long the server may take to answer the ClientHello."""

OPENING_S: Final = 60.0
"""How long it may then take to say `success`, `failure` or `pair-device`."""

RESTART_S: Final = 10.0
"""How long we wait for the 515 after a pairing; then we reconnect all the same."""

UNLINK_S: Final = 5.0
"""How long an unlink is waited for."""

# Frames without an event (server pings, say) that one call looks at before it lets the driver breathe.
_FRAMES_AT_ONCE: Final = 128

HEAVY: Final = 1024
"""A frame of more bytes may take long to decode: a few kilobytes, inflated, are a million nodes."""

_REMOVED: Final = frozenset({Trigger.DEVICE_REMOVED, Trigger.FORCED_LOGOUT, Trigger.LOGGED_OUT})


class Phase(Enum):
    """How far a connection is."""

    HANDSHAKE = "handshake"
    OPENING = "opening"  # encrypted; being paired, or waiting to be let in
    LINKED = "linked"  # paired; the server will ask us to reconnect
    LOGGED_IN = "logged_in"
    CLOSED = "closed"


_P = Phase
_ANY: Final = frozenset({_P.OPENING, _P.LINKED, _P.LOGGED_IN})
_OPENING: Final = frozenset({_P.OPENING})
_LOGGED_IN: Final = frozenset({_P.LOGGED_IN})


class Connection:
    """The client's side of one connection; good for one socket.

    `account` None registers (to be paired), else logs in. `now` and `unix_now` are the monotonic and the wall clock, in
    seconds, at the same instant. `routing_info` and `props_hash` are what earlier connections were told to store;
    `ration` is what all connections of an instance share, so that no server makes it mint keys without bound.
    """

    __slots__ = (
        "_decoder",
        "_exchange",
        "_handshake",
        "_held_at",
        "_inbound",
        "_is_backlogged",
        "_is_pausing",
        "_keepalive",
        "_login",
        "_offline",
        "_own",
        "_pairing",
        "_payload",
        "_phase",
        "_phase_ends_at",
        "_queries",
        "_stock",
    )

    def __init__(
        self,
        credentials: Credentials,
        account: Account | None,
        *,
        profile: ClientProfile,
        entropy: Entropy,
        now: float,
        unix_now: float,
        routing_info: bytes | None = None,
        props_hash: str | None = None,
        ration: PrekeyRation | None = None,
    ) -> None:
        exchange = self._exchange = Exchange(entropy, now)
        self._decoder = FrameDecoder()
        self._phase = Phase.HANDSHAKE
        self._phase_ends_at: float | None = now + HANDSHAKE_S
        self._held_at: float | None = None
        self._is_backlogged = False  # bytes came that `next_event` has not looked at
        self._is_pausing = False  # `next_event` has looked at many, and wants to be called again
        self._own = None if account is None else account.jid
        self._keepalive = Keepalive(entropy, now)
        self._stock = PrekeyStock(exchange, PublicIdentity.of(credentials), ration or PrekeyRation(now))
        self._offline = OfflineQueue(exchange)
        self._inbound = Inbound(exchange, self._offline, account)
        self._queries = Queries(exchange)
        self._pairing: Pairing | None = None
        self._login: Login | None = None
        if account is None:
            self._pairing = Pairing(exchange, credentials, profile, entropy)
            self._payload = build_registration(credentials, profile)
        else:
            self._login = Login(exchange, self._stock, unix_offset_s=unix_now - now, props_hash=props_hash)
            self._payload = build_login(account.jid, profile)
        self._handshake: ClientHandshake | None = ClientHandshake(
            credentials.noise,
            root_public=credentials.root_public,
            unix_now=unix_now,
            entropy=entropy,
            routing_info=routing_info,
        )
        exchange.write(self._handshake.hello())

    # Bytes

    def data_to_send(self) -> bytes:
        """Return all whole frames that are due, joined for one WebSocket message; empty when there are none."""
        return self._exchange.take_data()

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the socket, in any pieces; `next_event` decodes them.

        Raises `RemoteProtocolError` when more would be held than any honest peer makes us hold. Bytes after the end are
        ignored.
        """
        self._exchange.now = now
        if self._phase is Phase.CLOSED:
            return
        try:
            self._decoder.receive_data(data)
        except RemoteProtocolError:
            self._die()
            raise
        self._is_backlogged = True

    def connection_lost(self, now: float) -> None:
        """The socket is gone without a word: `Closed` follows, once all waiters have heard."""
        self._exchange.now = now
        self._end(Outcome(Trigger.CONNECTION_LOST))

    def next_event(self) -> Event | None:
        """Return the next event; None when there is nothing until more bytes or `next_deadline()` (which may be now).

        Raises `RemoteProtocolError` (or `CertificateError`, which is one) where the handshake fails or a frame does not
        decrypt: close the socket, the connection is dead for good.
        """
        exchange = self._exchange
        self._is_pausing = False
        for count in range(_FRAMES_AT_ONCE):
            event = exchange.next_event()
            if event is not None or not self._is_backlogged:
                return event
            if count and self.is_heavy:
                break  # it comes first in the next call
            frame = self._decoder.next_frame()
            if frame is None:
                self._is_backlogged = False
                return None
            try:
                self._receive_frame(frame)
            except RemoteProtocolError:
                self._die()
                raise
        event = exchange.next_event()
        self._is_pausing = event is None and self._is_backlogged
        return event

    @property
    def is_heavy(self) -> bool:
        """Whether the next call of `next_event` may take seconds, so that it belongs into a thread."""
        return self._is_backlogged and not self._exchange.has_event and self._decoder.next_length > HEAVY

    def transmit(self, event: Event, now: float) -> None:
        """The owner has committed what `event` says: send its replies."""
        self._exchange.now = now
        for node in event.replies:
            self._exchange.send(node)
        if isinstance(event, Paired) and self._phase is Phase.OPENING:
            self._enter(Phase.LINKED, RESTART_S)

    # Time

    def next_deadline(self) -> float | None:
        """Return when `handle_timer` wants to be called, in monotonic seconds; in the past when it wants to be now."""
        if self._phase is Phase.CLOSED:
            return None
        if self._is_pausing:
            return self._exchange.now
        deadlines = [None if self._pairing is None else self._pairing.deadline_at]
        if self._held_at is None:
            deadlines += (
                self._phase_ends_at,
                self._keepalive.deadline_at if self._phase is not Phase.HANDSHAKE else None,
                self._exchange.tracker.next_deadline(),
                self._stock.deadline_at,
                self._offline.deadline_at,
            )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`; harmless when nothing is."""
        self._exchange.now = now
        if self._phase is Phase.CLOSED:
            return
        if self._pairing is not None:
            self._pairing.handle_timer(now)
        # Frames that wait to be decoded are signs of life, and may be the answers whose deadlines have come.
        if self._held_at is not None or self._is_backlogged:
            return
        if self._phase_ends_at is not None and self._phase_ends_at <= now:
            self._end(Outcome(Trigger.CONNECTION_LOST))
            return
        self._exchange.tracker.handle_timer(now)
        self._stock.handle_timer(now)
        self._offline.handle_timer(now)
        if self._phase is not Phase.HANDSHAKE:
            self._beat(now)

    def hold(self, now: float) -> None:
        """We stop reading: every clock that waits for the server stands still. QR codes age all the same."""
        self._exchange.now = now
        if self._held_at is None:
            self._held_at = now

    def resume(self, now: float) -> None:
        """We read again."""
        self._exchange.now = now
        if self._held_at is None:
            return
        by_s, self._held_at = now - self._held_at, None
        if self._phase_ends_at is not None:
            self._phase_ends_at += by_s
        for clock in (self._keepalive, self._exchange.tracker, self._stock, self._offline):
            clock.shift(by_s)

    # What the owner may ask for. After the end these do nothing: `Closed` is already on its way to the owner.

    @property
    def is_logged_in(self) -> bool:
        """Whether the server let us in and the connection lives."""
        return self._phase is Phase.LOGGED_IN

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""
        return self._phase is Phase.CLOSED

    @property
    def can_offer_linking_code(self) -> bool:
        """Whether `pair-device` has arrived and nobody has paired yet."""
        return self._phase is Phase.OPENING and self._pairing is not None and self._pairing.is_offered

    @property
    def is_draining(self) -> bool:
        """Whether the server's queue of what came while we were away is not over yet: nothing new should be sent."""
        return self._phase is not Phase.CLOSED and self._offline.is_draining

    def send(self, nodes: Sequence[Node], now: float) -> None:
        """Send stanzas as they are, in this order: messages, receipts, acks, presence. Commit what they say before."""
        if self._command(now, logged_in=True):
            for node in nodes:
                self._exchange.send(node)

    def send_encoded(self, stanzas: Sequence[bytes], now: float) -> None:
        """Send stanzas as `send` does, that are kept as `encode_node` gave them."""
        if self._command(now, logged_in=True):
            for stanza in stanzas:
                self._exchange.send_encoded(stanza)

    def query_devices(self, users: Sequence[Jid], now: float) -> None:
        """Ask for the devices of users (without device); one `DevicesAnswered` follows, also on failure."""
        if self._command(now, logged_in=True):
            self._queries.devices(users)

    def fetch_bundles(self, devices: Sequence[Jid], now: float, *, is_identity_change: bool = False) -> None:
        """Ask for what starts sessions with devices; one `BundlesAnswered` follows, also on failure."""
        if self._command(now, logged_in=True):
            self._queries.bundles(devices, is_identity_change=is_identity_change)

    def check_contacts(self, numbers: Sequence[str], now: float) -> None:
        """Ask which numbers (digits) are on the network; one `ContactsChecked` follows, also on failure."""
        if self._command(now, logged_in=True):
            self._queries.contacts(numbers)

    def issue_token(self, user: Jid, unix_t: int, now: float) -> None:
        """Issue a privacy token of `unix_t` to a contact; one `TokenIssued` follows, also on failure."""
        if self._command(now, logged_in=True):
            self._queries.issue_token(user, unix_t)

    def request_linking_code(self, phone: str, secret: LinkingSecret, now: float) -> None:
        """Ask for a linking code to be accepted for a phone (digits); `LinkingCodeAccepted` or `-Refused` follows."""
        if self._command(now):
            self._registering().request_code(phone, secret)

    def finish_linking(self, primary_key: bytes, now: float) -> None:
        """Go on after `PrimaryHelloReceived` with the key (32 bytes) of `derive_key(code, salt)`."""
        if self._command(now):
            self._registering().finish_code(primary_key)

    def upload_prekeys(self, prekeys: Sequence[tuple[int, bytes]], now: float) -> None:
        """Hand over prekeys (id, public) whose privates are committed as offered, once for each `PrekeysWanted`."""
        if self._command(now, logged_in=True):
            self._stock.upload(prekeys)

    def rotate_signed_prekey(self, new: SignedPrekey, now: float) -> None:
        """Replace the signed prekey; commit the new private before, and make it current at `SignedPrekeyRotated`."""
        if self._command(now, logged_in=True):
            self._stock.rotate(new)

    def clean_dirty(self, kind: str, timestamp: int | None, now: float) -> None:
        """Tell the server that what it called dirty is caught up with."""
        if self._command(now, logged_in=True):
            self._exchange.ask(partial(build_clean, kind=kind, timestamp=timestamp), as_is, lambda _: None)

    def unlink(self, now: float) -> None:
        """Ask the server to forget this device; `Unlinked` follows within 5 s."""
        if not self._command(now, logged_in=True) or self._own is None:
            return
        self._exchange.ask(
            partial(build_remove_companion_device, own=self._own),
            as_is,
            self._unlinked,
            timeout_s=UNLINK_S,
            lost=lambda trigger: self._exchange.emit(Unlinked(trigger in _REMOVED)),
        )

    def _unlinked(self, answer: Node | Refusal | None) -> None:
        self._exchange.emit(Unlinked(isinstance(answer, Node)))

    def _command(self, now: float, *, logged_in: bool = False) -> bool:
        self._exchange.now = now
        if logged_in and self._phase not in (Phase.LOGGED_IN, Phase.CLOSED):
            raise LocalProtocolError(f"asked of a connection that is {self._phase.value}")
        return self._phase is not Phase.CLOSED

    def _registering(self) -> Pairing:
        if self._pairing is None:
            raise LocalProtocolError("a connection with an account does not pair")
        return self._pairing

    # Frames in

    def _receive_frame(self, frame: bytes) -> None:
        exchange = self._exchange
        self._keepalive.heard(exchange.now)
        if exchange.transport is not None:
            self._receive_plaintext(exchange.transport.decrypt(frame))
        elif self._handshake is not None:
            finish, exchange.transport = self._handshake.finish(frame, self._payload)
            exchange.write(finish)
            self._handshake, self._payload = None, b""
            self._enter(Phase.OPENING, OPENING_S)

    def _receive_plaintext(self, plaintext: bytes) -> None:
        """The frame is authentic: trouble with its content is its own. It counts in an offline window all the same."""
        try:
            node = decode_node(plaintext)
        except RemoteProtocolError as error:
            self._exchange.drop(str(error), self._offline.skipped())
            return
        try:
            self._route(node)
        except RemoteProtocolError as error:
            self._exchange.drop(str(error), self._offline.passed(node))

    def _route(self, node: Node) -> None:
        handler, phases = _HANDLERS.get(node.tag, _OTHER)
        if self._phase not in phases:
            raise RemoteProtocolError(f"<{node.tag[:32]}> while {self._phase.value}")
        handler(self, node)

    def _on_iq(self, node: Node) -> None:
        if is_answer(node):
            self._exchange.tracker.answer(node)
        elif is_server_ping(node):
            self._exchange.send(build_result(node))
        elif is_pair_device(node):
            self._registering_for(node).offered(node)
            self._phase_ends_at = None
        elif is_pair_success(node):
            self._registering_for(node).succeeded(node)
            self._phase_ends_at = None
        else:
            raise RemoteProtocolError("an iq that asks for nothing we know")

    def _registering_for(self, node: Node) -> Pairing:
        if self._pairing is None or self._phase is not Phase.OPENING:
            raise RemoteProtocolError(f"pairing is offered while {self._phase.value} with an account")
        return self._pairing

    def _on_success(self, node: Node) -> None:
        if self._login is None:
            raise RemoteProtocolError("success without a login")
        success = parse_success(node)
        self._enter(Phase.LOGGED_IN, None)
        self._offline.begin()
        if success.lid is not None:
            self._inbound.known_as(success.lid)
        self._login.accepted(success)

    def _on_notification(self, node: Node) -> None:
        if self._pairing is not None and self._pairing.noticed(node):
            return
        self._inbound.notification(node)
        if self._phase is Phase.LOGGED_IN and is_low_notification(node):
            try:
                count = parse_count(node)
            except RemoteProtocolError as error:
                # The notification itself is handed over, and has been counted.
                self._exchange.drop(str(error))
            else:
                self._stock.low(count)

    # Phases

    def _beat(self, now: float) -> None:
        beat = self._keepalive.beat(now)
        if beat is Beat.PING:
            self._exchange.send(build_ping(self._exchange.next_id()))
        elif beat is Beat.LOST:
            self._end(Outcome(Trigger.CONNECTION_LOST))

    def _enter(self, phase: Phase, ends_in_s: float | None) -> None:
        self._phase = phase
        self._phase_ends_at = None if ends_in_s is None else self._exchange.now + ends_in_s

    def _end(self, outcome: Outcome) -> None:
        """Close in order: every waiter hears, then the owner."""
        if self._phase is Phase.CLOSED:
            return
        trigger = outcome.trigger
        if self._phase is Phase.LINKED and trigger is Trigger.CONNECTION_LOST:
            # After a pairing a plain close means what 515 means.
            trigger = Trigger.RESTART_REQUIRED
        self._die()
        self._exchange.close(trigger)
        self._exchange.emit(Closed(trigger, outcome.code, outcome.expires_in_s, outcome.detail))

    def _die(self) -> None:
        self._phase = Phase.CLOSED
        self._phase_ends_at = None
        self._is_backlogged = self._is_pausing = False
        self._exchange.is_closed = True
        self._handshake = self._pairing = self._login = None
        self._payload = b""
        self._decoder = FrameDecoder()


_Handler = Callable[[Connection, Node], None]

_HANDLERS: Final[Mapping[str, tuple[_Handler, frozenset[Phase]]]] = {
    "iq": (Connection._on_iq, _ANY),
    "ack": (lambda self, node: self._inbound.ack(node), _LOGGED_IN),
    "success": (Connection._on_success, _OPENING),
    "failure": (lambda self, node: self._end(parse_failure(node)), _ANY),
    "stream:error": (lambda self, node: self._end(parse_stream_error(node)), _ANY),
    "xmlstreamend": (lambda self, _node: self._end(Outcome(Trigger.CONNECTION_LOST)), _ANY),
    "ib": (lambda self, node: self._inbound.notices(node), _ANY),
    "notification": (Connection._on_notification, _ANY),
    "message": (lambda self, node: self._inbound.message(node), _LOGGED_IN),
    "receipt": (lambda self, node: self._inbound.receipt(node), _LOGGED_IN),
}
"""Which tag is handled how, and in which phases it is legal."""

_OTHER: Final[tuple[_Handler, frozenset[Phase]]] = (lambda self, node: self._inbound.other(node), _LOGGED_IN)

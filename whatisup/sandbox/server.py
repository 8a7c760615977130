"""The server's side of every connection: from the first byte to the last word.

Rule: bytes come in through `receive`, whatever they provoke is queued on connections, and no socket is touched here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from whatisup.control import FaultName, Switch
from whatisup.crypto import constant_time_equal
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.linking_code import REGISTRATION
from whatisup.protocol.outcomes import build_failure, build_stream_error, build_success
from whatisup.protocol.payloads import Login, parse_client_payload
from whatisup.protocol.profile import ClientVersion
from whatisup.protocol.stanzas.ib import build_edge_routing, parse_offline_batch
from whatisup.protocol.stanzas.iq import build_error, build_result, is_answer
from whatisup.protocol.stanzas.keepalive import is_ping
from whatisup.sandbox.accounts import Companion
from whatisup.sandbox.answers import answer
from whatisup.sandbox.authority import ServerIdentity
from whatisup.sandbox.entropy import Stream
from whatisup.sandbox.faults import Moment, Target
from whatisup.sandbox.hub import Client, Hub, Stage
from whatisup.sandbox.pairing import Pairing
from whatisup.sandbox.ports import Device
from whatisup.sandbox.router import Router
from whatisup.sandbox.session import Malformed, Opened, Received, Session
from whatisup.sandbox.strikes import refusal, strike_live
from whatisup.wire import Node, Prologue, proto

HANDSHAKE_S: Final = 20.0
"""How long a client may take from its first byte to the end of the handshake."""
IDLE_S: Final = 600.0
"""A connection without a frame for this long is dropped: its client pings every half minute."""

LOST_S: Final = 1.0
"""With `receipt-lost-on-close`: what a client said that long before its end was not heard."""
MAX_HEARD: Final = 10_000
"""How many of a client's answers may be lost with its connection."""

_LIMITED: Final = frozenset({"usync", "encrypt"})
_BACKOFF_S: Final = 1


class Server:
    """Owns the conversation with every client; one per sandbox."""

    def __init__(self, hub: Hub, *, min_version: ClientVersion | None = None) -> None:
        self.hub = hub
        self.pairing = Pairing(hub)
        self.router = Router(hub)
        self._min_version = min_version

    # a connection's life

    def connect(self, wake: Callable[[], None]) -> Client:
        """Take a new connection; `wake` is called whenever its socket has something to do."""
        hub = self.hub
        serial = hub.next_serial()
        entropy = hub.seed.stream("connection", hub.run, serial)
        session = Session(lambda prologue: self._identity(prologue, entropy), entropy, hub.compression)
        now = hub.clock.monotonic()
        client = Client(serial, session, entropy, wake, opened_at=now, since=hub.unix_ms, last_frame_at=now)
        hub.add(client)
        return client

    def disconnected(self, client: Client) -> None:
        """Note that the socket is gone; what was queued for the device stays queued."""
        self.pairing.forget(client)
        self.hub.forget(client)
        if client.companion is not None and self.hub.online(*client.companion.key) is None:
            self.router.presences.gone(Device(*client.companion.key))

    def receive(self, client: Client, data: bytes) -> None:
        """Take bytes from a client and queue whatever they call for. Raises nothing a client could cause."""
        client.last_frame_at = self.hub.clock.monotonic()
        try:
            client.session.receive_data(data)
            while client.ending is None and (event := client.session.next_event()) is not None:
                match event:
                    case Opened():
                        self._opened(client, event)
                    case Received(node):
                        self._stanza(client, node)
                    case Malformed():
                        self.hub.end(client, build_stream_error(child=Node("xml-not-well-formed")))
        except RemoteProtocolError:
            # Nothing that is said now would be understood: the frames or their ciphers are out of step.
            self.hub.end(client)
        client.wake()

    def tick(self) -> None:
        """Do what has become due; called about once a second."""
        now = self.hub.clock.monotonic()
        for client in self.hub.clients():
            limit = HANDSHAKE_S if client.stage is Stage.HANDSHAKE else IDLE_S
            since = client.opened_at if client.stage is Stage.HANDSHAKE else client.last_frame_at
            if now - since > limit:
                self.hub.reset(client)
            self._tick_client(client, now)
        self.pairing.tick(self.hub.clients(), now)
        self.router.tick(now)

    def _tick_client(self, client: Client, now: float) -> None:
        self.hub.release(client)
        while client.companion is not None and client.heard and now - client.heard[0][0] >= LOST_S:
            self._routed(client, client.companion, client.heard.popleft()[1])
        if client.outbox is not None:
            client.outbox.wait(now)
            self.hub.pump(client)

    # the handshake

    def _identity(self, prologue: Prologue, entropy: Stream) -> ServerIdentity:
        hub = self.hub
        # Nothing but the routing info tells at this point whose connection it is.
        known = None if prologue.routing_info is None else hub.state.companion_of_routing(prologue.routing_info)
        target = Target() if known is None else Target(*known.key)
        armed = hub.faults.strike_one(Moment.HELLO, target, hub.clock.monotonic())
        if armed is None:
            return hub.authority.identity(hub.clock.unix(), entropy)
        return hub.authority.bad_identity(armed.request.params.variant or "wrong-root", hub.clock.unix(), entropy)

    def _opened(self, client: Client, opened: Opened) -> None:
        client.noise_public = opened.noise_public
        try:
            payload = parse_client_payload(opened.payload)
        except RemoteProtocolError:
            self.hub.end(client, build_failure(400))
            return
        client.version = payload.version
        target = client.target
        if isinstance(payload, Login):
            target = Target(payload.phone, payload.device, version=payload.version)
        refused = refusal(self.hub, target)
        if refused is None and self._min_version is not None and payload.version < self._min_version:
            refused = build_failure(405)
        if refused is not None:
            self.hub.end(client, refused)
        elif isinstance(payload, Login):
            self._log_in(client, payload)
        else:
            push_name = proto.parse(proto.ClientPayload, opened.payload).pushName
            self.pairing.offer(client, payload, push_name)
            strike_live(self.hub, self.pairing, client)

    def _log_in(self, client: Client, login: Login) -> None:
        hub = self.hub
        companion = hub.state.companion(login.phone, login.device) if login.device else None
        if companion is None or not constant_time_equal(companion.noise_public, client.noise_public):
            hub.end(client, build_failure(401))
            return
        hub.log_in(client, companion)
        hub.send(client, build_success(companion.lid_jid, hub.unix), build_edge_routing(companion.routing_info))
        hub.welcome(client, companion)

    # stanzas

    def _stanza(self, client: Client, node: Node) -> None:
        self.hub.trace(client, node, is_sent=False)
        if node.tag == "iq":
            self._iq(client, node)
        elif client.companion is not None:
            self._from_device(client, client.companion, node)

    def _iq(self, client: Client, iq: Node) -> None:
        if is_answer(iq):
            self.pairing.answered(client, iq)
            return
        target = replace(client.target, iq=str(iq.attrs.get("xmlns")))
        if self.hub.faults.strike_one(Moment.IQ, target, self.hub.clock.monotonic()) is not None:
            return
        if self._is_limited(client, iq):
            self.hub.send(client, build_error(iq, 429, backoff_s=_BACKOFF_S))
            return
        try:
            reply = self._reply(client, iq)
        except RemoteProtocolError:
            reply = build_error(iq, 400)
        if reply is not None:
            self.hub.send(client, reply)

    def _is_limited(self, client: Client, iq: Node) -> bool:
        """With the switch `429`: whether this is the connection's first query for devices, or for bundles."""
        xmlns = str(iq.attrs.get("xmlns"))
        if Switch.RATE_LIMIT not in self.hub.switches or xmlns not in _LIMITED or xmlns in client.refused:
            return False
        if xmlns == "encrypt" and iq.child("key") is None:
            return False
        client.refused.add(xmlns)
        return True

    def _reply(self, client: Client, iq: Node) -> Node | None:
        if is_ping(iq):
            return build_result(iq, server_unix=self.hub.unix)
        if client.companion is not None:
            was_active = client.is_active
            reply = answer(self.hub, client, client.companion, iq)
            if client.is_active and not was_active:
                strike_live(self.hub, self.pairing, client)
            return reply
        body = iq.child(REGISTRATION)
        if body is None:
            return build_error(iq, 401)
        is_hello = body.attrs.get("stage") == "companion_hello"
        return self.pairing.hello(client, iq) if is_hello else self.pairing.finish(client, iq)

    def _from_device(self, client: Client, companion: Companion, node: Node) -> None:
        if node.tag in ("receipt", "ack") and Switch.RECEIPT_LOST_ON_CLOSE in self.hub.switches:
            client.heard.append((self.hub.clock.monotonic(), node))
            if len(client.heard) > MAX_HEARD:
                self._routed(client, companion, client.heard.popleft()[1])
        elif node.tag == "ib":
            self._asked(client, node)
        else:
            self._routed(client, companion, node)

    def _routed(self, client: Client, companion: Companion, node: Node) -> None:
        answer = self.router.route(Device(*companion.key), node)
        if answer is None:
            return
        if node.tag == "message" and self.hub.faults.take(FaultName.DROP_BEFORE_ACK, client.target) is not None:
            self.hub.reset(client)
            return
        if node.tag == "receipt":
            self.hub.send_soon(client, answer)
        else:
            self.hub.send(client, answer)

    def _asked(self, client: Client, node: Node) -> None:
        batch = node.child("offline_batch")
        if batch is None or client.outbox is None:
            return
        try:
            client.outbox.ask(parse_offline_batch(batch), self.hub.clock.monotonic())
        except RemoteProtocolError:
            return
        self.hub.pump(client)

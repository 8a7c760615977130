"""The server's side of every connection: from the first byte to the last word.

Rule: bytes come in through `receive`, whatever they provoke is queued on connections, and no socket is touched here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from whatisup.crypto import constant_time_equal
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.linking_code import REGISTRATION
from whatisup.protocol.outcomes import build_failure, build_stream_error, build_success
from whatisup.protocol.payloads import Login, parse_client_payload
from whatisup.protocol.profile import ClientVersion
from whatisup.protocol.stanzas.ack import build_server_ack, parse_ack
from whatisup.protocol.stanzas.ib import OfflinePreview, build_edge_routing, build_offline, build_offline_preview
from whatisup.protocol.stanzas.iq import build_error, build_result, is_answer
from whatisup.protocol.stanzas.keepalive import is_ping
from whatisup.sandbox.accounts import Companion
from whatisup.sandbox.answers import answer
from whatisup.sandbox.authority import ServerIdentity
from whatisup.sandbox.entropy import Stream
from whatisup.sandbox.faults import Moment, Target
from whatisup.sandbox.hub import Client, Hub, Stage
from whatisup.sandbox.pairing import Pairing
from whatisup.sandbox.session import Malformed, Opened, Received, Session
from whatisup.sandbox.strikes import refusal, strike_live
from whatisup.wire import Node, Prologue, decode_node, proto

HANDSHAKE_S: Final = 20.0
"""How long a client may take from its first byte to the end of the handshake."""
IDLE_S: Final = 600.0
"""A connection without a frame for this long is dropped: its client pings every half minute."""

_NOT_DELIVERED: Final = 501  # this sandbox stores no messages, and says so instead of letting one vanish


class Server:
    """Owns the conversation with every client; one per sandbox."""

    def __init__(self, hub: Hub, *, min_version: ClientVersion | None = None) -> None:
        self.hub = hub
        self.pairing = Pairing(hub)
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
        self.pairing.tick(self.hub.clients(), now)

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
        self._send_queue(client, companion)

    def _send_queue(self, client: Client, companion: Companion) -> None:
        hub = self.hub
        queued = hub.state.queued(companion.row)
        kinds = Counter(stanza.kind for stanza in queued)
        preview = OfflinePreview(len(queued), kinds["message"], kinds["receipt"], kinds["notification"])
        hub.send(client, build_offline_preview(preview))
        for index, stanza in enumerate(queued):
            node = decode_node(stanza.stanza)
            hub.send(client, replace(node, attrs={**node.attrs, "offline": str(index)}))
            client.sent_up_to = stanza.position
        hub.send(client, build_offline(len(queued)))

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
        try:
            reply = self._reply(client, iq)
        except RemoteProtocolError:
            reply = build_error(iq, 400)
        if reply is not None:
            self.hub.send(client, reply)

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
        try:
            match node.tag:
                case "ack":
                    ack = parse_ack(node)
                    self.hub.state.acknowledge(companion.row, ack.ack_class, ack.stanza_id)
                case "message":
                    self.hub.send(client, build_server_ack(node, server_unix=self.hub.unix, error=_NOT_DELIVERED))
                case "receipt" | "call":
                    self.hub.send(client, build_server_ack(node, server_unix=self.hub.unix))
                case "presence":
                    self._presence(companion, node)
        except RemoteProtocolError:
            # An ack or receipt that names nothing: there is nobody to answer.
            return

    def _presence(self, companion: Companion, node: Node) -> None:
        name = node.reader().optional_string("name")
        account = self.hub.state.account(companion.number)
        if name is not None and account is not None and account.name != name[:100]:
            self.hub.state.rename(companion.number, name[:100])

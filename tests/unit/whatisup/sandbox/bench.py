"""A sandbox's server on the bench: no socket, no process, a clock that is moved by hand; and clients to plug into it.

`Raw` speaks stanzas as a test dictates them. `Device` is the gateway's own client (`whatisup.protocol.Connection`).
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from whatisup.crypto import generate_keypair
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER
from whatisup.protocol.connection import Connection
from whatisup.protocol.credentials import Account, Credentials
from whatisup.protocol.events import (
    AdvSecretAgreed,
    Closed,
    Event,
    Paired,
    PrekeysWanted,
    QrIssued,
    RoutingInfoReceived,
)
from whatisup.protocol.payloads import build_login, build_registration
from whatisup.protocol.profile import ClientProfile
from whatisup.protocol.stanzas.query import build_active
from whatisup.sandbox.authority import Authority
from whatisup.sandbox.entropy import Seed, Stream
from whatisup.sandbox.hub import Client, Clock, Ending, Hub
from whatisup.sandbox.server import Server
from whatisup.sandbox.session import Compression
from whatisup.sandbox.state import State
from whatisup.sandbox.switches import parse_switches
from whatisup.wire import ClientHandshake, FrameDecoder, Node, Transport, decode_node, encode_frame, encode_node

NUMBER = "999000000001"
UNIX = 1_700_000_000.0

E = TypeVar("E", bound=Event)


@dataclass
class Hands:
    """A clock whose two hands move together, by hand."""

    now: float = 1000.0

    @property
    def clock(self) -> Clock:
        return Clock(unix=lambda: UNIX + self.now, monotonic=lambda: self.now)


@dataclass
class Bench:
    """A server and what belongs to it."""

    server: Server
    hands: Hands

    @property
    def hub(self) -> Hub:
        return self.server.hub

    @property
    def root_public(self) -> bytes:
        return self.hub.authority.root_public

    @property
    def unix(self) -> float:
        return UNIX + self.hands.now

    def device(self, name: str = "device") -> Device:
        return Device(self, Credentials.generate(Seed.of(7).stream(name), self.root_public))

    def linked(self, number: str = NUMBER, name: str = "device") -> Device:
        """A device that is paired with that number by QR; the account is made where there is none."""
        if self.hub.state.account(number) is None:
            self.server.pairing.create_account(number, None)
        device = self.device(name)
        device.plug()
        device.pump()
        self.server.pairing.scan(self.server.pairing.account(number), device.last(QrIssued).code)
        device.pump()
        assert device.account is not None
        return device


def make_bench(
    *,
    seed: int = 1,
    state: State | None = None,
    compression: Compression = Compression.LARGE,
    switches: Collection[str] = (),
    **options: object,
) -> Bench:
    hands = Hands()
    authority = Authority.generate(Seed.of(seed).stream("authority"))
    kept = state or State.open(None)
    hub = Hub(kept, authority, Seed.of(seed), compression, hands.clock, parse_switches(switches))
    weakref.finalize(hub, kept.close)  # from 3.13 on Python warns of a database that nobody closed
    return Bench(Server(hub, **options), hands)  # type: ignore[arg-type]  # the tests know the option's type


class Raw:
    """A client without a mind: handshake, then whatever stanzas the test says."""

    def __init__(
        self, bench: Bench, credentials: Credentials, payload: bytes, *, routing_info: bytes | None = None
    ) -> None:
        self.bench = bench
        self.client = bench.server.connect(lambda: None)
        self.entropy = Stream(credentials.noise.public)
        handshake = ClientHandshake(
            credentials.noise,
            root_public=bench.root_public,
            unix_now=bench.unix,
            entropy=self.entropy,
            routing_info=routing_info,
        )
        bench.server.receive(self.client, handshake.hello())
        self.frames = FrameDecoder()
        self.frames.receive_data(self.client.session.data_to_send())
        frame = self.frames.next_frame()
        assert frame is not None
        finish, self.transport = handshake.finish(frame, payload)
        bench.server.receive(self.client, finish)

    @classmethod
    def registering(cls, bench: Bench, name: str = "raw") -> Raw:
        credentials = Credentials.generate(Seed.of(8).stream(name), bench.root_public)
        return cls(bench, credentials, build_registration(credentials, ClientProfile()))

    @classmethod
    def logging_in(cls, device: Device, *, routing_info: bytes | None = None) -> Raw:
        assert device.account is not None
        payload = build_login(device.account.jid, ClientProfile())
        return cls(device.bench, device.credentials, payload, routing_info=routing_info)

    @classmethod
    def active(cls, device: Device) -> Raw:
        """A client that has logged in and wants stanzas."""
        raw = cls.logging_in(device)
        raw.send(build_active("1.1-1"))
        return raw

    def send(self, *nodes: Node) -> None:
        for node in nodes:
            self.send_plaintext(encode_node(node))

    def send_plaintext(self, plaintext: bytes) -> None:
        self.bench.server.receive(self.client, encode_frame(self.transport.encrypt(plaintext)))

    def received(self) -> list[Node]:
        """What the server has sent since the last look."""
        return [decode_node(plaintext) for plaintext in self.plaintexts()]

    def plaintexts(self) -> list[bytes]:
        self.frames.receive_data(self.client.session.data_to_send())
        found = []
        while (frame := self.frames.next_frame()) is not None:
            found.append(self.transport.decrypt(frame))
        return found

    def ask(self, kind: str, xmlns: str, *children: Node, to: object = SERVER) -> Node:
        """Send an iq and return its one answer."""
        self.received()
        request = Node("iq", {"id": "7.7-1", "type": kind, "xmlns": xmlns, "to": to}, children or None)  # type: ignore[dict-item]  # a Jid or text
        self.send(request)
        answers = [node for node in self.received() if node.attrs.get("id") == "7.7-1"]
        assert len(answers) == 1
        assert answers[0].attrs["from"] == to
        return answers[0]


@dataclass
class Device:
    """The gateway's own client, with a store that commits everything at once."""

    bench: Bench
    credentials: Credentials
    account: Account | None = None
    routing_info: bytes | None = None
    next_prekey_id: int = 1
    events: list[Event] = field(default_factory=list)
    connection: Connection | None = None
    client: Client | None = None

    def plug(self, profile: ClientProfile | None = None) -> None:
        """Connect anew."""
        self.events.clear()
        self.client = self.bench.server.connect(lambda: None)
        self.connection = Connection(
            self.credentials,
            self.account,
            profile=profile or ClientProfile(),
            entropy=Stream(self.credentials.noise.public + bytes([self.bench.hub._serial % 256])),
            now=self.bench.hands.now,
            unix_now=self.bench.unix,
            routing_info=self.routing_info,
        )

    def pump(self) -> None:
        """Move bytes both ways until nobody has anything to say. Raises what the connection raises."""
        connection, client = self.connection, self.client
        assert connection is not None
        assert client is not None
        moved = True
        while moved:
            moved = False
            if client.ending is not Ending.RESET and not client.is_half_open:
                if data := client.session.data_to_send():
                    moved = True
                    connection.receive_data(data, self.bench.hands.now)
                while (event := connection.next_event()) is not None:
                    moved = True
                    self._handle(event)
            if data := connection.data_to_send():
                moved = True
                if client.ending is None:
                    self.bench.server.receive(client, data)

    def _handle(self, event: Event) -> None:
        connection, now = self.connection, self.bench.hands.now
        assert connection is not None
        self.events.append(event)
        match event:
            case Paired(account):
                self.account = account
            case RoutingInfoReceived(info):
                self.routing_info = info
            case AdvSecretAgreed(secret):
                self.credentials = self.credentials.with_adv_secret(secret)
            case PrekeysWanted(count):
                connection.upload_prekeys(self._prekeys(count), now)
        connection.transmit(event, now)

    def _prekeys(self, count: int) -> Sequence[tuple[int, bytes]]:
        # One key pair serves for all: only ids and lengths matter here.
        first, self.next_prekey_id = self.next_prekey_id, self.next_prekey_id + count
        public = generate_keypair(Stream(self.credentials.identity.public)).public
        return [(key_id, key_id.to_bytes(4, "big") + public[4:]) for key_id in range(first, first + count)]

    def log_in(self) -> None:
        self.plug()
        self.pump()

    def last(self, kind: type[E]) -> E:
        found = [event for event in self.events if isinstance(event, kind)]
        assert found, f"no {kind.__name__} among {[type(event).__name__ for event in self.events]}"
        return found[-1]

    def saw(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    @property
    def closed(self) -> Closed:
        return self.last(Closed)


def refused_handshake(device: Device) -> RemoteProtocolError:
    """Connect with a device whose handshake must fail, and return why."""
    device.plug()
    try:
        device.pump()
    except RemoteProtocolError as error:
        return error
    raise AssertionError("the handshake went well")


__all__ = ["NUMBER", "Bench", "Device", "Hands", "Raw", "Transport", "make_bench", "refused_handshake"]

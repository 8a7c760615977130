"""The sandbox's centre: who is connected, and how a stanza, a last word or a removal reaches a connection.

Rule: the `Hub` alone knows which connections live. What a connection owes its socket stands in its `Client` (`ending`,
`is_half_open`, latency), and `Client.wake` tells the socket to look.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from whatisup.control import Stanza
from whatisup.jid import Jid
from whatisup.protocol.outcomes import build_stream_error
from whatisup.protocol.payloads import Registration
from whatisup.protocol.profile import ClientVersion
from whatisup.protocol.stanzas.logout import DeviceList, DeviceListed, build_devices_notification
from whatisup.sandbox.accounts import Companion, device_hash
from whatisup.sandbox.authority import Authority
from whatisup.sandbox.entropy import Seed, Stream
from whatisup.sandbox.faults import Faults, Target
from whatisup.sandbox.router import Nobody, PhonePort, Router
from whatisup.sandbox.session import Compression, Session
from whatisup.sandbox.state import State
from whatisup.wire import Node, decode_node, encode_node

TRACED: Final = 12
"""How many stanzas of a device are remembered, without their contents."""

MAX_PENDING: Final = 16 * 2**20
"""A client that lets this many bytes pile up is dropped."""

_MAX_ATTRS: Final = 16
_MAX_ATTR: Final = 64  # characters


@dataclass(frozen=True, slots=True)
class Clock:
    """Wall time and monotonic time, both in seconds."""

    unix: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Stage(Enum):
    """How far a connection has come."""

    HANDSHAKE = auto()
    PAIRING = auto()
    ONLINE = auto()


class Ending(Enum):
    """How its socket is to end: in order after the last word, or by a reset at once."""

    CLOSE = auto()
    RESET = auto()


@dataclass(slots=True)
class Record:
    """What is remembered of a device beside the store: its logins since the sandbox started, its last stanzas."""

    logins: int = 0
    stanzas: deque[Stanza] = field(default_factory=lambda: deque(maxlen=TRACED))


@dataclass(slots=True, eq=False)
class Client:
    """One connection of a client, as the server sees it. Times are monotonic seconds, `since` unix milliseconds.

    `sent_up_to` is the position in the device's queue that this connection has been sent; `latency_until` None means
    for good.
    """

    serial: int
    session: Session
    entropy: Stream
    wake: Callable[[], None]
    opened_at: float
    since: int
    last_frame_at: float
    stage: Stage = Stage.HANDSHAKE
    ending: Ending | None = None
    is_half_open: bool = False
    is_active: bool = False
    latency_s: float = 0.0
    latency_until: float | None = None
    noise_public: bytes = b""
    version: ClientVersion | None = None
    registration: Registration | None = None
    push_name: str = ""
    refs: tuple[str, ...] = ()
    companion: Companion | None = None
    record: Record | None = None
    sent_up_to: int = 0

    @property
    def target(self) -> Target:
        """Whose connection it is, as the faults see it."""
        if self.companion is None:
            return Target(version=self.version)
        return Target(self.companion.number, self.companion.device, version=self.version)

    def new_id(self) -> str:
        """Return an id for a stanza of the server; no client's request has this form."""
        return self.entropy(8).hex().upper()


class Hub:
    """Owns the connections; the store, the faults and the authority hang on it."""

    def __init__(
        self, state: State, authority: Authority, seed: Seed, compression: Compression, clock: Clock | None = None
    ) -> None:
        self.state = state
        self.authority = authority
        self.seed = seed
        self.compression = compression
        self.clock = clock or Clock()
        self.faults = Faults()
        self.people: PhonePort = Nobody()
        self.router = Router(self)
        self.run = state.count("runs")
        self._serial = 0
        self._clients: dict[int, Client] = {}
        self._online: dict[tuple[str, int], Client] = {}
        self._records: dict[tuple[str, int], Record] = {}

    @property
    def unix(self) -> int:
        """The server's clock in whole unix seconds, as stanzas carry it."""
        return int(self.clock.unix())

    @property
    def unix_ms(self) -> int:
        """The server's clock in unix milliseconds."""
        return int(self.clock.unix() * 1000)

    # connections

    def next_serial(self) -> int:
        """Return the number of the next connection."""
        self._serial += 1
        return self._serial

    def add(self, client: Client) -> None:
        """Take a new connection in."""
        self._clients[client.serial] = client

    def forget(self, client: Client) -> None:
        """Drop a connection whose socket is gone."""
        self._clients.pop(client.serial, None)
        companion = client.companion
        if companion is not None and self._online.get(companion.key) is client:
            del self._online[companion.key]

    def clients(self) -> Iterator[Client]:
        """Return all connections that are not ending."""
        return (client for client in list(self._clients.values()) if client.ending is None)

    def online(self, number: str, device: int) -> Client | None:
        """Return a device's live connection."""
        client = self._online.get((number, device))
        return client if client is not None and client.ending is None else None

    def log_in(self, client: Client, companion: Companion) -> None:
        """Make this the device's connection; an older one is told that it was replaced."""
        older = self.online(*companion.key)
        client.companion, client.stage = companion, Stage.ONLINE
        client.record = self.record(*companion.key)
        client.record.logins += 1
        self._online[companion.key] = client
        if older is not None:
            self.end(older, build_stream_error(conflict="replaced"))

    def record(self, number: str, device: int) -> Record:
        """Return what is remembered of a device."""
        return self._records.setdefault((number, device), Record())

    # stanzas

    def send(self, client: Client, *nodes: Node) -> None:
        """Queue stanzas on a connection; nothing goes out behind a last word."""
        if client.ending is not None or client.is_half_open:
            return
        for node in nodes:
            self.trace(client, node, is_sent=True)
            client.session.send(node)
        if client.session.pending > MAX_PENDING:
            client.ending = Ending.RESET
        client.wake()

    def end(self, client: Client, *last_words: Node) -> None:
        """Say the last words and close the connection a moment later."""
        self.send(client, *last_words)
        if client.ending is None:
            client.ending = Ending.RESET if client.is_half_open else Ending.CLOSE
        client.wake()

    def reset(self, client: Client) -> None:
        """Cut the connection off."""
        client.ending = Ending.RESET
        client.wake()

    def deliver(self, companion: Companion, node: Node) -> None:
        """Bring a stanza to a device, now or at its next login, again and again until it is acknowledged."""
        position = self.state.enqueue(companion.row, node.tag, str(node.attrs.get("id", "")), encode_node(node))
        client = self.online(*companion.key)
        if client is not None and client.is_active:
            client.sent_up_to = position
            self.send(client, node)

    def send_held(self, client: Client, companion: Companion) -> None:
        """Send what came for a device while its connection was passive."""
        for stanza in self.state.queued(companion.row, after=client.sent_up_to):
            client.sent_up_to = stanza.position
            self.send(client, decode_node(stanza.stanza))

    def trace(self, client: Client, node: Node, *, is_sent: bool) -> None:
        """Remember that a stanza passed."""
        if client.record is not None:
            attrs = list(node.attrs.items())[:_MAX_ATTRS]
            shown = {key[:_MAX_ATTR]: str(value)[:_MAX_ATTR] for key, value in attrs}
            client.record.stanzas.append(Stanza(self.unix_ms, is_sent, node.tag[:_MAX_ATTR], shown))

    # devices

    def unlink(self, companion: Companion) -> None:
        """Forget a device, tell it if it is there, and tell the account's other devices."""
        self.state.unlink(companion.row)
        client = self.online(*companion.key)
        self._records.pop(companion.key, None)
        if client is not None:
            self.end(client, build_stream_error(401, conflict="device_removed"))
        self.announce_devices(companion.number)

    def announce_devices(self, number: str, *, but: Companion | None = None) -> None:
        """Tell an account's companions which devices it has now."""
        account = self.state.account(number)
        if account is None:
            return
        companions = self.state.companions(number)
        jids = [account.pn_jid, *(companion.pn_jid for companion in companions)]
        indices = [None, *(companion.key_index for companion in companions)]
        listed = DeviceList(
            tuple(DeviceListed(jid, index) for jid, index in zip(jids, indices, strict=True)), device_hash(jids)
        )
        for companion in companions:
            if but is None or companion.row != but.row:
                self.deliver(companion, self._devices_notification(account.pn_jid, listed))

    def _devices_notification(self, account: Jid, listed: DeviceList) -> Node:
        notification_id = f"{self.run}.{self.state.count('notifications')}"
        return build_devices_notification(notification_id, account, listed, server_unix=self.unix)

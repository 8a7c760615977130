"""The sandbox's centre: who is connected, and how a stanza, a last word or a removal reaches a connection.

Rule: the `Hub` alone knows which connections live. What a connection owes its socket stands in its `Client` (`ending`,
`is_half_open`, latency), and `Client.wake` tells the socket to look. A stanza for a device is kept before it is sent,
and sent only once that is on disk.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from whatisup.control import FaultName, Stanza, Switch
from whatisup.jid import SERVER, Jid
from whatisup.protocol.outcomes import build_stream_error
from whatisup.protocol.payloads import Registration
from whatisup.protocol.profile import ClientVersion
from whatisup.protocol.stanzas.ib import OfflinePreview, build_offline, build_offline_preview
from whatisup.protocol.stanzas.logout import DeviceList, DeviceListed, build_devices_notification
from whatisup.protocol.stanzas.message import mark_offline
from whatisup.protocol.stanzas.notification import DeviceAction, DevicesChanged, build_devices_change
from whatisup.sandbox.accounts import Companion, device_hash
from whatisup.sandbox.authority import Authority
from whatisup.sandbox.circles import Circles
from whatisup.sandbox.directory import hash_of
from whatisup.sandbox.entropy import Seed, Stream
from whatisup.sandbox.faults import Faults, Target
from whatisup.sandbox.ledger import Ledger
from whatisup.sandbox.outbox import Outbox
from whatisup.sandbox.ports import Nobody, PhonePort
from whatisup.sandbox.session import Compression, Session
from whatisup.sandbox.state import State
from whatisup.sandbox.switches import NO_SWITCHES
from whatisup.sandbox.waiting import Clearing, Waiting, WaitingTable, clearing_of
from whatisup.wire import Node, decode_node

TRACED: Final = 12
"""How many stanzas of a device are remembered, without their contents."""

MAX_PENDING: Final = 16 * 2**20
"""A client that lets this many bytes pile up is dropped."""

MAX_AHEAD: Final = 4 * 2**20
"""No more of a backlog is written while this many bytes wait for the socket."""

REPEATED: Final = 200
"""How many messages of a device are remembered, so that they can be delivered once more."""

UNKNOWN_TAG: Final = "sandbox-novelty"
"""The tag of a stanza that no client knows: well-formed, with `id` and `from`, so a client owes it an ack."""

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
    delivered: deque[Waiting] = field(default_factory=lambda: deque(maxlen=REPEATED))


@dataclass(slots=True, eq=False)
class Client:
    """One connection of a client, as the server sees it. Times are monotonic seconds, `since` unix milliseconds.

    `outbox` is what it is sent of its device's queue; `held` a message that waits for the next one to overtake it;
    `heard` what it said in the last second, where that may be lost. `latency_until` None means for good. `is_pressing`:
    something waits for the socket that is to go out at once.
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
    is_pressing: bool = False
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
    outbox: Outbox | None = None
    held: tuple[Waiting, Node] | None = None
    heard: deque[tuple[float, Node]] = field(default_factory=deque)
    refused: set[str] = field(default_factory=set)

    @property
    def target(self) -> Target:
        """Whose connection it is, as the faults see it."""
        if self.companion is None:
            return Target(version=self.version, refs=self.refs)
        return Target(self.companion.number, self.companion.device, version=self.version)

    def new_id(self) -> str:
        """Return an id for a stanza of the server; no client's request has this form."""
        return self.entropy(8).hex().upper()


class Hub:
    """Owns the connections; the store, the faults and the authority hang on it."""

    def __init__(
        self,
        state: State,
        authority: Authority,
        seed: Seed,
        compression: Compression,
        clock: Clock | None = None,
        switches: frozenset[Switch] = NO_SWITCHES,
    ) -> None:
        self.state = state
        self.authority = authority
        self.seed = seed
        self.compression = compression
        self.clock = clock or Clock()
        self.faults = Faults(self.clock.monotonic)
        self.people: PhonePort = Nobody()
        self.switches = switches
        self.waiting = WaitingTable(state)
        self.ledger = Ledger(state)
        self.circles = Circles(state)
        self.run = state.count("runs")
        self._serial = self._stamp = self._ids = 0
        self._clients: dict[int, Client] = {}
        self._online: dict[tuple[str, int], Client] = {}
        self._records: dict[tuple[str, int], Record] = {}

    @property
    def unix(self) -> int:
        """The server's clock in whole unix seconds, as stanzas carry it."""
        return int(self.clock.unix())

    def stamp(self) -> int:
        """Return the server's clock for a message, in unix seconds: it never goes back."""
        self._stamp = max(self._stamp, self.unix)
        return self._stamp

    def next_id(self) -> str:
        """Return an id for a stanza that the server makes for a device; unique among all runs."""
        self._ids += 1
        return f"{self.run}.{self._ids}"

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
        for node in nodes:
            self._send(client, node)

    def send_soon(self, client: Client, node: Node) -> None:
        """Queue a stanza that nobody waits for: it goes out with the next one, or within a hundredth of a second."""
        self._send(client, node, is_pressing=False)

    def _send(self, client: Client, node: Node, encoded: bytes | None = None, *, is_pressing: bool = True) -> None:
        if client.ending is not None or client.is_half_open:
            return
        client.is_pressing = client.is_pressing or is_pressing
        self.trace(client, node, is_sent=True)
        client.session.send(node, encoded)
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

    def deliver(self, companion: Companion, node: Node, clearing: Clearing | None = None) -> None:
        """Keep a stanza for a device, and bring it there now or at a later login, until it is acknowledged."""
        stanza = self.waiting.add(companion.row, node, clearing or clearing_of(node), unix=self.unix)
        if companion.key in self._online:
            self.state.on_commit(lambda: self._offer(companion, stanza, node))

    def _offer(self, companion: Companion, stanza: Waiting, node: Node) -> None:
        client = self.online(*companion.key)
        if client is None or client.outbox is None or not client.outbox.offer(stanza.position, stanza.peer):
            return
        self._write(client, stanza, node)

    def pump(self, client: Client) -> None:
        """Send what is due of a device's queue, and announce the end of the backlog."""
        outbox, now = client.outbox, self.clock.monotonic()
        if outbox is None or client.is_half_open:
            return
        while client.ending is None and client.session.pending < MAX_AHEAD and (due := outbox.next(now)) is not None:
            position, number = due
            stanza = self.waiting.at(position)
            if stanza is None:
                continue
            node = decode_node(stanza.stanza)
            self._write(client, stanza, node if number is None else mark_offline(node, number))
        if client.ending is None and (count := outbox.end()) is not None and Switch.NO_IB_OFFLINE not in self.switches:
            self.send(client, build_offline(count))

    def _write(self, client: Client, stanza: Waiting, node: Node) -> None:
        outbox = client.outbox
        if outbox is None or client.ending is not None:
            return
        outbox.written.add(stanza.position)
        encoded = None if "offline" in node.attrs else stanza.stanza
        if stanza.kind != "message":
            self._send(client, node, encoded)
            return
        if client.record is not None:
            client.record.delivered.append(stanza)
        if client.held is None and self.faults.take(FaultName.REORDER, client.target) is not None:
            client.held = stanza, node
            return
        copies = 2 if self.faults.take(FaultName.DUPLICATE, client.target) is not None else 1
        for _ in range(copies):
            self._send(client, node, encoded)
        self.release(client)
        if self.faults.take(FaultName.DROP_AFTER_DELIVERY, client.target) is not None:
            # From here on nothing that the client says is heard; what was written still goes out.
            self.end(client)

    def release(self, client: Client) -> None:
        """Send a message that was held for another one to overtake it."""
        if client.held is not None:
            (_, node), client.held = client.held, None
            self.send(client, node)

    def welcome(self, client: Client, companion: Companion) -> None:
        """Announce what waits for a device that has logged in; it flows once the client is active."""
        kinds = self.waiting.kinds(companion.row)
        preview = OfflinePreview(kinds.total(), kinds["message"], kinds["receipt"], kinds["notification"])
        self.send(client, build_offline_preview(preview))
        client.outbox = Outbox(self.waiting.positions(companion.row), self.switches)
        self.pump(client)

    def activate(self, client: Client, companion: Companion, *, is_active: bool) -> None:
        """Begin or stop to send a device what it is owed."""
        client.is_active = is_active
        if client.outbox is None:
            return
        if not is_active:
            client.outbox.rest()
            return
        client.outbox.activate(self.clock.monotonic())
        if Switch.UNKNOWN_TAG in self.switches and not self.waiting.kinds(companion.row)[UNKNOWN_TAG]:
            attrs: dict[str, str | Jid] = {"from": SERVER, "id": self.next_id(), "t": str(self.unix)}
            self.deliver(companion, Node(UNKNOWN_TAG, attrs))
        self.pump(client)
        self.people.arrived(companion)

    def repeat(self, companion: Companion) -> None:
        """Queue once more every remembered message that a device has had and answered."""
        delivered = self.record(*companion.key).delivered
        gone = {stanza.position: stanza for stanza in delivered if self.waiting.at(stanza.position) is None}
        delivered.clear()
        with self.state.unit():
            for stanza in gone.values():
                node = decode_node(stanza.stanza)
                self.waiting.add(companion.row, node, stanza.clearing, unix=self.unix, encoded=stanza.stanza)

    def trace(self, client: Client, node: Node, *, is_sent: bool) -> None:
        """Remember that a stanza passed."""
        if client.record is not None:
            attrs = list(node.attrs.items())[:_MAX_ATTRS]
            shown = {key[:_MAX_ATTR]: str(value)[:_MAX_ATTR] for key, value in attrs}
            client.record.stanzas.append(Stanza(self.unix_ms, is_sent, node.tag[:_MAX_ATTR], shown))

    # devices

    def unlink(self, companion: Companion) -> None:
        """Forget a device, tell it if it is there, and tell the account's other devices and its contacts."""
        client = self.online(*companion.key)
        with self.state.unit():
            self.state.unlink(companion.row)
            self.waiting.forget_device(companion.row)
            self.announce_devices(companion.number)
            self._tell_contacts(companion, "remove")
        self._records.pop(companion.key, None)
        if client is not None:
            self.end(client, build_stream_error(401, conflict="device_removed"))

    def announce_link(self, companion: Companion) -> None:
        """Tell the account's other devices, and its contacts, that there is a new one."""
        with self.state.unit():
            self.announce_devices(companion.number, but=companion)
            self._tell_contacts(companion, "add")

    def _tell_contacts(self, companion: Companion, action: DeviceAction) -> None:
        """Tell the companions of those whom an account exchanges messages with."""
        account = self.state.account(companion.number)
        if account is None:
            return
        change = DevicesChanged(
            account.pn_jid,
            account.lid_jid,
            action,
            ((companion.device, companion.key_index),),
            hash_of(self.state, [account], as_lid=False),
            hash_of(self.state, [account], as_lid=True),
        )
        for number in self.ledger.acquaintances(companion.number):
            for other in self.state.companions(number):
                self.deliver(other, build_devices_change(self.next_id(), change, unix_t=self.unix))

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
        return build_devices_notification(self.next_id(), account, listed, server_unix=self.unix)

"""A linked device that really reads and writes: the gateway's own client and engine, and a dictionary as its store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.unit.whatisup.sandbox.bench import Device
from tests.unit.whatisup.sandbox.people.town import Town
from whatisup.crypto import generate_keypair
from whatisup.jid import Jid
from whatisup.protocol.content import ids
from whatisup.protocol.content.bodies import parse_body
from whatisup.protocol.content.compose import compose
from whatisup.protocol.credentials import Credentials
from whatisup.protocol.events import Event, MessageReceived, QrIssued, ReceiptReceived
from whatisup.protocol.messaging import answers, keyring, opening, sealing
from whatisup.protocol.messaging.keyring import Keyring, Own, Wanted
from whatisup.protocol.messaging.opening import Opened
from whatisup.protocol.prekeys import Bundle, PublicIdentity
from whatisup.protocol.stanzas.receipt import Receipt
from whatisup.sandbox.entropy import Seed, Stream
from whatisup.sandbox.people.turn import Turn
from whatisup.wire import decode_node

_KINDS = ("session", "identity", "sender_key", "lid", "pn", "devices", "token", "skey", "prekey")


@dataclass
class Companion(Device):
    """Commits everything at once, answers everything at once."""

    keys: Keyring = field(default_factory=Keyring)
    opened: list[Opened] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    hashes: set[bytes] = field(default_factory=set)
    retries: dict[str, int] = field(default_factory=dict)
    is_deaf: bool = False
    """Whether it reads nothing, as one that crashed before its commit."""
    stream: Stream = field(default_factory=lambda: Seed.of(11).stream("companion"))

    def __post_init__(self) -> None:
        self.keys.add({}, Wanted(prefixes=frozenset((kind, "") for kind in _KINDS)))

    @property
    def own(self) -> Own:
        assert self.account is not None
        return Own.of(self.credentials, self.account)

    def _prekeys(self, count: int) -> Sequence[tuple[int, bytes]]:
        made = []
        for key_id in range(self.next_prekey_id, self.next_prekey_id + min(count, 20)):
            pair = generate_keypair(self.stream)
            self.keys.put(keyring.PREKEY, str(key_id), pair.private)
            made.append((key_id, pair.public))
        self.next_prekey_id += len(made)
        return made

    def _handle(self, event: Event) -> None:
        super()._handle(event)
        if isinstance(event, MessageReceived) and event.envelope is not None and not self.is_deaf:
            self._open(event)
        if isinstance(event, ReceiptReceived):
            self.receipts.append(event.receipt)

    def _open(self, event: MessageReceived) -> None:
        assert event.envelope is not None
        assert self.connection is not None
        now = self.bench.hands.now
        opened = opening.open_message(
            event.envelope, self.keys, self.own, known=self.hashes, now_ms=int(now * 1000), entropy=self.stream
        )
        self.opened.append(opened)
        self.hashes |= set(opened.hashes)
        count = answers.retry_count(opened, self.retries.get(event.envelope.id, 0))
        retry = None
        if count is not None:
            self.retries[event.envelope.id] = count
            retry = answers.RetryAnswer(count, self._retry_keys() if answers.wants_keys(opened, count) else None)
        self.connection.send(answers.answers(opened, self.own, is_active=True, retry=retry), now)

    def _retry_keys(self) -> Bundle:
        ((key_id, public),) = self._prekeys(1)
        assert self.account is not None
        return Bundle(PublicIdentity.of(self.credentials), (key_id, public), self.account.signed_identity)

    def texts(self) -> list[str]:
        """What it read, in order."""
        contents = [opened.content for opened in self.opened if opened.verdict is opening.Verdict.READ]
        return [content.body["text"] for content in contents if content is not None and content.body is not None]

    def kinds(self) -> list[str]:
        """What it was told by its phone and others, shown or not."""
        return [opened.content.kind for opened in self.opened if opened.content is not None]

    def say(self, turn: Turn, to: str, text: str) -> str:
        """Write to everybody whom a message to that number concerns; `turn` gives the bundles."""
        assert self.connection is not None
        chat = turn.hub.state.account(to)
        assert chat is not None
        now = self.bench.hands.now
        body = parse_body({"type": "text", "text": text})
        lid = Jid(self.own.lid.user, "lid")
        composed = compose(body, chat=chat.lid_jid, own=lid, target=None, secret=self.stream(32), unix_ms=1)
        message_id = ids.new_message_id(int(now), self.own.pn.user, self.stream)
        draft = sealing.Draft(message_id, chat.lid_jid, chat.pn_jid, composed, int(now * 1000))
        own_devices = [lid, *(companion.lid_jid for companion in turn.hub.state.companions(self.own.pn.user))]
        chat_devices = [chat.lid_jid, *(companion.lid_jid for companion in turn.hub.state.companions(to))]
        whom = sealing.recipients(chat_devices, own_devices, self.own, chat=chat.lid_jid)
        bundles = {jid: turn.bundle(jid) for jid in sealing.without_session(whom, self.keys)}
        sealed = sealing.seal(
            draft,
            whom,
            self.keys,
            self.own,
            bundles={jid: bundle for jid, bundle in bundles.items() if bundle is not None},
            token=None,
            entropy=self.stream,
        )
        self.connection.send([decode_node(sealed.stanza)], now)
        return message_id


def link(town: Town, number: str, name: str = "companion") -> Companion:
    """Pair a device with that number and log it in."""
    bench = town.bench
    device = Companion(bench, Credentials.generate(Seed.of(7).stream(name), bench.root_public))
    device.plug()
    device.pump()
    bench.server.pairing.scan(bench.server.pairing.account(number), device.last(QrIssued).code)
    device.pump()
    device.log_in()
    together(town, device)
    return device


def together(town: Town, *devices: Companion) -> None:
    """Let people and devices act until nobody has anything left to do."""
    for _ in range(100):
        town.settle()
        before = [(len(device.opened), len(device.receipts)) for device in devices]
        for device in devices:
            device.pump()
        if not town.people.work(60.0) and before == [(len(one.opened), len(one.receipts)) for one in devices]:
            return
    raise AssertionError("they never come to rest")

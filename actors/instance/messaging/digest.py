"""What one batch of stanzas makes of the store: rows, keys, jobs, and the answers that are due afterwards.

Rule: it only collects. Nothing is written, and nothing said, before the batch as a whole is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from actors.instance.messaging.host import Host
from actors.instance.messaging.names import forms, identity_changed, identity_of, named, user_of
from actors.instance.messaging.ring import KeyShelf
from whatisup.crypto import AuthenticationFailed
from whatisup.jid import LID_SERVER, PN_SERVER, Jid, JidError
from whatisup.protocol.content.ids import plaintext_hash
from whatisup.protocol.content.normalise import Content, normalise, reveal
from whatisup.protocol.content.peer import (
    ResentMessage,
    read_app_state_keys,
    read_lid_mapping,
    read_placeholder_response,
)
from whatisup.protocol.events import Event, ReceiptReceived
from whatisup.protocol.messaging.answers import RetryAnswer, answers, poison_answers
from whatisup.protocol.messaging.devices import devices_key
from whatisup.protocol.messaging.keyring import LID, PN, KeyName, Keyring, Own, Wanted
from whatisup.protocol.messaging.opening import Opened, Verdict
from whatisup.protocol.stanzas import receipt as kinds
from whatisup.protocol.stanzas.iq import readable
from whatisup.protocol.stanzas.message import ChatKind, Envelope
from whatisup.protocol.stanzas.receipt import Receipt
from whatisup.store import (
    AddJob,
    AppendEvent,
    Identity,
    IngestMessage,
    KeepPoison,
    LearnPair,
    Op,
    PutAuth,
    RecordReceipt,
    RememberCiphertexts,
    TargetMessage,
    messages,
)
from whatisup.wire import Node, encode_node

CIPHERTEXT_LIFETIME_MS: Final = 14 * 24 * 3600 * 1000
HISTORY: Final = "history"
APP_STATE_KEY: Final = "app_state_key"
# What one message of our own phone may tell; the rest is learned when the people write.
MAX_PAIRS: Final = 1000

_OF_AUTHORS: Final = frozenset({"edit", "revoke"})

_MOVES: Final[Mapping[str, Any]] = {
    kinds.DELIVERED: "delivered",
    kinds.INACTIVE: "sent",
    kinds.SENDER: "sent",
    kinds.READ: "read",
    kinds.PLAYED: "played",
}
"""What a receipt says about a message of ours; of the other kinds none does."""


_UNREADABLE: Final = frozenset({Verdict.FAILED, Verdict.OLD_COUNTER, Verdict.UNAVAILABLE})


@dataclass(slots=True)
class Entry:
    """One stanza and what became of it; `retry` is set where the sender is to be asked again.

    `trace` is the traceparent of its span.
    """

    opened: Opened
    identity: Identity
    retry: RetryAnswer | None = None
    trace: str | None = None

    @property
    def is_unreadable(self) -> bool:
        """Whether nothing of it could be read, and nothing was before."""
        return self.opened.verdict in _UNREADABLE

    @property
    def needs_repair(self) -> bool:
        """Whether its sender or our phone is to be asked; a part of it may have been read."""
        return self.is_unreadable or self.opened.wants_retry


class Digest:
    """Collects; see the module."""

    def __init__(self, host: Host, shelf: KeyShelf, own: Own) -> None:
        self.own = own
        self.ring: Keyring = shelf.ring(own)
        self.ops: list[Op] = []
        self._host = host
        self._shelf = shelf
        self._answers: list[Entry | Node] = []
        self._read: set[tuple[str, str, str]] = set()

    def add(self, *ops: Op) -> None:
        """Collect operations."""
        self.ops += ops

    async def load(self, wanted: Wanted) -> None:
        """Load more keys."""
        await self._shelf.fill(self.ring, wanted)

    @property
    def failed(self) -> Iterator[Entry]:
        """The stanzas of which something could not be read."""
        return (entry for entry in self._answers if isinstance(entry, Entry) and entry.needs_repair)

    @property
    def was_read(self) -> frozenset[tuple[str, str, str]]:
        """The messages, as (chat, author, id), that this batch can read."""
        return frozenset(self._read)

    @property
    def used_prekeys(self) -> int:
        """How many one-time prekeys the batch has used up."""
        return sum(len(entry.opened.used_prekeys) for entry in self._answers if isinstance(entry, Entry))

    def answers(self) -> list[Node]:
        """What to send once all is committed, in the order of the stanzas."""
        said: list[Node] = []
        for entry in self._answers:
            if isinstance(entry, Entry):
                said += answers(entry.opened, self.own, is_active=False, retry=entry.retry)
            else:
                said.append(entry)
        return said

    # --- stanzas that cannot be read at all ---------------------------------------------------------------------

    def poison(self, node: Node, why: str) -> None:
        """Keep a stanza as it came, and report it."""
        now_ms = self._host.services.unix_ms()
        self.add(
            KeepPoison(encode_node(node), why, now_ms),
            AppendEvent("message.unprocessable", unprocessable(node, "malformed", why), now_ms),
        )
        self._answers += poison_answers(node, self.own)

    # --- messages -----------------------------------------------------------------------------------------------

    async def opened(self, opened: Opened, node: Node, trace: str | None = None) -> None:
        """Collect what follows from one opened stanza; `trace` is the traceparent of its span."""
        now_ms = self._host.services.unix_ms()
        self.add(*(LearnPair(pn.user, lid.user) for pn, lid in opened.learned))
        if opened.hashes:
            self.add(RememberCiphertexts(opened.hashes, now_ms + CIPHERTEXT_LIFETIME_MS))
        if opened.identity_changed is not None:
            self.add(identity_changed(self.ring, opened.identity_changed, now_ms))
            self.ring.delete(*devices_key(self.ring.canonical(user_of(opened.identity_changed))))
        entry = Entry(opened, identity_of(self.ring, self.own, opened.envelope), trace=trace)
        self._answers.append(entry)
        if opened.verdict is Verdict.UNKNOWN:
            self.add(KeepPoison(encode_node(node), "unknown content", now_ms))
        content = opened.content
        if content is None:
            return
        if opened.verdict is Verdict.READ and opened.plaintext_hash is not None:
            await self._ingest(entry, content, opened.plaintext_hash, now_ms)
        elif opened.verdict is Verdict.SILENT:
            await self._heed(content, entry)

    async def _ingest(self, entry: Entry, content: Content, digest: bytes, now_ms: int) -> None:
        envelope, identity = entry.opened.envelope, entry.identity
        content = await self._only_of_own(await self._reveal(content, identity), identity, envelope)
        self._read.add((identity.chat, identity.author, identity.wa_id))
        self.add(
            IngestMessage(
                identity,
                content.kind,
                content.body,
                digest,
                server_at=envelope.unix_t * 1000,
                received_at=now_ms,
                source="phone" if envelope.is_from_me else "contact",
                push_name=envelope.push_name,
                is_backlog=envelope.is_offline,
                original=content.message,
                context=_context(content),
                trace=entry.trace,
            )
        )

    async def _reveal(self, content: Content, identity: Identity) -> Content:
        """Read a vote, or another add-on, with the secret of the message that it is about."""
        if content.addon is None:
            return content
        target = await self._target(identity.chat, content.addon.wa_id)
        if target is None or target.original is None:
            return content
        original = normalise(target.original, is_own=False, is_own_phone=False)
        if original.secret is None:
            return content
        options = (original.body or {}).get("options", ())
        try:
            return reveal(
                content,
                secret=original.secret,
                senders=self._texts(target.author),
                modifiers=self._texts(identity.author),
                options=options,
            )
        except AuthenticationFailed:
            return content

    async def _only_of_own(self, content: Content, identity: Identity, envelope: Envelope) -> Content:
        """Let nobody edit or delete what somebody else wrote; who wrote it we know better than a peer that says so.

        That an admin deletes what is another's in a group is not ours to judge yet.
        """
        target = content.target
        if content.kind not in _OF_AUTHORS or target is None:
            return content
        if not target.from_me:
            is_admins = content.kind == "revoke" and envelope.kind is not ChatKind.USER
            return content if is_admins else _by_another(content)
        found = None if envelope.is_from_me else await self._target(identity.chat, target.wa_id)
        if found is None or not set(self._texts(found.author)).isdisjoint(self._texts(identity.author)):
            return content
        return _by_another(content)

    async def _target(self, chat: str, wa_id: str) -> TargetMessage | None:
        return await self._host.services.database.look(messages.find_target, self._host.id, chat, wa_id)

    def _texts(self, author: str) -> list[str]:
        """Both names of a user, as add-ons may have been keyed under either."""
        _, phone, lid = forms(self.ring, Jid.parse(author))
        servers = ((lid, LID_SERVER), (phone, PN_SERVER))
        return [str(Jid(user, server)) for user, server in servers if user is not None]

    # --- what our own devices tell us -------------------------------------------------------------------------

    async def _heed(self, content: Content, entry: Entry) -> None:
        heed = _HEEDED.get(content.kind)
        if heed is not None:
            await heed(self, content, entry)

    async def _keep_history(self, content: Content, entry: Entry) -> None:
        self.add(AddJob(HISTORY, entry.opened.envelope.id, content.message))

    async def _keep_app_state_keys(self, content: Content, _entry: Entry) -> None:
        for key in read_app_state_keys(content.message):
            self.add(PutAuth(APP_STATE_KEY, key.key_id.hex(), key.timestamp.to_bytes(8, "big") + key.data))

    async def _learn(self, content: Content, _entry: Entry) -> None:
        pairs = read_lid_mapping(content.message)[:MAX_PAIRS]
        await self.load(Wanted(keys=frozenset(name for pn, lid in pairs for name in ((LID, pn), (PN, lid)))))
        for pn, lid in pairs:
            if self.ring.learn(Jid(pn, PN_SERVER), Jid(lid, LID_SERVER)):
                self.add(LearnPair(pn, lid))

    async def _take_resent(self, content: Content, entry: Entry) -> None:
        """Read what our phone found of messages that we could not read, unless they were read meanwhile."""
        found = read_placeholder_response(content.message).messages
        # The phone may call people by either name; the rows are under one.
        named = (text for one in found for text in (one.name.chat, one.name.participant) if text)
        await self.load(Wanted(keys=frozenset(name for text in named for name in _names_of(text))))
        ids = frozenset(message.name.wa_id for message in found)
        pending = await self._host.services.database.read(messages.unread, self._host.id, ids)
        for message in found:
            identity = self._identity_of_resent(message)
            if identity is None or message.message is None:
                continue
            key = (identity.chat, identity.author, identity.wa_id)
            if key in pending and key not in self._read:
                self._ingest_resent(identity, message, message.message, entry.trace)

    def _identity_of_resent(self, message: ResentMessage) -> Identity | None:
        name = message.name
        try:
            chat = Jid.parse(name.chat)
            author = self.own.lid if name.from_me else Jid.parse(name.participant) if name.participant else chat
        except JidError:
            return None
        return named(self.ring, name.wa_id, user_of(chat), user_of(author))

    def _ingest_resent(self, identity: Identity, message: ResentMessage, raw: bytes, trace: str | None) -> None:
        now_ms = self._host.services.unix_ms()
        content = normalise(raw, is_own=message.name.from_me, is_own_phone=False)
        if content.body is None:
            return
        self._read.add((identity.chat, identity.author, identity.wa_id))
        self.add(
            IngestMessage(
                identity,
                content.kind,
                content.body,
                plaintext_hash(raw),
                server_at=now_ms if message.unix_t is None else message.unix_t * 1000,
                received_at=now_ms,
                source="phone" if message.name.from_me else "contact",
                push_name=readable(message.push_name),
                original=content.message,
                context={**_context(content), "resent_by": "phone"},
                trace=trace,
            )
        )

    # --- receipts -----------------------------------------------------------------------------------------------

    def names_of_receipts(self, events: Sequence[Event]) -> Iterator[KeyName]:
        """The keys that tell which chats receipts are about."""
        for event in events:
            if isinstance(event, ReceiptReceived):
                jids = (event.receipt.source, event.receipt.participant, event.receipt.recipient)
                yield from ((LID, jid.user) for jid in jids if jid is not None and jid.is_pn)

    def receipt(self, receipt: Receipt) -> None:
        """Collect what a receipt says about messages of ours."""
        move = _MOVES.get(receipt.kind)
        # What our other devices do says nothing of the other side; that one of them sent something, only they can say.
        is_misplaced = self.own.is_own(receipt.source) != (receipt.kind == kinds.SENDER)
        if move is None or receipt.is_lid_incapable or is_misplaced:
            return
        now_ms = self._host.services.unix_ms()
        at = now_ms if receipt.unix_t is None else receipt.unix_t * 1000
        chat_jid = receipt.recipient if receipt.kind == kinds.SENDER and receipt.recipient else receipt.source
        chat = self._canonical(chat_jid)
        if receipt.users:
            self.add(*(RecordReceipt((i,), move, t * 1000, chat, self._canonical(u)) for i, u, t in receipt.users))
            return
        participant = "" if receipt.participant is None else self._canonical(receipt.participant)
        self.add(RecordReceipt(receipt.ids, move, at, chat, participant))

    def _canonical(self, jid: Jid) -> str:
        return str(self.ring.canonical(user_of(jid)))


def _names_of(text: str) -> tuple[KeyName, ...]:
    """What tells the other name of a user."""
    try:
        jid = Jid.parse(text)
    except JidError:
        return ()
    return ((LID, jid.user),) if jid.is_pn else ((PN, jid.user),) if jid.is_lid else ()


_Heed = Callable[[Digest, Content, Entry], Any]
_HEEDED: Final[Mapping[str, _Heed]] = {
    "history_sync": Digest._keep_history,
    "app_state_key_share": Digest._keep_app_state_keys,
    "lid_mapping": Digest._learn,
    "placeholder_response": Digest._take_resent,
}
"""What the messages of our own devices to us lead to; the other kinds need nothing."""


def unprocessable(node: Node, reason: str, detail: str) -> dict[str, Any]:
    """What the customer hears of a stanza that was kept as it came."""
    wa_id = node.attrs.get("id")
    return {"reason": reason, "detail": detail, "wa_message_id": None if wa_id is None else str(wa_id)[:128]}


def _by_another(content: Content) -> Content:
    return replace(content, kind="unknown", body={"type": "unknown", "kind": f"{content.kind}_by_another"})


def _context(content: Content) -> dict[str, Any]:
    """What an event tells beside the body: the wrappers that matter to a reader."""
    return {name: True for name in ("view_once", "ephemeral") if name in content.wrappers}

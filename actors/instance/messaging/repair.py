"""What could not be read: the sender is asked again, and our phone where that does not help.

Rule: an undecryptable message is a row with its reason and the state of its repair, so that nothing of this is lost
with the process; what is kept here is only when to ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from actors.instance import auth
from actors.instance.messaging.budgets import Bucket
from actors.instance.messaging.digest import Digest, Entry
from actors.instance.messaging.drafts import Draughtsman
from actors.instance.messaging.host import Host
from actors.instance.messaging.ring import KeyShelf, ops_of
from whatisup.jid import Jid
from whatisup.protocol.content.ids import new_message_id
from whatisup.protocol.content.peer import placeholder_resend_request
from whatisup.protocol.events import BundlesAnswered
from whatisup.protocol.messaging.answers import RetryAnswer, retry_count, wants_keys
from whatisup.protocol.messaging.keyring import LID, Own
from whatisup.protocol.messaging.opening import Verdict
from whatisup.protocol.messaging.sealing import NoDevices, seal_peer, wanted_for_sealing, without_session
from whatisup.protocol.prekeys import Bundle
from whatisup.protocol.stanzas.keys import PublicIdentity, PublicSignedPrekey
from whatisup.store import Identity, MarkPrekeys, NoteUndecryptable, PutPrekeys, Unread, messages
from whatisup.store import auth as auth_rows

log = structlog.get_logger(__name__)

NEVER: Final = float("inf")
PATIENCE_S: Final = 4.0
"""How long the sender has to send a message again before our phone is asked for it."""
ASK_AGAIN_MS: Final = 5 * 60 * 1000
LOST_S: Final = 30.0
"""How soon our phone is asked again on another connection: the question itself may never have left."""
GIVE_UP_MS: Final = 24 * 3600 * 1000
MAX_WAITING: Final = 512
ANSWER_S: Final = 60.0
KEYS_PER_S: Final = 10 / 60
KEYS_BURST: Final = 100
"""How many retry receipts carry a new prekey: anybody can make us write them, and each key is a row that stays."""

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Wait:
    """A message that our phone will be asked for."""

    unread: Unread
    due_at: float


class Repair:
    """When our phone is asked for what nobody sent again."""

    __slots__ = ("_asked_until", "_budget", "_bundle", "_host", "_keys", "_shelf", "_waiting", "own")

    def __init__(self, host: Host, shelf: KeyShelf) -> None:
        self._host = host
        self._shelf = shelf
        limits = host.services.limits[host.row.mode]
        # Anybody can send what cannot be read, and each makes us write to our phone.
        self._budget = Bucket(limits.resends_per_s, limits.resend_burst, trio.current_time())
        self._keys = Bucket(KEYS_PER_S, KEYS_BURST, trio.current_time())
        self._waiting: dict[_Key, Wait] = {}
        self._bundle: Bundle | None = None
        self._asked_until = -NEVER
        self.own: Own | None = None

    def forget(self) -> None:
        """The connection is gone: what waits is found again in the store."""
        self._waiting.clear()
        self._bundle = None
        self._asked_until = -NEVER

    # --- asking the sender --------------------------------------------------------------------------------------

    async def plan(self, digest: Digest) -> None:
        """Decide, for everything in the batch that could not be read, which retry receipt goes out."""
        failed = list(digest.failed)
        if not failed:
            return
        ids = frozenset(entry.identity.wa_id for entry in failed)
        known = await self._host.services.database.look(messages.unread, self._host.id, ids)
        for entry in failed:
            unread = known.get(_key(entry.identity))
            count = retry_count(entry.opened, 0 if unread is None else unread.retry_count)
            if count is not None:
                keys = await self._fresh_keys(digest) if wants_keys(entry.opened, count) else None
                entry.retry = RetryAnswer(count, keys)
            if entry.is_unreadable:
                digest.add(self._note(entry, unread, count))

    def _note(self, entry: Entry, unread: Unread | None, count: int | None) -> NoteUndecryptable:
        opened, envelope = entry.opened, entry.opened.envelope
        failure = opened.failure
        remembered = 0 if unread is None else unread.retry_count
        return NoteUndecryptable(
            entry.identity,
            "unavailable" if failure is None else failure.reason,
            remembered if count is None else count,
            server_at=envelope.unix_t * 1000,
            received_at=self._host.services.unix_ms(),
            retry_state="pending" if count is not None or opened.wants_phone else "ended",
            source="phone" if envelope.is_from_me else "contact",
            push_name=envelope.push_name,
            is_backlog=envelope.is_offline,
            hide=failure is not None and failure.hide,
            trace=entry.trace,
        )

    async def _fresh_keys(self, digest: Digest) -> Bundle | None:
        """Keys for a retry receipt, with a one-time prekey that is offered to nobody else; None beyond the budget.

        Without them the sender asks the server for our bundle.
        """
        if not self._keys.available(trio.current_time(), 1):
            return None
        self._keys.take(trio.current_time())
        own, services = digest.own, self._host.services
        first_id = await services.database.look(auth_rows.next_prekey_id, self._host.id)
        minted = sum(len(op.prekeys) for op in digest.ops if isinstance(op, PutPrekeys))
        batch = auth.generate_prekeys(first_id + minted, 1, services.entropy)
        digest.add(PutPrekeys(batch.stored), MarkPrekeys(batch.key_ids, "offered"))
        signed = PublicSignedPrekey.of(own.signed_prekey)
        identity = PublicIdentity(own.identity.registration_id, own.identity.pair.public, signed)
        return Bundle(identity, batch.public[0], own.signed_device_identity)

    # --- asking our phone ---------------------------------------------------------------------------------------

    def committed(self, digest: Digest) -> None:
        """The batch is durable: forget what it could read, and plan to ask for what it could not."""
        now = trio.current_time()
        for key in digest.was_read:
            self._waiting.pop(key, None)
        for entry in digest.failed:
            key = _key(entry.identity)
            if entry.opened.wants_phone and key not in digest.was_read and key not in self._waiting:
                is_urgent = entry.opened.verdict in (Verdict.UNAVAILABLE, Verdict.OLD_COUNTER)
                self._wait_for(_unread(entry), now + (0.0 if is_urgent else PATIENCE_S))

    async def resume(self) -> None:
        """Find what an earlier connection could not read and nobody has sent since."""
        now_ms, now = self._host.services.unix_ms(), trio.current_time()
        pending = await self._host.services.database.read(messages.unread_pending, self._host.id)
        ended = [unread for unread in pending if unread.created_at + GIVE_UP_MS <= now_ms]
        if ended:
            await self._host.commit(*(_again(unread, now_ms, retry_state="ended") for unread in ended))
        for unread in pending:
            if unread not in ended:
                asked_ago_s = (now_ms - (unread.phone_asked_at or 0)) / 1000
                self._wait_for(unread, now + max(PATIENCE_S, LOST_S - asked_ago_s))

    def _wait_for(self, unread: Unread, due_at: float) -> None:
        if len(self._waiting) < MAX_WAITING:  # the rest is found in the store at the next login
            self._waiting[unread.chat, unread.author, unread.wa_id] = Wait(unread, due_at)

    @property
    def deadline(self) -> float:
        """When `ask_phone` is due, in monotonic seconds."""
        connection = self._host.connection
        if not self._waiting or connection is None or not connection.is_logged_in or connection.is_draining:
            return NEVER
        first = min(wait.due_at for wait in self._waiting.values())
        now = trio.current_time()
        wait_s = self._budget.wait_s(now)
        return max(first, self._asked_until, now + wait_s if wait_s > 0 else -NEVER)

    async def ask_phone(self) -> None:
        """Ask our phone for everything that is due."""
        now, connection, own = trio.current_time(), self._host.connection, self.own
        if connection is None or own is None or self.deadline > now:
            return
        due = [key for key, wait in self._waiting.items() if wait.due_at <= now]
        phone = own.pn.with_device(0)
        man = Draughtsman(self._host, self._shelf, own)
        await self._shelf.fill(man.ring, wanted_for_sealing([phone], own))
        if self._bundle is None and without_session([phone], man.ring):
            self._asked_until = now + ANSWER_S
            connection.fetch_bundles([phone], now)
            return
        due = due[: self._budget.available(now, len(due))]
        for key in due:
            del self._waiting[key]
        for unread in await self._still_unread(man, due):
            if self._host.connection is not connection:  # what was just sent may have shown that the socket is gone
                return
            if unread.created_at + GIVE_UP_MS <= self._host.services.unix_ms():
                await self._host.commit(_again(unread, self._host.services.unix_ms(), retry_state="ended"))
                continue
            self._budget.take(now)
            await self._ask_for(man, own, unread)
            self._wait_for(unread, now + ASK_AGAIN_MS / 1000)

    async def _still_unread(self, man: Draughtsman, keys: Sequence[_Key]) -> list[Unread]:
        """Look again: somebody may have sent it meanwhile, or its chat or author may be called by another name now."""
        named = [(Jid.parse(chat), Jid.parse(author), wa_id) for chat, author, wa_id in keys]
        await man.load(frozenset((LID, jid.user) for names in named for jid in names[:2] if jid.is_pn))
        known = await self._host.services.database.read(
            messages.unread, self._host.id, frozenset(wa_id for _, _, wa_id in named)
        )
        found = (known.get((str(man.ring.canonical(c)), str(man.ring.canonical(a)), wa_id)) for c, a, wa_id in named)
        return [unread for unread in found if unread is not None]

    async def _ask_for(self, man: Draughtsman, own: Own, unread: Unread) -> None:
        now_ms, entropy = self._host.services.unix_ms(), self._host.services.entropy
        is_group = not (Jid.parse(unread.chat).is_lid or Jid.parse(unread.chat).is_pn)
        request = placeholder_resend_request(
            unread.chat, unread.source == "phone", unread.wa_id, unread.author if is_group else None
        )
        wa_id = new_message_id(now_ms // 1000, own.pn.user, entropy)
        try:
            node = seal_peer(request, man.ring, own, wa_id, bundle=self._bundle, entropy=entropy)
        except NoDevices:
            log.warning("message.phone_not_asked", instance_id=self._host.id)
            return
        self._bundle = None
        changes = man.ring.take_changes()
        note = _again(unread, now_ms, retry_state="pending", phone_asked_at=now_ms)
        await self._host.commit(note, *ops_of(changes))
        self._shelf.remember(changes)
        connection = self._host.connection
        if connection is not None:
            connection.send([node], trio.current_time())
            await self._host.flush()

    def bundles_answered(self, event: BundlesAnswered) -> None:
        """Our phone's keys may be among these."""
        if self.own is None or not any(self._is_phone(jid) for jid in event.asked):
            return
        self._bundle = next((bundle for jid, bundle in event.found if self._is_phone(jid)), None)
        if self._bundle is not None:
            self._asked_until = -NEVER

    def _is_phone(self, jid: Jid) -> bool:
        return self.own is not None and jid.device == 0 and self.own.is_own(jid)


def _key(identity: Identity) -> _Key:
    return identity.chat, identity.author, identity.wa_id


def _unread(entry: Entry) -> Unread:
    envelope, identity = entry.opened.envelope, entry.identity
    failure = entry.opened.failure
    return Unread(
        message_id="",
        wa_id=identity.wa_id,
        chat=identity.chat,
        author=identity.author,
        source="phone" if envelope.is_from_me else "contact",
        reason="unavailable" if failure is None else failure.reason,
        retry_count=0 if entry.retry is None else entry.retry.count,
        retry_state="pending",
        phone_asked_at=None,
        created_at=envelope.unix_t * 1000,
        server_at=envelope.unix_t * 1000,
    )


def _again(unread: Unread, now_ms: int, *, retry_state: str, phone_asked_at: int | None = None) -> NoteUndecryptable:
    note = NoteUndecryptable(
        Identity(unread.wa_id, unread.chat, unread.author),
        unread.reason,
        unread.retry_count,
        server_at=unread.server_at,
        received_at=now_ms,
        source="phone" if unread.source == "phone" else "contact",
        phone_asked_at=phone_asked_at,
    )
    return note if retry_state == "pending" else replace(note, retry_state="ended")

"""All simulated people: the one who takes what is for a phone, sees to it that the phone acts, and tells it what to do.

Rule: everything happens in `work`, one thing of one phone after the other, from a desk that survives the process. What
asks or delivers only puts something there: no call here ever leads to another phone's turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import structlog
import trio
from msgspec import structs

from whatisup import control
from whatisup.errors import E2eeError, RemoteProtocolError
from whatisup.protocol.content import ids
from whatisup.protocol.stanzas.presence import (
    build_chat_state,
    parse_chat_state,
    parse_presence_update,
)
from whatisup.protocol.stanzas.receipt import READ, build_receipt
from whatisup.sandbox.accounts import Account, Companion
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.people import mishaps, peer, posts, reading, renewal, writing
from whatisup.sandbox.people.bursts import Bursts, text_body
from whatisup.sandbox.people.keys import Keys, Shelf
from whatisup.sandbox.people.logs import Logs
from whatisup.sandbox.people.ratchets import Ratchets
from whatisup.sandbox.people.tables import Desk, PhoneSettings, Work, create_tables, decoded
from whatisup.sandbox.people.tasks import (
    GreetTask,
    PostTask,
    ReadTask,
    RenewTask,
    SendTask,
    Task,
    TypingTask,
)
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.refusal import Refused
from whatisup.sandbox.router import Router
from whatisup.wire import Node

SLICE_S: Final = 0.005
"""How long phones act before sockets have their turn again."""

SEEN_STATES: Final = 100
"""How many chat states and presences a phone remembers."""

MAX_PHONES_SEEN: Final = 10_000
"""How many phones remember any."""

_BATCH: Final = 32
_GREETED: Final = "greeted"

log: Final = structlog.get_logger(__name__)


class People:
    """Owns the phones: one per sandbox. `run` makes them act; `work` does so for whoever has no event loop."""

    def __init__(self, hub: Hub, router: Router) -> None:
        create_tables(hub.state.connection)
        self._hub = hub
        self._router = router
        self._entropy = hub.seed.stream("people", hub.run)
        self._shelf = Shelf(hub.state)
        self._desk = Desk(hub.state)
        self._logs = Logs(hub.state)
        self._bursts = Bursts(hub.state, self._desk, self._write_text)
        self._states: dict[str, deque[control.ChatState]] = {}
        self._bell = trio.Event()

    # the port to the server

    def deliver(self, number: str, node: Node) -> None:
        """Take a stanza for that account's phone: it is kept until the phone has taken it."""
        if node.tag in ("chatstate", "presence"):
            self._show(number, node)
            return
        self._desk.add(number, node)
        self._ring()

    def arrived(self, companion: Companion) -> None:
        """Greet a companion that is there for the first time."""
        keys, name = Keys(self._shelf, companion.number), str(companion.key_index)
        if keys.get(_GREETED, name) is None:
            with self._hub.state.unit():
                keys.put(_GREETED, name, b"\x01")
                self._add(companion.number, GreetTask(companion.device))

    def _ring(self) -> None:
        self._hub.state.on_commit(self._bell.set)

    def _show(self, number: str, node: Node) -> None:
        if not self._desk.settings(number).is_online:
            return
        try:
            if node.tag == "chatstate":
                state = parse_chat_state(node)
                source, shown = state.participant or state.peer, str(state.state)
            else:
                update = parse_presence_update(node)
                source, shown = update.source, "available" if update.is_available else "unavailable"
        except RemoteProtocolError:
            return
        account = self._hub.state.account_of_lid(source.user) if source.is_lid else self._hub.state.account(source.user)
        if account is not None and (number in self._states or len(self._states) < MAX_PHONES_SEEN):
            seen = self._states.setdefault(number, deque(maxlen=SEEN_STATES))
            seen.append(control.ChatState(account.number, source.device, shown, self._hub.unix_ms))

    # the work

    async def run(self) -> None:
        """Let the phones act until cancelled."""
        while True:
            self._bell = trio.Event()
            due_in_s = self._bursts.step(self._hub.clock.monotonic())
            if self.work():
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(math.inf if due_in_s is None else due_in_s):
                await self._bell.wait()

    def work(self, slice_s: float = SLICE_S) -> int:
        """Let phones act for about that long; return how many things they did."""
        due = self._desk.due(_BATCH)
        if not due:
            return 0
        until = self._hub.clock.monotonic() + slice_s
        done = 0
        try:
            with self._hub.state.unit():
                for work in due:
                    self._do(work)
                    done += 1
                    if self._hub.clock.monotonic() > until:
                        break
        except Exception:
            # Something that one phone did undid the whole batch: find out which, and let nobody else pay for it.
            for work in due:
                self._do_alone(work)
            return len(due)
        return done

    def _do_alone(self, work: Work) -> None:
        try:
            with self._hub.state.unit():
                self._do(work)
        except Exception as error:
            if not isinstance(error, (RemoteProtocolError, E2eeError)):
                log.exception("a phone could not do what it had to", number=work.number)
            else:
                log.warning("a phone was sent what it cannot read", number=work.number, error=str(error))
            with self._hub.state.unit():
                self._desk.done(work)

    def _do(self, work: Work) -> None:
        self._desk.done(work)
        account = self._hub.state.account(work.number)
        if account is None:
            return
        turn = self._turn(account)
        item = decoded(work)
        if not isinstance(item, Node):
            _TASKS[type(item)](turn, item)
            return
        node = item
        if node.tag == "message" and mishaps.strikes(turn, mishaps.IDENTITY_CHANGE):
            turn = self._turn(renewal.renew(turn))
        reading.take(turn, node)

    def _turn(self, account: Account) -> Turn:
        keys = Keys(self._shelf, account.number)
        return Turn(
            self._hub,
            self._router,
            account,
            keys,
            Ratchets(account, keys, self._entropy),
            self._logs,
            self._desk,
            self._entropy,
        )

    # what a script tells a phone

    def send(self, number: str, to: str, body: dict[str, Any], message_id: str | None = None) -> str:
        """Let a phone send something; return the message's id. Raises `Refused`."""
        self._peer(number, to)
        with self._hub.state.unit():
            return self._write(number, to, body, message_id)

    def post(self, number: str, request: control.PostRequest) -> str:
        """Let a phone write to many; return the message's id. Raises `Refused`."""
        for member in request.members:
            self._peer(number, member)
        task = PostTask("", tuple(request.members), request.keys == "given")
        with self._hub.state.unit():
            return self._write(number, request.chat, text_body(request.text), request.id, task)

    def read(self, number: str, chat: str, message_ids: Sequence[str]) -> None:
        """Let a phone's owner look at a chat. Raises `Refused`."""
        self._peer(number, chat)
        self._add(number, ReadTask(chat, tuple(message_ids)))

    def show_typing(self, number: str, request: control.TypingRequest) -> None:
        """Let a phone show that its owner types. Raises `Refused`."""
        self._peer(number, request.to)
        self._add(number, TypingTask(request.to, request.state))

    def renew(self, number: str) -> None:
        """Give a phone new keys. Raises `Refused`."""
        self._add(number, RenewTask())

    def start_burst(self, number: str, request: control.BurstRequest) -> control.Burst:
        """Let a phone send many messages. Raises `Refused`."""
        self._peer(number, request.to)
        burst = self._bursts.start(number, request, self._hub.unix_ms)
        self._ring()
        return burst

    def set_up(self, number: str, *, is_online: bool | None = None, persona: control.Persona | None = None) -> None:
        """Take a phone off the network or back on it, or give it another persona."""
        now = self._desk.settings(number)
        online = now.is_online if is_online is None else is_online
        self._desk.set_up(number, PhoneSettings(online, now.persona if persona is None else persona))
        self._ring()

    def settings(self, number: str) -> PhoneSettings:
        """Return how a phone is set up."""
        return self._desk.settings(number)

    def received(self, number: str, after: int, limit: int) -> control.ReceivedMessages:
        """Return what reached a phone behind that position."""
        return control.ReceivedMessages(self._logs.received(number, after, limit))

    def sent(self, number: str, after: int, limit: int) -> control.SentMessages:
        """Return what a phone was told to send behind that position."""
        return control.SentMessages(self._logs.sent(number, after, limit))

    def bursts(self, number: str) -> control.Bursts:
        """Return a phone's last bursts."""
        return control.Bursts(self._bursts.of(number))

    def chat_states(self, number: str) -> control.ChatStates:
        """Return what a phone was shown last."""
        return control.ChatStates(list(self._states.get(number, ())))

    def waiting(self, number: str) -> int:
        """Return how much a phone still has to do."""
        return self._desk.count(number)

    def _peer(self, number: str, other: str) -> Account:
        own, found = self._hub.state.account(number), self._hub.state.account(other)
        if own is None or found is None or own.tenant != found.tenant:
            raise Refused(404, "unknown_number", f"there is no account {other}")
        return found

    def _add(self, number: str, task: Task) -> None:
        if not self._desk.add(number, task):
            raise Refused(429, "phone_busy", "the phone has more to do than it can remember")
        self._ring()

    def _write(
        self, number: str, to: str, body: dict[str, Any], message_id: str | None = None, task: PostTask | None = None
    ) -> str:
        if message_id is not None and self._logs.sent_one(number, message_id) is not None:
            raise Refused(409, "id_taken", "the phone has used that id before")
        new_id = message_id or ids.new_message_id(self._hub.unix, number, self._entropy)
        self._logs.draft(number, new_id, to, str(body["type"]), body, self._hub.unix_ms)
        self._add(number, SendTask(new_id) if task is None else structs.replace(task, id=new_id))
        return new_id

    def _write_text(self, number: str, to: str, text: str) -> None:
        self._write(number, to, text_body(text))


# tasks


def _send(turn: Turn, task: SendTask) -> None:
    writing.send(turn, task.id)


def _post(turn: Turn, task: PostTask) -> None:
    posts.send(turn, task)


def _read(turn: Turn, task: ReadTask) -> None:
    chat = turn.hub.state.account(task.chat)
    unseen = [message_id for message_id, _ in turn.logs.unseen(turn.number, task.chat, task.ids)]
    if chat is not None and unseen:
        turn.logs.mark_seen(turn.number, task.chat, unseen)
        turn.submit(build_receipt(unseen, chat.lid_jid, kind=READ, unix_t=turn.hub.unix))


def _type(turn: Turn, task: TypingTask) -> None:
    chat = turn.hub.state.account(task.to)
    if chat is not None:
        turn.submit(build_chat_state(chat.lid_jid, task.state))


def _greet(turn: Turn, task: GreetTask) -> None:
    if turn.hub.state.companion(turn.number, task.device) is not None:
        peer.greet(turn, turn.account.lid_jid.with_device(task.device))


def _renew(turn: Turn, task: RenewTask) -> None:
    renewal.renew(turn)


_Doing: TypeAlias = Callable[[Turn, Any], None]
_TASKS: Final[dict[type, _Doing]] = {
    SendTask: _send,
    PostTask: _post,
    ReadTask: _read,
    TypingTask: _type,
    GreetTask: _greet,
    RenewTask: _renew,
}

"""How an actor is spoken to: a bounded inbox, and a reply slot for every question.

Rule: nobody waits for an actor that cannot answer. A full inbox refuses at once, and whoever takes an envelope
out of it either answers it or fails it; closing the inbox fails what is left.

Two kinds of mail arrive. *Envelopes* carry commands from other tasks and are bounded in number. *Notices* come from
the actor's own link task; data notices are bounded in bytes, and their sender waits (so that a slow actor stops reading
its socket and TCP pushes back), while the few that carry no data always fit.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import trio

from whatisup.errors import ActorStopped, CommandRefused, MailboxFull

R = TypeVar("R")

MAX_COMMANDS = 64
MAX_BUFFERED_BYTES = 1 << 20


class Command(Generic[R]):
    """Something an actor is asked to do; the type parameter is what the asker gets back."""

    __slots__ = ()


class ReplySlot(Generic[R]):
    """A place for one answer: a value, or the refusal to raise at the asker."""

    __slots__ = ("_done", "_refusal", "_value")

    def __init__(self) -> None:
        self._done = trio.Event()
        self._value: R | None = None
        self._refusal: CommandRefused | None = None

    @property
    def is_settled(self) -> bool:
        """Whether an answer or a refusal is in."""
        return self._done.is_set()

    def answer(self, value: R) -> None:
        """Give the answer; only the first answer or refusal counts."""
        if not self.is_settled:
            self._value = value
            self._done.set()

    def refuse(self, refusal: CommandRefused) -> None:
        """Let the asker see `refusal`; only the first answer or refusal counts."""
        if not self.is_settled:
            self._refusal = refusal
            self._done.set()

    async def wait(self) -> R:
        """Wait for the answer.

        Raises:
            CommandRefused: the actor refused, or ended before it answered (`ActorStopped`).
        """
        await self._done.wait()
        if self._refusal is not None:
            raise self._refusal
        return self._value  # type: ignore[return-value]  # an answer of type R was given, None included


@dataclass(frozen=True, slots=True)
class Envelope(Generic[R]):
    """A command and the slot for its reply."""

    command: Command[R]
    reply: ReplySlot[R] = field(default_factory=ReplySlot)


class Notice:
    """Something the actor's own tasks tell it; `size` is what it weighs in the inbox, in bytes."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """Bytes of peer-controlled data carried."""
        return 0


class Mailbox:
    """A bounded inbox with one reader."""

    __slots__ = ("_buffered", "_commands", "_is_closed", "_items", "_mail_came", "_room_came")

    def __init__(self) -> None:
        self._items: deque[Envelope[Any] | Notice] = deque()
        self._commands = 0
        self._buffered = 0
        self._is_closed = False
        self._mail_came: trio.Event | None = None
        self._room_came: trio.Event | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to receive right now."""
        return not self._items

    @property
    def head(self) -> Envelope[Any] | Notice | None:
        """The oldest item, left where it is; None if there is none."""
        return self._items[0] if self._items else None

    async def ask(self, command: Command[R]) -> R:
        """Send `command` and wait for its reply; a cancelled asker leaves the command in the inbox.

        Raises:
            MailboxFull: too many commands are waiting.
            CommandRefused: what the actor answered, or `ActorStopped`.
        """
        return await self.post(command).wait()

    def post(self, command: Command[R]) -> ReplySlot[R]:
        """Send `command` without waiting; the slot is where its reply will be.

        Raises:
            ActorStopped: the inbox is closed.
            MailboxFull: too many commands are waiting.
        """
        if self._is_closed:
            raise ActorStopped("the instance is shutting down; try again in a moment")
        if self._commands >= MAX_COMMANDS:
            raise MailboxFull(f"{self._commands} commands are waiting for this instance; try again later")
        envelope = Envelope(command)
        self._commands += 1
        self._push(envelope)
        return envelope.reply

    def tell(self, notice: Notice) -> None:
        """Leave a notice without waiting for room."""
        if not self._is_closed:
            self._buffered += notice.size
            self._push(notice)

    def remind(self, notice: Notice) -> None:
        """Leave a notice that says the same however often it is left: one of them waits at a time."""
        if notice not in self._items:
            self.tell(notice)

    async def put(self, notice: Notice) -> None:
        """Leave a notice that carries data, once the inbox holds less than `MAX_BUFFERED_BYTES`."""
        while self._buffered >= MAX_BUFFERED_BYTES and not self._is_closed:
            self._room_came = self._room_came or trio.Event()
            await self._room_came.wait()
        self.tell(notice)

    async def receive(self) -> Envelope[Any] | Notice:
        """Take the oldest item, waiting for one."""
        while not self._items:
            await self.wait_for_more()
        return self.receive_nowait()

    async def wait_for_more(self) -> None:
        """Wait for the next item to come in, whatever is here already."""
        self._mail_came = trio.Event()
        await self._mail_came.wait()

    def receive_nowait(self) -> Envelope[Any] | Notice:
        """Take the oldest item.

        Raises:
            trio.WouldBlock: there is none.
        """
        if not self._items:
            raise trio.WouldBlock
        item = self._items.popleft()
        if isinstance(item, Envelope):
            self._commands -= 1
        else:
            self._buffered -= item.size
            if self._room_came is not None and self._buffered < MAX_BUFFERED_BYTES:
                self._room_came.set()
                self._room_came = None
        return item

    def drop_notices(self) -> None:
        """Forget all notices: they were meant for an actor that is gone. Commands stay for its successor."""
        self._items = deque(item for item in self._items if isinstance(item, Envelope))
        self._buffered = 0
        if self._room_came is not None:
            self._room_came.set()
            self._room_came = None

    def close(self) -> None:
        """Refuse all further mail and fail every command that is still waiting."""
        self._is_closed = True
        self.refuse_waiting(ActorStopped("the instance stopped before it could answer; ask for its status"))

    def refuse_waiting(self, refusal: CommandRefused) -> None:
        """Refuse every command in the inbox, and empty it."""
        for item in self._items:
            if isinstance(item, Envelope):
                item.reply.refuse(refusal)
        self._items.clear()
        self._commands = 0
        self.drop_notices()

    def _push(self, item: Envelope[Any] | Notice) -> None:
        self._items.append(item)
        if self._mail_came is not None:
            self._mail_came.set()
            self._mail_came = None

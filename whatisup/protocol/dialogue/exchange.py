"""What every party to a connection may do: send a stanza, ask a question, report a fact.

Rule: frames are encrypted in the order they are sent, since each one's counter is its nonce; after the end nothing is
sent and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from whatisup.crypto import Entropy
from whatisup.errors import RemoteProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.dialogue.tracker import IqTracker, Waiter
from whatisup.protocol.events import Event, FrameDropped
from whatisup.protocol.stanzas.iq import IdSequence, Refusal, parse_refusal
from whatisup.wire import Node, Transport, encode_frame, encode_node

IQ_TIMEOUT_S: Final = 60.0
"""How long an answer may take, as in Baileys."""

MALFORMED: Final = Refusal(500, "malformed-answer")
"""What an answer that cannot be read counts as."""

_MAX_REASON: Final = 200  # characters; a reason may quote a peer's tag

T = TypeVar("T")


class Exchange:
    """The stanzas of one connection on their way in and out.

    `now` is the monotonic time of what is being handled; `transport` exists once the handshake is done.
    """

    __slots__ = ("_events", "_ids", "_out", "is_closed", "now", "tracker", "transport")

    def __init__(self, entropy: Entropy, now: float) -> None:
        self.now = now
        self.transport: Transport | None = None
        self.tracker = IqTracker()
        self.is_closed = False
        self._ids = IdSequence(entropy)
        # Lists, not deques: an empty deque costs ten times as much, and there are few entries at a time.
        self._events: list[Event] = []
        self._out: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Queue bytes of the handshake."""
        self._out.append(data)

    def take_data(self) -> bytes:
        """Return all whole frames queued since the last call, joined."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def send(self, node: Node) -> None:
        """Queue a stanza; nothing happens after the end."""
        if self.transport is not None and not self.is_closed:
            self.send_encoded(encode_node(node))

    def send_encoded(self, stanza: bytes) -> None:
        """Queue a stanza that is encoded already, as `encode_node` does it."""
        if self.transport is not None and not self.is_closed:
            self._out.append(encode_frame(self.transport.encrypt(stanza)))

    def next_id(self) -> str:
        """Return an id no other request of this connection has."""
        return self._ids.next_id()

    def ask(
        self,
        build: Callable[[str], Node],
        parse: Callable[[Node], T],
        then: Callable[[T | Refusal | None], None],
        *,
        timeout_s: float = IQ_TIMEOUT_S,
        lost: Callable[[Trigger], None] | None = None,
    ) -> None:
        """Send a request; `then` gets what `parse` makes of the result, or the refusal, or `None` at the deadline.

        An answer that `parse` cannot read counts as a refusal. `lost` hears of the connection's end instead.
        """
        self.send(self.prepare(build, parse, then, timeout_s=timeout_s, lost=lost))

    def prepare(
        self,
        build: Callable[[str], Node],
        parse: Callable[[Node], T],
        then: Callable[[T | Refusal | None], None],
        *,
        timeout_s: float = IQ_TIMEOUT_S,
        lost: Callable[[Trigger], None] | None = None,
    ) -> Node:
        """Do all of `ask` but the sending: for a request that may go out only after a commit."""

        def settle(answer: Node | None) -> None:
            then(None if answer is None else self._read(answer, parse))

        request_id = self.next_id()
        if not self.is_closed:
            self.tracker.expect(request_id, Waiter(self.now + timeout_s, settle, lost))
        return build(request_id)

    def _read(self, answer: Node, parse: Callable[[Node], T]) -> T | Refusal:
        refusal = parse_refusal(answer)
        if refusal is not None:
            return refusal
        try:
            return parse(answer)
        except RemoteProtocolError as error:
            self.drop(str(error))
            return MALFORMED

    def emit(self, event: Event) -> None:
        """Report a fact."""
        self._events.append(event)

    def drop(self, reason: str, replies: tuple[Node, ...] = ()) -> None:
        """Report that something the peer sent is of no use; `replies` as of any event."""
        self.emit(FrameDropped(reason[:_MAX_REASON], replies=replies))

    @property
    def has_event(self) -> bool:
        """Whether a fact waits to be handed out."""
        return bool(self._events)

    def next_event(self) -> Event | None:
        """Return the oldest fact not handed out yet."""
        return self._events.pop(0) if self._events else None

    def close(self, trigger: Trigger) -> None:
        """End: every waiter hears of it. What was queued before may still be sent."""
        self.is_closed = True
        self.transport = None
        self.tracker.fail_all(trigger)


def as_is(answer: Node) -> Node:
    """Read an answer of which only the arrival matters."""
    return answer

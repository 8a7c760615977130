"""What a phone is told to do as a person would use it, and what it shows of its chats."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from whatisup.control.phones import Persona
from whatisup.control.shapes import ManyChat, MessageId, Number, Reply, Request


class MessageRequest(Request, frozen=True):
    """Let a phone send something: `body` is what the gateway's own API takes (`{"type": "text", "text": ...}`).

    `to` is an account's number, `id` the message's id; without it the phone makes one. What `body` refers to
    (`reply_to`, `message_id`) is a message of that chat, by id.
    """

    to: Number
    body: dict[str, Any]
    id: MessageId | None = None


class PostRequest(Request, frozen=True):
    """Let a phone write a text to many: into a group, as a status, to a broadcast list or into a newsletter.

    `chat` says which: `...@g.us`, `status@broadcast`, `...@broadcast` or `...@newsletter`. From then on the members,
    and the phone, are those who belong to it; status and lists are the phone's own. With `keys` `withheld` the phone
    acts as if everybody had its key for the group, or the status: the message that handed it over got lost. `id` is the
    message's; without it the phone makes one.
    """

    chat: ManyChat
    members: Annotated[list[Number], Meta(max_length=1024)]
    text: Annotated[str, Meta(min_length=1, max_length=65_536)]
    keys: Literal["given", "withheld"] = "given"
    id: MessageId | None = None


class ReplyRequest(Request, frozen=True):
    """Answer a message of a chat with a text that quotes it."""

    to: Number
    message_id: MessageId
    text: Annotated[str, Meta(min_length=1, max_length=65_536)]


class VoteRequest(Request, frozen=True):
    """Vote in a poll of a chat; no options withdraw the vote."""

    to: Number
    message_id: MessageId
    options: Annotated[list[Annotated[str, Meta(min_length=1, max_length=100)]], Meta(max_length=12)]


class MessageQueued(Reply, frozen=True):
    """The phone will send it; the log of what it sent says when it has."""

    id: str


class ReadRequest(Request, frozen=True):
    """Read a chat: the messages of those ids, or with none everything unread."""

    chat: Number
    ids: Annotated[list[MessageId], Meta(max_length=256)] = field(default_factory=list)


class TypingRequest(Request, frozen=True):
    """Show a chat that its owner types or records, or does so no more."""

    to: Number
    state: Literal["composing", "recording", "paused"] = "composing"


class OnlineRequest(Request, frozen=True):
    """Take a phone off the network, or back on it. Meanwhile what is for it, and what it is to do, waits."""

    online: bool


class PersonaRequest(Request, frozen=True):
    """Give a phone another persona."""

    persona: Persona


class BurstRequest(Request, frozen=True):
    """Send `count` texts to one number, `rate` of them a second (unset: as fast as it goes).

    The texts are `text` (default `burst`), a blank, and a number from 1 to `count`.
    """

    to: Number
    count: Annotated[int, Meta(ge=1, le=1_000_000)]
    rate: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    text: Annotated[str, Meta(min_length=1, max_length=1000)] = "burst"


class Burst(Reply, frozen=True):
    """A burst as it stands; it is over when `done` is `count`. `started_at` in unix ms."""

    id: int
    to: str
    count: int
    done: int
    rate: float | None
    text: str
    started_at: int


class Bursts(Reply, frozen=True):
    """A phone's last bursts, oldest first."""

    data: list[Burst]


class ReceivedMessage(Reply, frozen=True):
    """One ciphertext that reached a phone, and what became of it.

    `verdict` is `read`, `duplicate` (the very ciphertext was read before) or `undecryptable` (`reason` says why). An
    `id` that is `read` twice was encrypted twice; but a group's key that came along is a row of its own, of no kind.
    `number`, `lid` and `device` are the sender's; `chat` is the number of the person whom the chat is with, or the JID
    of a group; `is_own`: a companion of this very account sent it. `t` is the message's time in unix seconds, `at` when
    it was read in unix ms, `count` how often it was asked for again.
    """

    position: int
    id: str
    chat: str
    number: str
    lid: str
    device: int
    is_own: bool
    kind: str
    text: str | None
    body: dict[str, Any] | None
    ciphertext_sha256: str
    verdict: str
    reason: str | None
    count: int
    t: int
    at: int


class ReceivedMessages(Reply, frozen=True):
    """What reached a phone, in order; ask on with `after` = the last position."""

    data: list[ReceivedMessage]


class Receipt(Reply, frozen=True):
    """What a device did with a message, `at` unix ms for the first time.

    `kind` is `delivered` (`inactive`: in the background), `read`, `played`, `sender` (an own companion has its copy) or
    `retry` (it could not read it and asked again).
    """

    number: str
    device: int
    kind: str
    at: int


class SentMessage(Reply, frozen=True):
    """A message that a phone was told to send. `acked_at` (unix ms) and `t` (unix s) are there once the server took it.

    `to` is a number, or the JID of a group. `error` is the code with which the server refused it, `failure` why it was
    never sent.
    """

    position: int
    id: str
    to: str
    kind: str
    text: str | None
    body: dict[str, Any] | None
    queued_at: int
    acked_at: int | None
    t: int | None
    error: int | None
    failure: str | None
    receipts: list[Receipt]


class SentMessages(Reply, frozen=True):
    """What a phone sent, in order; ask on with `after` = the last position."""

    data: list[SentMessage]


class ChatState(Reply, frozen=True):
    """What a phone was shown of somebody: `composing`, `recording`, `paused`, `available` or `unavailable`."""

    number: str
    device: int
    state: str
    at: int


class ChatStates(Reply, frozen=True):
    """The last ones a phone was shown, oldest first; forgotten when the sandbox ends."""

    data: list[ChatState]

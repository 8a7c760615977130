"""What may be said to an instance actor: imperative commands, each with the type of its reply.

A command is frozen data. `Ref.ask` (mailbox.py) carries it in and the reply back; a refusal travels back as a
`CommandRefused` and never harms the actor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors.mailbox import Command, Notice
from whatisup.lifecycle import Trigger
from whatisup.store import Origin


@dataclass(frozen=True, slots=True)
class QrCode:
    """A QR on offer: its raw text and when it stops being valid (unix milliseconds)."""

    code: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class PairCode:
    """An 8-character linking code (shown as ABCD-EFGH) and when it stops being valid (unix milliseconds)."""

    code: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class LogoutOutcome:
    """Whether WhatsApp confirmed that the device was unlinked before its keys were destroyed."""

    unlinked: bool


@dataclass(frozen=True, slots=True)
class RequestQr(Command[QrCode]):
    """Start pairing if need be, and answer with the QR on offer as soon as there is one."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class RequestPairCode(Command[PairCode]):
    """Start pairing if need be, and answer with a linking code for `phone_number` (digits)."""

    origin: Origin
    phone_number: str


@dataclass(frozen=True, slots=True)
class Start(Command[None]):
    """Resume a stopped or refused session from its stored auth state."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Stop(Command[None]):
    """Close the socket and stay down, keeping the auth state."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Logout(Command[LogoutOutcome]):
    """Unlink from the phone (bounded) and destroy the auth state."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Delete(Command[None]):
    """Unlink on a live socket (bounded), destroy the auth state and hide the instance for good."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Wake(Command[None]):
    """A named timer of yours has passed: step by `trigger` if your state still has that row."""

    trigger: Trigger


@dataclass(frozen=True, slots=True)
class MarkRead(Command[None]):
    """Tell the author that these messages (their WhatsApp ids) of one chat were read.

    `chat` is the chat's JID without device; `author` the author's, in groups and broadcasts only.
    """

    chat: str
    author: str | None
    wa_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetPresence(Command[None]):
    """Show in one chat that somebody is typing or recording, or has paused; it ends by itself."""

    chat: str
    presence: Literal["typing", "recording", "paused"]


@dataclass(frozen=True, slots=True)
class ContactCheck:
    """Whether a phone number is on WhatsApp; the number (digits) and hidden id (digits) as far as they are known."""

    exists: bool
    phone: str | None
    lid: str | None


@dataclass(frozen=True, slots=True)
class CheckContact(Command[ContactCheck]):
    """Ask WhatsApp whether `phone_number` (digits) has an account."""

    phone_number: str


@dataclass(frozen=True, slots=True)
class OutboxGrew(Notice):
    """Messages have been accepted for you; the rows are in the store."""


OUTBOX_GREW = OutboxGrew()

"""What may be said to an instance actor: imperative commands, each with the type of its reply.

A command is frozen data. `Ref.ask` (mailbox.py) carries it in and the reply back; a refusal travels back as a
`CommandRefused` and never harms the actor.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.mailbox import Command
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

"""What the server is owed for a message stanza, once what it held is committed.

Rule: never before the commit, and a retry receipt before the ack: the server forgets what is acked.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whatisup.protocol.messaging.keyring import Own
from whatisup.protocol.messaging.opening import Opened
from whatisup.wire import Node

if TYPE_CHECKING:
    from whatisup.protocol.stanzas.receipt import RetryKeys


@dataclass(frozen=True, slots=True, repr=False)
class RetryAnswer:
    """The retry receipt to send: the how manieth it is (from 1), and keys where it shall carry some."""

    count: int
    keys: RetryKeys | None = None


def retry_count(opened: Opened, remembered: int) -> int | None:
    """Return the number of the retry receipt to send next, `None` where it is time to give up or none is due.

    `remembered` is how many were sent for this message already; a stanza that answers one says so itself.
    """
    raise NotImplementedError


def wants_keys(opened: Opened, count: int) -> bool:
    """Whether retry receipt number `count` shall carry keys: a one-time prekey that is used for nothing else."""
    raise NotImplementedError


def answers(opened: Opened, own: Own, *, is_active: bool, retry: RetryAnswer | None = None) -> list[Node]:
    """Return what to send for a stanza after the commit, in that order.

    `is_active` says that we show ourselves as available: only then is a delivery receipt one that the sender sees.
    """
    raise NotImplementedError


def poison_answers(node: Node, own: Own) -> list[Node]:
    """Return what to send for a stanza that was stored as it came: a plain ack, or nothing where it has no sender."""
    raise NotImplementedError


def aggregate(nodes: Sequence[Node]) -> list[Node]:
    """Put receipts that differ in the id alone into one each, of up to 256 ids; everything else stays in place."""
    raise NotImplementedError

"""Opening an incoming message stanza: from an envelope to what it says, and what to commit with that.

Rule: a part that fails leaves no trace in the keyring, and says what has to be done about it; nothing is ever dropped
in silence.

Source: WhatsApp Web, as whatsmeow and Baileys do it; that an old counter is an incident is ours.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whatisup.crypto import Entropy
from whatisup.jid import Jid
from whatisup.protocol.messaging.keyring import Keyring, Own, Wanted

if TYPE_CHECKING:
    from whatisup.protocol.content.normalise import Content
    from whatisup.protocol.stanzas.message import Enc, Envelope


class Verdict(enum.StrEnum):
    """What became of a stanza."""

    READ = "read"
    """There is content to show."""
    SILENT = "silent"
    """It was for the protocol: a sender key, a history notification. `content.kind` says what, `""` for nothing."""
    DUPLICATE = "duplicate"
    """Every ciphertext of it was read before: answer again, do nothing else."""
    FAILED = "failed"
    """It could not be read; `failure` says why."""
    OLD_COUNTER = "old_counter"
    """Its key was used before, but nobody remembers the ciphertext: a message was lost, an incident."""
    UNAVAILABLE = "unavailable"
    """The server has no ciphertext for us; our phone may."""
    UNKNOWN = "unknown"
    """It holds nothing that we know how to read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a part could not be read.

    `reason` is a slug, `retry_code` the `error` of the retry receipt, `wants_keys` whether already the first retry
    receipt carries keys; `hide` says that nothing should be shown for it.
    """

    reason: str
    retry_code: int
    wants_keys: bool = False
    hide: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What a stanza held, and what to commit with it beside the keyring's changes.

    `hashes` are the ciphertexts that were read now; `learned` the (PN, LID) users that are news. With READ or SILENT
    and a `failure`, a part was read and the rest wants a retry.
    `wants_phone` asks our phone: at once for UNAVAILABLE and OLD_COUNTER, else if no resend came after a few seconds.
    """

    envelope: Envelope
    verdict: Verdict
    content: Content | None = None
    plaintext_hash: bytes | None = None
    hashes: tuple[bytes, ...] = ()
    failure: Failure | None = None
    identity_changed: Jid | None = None
    used_prekeys: tuple[int, ...] = ()
    wants_retry: bool = False
    wants_phone: bool = False
    learned: tuple[tuple[Jid, Jid], ...] = ()


def ciphertext_hash(enc: Enc, envelope: Envelope) -> bytes:
    """Return what a ciphertext is remembered by (32 bytes)."""
    raise NotImplementedError


def wanted_for_opening(envelope: Envelope, own: Own, keyring: Keyring | None = None) -> Wanted:
    """Return every key that opening this stanza will touch, and the hashes of its ciphertexts.

    One read is enough where the stanza tells both names of its author, as it does. Where it tells only one, the other
    is asked for, and asking again with the keyring then names what is kept under it: ask, load and `add` until
    `keyring.missing(...)` is empty, which is at most twice.
    """
    raise NotImplementedError


def open_message(
    envelope: Envelope, keyring: Keyring, own: Own, *, known: Collection[bytes], now_ms: int, entropy: Entropy
) -> Opened:
    """Open a stanza; the keyring then holds what to commit with it.

    `known` are the ciphertext hashes that are stored, or were read earlier in the same batch. Raises `KeyNotLoaded`,
    with the keyring as it was, and nothing else.
    """
    raise NotImplementedError

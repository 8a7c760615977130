"""What goes wrong on a phone when it is told to: lost sessions, used-up prekeys, broken ciphertexts, other keys.

Rule: each mishap strikes once per round of its fault, at the moment that its name stands for, and breaks nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from whatisup.jid import Jid
from whatisup.protocol.prekeys import MAX_KEY_ID, Bundle
from whatisup.protocol.stanzas.message import Enc
from whatisup.sandbox.corruption import corrupted
from whatisup.sandbox.faults import Target
from whatisup.sandbox.people.turn import Turn
from whatisup.sandbox.ports import PHONE

NO_SESSION: Final = "no-session"
CONSUMED_PREKEY: Final = "consumed-prekey"
CORRUPT_MAC: Final = "corrupt-mac"
SIMULTANEOUS: Final = "simultaneous"
IDENTITY_CHANGE: Final = "identity-change"
RETRY_STORM: Final = "retry-storm"

STORM: Final = 10
"""How many retry receipts one message gets in a storm."""


def strikes(turn: Turn, name: str) -> bool:
    """Whether that fault hits this phone now; uses a round of it."""
    return turn.hub.faults.take(name, Target(turn.number, PHONE)) is not None


def before_writing(turn: Turn, devices: Sequence[Jid]) -> None:
    """Lose the sessions with these devices, or start new ones from prekeys that are gone."""
    if strikes(turn, NO_SESSION):
        for device in devices:
            turn.ratchets.drop(device)
    if strikes(turn, CONSUMED_PREKEY):
        for device in devices:
            bundle = turn.bundle(device)
            if bundle is not None:
                turn.ratchets.start(device, replace(bundle, prekey=_spent_prekey(turn, device, bundle)))


def _spent_prekey(turn: Turn, device: Jid, bundle: Bundle) -> tuple[int, bytes]:
    # What the last session was started from, which the device deleted when it read the first message of it.
    return turn.ratchets.borrowed(device) or (MAX_KEY_ID, bundle.identity.signed_prekey.public)


def before_reading(turn: Turn, sender: Jid, enc: Enc) -> Enc:
    """Lose the session with a device, or have its ciphertext broken on the way."""
    if strikes(turn, NO_SESSION):
        turn.ratchets.drop(sender)
    return corrupted(enc) if strikes(turn, CORRUPT_MAC) else enc

"""End-to-end encryption: the Signal protocol as WhatsApp Web speaks it, as values.

Rule: a state is never changed; every operation takes one and returns the next, so a failed attempt leaves no trace and
nothing happened until the caller has committed what it was given.

What a peer sends raises a subclass of `E2eeError`, and nothing else.
"""

from __future__ import annotations

from whatisup.e2ee.address import SignalAddress
from whatisup.e2ee.cipher import (
    Decrypted,
    Encrypted,
    decrypt_message,
    decrypt_prekey_message,
    encrypt,
    parse_prekey_message,
    start_session,
)
from whatisup.e2ee.envelope import PrekeyHeader
from whatisup.e2ee.identity import OwnIdentity, PeerBundle
from whatisup.e2ee.padding import pad, unpad
from whatisup.e2ee.record import SessionRecord
from whatisup.e2ee.sender_key import (
    SenderKeyRecord,
    create_sender_key,
    decrypt_group,
    distribution_message,
    encrypt_group,
    process_distribution,
)

__all__ = [
    "Decrypted",
    "Encrypted",
    "OwnIdentity",
    "PeerBundle",
    "PrekeyHeader",
    "SenderKeyRecord",
    "SessionRecord",
    "SignalAddress",
    "create_sender_key",
    "decrypt_group",
    "decrypt_message",
    "decrypt_prekey_message",
    "distribution_message",
    "encrypt",
    "encrypt_group",
    "pad",
    "parse_prekey_message",
    "process_distribution",
    "start_session",
    "unpad",
]

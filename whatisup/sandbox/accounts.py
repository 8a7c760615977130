"""What the sandbox knows of people: an account with its phone, and the companions linked to it. Values only.

Rule: nothing here changes; `state.py` owns what is stored, and these are what it hands out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from whatisup.crypto import KeyPair
from whatisup.jid import LID_SERVER, PN_SERVER, Jid
from whatisup.protocol.prekeys import PublicIdentity

MAX_COMPANION: Final = 98
"""Highest device number of a companion; 99 is for hosted ones. Source: WhatsApp Web, as whatsmeow and Baileys do it."""

_TEST_PREFIX: Final = "999"  # an unassigned country code, so that no real person is meant


@dataclass(frozen=True, slots=True, repr=False)
class Account:
    """A person: phone number, hidden id, push name, and the phone's own keys.

    `identity` is the phone's identity key pair, which signs the account's companions. `raw_id` is the random number
    (32 bits) that every companion's identity repeats. `created_at` is in unix milliseconds. Accounts of different
    tenants do not exist for each other; those of no tenant are a tenant of their own.
    """

    number: str
    lid: str
    name: str | None
    identity: KeyPair
    raw_id: int
    registration_id: int
    created_at: int
    tenant: str | None = None
    pn_jid: Jid = field(init=False, compare=False)
    """The phone's address by number. Made once, as the next one: they are asked for with every stanza."""
    lid_jid: Jid = field(init=False, compare=False)
    """The phone's address by hidden id."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pn_jid", Jid(self.number, PN_SERVER))
        object.__setattr__(self, "lid_jid", Jid(self.lid, LID_SERVER))

    def __repr__(self) -> str:
        return f"Account(number={self.number!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Companion:
    """A linked device: its numbers, the keys it registered, and the identity its phone signed.

    `row` is the store's key. `noise_public` (32 bytes) is what the device is known by. `signed_identity` is the
    serialized identity with both signatures. `routing_info` is what this device is told to send back in the ED header.
    `linked_at` is in unix milliseconds.
    """

    row: int
    number: str
    lid: str
    device: int
    key_index: int
    noise_public: bytes
    public: PublicIdentity
    signed_identity: bytes
    routing_info: bytes
    linked_at: int
    pn_jid: Jid = field(init=False, compare=False)
    """The device's address by number."""
    lid_jid: Jid = field(init=False, compare=False)
    """The device's address by hidden id."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pn_jid", Jid(self.number, PN_SERVER, self.device))
        object.__setattr__(self, "lid_jid", Jid(self.lid, LID_SERVER, self.device))

    @property
    def key(self) -> tuple[str, int]:
        """The number and device number that name this companion."""
        return self.number, self.device

    def __repr__(self) -> str:
        return f"Companion({self.pn_jid})"


def next_device(used: Collection[int]) -> int | None:
    """Return the smallest unused companion number, `None` when all are taken."""
    return next((number for number in range(1, MAX_COMPANION + 1) if number not in used), None)


def number_from(entropy_bytes: bytes) -> str:
    """Turn 8 bytes into a phone number of no country: `999` and 9 digits."""
    return f"{_TEST_PREFIX}{int.from_bytes(entropy_bytes, 'big') % 10**9:09d}"


def lid_from(entropy_bytes: bytes) -> str:
    """Turn 8 bytes into the user part of a hidden id: `1` and 14 digits."""
    return f"1{int.from_bytes(entropy_bytes, 'big') % 10**14:014d}"


def number_and_lid_of_name(name: bytes) -> tuple[str, str]:
    """Return the number and hidden id that a push name stands for (the identity key where there is no name).

    The same name gives the same account in every run. Only the mock phone of the Baileys end-to-end suite uses it.
    """
    digest = int.from_bytes(hashlib.sha256(name).digest(), "big")
    return f"{_TEST_PREFIX}{digest % 10**9:09d}", f"1{digest // 10**9 % 10**14:014d}"


def device_hash(devices: Iterable[Jid]) -> str:
    """Return the hash that names a list of devices, the phone among them.

    Source: WhatsApp Web, as whatsmeow does it.
    """
    listed = sorted(f"{jid.user}.0:{jid.device}@{jid.server}".encode() for jid in devices)
    return "2:" + base64.b64encode(hashlib.sha256(b"".join(listed)).digest()[:6]).decode()

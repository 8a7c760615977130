"""`usync`: which devices and which hidden id users have, and whether a number is on the network.

    client: build_device_query, parse_devices; build_contact_query, parse_contacts
    server: parse_query, build_answer

Rule: `jid` in an answer repeats the one asked for; a user without an account has no devices and is not an error.

Source: WhatsApp Web, as whatsmeow and Baileys do it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from whatisup.jid import Jid
from whatisup.wire import Node

USYNC_XMLNS: Final = "usync"

MAX_USERS: Final = 4096
"""Most users of one query or answer."""

MAX_DEVICES: Final = 64
"""Most devices of one user; an account has a phone and some companions."""


@dataclass(frozen=True, slots=True)
class UserDevices:
    """The devices of one user: (number, key index); number 0 is the phone, which has no key index.

    `user` as asked for, `lid` where it was told, `device_hash` the server's over the list. `is_known` False: there is
    no such account. `key_index_list` is the phone's signed list (ADVSignedKeyIndexList) of unix seconds `listed_at`.
    """

    user: Jid
    lid: Jid | None
    devices: tuple[tuple[int, int | None], ...]
    device_hash: str | None = None
    is_known: bool = True
    key_index_list: bytes | None = None
    listed_at: int | None = None


@dataclass(frozen=True, slots=True)
class ContactFound:
    """Whether `number` (digits) is on the network, and under which addresses, without devices."""

    number: str
    is_in: bool
    jid: Jid | None = None
    lid: Jid | None = None
    pn: Jid | None = None


@dataclass(frozen=True, slots=True)
class UsyncUser:
    """One user of a query: by address, or as the text of a contact query (`+15550001`)."""

    jid: Jid | None
    contact: str | None = None


@dataclass(frozen=True, slots=True)
class UsyncQuery:
    """What a client asks about whom; `wants` are the tags under `query`: devices, lid, contact, status, ..."""

    sid: str
    mode: str
    context: str
    wants: frozenset[str]
    users: tuple[UsyncUser, ...]


@dataclass(frozen=True, slots=True)
class UsyncFound:
    """What the server knows of one user: `jid` is the address asked for, or the one found for a contact.

    `contact` is in, out or invalid; `extra` are further children (`status`, `picture`, ...), passed on as they are.
    """

    asked: UsyncUser
    jid: Jid | None
    devices: UserDevices | None = None
    lid: Jid | None = None
    pn_jid: Jid | None = None
    contact: str | None = None
    extra: tuple[Node, ...] = ()


def build_device_query(request_id: str, users: Sequence[Jid]) -> Node:
    """Ask for the devices and hidden ids of users."""
    raise NotImplementedError


def parse_devices(answer: Node) -> tuple[UserDevices, ...]:
    """Read the devices of users. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_contact_query(request_id: str, numbers: Sequence[str]) -> Node:
    """Ask which numbers (digits) are on the network."""
    raise NotImplementedError


def parse_contacts(answer: Node) -> tuple[ContactFound, ...]:
    """Read which numbers are on the network. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def parse_query(request: Node) -> UsyncQuery:
    """Read a query on the server's side. Raises `RemoteProtocolError`."""
    raise NotImplementedError


def build_answer(request: Node, query: UsyncQuery, found: Sequence[UsyncFound]) -> Node:
    """Answer a query, with what it wants of what was found."""
    raise NotImplementedError

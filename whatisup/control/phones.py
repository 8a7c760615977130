"""Accounts with their simulated phones, the devices linked to them, and what those are doing."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from whatisup.control.shapes import DeviceNumber, Number, Reply, Request, Tenant


class Persona(StrEnum):
    """How a phone behaves of its own accord: `silent` only reads; `echo` answers each text with the same text, once."""

    SILENT = "silent"
    ECHO = "echo"


class AccountRequest(Request, frozen=True):
    """Create an account with its simulated phone. Without `number` the sandbox takes the next free one.

    Accounts of one `tenant` do not see those of another; those without one see each other.
    """

    number: Number | None = None
    name: Annotated[str, Meta(max_length=100)] | None = None
    tenant: Tenant | None = None
    persona: Persona = Persona.SILENT


class TenantRequest(Request, frozen=True):
    """Say whom an account belongs to that belongs to nobody."""

    tenant: Tenant


class ScanRequest(Request, frozen=True):
    """Let the phone scan a QR: the raw text a companion shows."""

    qr: Annotated[str, Meta(min_length=1, max_length=2048)]


class LinkCodeRequest(Request, frozen=True):
    """Type an 8-character linking code into the phone; a dash and small letters are forgiven."""

    code: Annotated[str, Meta(min_length=8, max_length=16)]


class UnlinkRequest(Request, frozen=True):
    """Remove a companion from the phone's list of linked devices."""

    device: DeviceNumber


class Device(Reply, frozen=True):
    """A companion as the server knows it. `linked_at` is in unix milliseconds; keys are never shown."""

    device: int
    jid: str
    lid: str
    key_index: int
    registration_id: int
    prekeys: int
    linked_at: int
    is_connected: bool


class Account(Reply, frozen=True):
    """An account: its number (digits), its hidden id's user part, its push name. `created_at` in unix ms.

    `is_online` and `persona` are the phone's.
    """

    number: str
    lid: str
    name: str | None
    created_at: int
    devices: list[Device]
    tenant: str | None = None
    is_online: bool = True
    persona: str = Persona.SILENT


class Accounts(Reply, frozen=True):
    """All accounts, by number."""

    data: list[Account]


class Linked(Reply, frozen=True):
    """The outcome of a scan or a linking code: the companion answered well and is on the list now."""

    number: str
    device: int


class Stanza(Reply, frozen=True):
    """One stanza that passed, without its content. `at` in unix ms; `is_sent` from the server's point of view."""

    at: int
    is_sent: bool
    tag: str
    attrs: dict[str, str]


class Connection(Reply, frozen=True):
    """A device's live connection; `since`, `last_frame_at` in unix ms; `routing_info_returned`: the ED header came."""

    since: int
    last_frame_at: int
    is_active: bool
    is_half_open: bool
    routing_info_returned: bool
    client_version: str | None


class DeviceConnection(Reply, frozen=True):
    """What a device is doing: its live connection if there is one, queued stanzas, the last ones that passed."""

    number: str
    device: int
    connection: Connection | None
    logins: int
    queued: int
    stanzas: list[Stanza]

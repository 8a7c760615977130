"""A message on its way: what the server knows of it while it looks for the devices that it is for.

Rule: a message is refused with a code, or accepted with its official time; there is nothing in between.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct
from msgspec.structs import replace

from whatisup.control import FaultName, Switch
from whatisup.jid import Jid
from whatisup.protocol.stanzas.message import PLAIN_UNAVAILABLE, Enc, Outgoing
from whatisup.sandbox.accounts import Account
from whatisup.sandbox.corruption import corrupted
from whatisup.sandbox.directory import jid_of
from whatisup.sandbox.faults import Target
from whatisup.sandbox.hub import Hub
from whatisup.sandbox.ports import PHONE, Device
from whatisup.sandbox.waiting import Clearing
from whatisup.wire import Node


class Refusal(Exception):
    """The message is not accepted: the ack's error."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Posting(Struct, frozen=True):
    """A message on its way: who sent it, and in which form the two sides are addressed."""

    sender: Device
    account: Account
    message: Outgoing
    as_lid: bool
    t: int

    @property
    def source(self) -> Jid:
        """The sending device."""
        return jid_of(self.account, self.sender.device, as_lid=self.as_lid)

    @property
    def source_alt(self) -> Jid:
        """The sending user in the other form."""
        return jid_of(self.account, as_lid=not self.as_lid)


class Accepted(Struct, frozen=True):
    """What the ack says: the official time, the server's hash where it is another list, a newsletter's own id."""

    t: int
    phash: str | None = None
    server_id: int | None = None


class Carried(Struct, frozen=True):
    """What of a message arrives where faults are at work; `tells_both_names` is about the sender."""

    encs: tuple[Enc, ...]
    unavailable: str | None = None
    tells_both_names: bool = True


def carried(hub: Hub, device: Device, encs: tuple[Enc, ...], *, is_own: bool) -> Carried:
    """Let the faults have their way with the ciphertexts of one delivery; a broken one is the last, the content's.

    A phone breaks what it is sent by itself.
    """
    target = Target(*device)
    unavailable: str | None = None
    if device.device != PHONE:
        if hub.faults.take(FaultName.UNAVAILABLE, target) is not None:
            unavailable, encs = PLAIN_UNAVAILABLE, ()
        elif encs and hub.faults.take(FaultName.CORRUPT_MAC, target) is not None:
            encs = (*encs[:-1], corrupted(encs[-1]))
    lid_only = not is_own and hub.faults.take(FaultName.LID_ONLY, target) is not None
    return Carried(encs, unavailable, not lid_only)


def hand_over(hub: Hub, device: Device, node: Node, clearing: Clearing | None = None) -> None:
    """Bring a stanza to a device: to a companion's queue, or to the phone."""
    if device.device == PHONE:
        hub.people.deliver(device.number, node)
    elif (companion := hub.state.companion(*device)) is not None:
        hub.deliver(companion, node, clearing)


def bare(message: Outgoing) -> Outgoing:
    """What of a message reaches its receivers."""
    return replace(message, category=None, addressing_mode=None, plaintext=None)


def name_of(device: Device) -> str:
    """What the ledger calls a device."""
    return f"{device.number}.{device.device}"


def digest_of(enc: Enc) -> bytes:
    """What the ledger remembers of a ciphertext."""
    return hashlib.sha256(enc.ciphertext).digest()[:8]


def is_new(hub: Hub, reached: dict[str, bytes], device: Device, enc: Enc) -> bool:
    """Whether a device is still to get a message of that id."""
    digest = reached.get(name_of(device))
    return digest is None or (Switch.REUSED_ID in hub.switches and digest != digest_of(enc))
